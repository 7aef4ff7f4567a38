"""Evaluation on fixed held-out problems: mean@1, pass@k and majority@k per task and difficulty.

The one module that may look at hidden graders. Problems are the same for every arm, seed and budget; the completions
are drawn from the key (evaluation, seed, step), fresh at each budget and seed, so that even a frozen policy shows the
noise of its measurement.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from envs.base import Problem, Task, Verdict
from envs.graders import grade
from envs.registry import get
from envs.splits import distinct_problems
from envs.vector import TextVectorEnv
from harness.config import EvaluationConfig
from harness.policy.score import answer_logprobs
from harness.policy.tokenizer import EOS, answer_text, encode, encode_prompt
from harness.policy.transformer import Transformer
from harness.seeding import Key
from harness.train.pretrain import padded
from harness.train.rollouts import Sampling, rollout


@dataclass(frozen=True)
class Cell:
    """The fixed problems of one task and difficulty; fewer than asked where the difficulty has fewer."""

    task: str
    difficulty: int
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class Score:
    """What a policy did in a cell. correct, scorable: [problems, samples] bool. answers as text, for majority votes."""

    cell: Cell
    correct: np.ndarray
    scorable: np.ndarray
    answers: tuple[tuple[str, ...], ...]
    answer_logprob: float  # mean over problems of log p(answer and stop token | prompt), nats


def build_suite(tasks: Sequence[Task], difficulties: Sequence[int], config: EvaluationConfig) -> tuple[Cell, ...]:
    """The cells of an evaluation; a cell without any problem in the split is left out."""
    cells = []
    for task in tasks:
        for difficulty in task.difficulties:
            if difficulty in difficulties or not difficulties:
                problems = distinct_problems(task, difficulty, config.split, config.problems, config.seed)
                cells.append(Cell(task.name, difficulty, problems))
    return tuple(cell for cell in cells if cell.problems)


def small_cells(suite: Sequence[Cell], asked: int) -> list[Cell]:
    """Cells with fewer problems than asked."""
    return [cell for cell in suite if len(cell.problems) < asked]


def _identities(problems: Sequence[Problem], samples: int) -> torch.Tensor:
    """What names a problem's stream: its task and content, so that arms with other lists of tasks draw alike."""
    names = (f"{p.task}\n{p.content}\n{p.prompt}".encode() for p in problems)
    hashes = (int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little") for name in names)
    return torch.tensor([h % (2**32 // samples) for h in hashes])


def _chunks(suite: Sequence[Cell], rows: int, samples: int) -> Iterator[list[Problem]]:
    """Problems of all cells in order, as many at once as `rows` completions allow."""
    problems = [problem for cell in suite for problem in cell.problems]
    size = max(1, rows // samples)
    for first in range(0, len(problems), size):
        yield problems[first : first + size]


def evaluate(
    policy: Transformer, suite: Sequence[Cell], config: EvaluationConfig, keys: tuple[Key, ...]
) -> list[list[Score]]:
    """Scores of each policy of a stack, a cell each: [S][cells]. Neither chunks, order nor stacking change
    anything: streams are keyed by each policy's own key and the problem."""
    tasks = [get(cell.task) for cell in suite]
    sampling = Sampling(
        group_size=config.samples,
        max_tokens=max(get(cell.task).longest([cell.difficulty])[1] for cell in suite) + 1,
        temperature=config.temperature,
        max_turns=max(task.max_turns for task in tasks),
    )
    s = len(keys)
    verdicts, answers, logprobs = [], [[] for _ in keys], []
    for problems in _chunks(suite, config.rows, config.samples * s):
        env = TextVectorEnv(len(problems) * config.samples * s, problems[0].task)
        rollouts, checked = rollout(policy, env, problems * s, sampling, keys, _identities(problems, config.samples))
        last_turn = rollouts.loss_mask & (rollouts.turn == rollouts.turn.amax(1, keepdim=True))
        texts = [answer_text(row[mask]) for row, mask in zip(rollouts.ids.cpu().numpy(), last_turn.cpu().numpy())]
        verdict = checked.verdict.cpu().numpy().reshape(s, -1, config.samples)
        verdicts.append(_graded(verdict, problems, np.array(texts, dtype=object).reshape(verdict.shape)))
        for i, own in enumerate(answers):
            own += texts[i * len(texts) // s : (i + 1) * len(texts) // s]
        logprobs.append(_gold_logprobs(policy, problems))
    verdict, logprob, k = np.concatenate(verdicts, axis=1), np.concatenate(logprobs, axis=1), config.samples
    grids = [[tuple(own[i : i + k]) for i in range(0, len(own), k)] for own in answers]
    return [list(_by_cell(suite, verdict[i], grids[i], logprob[i])) for i in range(s)]


def _graded(verdict: np.ndarray, problems: Sequence[Problem], texts: np.ndarray) -> np.ndarray:
    """verdict [S, problems, samples], with the graders' word where a task has no verifier of its own."""
    for j, problem in enumerate(problems):
        if not get(problem.task).has_verifier:
            verdict[:, j] = [[grade(problem, text).verdict for text in own] for own in texts[:, j]]
    return verdict


def _by_cell(suite: Sequence[Cell], verdict: np.ndarray, answers: list, logprobs: np.ndarray) -> Iterator[Score]:
    start = 0
    for cell in suite:
        rows = slice(start, start + len(cell.problems))
        start = rows.stop
        yield Score(
            cell=cell,
            correct=verdict[rows] == int(Verdict.CORRECT),
            scorable=verdict[rows] != int(Verdict.UNSCORABLE),
            answers=tuple(answers[rows]),
            answer_logprob=float(logprobs[rows].mean()),
        )


def _gold_logprobs(policy: Transformer, problems: Sequence[Problem]) -> np.ndarray:
    """[S, problems]: log p of the canonical answer and the stop token, after the first prompt."""
    prompts = [encode_prompt(problem.prompt) for problem in problems]
    whole = [np.concatenate((p, encode(problem.answer), [EOS])) for p, problem in zip(prompts, problems)]
    ids, mask = padded(whole)
    mask = mask & (torch.arange(ids.shape[1]) >= torch.tensor([len(p) for p in prompts])[:, None])
    device = policy.embedding.device
    ids, mask = (x.to(device).expand(policy.seeds, -1, -1) for x in (ids, mask))
    return answer_logprobs(policy, ids, mask).cpu().numpy()


def pass_at_k(correct: np.ndarray, n: int, k: int) -> np.ndarray:
    """Unbiased pass@k of problems with `correct` of n samples right: 1 - C(n-c, k)/C(n, k) (Chen et al. 2021,
    arXiv 2107.03374, eq. 1). Raises ValueError if k > n."""
    if k > n:
        raise ValueError(f"pass@{k} needs at least {k} samples of a problem; there are {n}")
    miss = np.array([math.comb(n - c, k) / math.comb(n, k) for c in range(n + 1)])
    return 1.0 - miss[np.asarray(correct)]


def majority_correct(score: Score, k: int) -> np.ndarray:
    """[problems] bool: whether the most frequent of the first k answers is right; the earliest wins a tie."""
    out = []
    for answers, correct in zip(score.answers, score.correct):
        winner = Counter(answers[:k]).most_common(1)[0][0]
        out.append(correct[answers.index(winner)])
    return np.array(out, dtype=bool)


def score_row(score: Score, ks: Sequence[int]) -> dict[str, float | int | str]:
    """The columns of the run table that a score fills."""
    n, k = score.correct.shape
    per_problem = score.correct.sum(1)
    task = get(score.cell.task)
    row = {
        "task": task.name,
        "family": task.family,
        "context": task.context,
        "difficulty": score.cell.difficulty,
        "setting": task.setting,
        "n_problems": n,
        "k": k,
        "n_correct": int(per_problem.sum()),
        "n_correct_sq": int((per_problem**2).sum()),
        "n_scorable": int(score.scorable.sum()),
        "guess_rate": task.guess_rate,
        "answer_logprob": score.answer_logprob,
    }
    row |= {f"pass_at_{i}": float(pass_at_k(per_problem, k, i).mean()) for i in ks}
    return row | {f"majority_at_{i}": float(majority_correct(score, i).mean()) for i in ks if i > 2}


def problem_rows(score: Score) -> list[dict[str, int | str]]:
    """One row per problem: what pairs arms problem by problem."""
    cell = {"task": score.cell.task, "setting": get(score.cell.task).setting, "difficulty": score.cell.difficulty}
    return [
        cell | {"problem": f"{problem.hash:016x}", "k": len(correct), "n_correct": int(correct.sum())}
        for problem, correct in zip(score.cell.problems, score.correct)
    ]
