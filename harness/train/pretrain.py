"""Pretraining on documents drawn from the tasks: `BOS prompt TURN answer EOS`, next-token loss on every token.

A task of several turns gives whole episodes, calls and replies included, as its gold solution plays them.

A share of the documents carries a wrong answer (another problem's, of the same task and difficulty): the base then has
the form of every task and the content of some, and RL has something to improve.

With `scratchpad_share` a share of the documents shows the steps: `BOS prompt TURN scratchpad ANSWER answer EOS`. In
such a corpus ANSWER stands before the answer of the other documents too, so that ANSWER alone tells a policy to answer
now.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from envs.base import Problem
from envs.mixture import Mixture
from envs.registry import get, select
from envs.splits import draw_in_split
from harness.config.schema import BaseConfig, Config, OptimConfig
from harness.core.seeding import Key, keys
from harness.policy.backends.backend import Backend
from harness.policy.tokenizer import encode_completion, encode_environment_reply, encode_prompt
from harness.policy.transformer import Transformer, parameter_count
from harness.train.algorithms import flops_per_token
from harness.train.curriculum import draw_problems
from harness.train.optim import accumulate_gradients, clip_gradients, learning_rate_factor, set_learning_rate
from harness.train.rollout import gold_scratchpad
from harness.train.state import StepReport, Stopwatch, TrainState, check_finite, gradients_of
from harness.train.synthetic import Teacher, synthetic_documents

Shares = float | Mapping[str, float]


def corpus_of(base: BaseConfig) -> Mixture:
    """The mixture that documents are drawn from; a context's weight is shared by its tasks, by their own weights."""
    own = {task.name: base.options(task.name).weight for task in select(base.tasks)}
    tasks = [task for task in select(base.tasks) if own[task.name] * base.contexts.get(task.context, 0) > 0]
    shared: dict[str, float] = {}
    for task in tasks:
        shared[task.context] = shared.get(task.context, 0.0) + own[task.name]
    weights = tuple(base.contexts[task.context] * own[task.name] / shared[task.context] for task in tasks)
    return Mixture(tuple(tasks), weights, base.difficulties, base.difficulty_decay)


def document_shares(base: BaseConfig, corpus: Mixture) -> dict[str, Any]:
    """Keywords of `draw_documents`, by task: the shares of documents with another problem's answer, of those that show
    their steps, and of those that show the turns before the answer, which is 1 where all tasks show them."""
    options = {task.name: base.options(task.name) for task in corpus.tasks}
    calls = {name: own.calls_share or 0.0 for name, own in options.items()}
    return {
        "label_noise": {name: own.label_noise or 0.0 for name, own in options.items()},
        "scratchpad_share": {name: own.scratchpad_share or 0.0 for name, own in options.items()},
        "calls_share": 1.0 if all(share == 1 for share in calls.values()) else calls,
    }


def _per_problem(share: Shares, problems: Sequence[Problem]) -> np.ndarray | float:
    return np.array([share[problem.task] for problem in problems]) if isinstance(share, Mapping) else share


def document(problem: Problem, answer: str, scratchpad: str | None = None, has_calls: bool = True) -> np.ndarray:
    """The gold episode of a problem, ending in `answer`, with the tokens that a rollout would have, or its end alone,
    without the turns before. With a scratchpad, even an empty one, ANSWER precedes the answer of every turn."""
    task = get(problem.task)
    calls = task.worked(problem).split("\n")[:-1] if has_calls and task.max_turns > 1 and task.worked else []
    parts = [encode_prompt(problem.prompt)]
    for turn, call in enumerate(calls, start=1):
        parts.append(encode_completion(call, None if scratchpad is None else ""))
        parts.append(encode_environment_reply(task.reply(problem, calls[:turn]).text))
    return np.concatenate([*parts, encode_completion(answer, scratchpad)])


def _as_in_corpus(problem: Problem, rng: np.random.Generator) -> Problem:
    """The problem with the answer that a document gives it: the right one, unless its task sets another."""
    corpus_answer = get(problem.task).corpus_answer
    return problem if corpus_answer is None else replace(problem, answer=corpus_answer(problem, rng))


def draw_documents(
    mixture: Mixture,
    n: int,
    label_noise: Shares,
    rng: np.random.Generator,
    scratchpad_share: Shares = 0.0,
    calls_share: Shares = 1.0,
    split: str = "train",
) -> list[np.ndarray]:
    """n documents of a split; a wrong one has another problem's answer and scratchpad. `label_noise`,
    `scratchpad_share` and `calls_share`: of all documents alike, or by task."""
    problems = mixture.draw(n, rng, split)
    wrong = rng.random(n) < _per_problem(label_noise, problems)
    solved = [draw_in_split(get(p.task), p.difficulty, split, rng) if w else p for p, w in zip(problems, wrong)]
    # From streams of their own: the same problems, right and wrong, whatever the share and the corpus's errors.
    streams = rng.spawn(2 if any(task.corpus_answer for task in mixture.tasks) else 1)
    solved = [_as_in_corpus(s, streams[-1]) for s in solved]
    # The stream of the calls comes last and only where they are hidden at times: a corpus of before stays as it was.
    called = [True] * n if calls_share == 1 else rng.spawn(1)[0].random(n) < _per_problem(calls_share, problems)
    if not (any(scratchpad_share.values()) if isinstance(scratchpad_share, Mapping) else scratchpad_share):
        return [document(p, s.answer, None, call) for p, s, call in zip(problems, solved, called)]
    shown = streams[0].random(n) < _per_problem(scratchpad_share, problems)
    pads = [get(s.task).scratchpad(s) if show else "" for s, show in zip(solved, shown)]
    return [document(p, s.answer, pad, call) for p, s, pad, call in zip(problems, solved, pads, called)]


def _document_gradients(state: TrainState, documents: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Loss of one batch of documents, [S], a mean over all tokens of the step, and the gradients of the weights."""
    losses = state.backend.document_loss(state.policy, documents) / documents.denominator
    return losses.detach(), torch.autograd.grad(losses.sum(), list(state.policy.parameters()))


def update(state: TrainState, corpora: Sequence[list[np.ndarray]], optim: OptimConfig, lr: float) -> dict[str, Tensor]:
    """One optimizer step on each seed's documents."""
    backend, policy, function = state.backend, state.policy, partial(_document_gradients, state)
    batches = backend.document_batches(policy, corpora)
    parts = (backend.gradients(policy, "pretrain", function, documents) for documents in batches)
    loss = torch.zeros(len(corpora), device=policy.embedding.device)
    for value in accumulate_gradients(list(policy.parameters()), parts):
        loss += value
    documents = {"documents": [list(map(torch.from_numpy, corpus)) for corpus in corpora]}
    check_finite(state.step, {"loss": loss} | gradients_of(state.learners), documents)
    norm = clip_gradients(policy, optim.grad_clip)
    set_learning_rate(state.optimizer, lr)
    state.optimizer.step()
    return {"loss": loss, "grad_norm": norm, "lr": torch.full_like(loss, lr)}


def _step(
    state: TrainState, draw: Callable[[Key], list[np.ndarray]], purpose: str, optim: OptimConfig, lr: float
) -> StepReport:
    """One update on each seed's documents, drawn from its key and truncated where a rare scratchpad exceeds the
    context."""
    step, watch, context = state.step, Stopwatch(), state.policy.config.context
    with watch("documents"):
        corpora = [[document[:context] for document in draw(key)] for key in keys(purpose, state.seeds, step)]
    with watch("update"):
        metrics = update(state, corpora, optim, lr)
    n, share = parameter_count(state.policy.config, embedding=False), sum(watch.seconds.values()) / len(corpora)
    state.spent = tuple(
        spent.after_pretraining_step(n, len(corpus), sum(map(len, corpus)), share)
        for spent, corpus in zip(state.spent, corpora)
    )
    return StepReport(step, metrics, watch.seconds)


def _drawn(cfg: BaseConfig, corpus: Mixture, teacher: Teacher | None, key: Key) -> list[np.ndarray]:
    """The documents of a step: of the corpus, or, in a later generation, of the teacher but for those that stay
    original. A generation's streams go on where those of the one before ended."""
    of_corpus = partial(draw_documents, corpus, **document_shares(cfg, corpus))
    if (synthetic := cfg.synthetic) is None:
        return of_corpus(cfg.documents, rng=key.generator())
    if teacher is None:
        raise ValueError(f"generation {cfg.generation} is pretrained on what the one before wrote: give its teacher")
    key = replace(key, step=cfg.generation * cfg.steps + key.step)
    originals = of_corpus(round(synthetic.original_share * cfg.documents), rng=key.generator())
    return originals + synthetic_documents(cfg, corpus, cfg.documents - len(originals), teacher, key)


def pretrain_step(cfg: BaseConfig, state: TrainState, corpus: Mixture, teacher: Teacher | None = None) -> StepReport:
    """One update on fresh documents; teacher: who writes them, for a base of a later generation."""
    lr = cfg.optim.lr * learning_rate_factor(cfg.schedule, state.step, cfg.steps)
    return _step(state, partial(_drawn, cfg, corpus, teacher), "documents", cfg.optim, lr)


def held_out_documents(cfg: BaseConfig, n: int, seed: int, context: int) -> list[np.ndarray]:
    """n documents as those that a base reads, of the validation split; the same for all runs."""
    corpus, rng = corpus_of(cfg), Key("held_out_documents", seed).generator()
    drawn = draw_documents(corpus, n, rng=rng, split="validation", **document_shares(cfg, corpus))
    return [document[:context] for document in drawn]


@torch.no_grad()
def document_loss(backend: Backend, policy: Transformer, documents: Sequence[np.ndarray]) -> Tensor:
    """Mean next-token loss of each policy of a stack over all tokens of the documents, [S], in nats."""
    batches = backend.document_batches(policy, [documents] * policy.seeds)
    return torch.stack([backend.document_loss(policy, batch) / batch.denominator for batch in batches]).sum(0)


# ---- Continued pretraining, an arm in the place of RL


def expected_rl_tokens(problems: Sequence[Problem], group_size: int, thinking: int | None = None) -> int:
    """Tokens of an RL step on these problems, if every episode is as long as the gold one, whose scratchpad is as long
    as the thinking budget allows."""
    return group_size * sum(len(document(p, p.answer, gold_scratchpad(p, thinking))) for p in problems)


def documents_of_tokens(tokens: float, corpus: Mixture, key: Key, **shares: Any) -> list[np.ndarray]:
    """Fresh documents of so many tokens in all, to within one document. shares: as of `draw_documents`."""
    rng, documents = key.generator(), []
    while tokens > 0:
        for document in draw_documents(corpus, 32, rng=rng, **shares):
            if tokens < len(document) / 2:
                return documents
            documents.append(document)
            tokens -= len(document)
    return documents


def continued_step(cfg: Config, state: TrainState, corpus: Mixture, mixture: Mixture) -> StepReport:
    """One update on documents of the base's corpus that costs what this step of RL would have: an update costs 6 of the
    convention's FLOPs a token, RL 8 or more, so there are 8/6 as many tokens as in the completions of the very problems
    that RL draws. The streams are not the base's: equal seeds repeat no document."""
    lr = cfg.optim.lr * learning_rate_factor(cfg.schedule, state.step, cfg.rl.steps)

    problems, _ = draw_problems(cfg, state, mixture)
    n = cfg.rl.problems
    of_seed = {seed: problems[i * n : (i + 1) * n] for i, seed in enumerate(state.seeds)}

    def draw(key: Key) -> list[np.ndarray]:
        tokens = flops_per_token(cfg) / 6 * expected_rl_tokens(of_seed[key.seed], cfg.rl.group_size, cfg.thinking)
        return documents_of_tokens(tokens, corpus, key, **document_shares(cfg.base, corpus))

    return _step(state, draw, "continued", cfg.optim, lr)
