"""Run tables drawn from planted true curves: what the analysis is calibrated on."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from scipy import special

from harness.analysis.data.arrays import Array
from harness.analysis.data.curves import Curves, curves
from harness.analysis.data.table import check_table
from harness.analysis.data.table_checks import TableError

TrueCurve = Callable[[Array, np.random.Generator], Array]


@dataclass(frozen=True)
class Kind:
    """A kind of true curve.

    curve: (z [K + 1] with z[0] = -inf for x = 0, rng) -> R [K + 1]; the generator draws what varies between tables.
    truth: the verdict its curve deserves, or `other` where it lies between them. also: other verdicts that are right.
    scatter: sd over seeds of the rise, as a share of it. collapse: chance that a seed collapses somewhere.
    """

    curve: TrueCurve
    truth: str
    also: tuple[str, ...] = ()
    scatter: float = 0.1
    collapse: float = 0.0

    @property
    def right(self) -> set[str]:
        """Verdicts that are right."""
        return {self.truth, *self.also} - {"other"}

    def is_false(self, verdict: str) -> bool:
        """Whether a verdict claims what does not hold of the curve. `indistinguishable` claims nothing;
        `not_log_linear` holds of every rise that is no line, and `saturating` of every sigmoid."""
        if verdict in self.right or verdict == "indistinguishable":
            return False
        if verdict == "not_log_linear":
            return "log_linear" in self.right or self.truth in ("flat", "declining")
        return not (verdict == "saturating" and self.truth == "sigmoidal")


@dataclass(frozen=True)
class StudyDesign:
    """Size of a simulated study: budgets over decades (x from 1), seeds, problems and completions of each."""

    seeds: int = 8
    budgets: int = 10
    decades: float = 3.0
    problems: int = 512
    k: int = 4
    problem_sd: float = 1.0


@dataclass(frozen=True)
class SimulatedTable:
    """One table to draw: a kind (of KINDS), the seed of its random numbers and its size."""

    kind: str = "line"
    seed: int = 0
    design: StudyDesign = field(default_factory=StudyDesign)


def line(rise: float, start: tuple[float, float] = (0.2, 0.6)) -> TrueCurve:
    """Log-linear over the window; R0 lies `start` decades' worth below the first budget. From about 1 on, a shallow
    hill through R0 is as good as the line, and no amount of data inside the window distinguishes them."""
    return lambda z, rng: np.where(
        np.isneginf(z), 0.25 - rise / z[-1] * rng.uniform(*start), 0.25 + rise * np.maximum(z, 0) / z[-1]
    )


def _hill(b: float, mid: float, jump: float = 0.0) -> TrueCurve:
    """ScaleRL's sigmoid from .2 to .7; mid is x_mid's place in the window (0 first budget, 1 last), moved a little in
    each table.

    jump: a rise before the first budget that is no part of the sigmoid, as when the answer format is learned.
    """

    def curve(z: Array, rng: np.random.Generator) -> Array:
        middle = (mid + rng.uniform(-0.05, 0.05)) * z[-1]
        return 0.2 - jump * np.isneginf(z) + (0.7 - 0.2) * special.expit(np.log(10) * b * (z - middle))

    return curve


def _saturating_power(z: Array, rng: np.random.Generator) -> Array:
    return np.where(np.isneginf(z), 0.2, 0.65 - 0.4 * 10.0 ** (-0.6 * np.maximum(z, 0)))


def _exponential(z: Array, rng: np.random.Generator) -> Array:
    return 0.6 - (0.6 - 0.2) * np.exp(-(10.0 ** (z - 0.5 * z[-1])))


def _error_power(z: Array, rng: np.random.Generator) -> Array:
    return np.where(np.isneginf(z), 0.2 - 0.05, 1 - 0.8 * 10.0 ** (-0.12 * np.maximum(z, 0)))


def _changepoint(z: Array, rng: np.random.Generator) -> Array:
    return 0.25 + 0.25 * np.clip((z / z[-1] - 0.33) / (0.67 - 0.33), 0, 1)


def _knee(z: Array, rng: np.random.Generator) -> Array:
    """Flat, then a straight rise: no line and no named shape, since its last two thirds are equally steep."""
    return 0.25 + 0.3 * np.maximum(z / z[-1] - 1 / 3, 0) / (1 - 1 / 3)


def _power_up(z: Array, rng: np.random.Generator) -> Array:
    return 0.2 + 0.3 * 10.0 ** (0.7 * (z - z[-1]))


def _rise_and_fall(z: Array, rng: np.random.Generator) -> Array:
    share = np.maximum(z, 0) / z[-1]
    return 0.3 + 0.2 * np.clip(share / 0.5, 0, 1) - 0.12 * np.clip((share - 0.5) / 0.5, 0, 1)


def _falling(z: Array, rng: np.random.Generator) -> Array:
    return 0.5 - 0.15 * np.maximum(z, 0) / z[-1]


def _flat(level: float) -> TrueCurve:
    return lambda z, rng: np.full(len(z), level)


def _mixture(z: Array, rng: np.random.Generator) -> Array:
    """Mean over difficulties of dq/dt = q^2 (1 - q)^2, initial success spread log-uniformly: near-linear, though each
    is a sharp sigmoid. The window starts at t = 10."""
    starts = np.logspace(np.log10(2e-5), np.log10(0.5), 24)
    return np.mean([_mixture_cell(10.0 ** (z + 1), start) for start in starts], 0)


def _mixture_cell(t: Array, start: float) -> Array:
    """Solution of dq/dt = q^2 (1 - q)^2 with q(0) = start, at times t [K]: by inverting its primitive."""
    logits = np.linspace(-14, 14, 4001)
    q = special.expit(logits)
    primitive = 2 * logits - 1 / q + 1 / (1 - q)
    begin = np.interp(special.logit(start), logits, primitive)
    return special.expit(np.interp(begin + t, primitive, logits))


LINE, UP, SATURATES, UNDECIDED = "log_linear", "accelerating", "saturating", "indistinguishable"
SIGMOIDAL, NOT_LINE, OTHER = "sigmoidal", "not_log_linear", "other"
KINDS: dict[str, Kind] = {
    "line_steep": Kind(line(0.30), LINE),
    "line": Kind(line(0.21), LINE),
    "line_small": Kind(line(0.12), LINE),
    "line_from_afar": Kind(line(0.30, start=(1.0, 2.0)), LINE, (UNDECIDED,)),
    "line_collapsed_seeds": Kind(line(0.30), LINE, (UNDECIDED,), collapse=0.15),
    "hill_levels_off": Kind(_hill(1.2, 0.3), SATURATES),
    "hill_early": Kind(_hill(1.0, 1.05), UP),
    "hill_middle": Kind(_hill(1.0, 0.5), SIGMOIDAL),
    "hill_steep": Kind(_hill(1.7, 0.45), SIGMOIDAL),
    "hill_shallow": Kind(_hill(0.6, 0.5), OTHER, (UNDECIDED,)),
    "hill_after_jump": Kind(_hill(0.6, 0.5, jump=0.1), OTHER, (UNDECIDED,)),
    "saturating_power": Kind(_saturating_power, SATURATES),
    "exponential": Kind(_exponential, SIGMOIDAL),
    "error_power": Kind(_error_power, OTHER, (UNDECIDED,)),
    "changepoint": Kind(_changepoint, SIGMOIDAL),
    "knee": Kind(_knee, NOT_LINE),
    "power_up": Kind(_power_up, UP),
    "rise_and_fall": Kind(_rise_and_fall, "non_monotone"),
    "falling": Kind(_falling, "declining"),
    "flat": Kind(_flat(0.4), "flat", scatter=0.0),
    "flat_near_zero": Kind(_flat(0.01), "flat", scatter=0.0),
    "rise_below_margin": Kind(line(0.01), "flat", (UNDECIDED,)),
    "mixture": Kind(_mixture, OTHER, (LINE, UNDECIDED)),
}


def draw_curves(kind: Kind, design: StudyDesign, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """True accuracy of each seed: x [K + 1] with 0 first, the true curve there [K + 1], and R [n, K + 1] around it.

    A seed has its own share of the rise and its own slow (AR) wander; a collapsed one falls to a tenth from a random
    budget on.
    """
    z = np.concatenate([[-np.inf], np.linspace(0, design.decades, design.budgets)])
    truth = kind.curve(z, rng)
    n = design.seeds
    rise = truth - truth[0]
    wander = rng.normal(0, 0.02 * np.ptp(truth), (n, len(z)))
    for j in range(2, len(z)):
        wander[:, j] = 0.6 * wander[:, j - 1] + 0.8 * wander[:, j]
    wander[:, 0] = 0.0
    each = truth[0] + rise * (1 + kind.scatter * rng.standard_normal((n, 1))) + wander
    for i in np.flatnonzero(rng.random(n) < kind.collapse):
        each[i, rng.integers(len(z) // 2, len(z)) :] *= 0.1
    return np.concatenate([[0.0], 10.0 ** z[1:]]), truth, np.clip(each, 0.0, 1.0)


def draw_effects(design: StudyDesign, rng: np.random.Generator) -> Array:
    """Problem effects [problems] on the logit scale, drawn once and shared by seeds and budgets."""
    return rng.normal(0, design.problem_sd, design.problems)


def problem_success(mean: Array, effects: Array, sd: float) -> Array:
    """Chance to solve each problem where the mean over all possible problems is `mean` [M]: [M, problems]."""
    return special.expit(_centre(mean, sd)[:, None] + effects)


def draw_counts(accuracy: Array, effects: Array, design: StudyDesign, rng: np.random.Generator) -> tuple[Array, Array]:
    """Correct completions and their squares summed over problems, [n, K + 1] each, of accuracy [n, K + 1]."""
    flat, place = np.unique(np.round(accuracy, 4), return_inverse=True)
    counts = rng.binomial(design.k, problem_success(flat, effects, design.problem_sd)[place.reshape(-1)])
    shape = accuracy.shape
    return counts.sum(1).reshape(shape), (counts**2).sum(1).reshape(shape)


def _centre(mean: Array, sd: float) -> Array:
    """Logit whose success, averaged over normal effects of this sd, is `mean` [M]; +-40 at 0 and 1."""
    points, weights = np.polynomial.hermite_e.hermegauss(41)
    grid = np.linspace(-14, 14, 2001)
    average = special.expit(grid[:, None] + sd * points) @ (weights / weights.sum())
    centre = np.interp(mean, average, grid)
    return np.where(mean <= 0, -40.0, np.where(mean >= 1, 40.0, centre))


def run_table(
    x: Array,
    correct: Array,
    squares: Array,
    design: StudyDesign,
    arm: str = "true_reward",
    task: str = "simulated",
    role: str = "verified",
) -> pl.DataFrame:
    """A run table of one arm and task from budgets [K + 1] and counts [n, K + 1]; join several with polars.concat."""
    n, k = correct.shape
    seed = np.repeat(np.arange(n), k)
    return pl.DataFrame(
        {
            "run_id": [f"{arm}-{i}" for i in seed],
            "arm": arm,
            "seed": seed,
            "task": task,
            "role": role,
            "x": np.tile(x, n),
            "n_problems": design.problems,
            "k": design.k,
            "n_correct": correct.reshape(-1),
            "n_correct_sq": squares.reshape(-1),
        }
    )


@dataclass(frozen=True)
class Draw:
    """One simulated table pooled to curves, the true curve at its budgets, its problem effects and its generator."""

    curves: Curves
    truth: Array
    effects: Array
    rng: np.random.Generator


def draw_tables(kind: Kind, design: StudyDesign, n: int, key: tuple[int, ...]) -> Iterator[Draw]:
    """n simulated tables; key: the seed and what distinguishes this series from others."""
    for i in range(n):
        rng = np.random.default_rng(np.random.SeedSequence(key[0], spawn_key=(*key[1:], i)))
        x, truth, each = draw_curves(kind, design, rng)
        effects = draw_effects(design, rng)
        table = check_table(run_table(x, *draw_counts(each, effects, design, rng), design))
        yield Draw(curves(table, "true_reward"), truth[1:], effects, rng)


def draw_table(kind: Kind, design: StudyDesign, rng: np.random.Generator, **labels: str) -> pl.DataFrame:
    """A whole run table of one kind; labels: arm, task and role."""
    x, _, each = draw_curves(kind, design, rng)
    return run_table(x, *draw_counts(each, draw_effects(design, rng), design, rng), design, **labels)


def write_simulated_table(wanted: SimulatedTable, out: Path) -> Path:
    """Writes one simulated table to `out/table.parquet`; returns its path. Raises TableError for an unknown kind."""
    if wanted.kind not in KINDS:
        raise TableError(f"no kind {wanted.kind!r}; the kinds are {', '.join(KINDS)}")
    out.mkdir(parents=True, exist_ok=True)
    path = out / "table.parquet"
    draw_table(KINDS[wanted.kind], wanted.design, np.random.default_rng(wanted.seed)).write_parquet(path)
    return path
