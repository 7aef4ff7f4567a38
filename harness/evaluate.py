"""Evaluation on fixed held-out problems: mean@1, pass@k and majority@k per task and difficulty.

The one module that may look at hidden graders. Problems are the same for every arm, seed and budget; the completions
are drawn from the key (evaluation, seed, step), fresh at each budget and seed, so that even a frozen policy shows the
noise of its measurement.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain, groupby

import numpy as np
import torch

from envs.base import Correctness, Problem, Task
from envs.graders import grade
from envs.registry import get
from envs.splits import distinct_problems
from envs.vector import TextVectorEnv
from harness.config.schema import EvaluationConfig
from harness.core.seeding import Key
from harness.core.types import GroupedCompletions
from harness.policy.backends.backend import Backend
from harness.policy.backends.eager import pad_rows
from harness.policy.tokenizer import ANSWER, answer_in, completion_text, encode_completion, encode_prompt
from harness.policy.transformer import Transformer
from harness.train.rollout import SamplingParams, rollout


@dataclass(frozen=True)
class Cell:
    """The fixed problems of one task and difficulty; fewer than asked where the difficulty has fewer. thinking: the
    budget to answer them with; None for a policy that does not think."""

    task: str
    difficulty: int
    problems: tuple[Problem, ...]
    thinking: int | None = None

    @property
    def setting(self) -> str:
        """What the run table's column of that name says."""
        thinking = "" if self.thinking is None else f"thinking={self.thinking}"
        return ", ".join(filter(None, (get(self.task).setting, thinking)))


@dataclass(frozen=True)
class CellResult:
    """What a policy did in a cell. correct, scorable: [problems, samples] bool. answers as text, for majority votes.
    length: mean of the tokens drawn for a completion. sample: completions of the first problem, scratchpads and all."""

    cell: Cell
    correct: np.ndarray
    scorable: np.ndarray
    answers: tuple[tuple[str, ...], ...]
    answer_logprob: float  # mean over problems of log p(answer and stop token | prompt), nats; without thinking
    length: float
    sample: tuple[str, ...]


def build_suite(tasks: Sequence[Task], difficulties: Sequence[int], config: EvaluationConfig) -> tuple[Cell, ...]:
    """The cells of an evaluation; a cell without any problem in the split is left out."""
    cells = []
    for task in tasks:
        for difficulty in task.difficulties:
            if difficulty in difficulties or not difficulties:
                problems = distinct_problems(task, difficulty, config.split, config.problems, config.seed)
                cells.append(Cell(task.name, difficulty, problems))
    return tuple(cell for cell in cells if cell.problems)


def with_thinking_limits(suite: Sequence[Cell], limits: Sequence[int | None]) -> tuple[Cell, ...]:
    """The cells at each limit of scratchpad tokens."""
    return tuple(replace(cell, thinking=limit) for limit in limits for cell in suite)


def small_cells(suite: Sequence[Cell], asked: int) -> list[Cell]:
    """Cells with fewer problems than asked."""
    return [cell for cell in suite if len(cell.problems) < asked]


def _identities(problems: Sequence[Problem], samples: int) -> torch.Tensor:
    """What names a problem's stream: its task and content, so that arms with other lists of tasks draw alike."""
    names = (f"{p.task}\n{p.content}\n{p.prompt}".encode() for p in problems)
    hashes = (int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little") for name in names)
    return torch.tensor([h % (2**32 // samples) for h in hashes])


def _chunks(problems: Sequence[Problem], rows: int, samples: int) -> list[np.ndarray]:
    """Indices of problems, as many at once as `rows` completions allow; prompts of like length go together, so that
    little padding is computed."""
    order = np.argsort([len(problem.prompt) for problem in problems], kind="stable")
    return np.split(order, range(size := max(1, rows // samples), len(order), size))


def evaluate(
    backend: Backend, policy: Transformer, suite: Sequence[Cell], config: EvaluationConfig, keys: tuple[Key, ...]
) -> list[list[CellResult]]:
    """Results of each policy of a stack, a cell each: [S][cells]. Neither chunks, order nor stacking change
    anything: streams are keyed by each policy's own key and the problem, and are the same at every thinking budget."""
    alike = (list(cells) for _, cells in groupby(suite, key=lambda cell: cell.thinking))
    parts = [_evaluate_alike(backend, policy, cells, config, keys) for cells in alike]
    return [list(chain(*own)) for own in zip(*parts)]


def _evaluate_alike(
    backend: Backend, policy: Transformer, suite: Sequence[Cell], config: EvaluationConfig, keys: tuple[Key, ...]
) -> list[list[CellResult]]:
    """`evaluate` of cells that have one thinking budget."""
    tasks = [get(cell.task) for cell in suite]
    sampling = SamplingParams(
        group_size=config.samples,
        max_answer_tokens=max(get(cell.task).max_lengths([cell.difficulty])[1] for cell in suite) + 1,
        temperature=config.temperature,
        max_turns=max(task.max_turns for task in tasks),
        thinking=suite[0].thinking,
    )
    problems = [problem for cell in suite for problem in cell.problems]
    s, n, k = len(keys), len(problems), config.samples
    correctness, texts = np.empty((s, n, k), dtype=np.int64), np.empty((s, n, k), dtype=object)
    logprob, length = np.empty((s, n)), np.empty((s, n, k))
    for chunk in _chunks(problems, config.batch_size, k * s):
        some = [problems[i] for i in chunk]
        env = TextVectorEnv(len(some) * k * s, some[0].task)
        rollouts, results = rollout(backend, policy, env, some * s, sampling, keys, _identities(some, k))
        # A forced ANSWER, which the policy did not draw, is part of the completion.
        last_turn = rollouts.loss_mask | (rollouts.ids == ANSWER)
        last_turn &= rollouts.turn == rollouts.turn.amax(1, keepdim=True)
        written = [completion_text(row[mask]) for row, mask in zip(rollouts.ids.cpu().numpy(), last_turn.cpu().numpy())]
        texts[:, chunk] = np.array(written, dtype=object).reshape(s, -1, k)
        correctness[:, chunk] = _graded(results.correctness.cpu().numpy().reshape(s, -1, k), some, texts[:, chunk])
        logprob[:, chunk] = _gold_logprobs(backend, policy, some, sampling.thinking)
        length[:, chunk] = rollouts.loss_mask.sum(1).cpu().numpy().reshape(s, -1, k)
    return [list(_by_cell(suite, correctness[i], texts[i], logprob[i], length[i])) for i in range(s)]


def _graded(correctness: np.ndarray, problems: Sequence[Problem], texts: np.ndarray) -> np.ndarray:
    """correctness [S, problems, samples], by the graders where a task has no verifier of its own."""
    for j, problem in enumerate(problems):
        if not get(problem.task).has_verifier:
            correctness[:, j] = [[grade(problem, answer_in(text)) == 1 for text in own] for own in texts[:, j]]
    return correctness


def _by_cell(
    suite: Sequence[Cell], correctness: np.ndarray, texts: np.ndarray, logprobs: np.ndarray, lengths: np.ndarray
) -> Iterator[CellResult]:
    """correctness, texts and lengths [problems, samples], logprobs [problems], of one policy."""
    start = 0
    for cell in suite:
        rows = slice(start, start + len(cell.problems))
        start = rows.stop
        yield CellResult(
            cell=cell,
            correct=correctness[rows] == int(Correctness.CORRECT),
            scorable=correctness[rows] != int(Correctness.UNSCORABLE),
            answers=tuple(tuple(map(answer_in, own)) for own in texts[rows]),
            answer_logprob=float(logprobs[rows].mean()),
            length=float(lengths[rows].mean()),
            sample=tuple(texts[rows.start]),
        )


def _gold_logprobs(
    backend: Backend, policy: Transformer, problems: Sequence[Problem], thinking: int | None
) -> np.ndarray:
    """[S, problems]: log p of the canonical answer and the stop token, after the first prompt; of a policy that thinks,
    where it is told to answer at once."""
    device = policy.embedding.device
    opening = np.array([ANSWER] if thinking is not None else [], dtype=np.int64)
    prompts, real = pad_rows([np.append(encode_prompt(problem.prompt), opening) for problem in problems])
    answers, mask = pad_rows([encode_completion(problem.answer) for problem in problems])
    tensors = (prompts, real.sum(1), answers, mask)
    grouped = GroupedCompletions(*(x.to(device).expand(policy.seeds, *x.shape) for x in tensors))
    with torch.no_grad():
        logprobs, _ = backend.completion_logprobs(policy, grouped, 1.0)
    return logprobs.sum(-1).cpu().numpy()


def pass_at_k(correct: np.ndarray, n: int, k: int) -> np.ndarray:
    """Unbiased pass@k of problems with `correct` of n samples right: 1 - C(n-c, k)/C(n, k) (Chen et al. 2021,
    arXiv 2107.03374, eq. 1). Raises ValueError if k > n."""
    if k > n:
        raise ValueError(f"pass@{k} needs at least {k} samples of a problem; there are {n}")
    miss = np.array([math.comb(n - c, k) / math.comb(n, k) for c in range(n + 1)])
    return 1.0 - miss[np.asarray(correct)]


def majority_votes(score: CellResult, k: int) -> tuple[np.ndarray, np.ndarray]:
    """[problems] each: how many of the first k answers are the most frequent one, the earliest of a tie, and whether it
    is right."""
    votes, right = [], []
    for answers, correct in zip(score.answers, score.correct):
        winner, count = Counter(answers[:k]).most_common(1)[0]
        votes.append(count)
        right.append(correct[answers.index(winner)])
    return np.array(votes, dtype=int), np.array(right, dtype=bool)


@lru_cache(2**16)  # the same answers are given again and again
def edit_distance(a: str, b: str) -> int:
    """Fewest insertions, deletions and substitutions of a character that make b of a (Levenshtein 1966)."""
    row = list(range(len(b) + 1))
    for i, own in enumerate(a, start=1):
        corner, row[0] = row[0], i
        for j, other in enumerate(b, start=1):
            corner, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, corner + (own != other))
    return row[-1]


def answer_edit_distance(score: CellResult) -> float:
    """Mean over samples of the edit distance to the gold answer, over the length of the longer: 0 to 1."""
    pairs = [(answer, p.answer) for p, own in zip(score.cell.problems, score.answers) for answer in own]
    return float(np.mean([edit_distance(a, gold) / max(len(a), len(gold), 1) for a, gold in pairs]))


def cell_row(score: CellResult, ks: Sequence[int]) -> dict[str, float | int | str]:
    """The columns of the run table that a score fills."""
    n, k = score.correct.shape
    per_problem = score.correct.sum(1)
    task = get(score.cell.task)
    row = {
        "task": task.name,
        "family": task.family,
        "context": task.context,
        "difficulty": score.cell.difficulty,
        "setting": score.cell.setting,
        "n_problems": n,
        "k": k,
        "n_correct": int(per_problem.sum()),
        "n_correct_sq": int((per_problem**2).sum()),
        "n_scorable": int(score.scorable.sum()),
        "guess_rate": task.guess_rate,
        "answer_logprob": score.answer_logprob,
        "answer_edit_distance": answer_edit_distance(score),
        "completion_length_mean": score.length,
        "distinct_answers": float(np.mean([len(set(answers)) / k for answers in score.answers])),
    }
    row |= {f"pass_at_{i}": float(pass_at_k(per_problem, k, i).mean()) for i in ks}
    return row | {f"majority_at_{i}": float(majority_votes(score, i)[1].mean()) for i in ks if i > 2}


def problem_rows(score: CellResult) -> list[dict[str, int | str]]:
    """One row per problem: what pairs arms problem by problem, and how often its most frequent answer was given."""
    cell = {"task": score.cell.task, "setting": score.cell.setting, "difficulty": score.cell.difficulty}
    k = score.correct.shape[1]
    own = zip(score.cell.problems, score.correct.sum(1), *majority_votes(score, k))
    return [
        cell
        | {"problem": f"{problem.hash:016x}", "k": k, "n_correct": int(correct)}
        | {"n_majority": int(votes), "majority_correct": int(right)}
        for problem, correct, votes, right in own
    ]
