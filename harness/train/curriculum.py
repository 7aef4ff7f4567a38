"""Which problems a step draws: from the mixture as configured, or tilted towards a target success.

With a target, each cell (task and difficulty) is drawn with its weight in the mixture times a bump around the target at
the policy's recent success there: problems that are always or never solved teach nothing (as in adaptive difficulty,
RLVE, arXiv 2511.07317). A share of the draws keeps the mixture's own probabilities, so that no cell is forgotten. The
sampling probabilities of every step are metrics (train/sampling_probability/{task}/{difficulty}), from which its draws
can be repeated.

No-positive-resampling (ScaleRL, arXiv 2510.13786): a problem whose pass rate in a step reached a threshold is not drawn
again. Each such problem is kept, in the checkpoint too, with the step that solved it, so that any step's draws can be
repeated from the last checkpoint.

With a bound on the number of distinct problems, each seed draws from a pool of its own (envs/pool.py), which its seed
alone determines. In a sequence, the probabilities of cells are those of the step's phase, and of the replay of earlier
ones.
"""

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from envs.base import Problem
from envs.draw import indices
from envs.mixture import Mixture
from envs.pool import PoolTooLarge, ProblemPool, draw_pool
from envs.splits import draw_in_split
from harness.config.roles import phases_of
from harness.config.schema import Config, TasksConfig
from harness.config.task_checks import POOL_FIX
from harness.core.errors import UserError
from harness.core.seeding import Key
from harness.core.types import VerifierResults
from harness.train.state import TrainState

TARGET_STD = 0.2  # in success
MIN_SHARE = 0.1  # of the mixture's own probabilities
DECAY = 0.9  # of the success estimate, at each new group
MAX_REDRAWS = 20  # of a solved problem; a mixture with hardly another one keeps it

Solved = dict[tuple[str, int], int]  # (task, content hash) -> the step that solved it


def sampling_probabilities(mixture: Mixture, success: Tensor, target: float) -> list[np.ndarray]:
    """For each seed the probability of each cell, [cells], at this estimated success [S, cells]."""
    own = np.array([probability for *_, probability in mixture.cells()])
    tilted = own * np.exp(-0.5 * ((success.numpy() - target) / TARGET_STD) ** 2)
    return list((1 - MIN_SHARE) * tilted / tilted.sum(1, keepdims=True) + MIN_SHARE * own)


def draw_problems(
    cfg: Config, state: TrainState, mixture: Mixture
) -> tuple[list[Problem], Sequence[np.ndarray | None]]:
    """This step's problems, S·P, seed-major, and for each seed the probability of each cell, [cells]; None: the
    mixture's own. Begins state.success, at the target, and state.pools."""
    n, seeds, generators = cfg.rl.problems, len(state.seeds), [key.generator() for key in state.keys("problems")]
    if cfg.tasks.distinct_problems is not None:
        state.pools = state.pools or tuple(pool_of_seed(cfg.tasks, mixture, seed) for seed in state.seeds)
        drawn = (pool.draw(n, rng) for pool, rng in zip(state.pools, generators))
        return [problem for of_seed in drawn for problem in of_seed], [None] * seeds
    probabilities: Sequence[np.ndarray | None] = [None] * seeds
    if cfg.tasks.sequence:
        probabilities = [phase_probabilities(cfg, mixture, state.step)] * seeds
    elif (target := cfg.tasks.target_success) is not None:
        if state.success is None:
            state.success = torch.full((seeds, len(mixture.cells())), target, dtype=torch.float64)
        probabilities = sampling_probabilities(mixture, state.success, target)
    streams = zip(probabilities, state.solved, generators)
    drawn = (draw(mixture, p, solved, n, rng) for p, solved, rng in streams)
    return [problem for of_seed in drawn for problem in of_seed], probabilities


def phase_probabilities(cfg: Config, mixture: Mixture, step: int) -> np.ndarray:
    """Of each cell, [cells], at a step of a sequence: the mixture's own within each phase, of which the current one has
    the share 1 - replay, and the phases before it have the rest, all alike."""
    phase = bisect_right(cfg.phase_ends[:-1], step)
    shares = [cfg.tasks.replay / phase] * phase + [1 - cfg.tasks.replay] if phase else [1.0]
    own = np.array([probability for *_, probability in mixture.cells()])
    total = np.zeros_like(own)
    for share, names in zip(shares, phases_of(cfg.tasks.verified)):
        of_phase = np.where([task.name in names for task, *_ in mixture.cells()], own, 0)
        total += share * of_phase / of_phase.sum()
    return total


def pool_of_seed(tasks: TasksConfig, mixture: Mixture, seed: int) -> ProblemPool:
    """The pool that a run of this seed draws from. Raises UserError where the tasks have too few problems."""
    size = tasks.distinct_problems
    assert size is not None
    try:
        return draw_pool(mixture, size, tasks.pool_exponent, Key("problem_pool", seed).generator())
    except PoolTooLarge as error:
        raise UserError(f"tasks.distinct_problems={size}", str(error), POOL_FIX) from None


def draw(
    mixture: Mixture, probabilities: np.ndarray | None, solved: Solved, n: int, rng: np.random.Generator
) -> list[Problem]:
    """n problems of the training split; solved ones are replaced by others from the same stream."""
    problems = _draw(mixture, probabilities, n, rng)
    for _ in range(MAX_REDRAWS if solved else 0):  # a problem's id takes a hash
        again = [i for i, problem in enumerate(problems) if problem_id(problem) in solved]
        if not again:
            break
        for i, problem in zip(again, _draw(mixture, probabilities, len(again), rng)):
            problems[i] = problem
    return problems


def _draw(mixture: Mixture, probabilities: np.ndarray | None, n: int, rng: np.random.Generator) -> list[Problem]:
    if probabilities is None:
        return mixture.draw(n, rng)
    cells = [cell for cell, p in zip(mixture.cells(), probabilities) if p > 0]
    chosen = indices(rng, probabilities[probabilities > 0], n)
    return [draw_in_split(cells[i][0], cells[i][1], "train", rng) for i in chosen]


def problem_id(problem: Problem) -> tuple[str, int]:
    """Task and content hash."""
    return problem.task, problem.hash


def pass_rates(problems: Sequence[Problem], results: VerifierResults) -> list[float]:
    """Of each problem the share of its scorable completions that are correct; NaN where there is none."""
    correct, valid = (x.view(len(problems), -1).sum(1).tolist() for x in (results.correctness == 1, results.scorable))
    return [c / v if v else float("nan") for c, v in zip(correct, valid)]


def add_solved(
    solved: Sequence[Solved], problems: Sequence[Problem], results: VerifierResults, threshold: float | None, step: int
) -> tuple[Solved, ...]:
    """Each seed's solved problems after this step, whose pass rates reached `threshold`; unchanged without one."""
    if threshold is None:
        return tuple(solved)
    out, per_seed = tuple(dict(own) for own in solved), len(problems) // len(solved)
    for i, (problem, rate) in enumerate(zip(problems, pass_rates(problems, results))):
        if rate >= threshold:
            out[i // per_seed].setdefault(problem_id(problem), step)
    return out


def update_success_rates(
    success: Tensor | None, mixture: Mixture, problems: Sequence[Problem], results: VerifierResults
) -> Tensor | None:
    """The success estimate after one more step's groups; a group without any scorable row changes nothing."""
    if success is None:
        return None
    number = {(task.name, difficulty): i for i, (task, difficulty, _) in enumerate(mixture.cells())}
    out, per_seed = success.clone(), len(problems) // len(success)
    for i, (problem, rate) in enumerate(zip(problems, pass_rates(problems, results))):
        if not np.isnan(rate):
            seed, cell = i // per_seed, number[problem.task, problem.difficulty]
            out[seed, cell] += (1 - DECAY) * (rate - out[seed, cell])
    return out


def curriculum_metrics(
    cfg: Config, mixture: Mixture, probabilities: Sequence[np.ndarray | None], solved: Sequence[Solved]
) -> dict[str, Tensor]:
    """sampling_probability/{task}/{difficulty} and solved_problems, [S] each, where they can change."""
    metrics = {}
    tilted = [p for p in probabilities if p is not None]
    if tilted:
        names = [f"sampling_probability/{task.name}/{difficulty}" for task, difficulty, _ in mixture.cells()]
        metrics |= dict(zip(names, torch.from_numpy(np.stack(tilted, axis=1))))
    if cfg.tasks.retire_at is not None:
        metrics["solved_problems"] = torch.tensor([float(len(own)) for own in solved])
    return metrics
