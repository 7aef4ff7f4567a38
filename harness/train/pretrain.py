"""Pretraining on documents drawn from the tasks: `BOS prompt TURN answer EOS`, next-token loss on every token.

A task of several turns gives whole episodes, calls and replies included, as its worked solution plays them.

A share of the documents carries a wrong answer (another problem's, of the same task and difficulty): the corpus is then
no clean supervision, the base knows the form of every task and the content of some, and RL has room to work in.

With `worked` a share of the documents shows the steps: `BOS prompt TURN scratchpad ANSWER answer EOS`. In such a corpus
ANSWER stands before the answer of the other documents too, so that ANSWER alone tells a policy to answer now.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise, zip_longest

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from envs.base import Problem
from envs.mixture import Mixture
from envs.registry import get, select
from envs.splits import draw_in_split
from harness.config.schema import BaseConfig, Config, OptimConfig
from harness.core.seeding import Key, keys
from harness.policy.backends import cuda_graphs as graphs
from harness.policy.backends import native
from harness.policy.logprobs import score
from harness.policy.tokenizer import PAD, encode_completion, encode_prompt, encode_reply
from harness.policy.transformer import Transformer, parameter_count
from harness.train.algorithms import flops_per_token
from harness.train.helpers import Each, helpers, passes_of
from harness.train.optim import added_up, clip_gradients, learning_rate_factor, set_learning_rate
from harness.train.rollout import thought
from harness.train.state import OnStep, StepReport, Stopwatch, TrainState, check_finite

Shares = float | Mapping[str, float]
# Tokens of one forward pass of rows, padding included. On a CPU more would leave the cache and fewer are all overhead.
PADDED_AT_ONCE = {"cpu": 768, "cuda": 1 << 16}
WIDTHS_ALIKE = 16  # tokens by which the widths of what is recorded for a GPU differ


def corpus_of(base: BaseConfig) -> Mixture:
    """The mixture that documents are drawn from; a context's weight is shared by its tasks, by their own weights."""
    own = {task.name: base.options(task.name).weight for task in select(base.tasks)}
    tasks = [task for task in select(base.tasks) if own[task.name] * base.contexts.get(task.context, 0) > 0]
    shared: dict[str, float] = {}
    for task in tasks:
        shared[task.context] = shared.get(task.context, 0.0) + own[task.name]
    weights = tuple(base.contexts[task.context] * own[task.name] / shared[task.context] for task in tasks)
    return Mixture(tuple(tasks), weights, base.difficulties, base.difficulty_decay)


def label_noise_of(base: BaseConfig, corpus: Mixture) -> Shares:
    """The share of documents with another problem's answer, by task."""
    return {task.name: base.options(task.name).label_noise or 0.0 for task in corpus.tasks}


def scratchpad_share_of(base: BaseConfig, corpus: Mixture) -> Shares:
    """The share of documents that show their steps, by task."""
    return {task.name: base.options(task.name).scratchpad_share or 0.0 for task in corpus.tasks}


def _per_problem(share: Shares, problems: Sequence[Problem]) -> np.ndarray | float:
    return np.array([share[problem.task] for problem in problems]) if isinstance(share, Mapping) else share


def another(problem: Problem, rng: np.random.Generator) -> Problem:
    """A problem of the same task, difficulty and split."""
    return draw_in_split(get(problem.task), problem.difficulty, "train", rng)


def document(problem: Problem, answer: str, scratchpad: str | None = None) -> np.ndarray:
    """The worked episode of a problem, ending in `answer`, token for token as a rollout would hold it. With a
    scratchpad, be it empty, ANSWER opens the answer of every turn."""
    task = get(problem.task)
    calls = task.worked(problem).split("\n")[:-1] if task.max_turns > 1 and task.worked else []
    held = [encode_prompt(problem.prompt)]
    for turn, call in enumerate(calls, start=1):
        held.append(encode_completion(call, None if scratchpad is None else ""))
        held.append(encode_reply(task.reply(problem, calls[:turn]).text))
    return np.concatenate([*held, encode_completion(answer, scratchpad)])


def as_in_corpus(problem: Problem, rng: np.random.Generator) -> Problem:
    """The problem with the answer that a document gives it: the right one, unless its task sets another."""
    corpus_answer = get(problem.task).corpus_answer
    return problem if corpus_answer is None else replace(problem, answer=corpus_answer(problem, rng))


def draw_documents(
    mixture: Mixture, n: int, wrong_answers: Shares, rng: np.random.Generator, worked: Shares = 0.0
) -> list[np.ndarray]:
    """n documents of the training split; a wrong one holds another problem's answer, and its steps. `wrong_answers` and
    `worked`: shares of the documents, of all alike or by the name of the task."""
    problems = mixture.draw(n, rng)
    wrong = rng.random(n) < _per_problem(wrong_answers, problems)
    solved = [another(p, rng) if w else p for p, w in zip(problems, wrong)]
    # From streams of their own: the same problems, right and wrong, whatever the share and the corpus's errors.
    streams = rng.spawn(2 if any(task.corpus_answer for task in mixture.tasks) else 1)
    solved = [as_in_corpus(s, streams[-1]) for s in solved]
    if not (any(worked.values()) if isinstance(worked, Mapping) else worked):
        return [document(p, s.answer) for p, s in zip(problems, solved)]
    shown = streams[0].random(n) < _per_problem(worked, problems)
    return [
        document(p, s.answer, get(s.task).scratchpad(s) if show else "") for p, s, show in zip(problems, solved, shown)
    ]


def padded(documents: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """ids [n, longest] and mask of real tokens."""
    length = np.array([len(d) for d in documents], dtype=np.int64)
    ids = np.full((len(documents), length.max(initial=1)), PAD, dtype=np.int64)
    for i, d in enumerate(documents):
        ids[i, : len(d)] = d
    return torch.from_numpy(ids), torch.from_numpy(np.arange(ids.shape[1]) < length[:, None])


def token_losses(policy: Transformer, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Summed next-token loss and number of predicted tokens, [S] each; ids, mask [S, R, T]."""
    loss = -score(policy, ids, 1.0)[..., 1:]
    return (loss * mask[..., 1:]).flatten(1).sum(1), mask[..., 1:].flatten(1).sum(1)


def packed_losses(policy: Transformer, corpora: Sequence[Sequence[np.ndarray]]) -> Tensor:
    """Summed next-token loss of each seed's documents, [S], nothing between them (harness.policy.backends.native)."""
    ids, spans, target = native.packed_documents(corpora)
    return -native.logprobs(policy, ids, spans, target, 1.0).sum(1)


def _tokens_at_once(policy: Transformer) -> int:
    """Of each seed; on a GPU what is held of all of them counts."""
    most = PADDED_AT_ONCE[policy.embedding.device.type]
    return most // policy.seeds if policy.embedding.is_cuda else most


def pieces(corpora: Sequence[Sequence[np.ndarray]], tokens: int) -> list[slice]:
    """Cuts corpora, each sorted by length, into pieces of one document, or of several and at most so many tokens when
    padded: little padding is computed, and what a piece needs stays in the cache."""
    width = [max(map(len, documents)) for documents in zip_longest(*corpora, fillvalue=())]
    cuts = [0]
    for i, longest in enumerate(width):
        if i > cuts[-1] and (i + 1 - cuts[-1]) * longest > tokens:
            cuts.append(i)
    return [slice(*ends) for ends in pairwise([*cuts, len(width)] if width else [])]


def parts(policy: Transformer, corpora: Sequence[Sequence[np.ndarray]]) -> list[list[Sequence[np.ndarray]]]:
    """The corpora by what goes through one forward pass."""
    if native.serves(policy):
        count, tokens = max(map(len, corpora)), max(sum(map(len, corpus)) for corpus in corpora)
        cuts = [slice(one.start, one.stop) for one in passes_of(count, tokens, policy)]
    else:
        corpora = [sorted(corpus, key=len) for corpus in corpora]
        cuts = pieces(corpora, _tokens_at_once(policy))
    return [[corpus[one] for corpus in corpora] for one in cuts]


def learn(
    state: TrainState, corpora: Sequence[list[np.ndarray]], optim: OptimConfig, lr: float, each: Each = map
) -> dict[str, Tensor]:
    """One update on each seed's documents, part by part; `each` shares the parts out."""
    policy, weights = state.policy, list(state.policy.parameters())
    device, fixed = policy.embedding.device, graphs.serves(policy)
    predicted = torch.tensor([sum(len(d) - 1 for d in corpus) for corpus in corpora], device=device)

    def gradients(losses: Tensor, predicted: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        loss = losses / predicted
        return loss.detach(), torch.autograd.grad(loss.sum(), weights)

    def of_padded(ids: Tensor, mask: Tensor, predicted: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        return gradients(token_losses(policy, ids, mask)[0], predicted)

    def work(part: Sequence[Sequence[np.ndarray]]) -> tuple[Tensor, tuple[Tensor, ...]]:
        if native.serves(policy):
            return gradients(packed_losses(policy, part), predicted)
        filled = [padded(documents) for documents in part]
        rows, width = (max(ids.shape[i] for ids, _ in filled) for i in (0, 1))
        if fixed:
            width = graphs.width_of(width, policy.config.context, WIDTHS_ALIKE)
        fill = lambda x: F.pad(x, (0, width - x.shape[1], 0, rows - x.shape[0]))  # noqa: E731
        ids = torch.stack([fill(ids) for ids, _ in filled]).to(device)
        mask = torch.stack([fill(mask) for _, mask in filled]).to(device)
        given = {"ids": ids, "mask": mask, "predicted": predicted}
        return graphs.recorded(policy, "pretrain", of_padded, given) if fixed else of_padded(**given)

    total = torch.zeros(len(corpora), device=device)
    for loss in added_up(weights, each(work, parts(policy, corpora))):
        total += loss
    documents = {"documents": [list(map(torch.from_numpy, corpus)) for corpus in corpora]}
    check_finite(state, {"loss": total}, documents)
    norm = clip_gradients(state.policy, optim.grad_clip)
    set_learning_rate(state.optimizer, lr)
    state.optimizer.step()
    return {"loss": total, "grad_norm": norm, "lr": torch.full_like(total, lr)}


def _step(
    state: TrainState,
    draw: Callable[[Key], list[np.ndarray]],
    purpose: str,
    optim: OptimConfig,
    lr: float,
    each: Each,
) -> StepReport:
    """Draws each seed's documents from its key and learns them, cut where a rare scratchpad outgrows the context."""
    step, watch, context = state.step, Stopwatch(), state.policy.config.context
    with watch("documents"):
        corpora = [[document[:context] for document in draw(key)] for key in keys(purpose, state.seeds, step)]
    with watch("update"):
        metrics = learn(state, corpora, optim, lr, each)
    n, share = parameter_count(state.policy.config, embedding=False), sum(watch.seconds.values()) / len(corpora)
    state.spent = tuple(
        spent.pretraining_step(n, len(corpus), sum(map(len, corpus)), share)
        for spent, corpus in zip(state.spent, corpora)
    )
    return StepReport(step, metrics, watch.seconds)


def pretrain_step(cfg: BaseConfig, state: TrainState, corpus: Mixture, each: Each = map) -> StepReport:
    """One update on fresh documents."""
    lr = cfg.optim.lr * learning_rate_factor(cfg.schedule, state.step, cfg.steps)
    noise, steps_shown = label_noise_of(cfg, corpus), scratchpad_share_of(cfg, corpus)

    def draw(key: Key) -> list[np.ndarray]:
        return draw_documents(corpus, cfg.documents, noise, key.generator(), steps_shown)

    return _step(state, draw, "documents", cfg.optim, lr, each)


def pretrain(
    cfg: BaseConfig, state: TrainState, corpus: Mixture, until: int, on_step: OnStep, threads: int = 1
) -> None:
    """Steps from where `state` stands to `until`, telling `on_step` after each."""
    with helpers(threads, state.policy) as each:
        while state.step < until:
            on_step(state, pretrain_step(cfg, state, corpus, each))


# ---- the arm that goes on pretraining instead of RL


def rl_tokens(problems: Sequence[Problem], group_size: int, thinking: int | None = None) -> int:
    """Tokens of an RL step on these problems, if every episode is as long as the worked one; of its steps, as many as
    the thinking budget allows."""
    return group_size * sum(len(document(p, p.answer, thought(p, thinking))) for p in problems)


def documents_worth(
    tokens: float, corpus: Mixture, wrong_answers: Shares, key: Key, worked: Shares = 0.0
) -> list[np.ndarray]:
    """Fresh documents that hold as many tokens, to within one document."""
    rng, documents = key.generator(), []
    while tokens > 0:
        for document in draw_documents(corpus, 32, wrong_answers, rng, worked):
            if tokens < len(document) / 2:
                return documents
            documents.append(document)
            tokens -= len(document)
    return documents


def continued_step(cfg: Config, state: TrainState, corpus: Mixture, mixture: Mixture, each: Each = map) -> StepReport:
    """One update on documents of the base's corpus that costs what this step of RL would have: an update costs 6 of the
    convention's FLOPs a token, RL 8 or more, so there are 8/6 as many tokens as in the completions of the very problems
    that RL draws. The streams are not the base's: no document is seen again because seeds agree."""
    lr = cfg.optim.lr * learning_rate_factor(cfg.schedule, state.step, cfg.rl.steps)

    def draw(key: Key) -> list[np.ndarray]:
        problems = mixture.draw(cfg.rl.problems, Key("problems", key.seed, key.step).generator())
        tokens = flops_per_token(cfg) / 6 * rl_tokens(problems, cfg.rl.group_size, cfg.thinking)
        noise, steps_shown = label_noise_of(cfg.base, corpus), scratchpad_share_of(cfg.base, corpus)
        return documents_worth(tokens, corpus, noise, key, steps_shown)

    return _step(state, draw, "continued", cfg.optim, lr, each)


def continue_pretraining(
    cfg: Config, state: TrainState, corpus: Mixture, mixture: Mixture, until: int, on_step: OnStep
) -> None:
    """Steps from where `state` stands to `until`, telling `on_step` after each. `mixture` is what RL would draw."""
    while state.step < until:
        on_step(state, continued_step(cfg, state, corpus, mixture))
