"""Pretraining on documents drawn from the tasks: `BOS prompt TURN answer EOS`, next-token loss on every token.

A share of the documents carries a wrong answer (another problem's, of the same task and difficulty): the corpus is then
no clean supervision, the base knows the form of every task and the content of some, and RL has room to work in.
"""

import time
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from envs.base import Problem
from envs.mixture import Mixture
from envs.registry import get, select
from envs.splits import draw_in_split
from harness.config import BaseConfig
from harness.policy.tokenizer import EOS, PAD, encode, encode_prompt
from harness.policy.transformer import Transformer, parameter_count
from harness.seeding import keys
from harness.train.optim import clip_gradients, learning_rate_factor, zero_gradients
from harness.train.state import OnStep, StepReport, TrainState, check_finite


def corpus_of(base: BaseConfig) -> Mixture:
    """The mixture that documents are drawn from; a context's weight is shared by its tasks."""
    tasks = [task for task in select(base.tasks) if base.contexts.get(task.context, 0) > 0]
    count = Counter(task.context for task in tasks)
    weights = tuple(base.contexts[task.context] / count[task.context] for task in tasks)
    return Mixture(tuple(tasks), weights, base.difficulties, base.difficulty_decay)


def wrong_answer(problem: Problem, rng: np.random.Generator) -> str:
    """The answer of another problem of the same task, difficulty and split."""
    return draw_in_split(get(problem.task), problem.difficulty, "train", rng).answer


def document(problem: Problem, answer: str) -> np.ndarray:
    return np.concatenate((encode_prompt(problem.prompt), encode(answer), [EOS]))


def draw_documents(mixture: Mixture, n: int, wrong_answers: float, rng: np.random.Generator) -> list[np.ndarray]:
    """n documents of the training split."""
    problems = mixture.draw(n, rng)
    wrong = rng.random(n) < wrong_answers
    return [document(p, wrong_answer(p, rng) if w else p.answer) for p, w in zip(problems, wrong)]


def padded(documents: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """ids [n, longest] and mask of real tokens."""
    length = np.array([len(d) for d in documents])
    ids = np.full((len(documents), length.max()), PAD, dtype=np.int64)
    for i, d in enumerate(documents):
        ids[i, : len(d)] = d
    return torch.from_numpy(ids), torch.from_numpy(np.arange(length.max()) < length[:, None])


def token_losses(policy: Transformer, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Summed next-token loss and number of predicted tokens, [S] each; ids, mask [S, R, T]."""
    logits = policy(ids[..., :-1])
    loss = F.cross_entropy(logits.flatten(0, -2), ids[..., 1:].flatten(), reduction="none").view(ids[..., 1:].shape)
    return (loss * mask[..., 1:]).flatten(1).sum(1), mask[..., 1:].flatten(1).sum(1)


def pretrain_step(cfg: BaseConfig, state: TrainState, mixture: Mixture) -> StepReport:
    """One update on fresh documents. Documents go shortest first in quarters, so that little padding is computed."""
    start, step, device = time.perf_counter(), state.step, state.policy.embedding.device
    corpora = [
        sorted(draw_documents(mixture, cfg.documents, cfg.wrong_answers, key.generator()), key=len)
        for key in keys("documents", state.seeds, step)
    ]
    drawn = time.perf_counter()
    predicted = torch.tensor([sum(len(d) - 1 for d in corpus) for corpus in corpora], device=device)
    zero_gradients(state.policy)
    total = torch.zeros(len(corpora), device=device)
    quarter = -(-cfg.documents // 4)
    for first in range(0, cfg.documents, quarter):
        pieces = [padded(corpus[first : first + quarter]) for corpus in corpora]
        width = max(ids.shape[1] for ids, _ in pieces)
        ids = torch.stack([F.pad(i, (0, width - i.shape[1])) for i, _ in pieces]).to(device)
        mask = torch.stack([F.pad(m, (0, width - m.shape[1])) for _, m in pieces]).to(device)
        loss, _ = token_losses(state.policy, ids, mask)
        (loss / predicted).sum().backward()
        total += loss.detach() / predicted
    check_finite(state, {"loss": total})
    norm = clip_gradients(state.policy, cfg.optim.grad_clip)
    lr = cfg.optim.lr * learning_rate_factor(cfg.schedule, step, cfg.steps)
    for group in state.optimizer.param_groups:
        group["lr"] = lr
    state.optimizer.step()
    end = time.perf_counter()
    n = parameter_count(state.policy.config, embedding=False)
    share = (end - start) / len(corpora)
    state.spent = tuple(
        spent.pretraining_step(n, cfg.documents, sum(len(d) for d in corpus), share)
        for spent, corpus in zip(state.spent, corpora)
    )
    metrics = {"loss": total, "grad_norm": norm, "lr": torch.full_like(total, lr)}
    return StepReport(step, metrics, {"documents": drawn - start, "update": end - drawn})


def pretrain(
    cfg: BaseConfig,
    state: TrainState,
    mixture: Mixture,
    until: int,
    on_step: OnStep,
) -> None:
    """Steps from where `state` stands to `until`, telling `on_step` after each."""
    while state.step < until:
        on_step(state, pretrain_step(cfg, state, mixture))
