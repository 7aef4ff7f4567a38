"""Run tables drawn from planted true curves: what the analysis is calibrated on."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from scipy import special

from harness.analysis.data.arrays import Array
from harness.analysis.data.table_checks import TableError

TrueCurve = Callable[[Array, np.random.Generator], Array]


@dataclass(frozen=True)
class Kind:
    """A kind of true curve.

    curve: (z [K + 1] with z[0] = -inf for x = 0, rng) -> R [K + 1]; the generator draws what varies between tables.
    right: verdicts that are right.
    truth: the verdict its curve deserves, or `other` where it lies between them.
    scatter: sd over seeds of the rise, as a share of it. collapse: chance that a seed collapses somewhere.
    """

    curve: TrueCurve
    right: frozenset[str]
    truth: str
    scatter: float = 0.1
    collapse: float = 0.0

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


def line(rise: float, low: float = 0.25, start: tuple[float, float] = (0.2, 0.6)) -> TrueCurve:
    """Log-linear over the window; R0 lies `start` decades' worth below the first budget. From about 1 on, a shallow
    hill through R0 is as good as the line, and no amount of data inside the window distinguishes them."""

    def curve(z: Array, rng: np.random.Generator) -> Array:
        before = low - rise / z[-1] * rng.uniform(*start)
        return np.where(np.isneginf(z), before, low + rise * np.maximum(z, 0) / z[-1])

    return curve


def _hill(b: float, mid: float, low: float = 0.2, high: float = 0.7, jump: float = 0.0) -> TrueCurve:
    """ScaleRL's sigmoid; mid is x_mid's place in the window (0 first budget, 1 last), moved a little in each table.

    jump: a rise before the first budget that is no part of the sigmoid, as when the answer format is learned.
    """

    def curve(z: Array, rng: np.random.Generator) -> Array:
        middle = (mid + rng.uniform(-0.05, 0.05)) * z[-1]
        return low - jump * np.isneginf(z) + (high - low) * special.expit(np.log(10) * b * (z - middle))

    return curve


def _saturating_power(b: float, low: float = 0.25, high: float = 0.65) -> TrueCurve:
    def curve(z: Array, rng: np.random.Generator) -> Array:
        after = high - (high - low) * 10.0 ** (-b * np.maximum(z, 0))
        return np.where(np.isneginf(z), low - 0.05, after)

    return curve


def _exponential(tau: float, low: float = 0.2, high: float = 0.6) -> TrueCurve:
    def curve(z: Array, rng: np.random.Generator) -> Array:
        return high - (high - low) * np.exp(-(10.0 ** (z - tau * z[-1])))

    return curve


def _error_power(k: float, low: float = 0.2) -> TrueCurve:
    def curve(z: Array, rng: np.random.Generator) -> Array:
        return np.where(np.isneginf(z), low - 0.05, 1 - (1 - low) * 10.0 ** (-k * np.maximum(z, 0)))

    return curve


def _changepoint(begin: float, end: float, low: float = 0.25, high: float = 0.5) -> TrueCurve:
    def curve(z: Array, rng: np.random.Generator) -> Array:
        return low + (high - low) * np.clip((z / z[-1] - begin) / (end - begin), 0, 1)

    return curve


def _knee(begin: float = 1 / 3, low: float = 0.25, rise: float = 0.3) -> TrueCurve:
    """Flat, then a straight rise: no line and no named shape, since its last two thirds are equally steep."""

    def curve(z: Array, rng: np.random.Generator) -> Array:
        return low + rise * np.maximum(z / z[-1] - begin, 0) / (1 - begin)

    return curve


def _power_up(b: float, low: float = 0.2, rise: float = 0.3) -> TrueCurve:
    def curve(z: Array, rng: np.random.Generator) -> Array:
        return low + rise * 10.0 ** (b * (z - z[-1]))

    return curve


def _rise_and_fall(rise: float, fall: float, peak: float = 0.5) -> TrueCurve:
    def curve(z: Array, rng: np.random.Generator) -> Array:
        share = np.maximum(z, 0) / z[-1]
        up, down = np.clip(share / peak, 0, 1), np.clip((share - peak) / (1 - peak), 0, 1)
        return 0.3 + rise * up - fall * down

    return curve


def _falling(fall: float) -> TrueCurve:
    def curve(z: Array, rng: np.random.Generator) -> Array:
        return 0.5 - fall * np.maximum(z, 0) / z[-1]

    return curve


def _flat(level: float) -> TrueCurve:
    def curve(z: Array, rng: np.random.Generator) -> Array:
        return np.full(len(z), level)

    return curve


def _mixture(low: float, high: float, cells: int = 24) -> TrueCurve:
    """Mean over difficulties of dq/dt = q^2 (1 - q)^2, initial success spread log-uniformly: near-linear, though each
    is a sharp sigmoid. The window starts at t = 10."""

    def curve(z: Array, rng: np.random.Generator) -> Array:
        start = np.logspace(np.log10(low), np.log10(high), cells)
        return np.mean([mixture_cell(10.0 ** (z + 1), q) for q in start], 0)

    return curve


def mixture_cell(t: Array, start: float) -> Array:
    """Solution of dq/dt = q^2 (1 - q)^2 with q(0) = start, at times t [K]: by inverting its primitive."""
    logits = np.linspace(-14, 14, 4001)
    q = special.expit(logits)
    primitive = 2 * logits - 1 / q + 1 / (1 - q)
    begin = np.interp(special.logit(start), logits, primitive)
    return special.expit(np.interp(begin + t, primitive, logits))


def _set(*names: str) -> frozenset[str]:
    return frozenset(names)


LINE, UP, SATURATES, UNDECIDED = "log_linear", "accelerating", "saturating", "indistinguishable"
SIGMOIDAL, NOT_LINE = "sigmoidal", "not_log_linear"
KINDS: dict[str, Kind] = {
    "line_steep": Kind(line(0.30), _set(LINE), LINE),
    "line": Kind(line(0.21), _set(LINE), LINE),
    "line_small": Kind(line(0.12), _set(LINE), LINE),
    "line_from_afar": Kind(line(0.30, start=(1.0, 2.0)), _set(LINE, UNDECIDED), LINE),
    "line_collapsed_seeds": Kind(line(0.30), _set(LINE, UNDECIDED), LINE, collapse=0.15),
    "hill_levels_off": Kind(_hill(1.2, 0.3), _set(SATURATES), SATURATES),
    "hill_early": Kind(_hill(1.0, 1.05), _set(UP), UP),
    "hill_middle": Kind(_hill(1.0, 0.5), _set(SIGMOIDAL), SIGMOIDAL),
    "hill_steep": Kind(_hill(1.7, 0.45), _set(SIGMOIDAL), SIGMOIDAL),
    "hill_shallow": Kind(_hill(0.6, 0.5), _set(UNDECIDED), "other"),
    "hill_after_jump": Kind(_hill(0.6, 0.5, jump=0.1), _set(UNDECIDED), "other"),
    "saturating_power": Kind(_saturating_power(0.6), _set(SATURATES), SATURATES),
    "exponential": Kind(_exponential(0.5), _set(SIGMOIDAL), SIGMOIDAL),
    "error_power": Kind(_error_power(0.12), _set(UNDECIDED), "other"),
    "changepoint": Kind(_changepoint(0.33, 0.67), _set(SIGMOIDAL), SIGMOIDAL),
    "knee": Kind(_knee(), _set(NOT_LINE), NOT_LINE),
    "power_up": Kind(_power_up(0.7), _set(UP), UP),
    "rise_and_fall": Kind(_rise_and_fall(0.2, 0.12), _set("non_monotone"), "non_monotone"),
    "falling": Kind(_falling(0.15), _set("declining"), "declining"),
    "flat": Kind(_flat(0.4), _set("flat"), "flat", scatter=0.0),
    "flat_near_zero": Kind(_flat(0.01), _set("flat"), "flat", scatter=0.0),
    "rise_below_margin": Kind(line(0.01), _set("flat", UNDECIDED), "flat"),
    "mixture": Kind(_mixture(2e-5, 0.5), _set(LINE, UNDECIDED), "other"),
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
    curves = truth[0] + rise * (1 + kind.scatter * rng.standard_normal((n, 1))) + wander
    for i in np.flatnonzero(rng.random(n) < kind.collapse):
        curves[i, rng.integers(len(z) // 2, len(z)) :] *= 0.1
    return np.concatenate([[0.0], 10.0 ** z[1:]]), truth, np.clip(curves, 0.0, 1.0)


def draw_effects(design: StudyDesign, rng: np.random.Generator) -> Array:
    """Problem effects [problems] on the logit scale, drawn once and shared by seeds and budgets."""
    return rng.normal(0, design.problem_sd, design.problems)


def problem_success(mean: Array, effects: Array, sd: float) -> Array:
    """Chance to solve each problem where the mean over all possible problems is `mean` [M]: [M, problems]."""
    return special.expit(_centre(mean, sd)[:, None] + effects)


def draw_counts(curves: Array, effects: Array, design: StudyDesign, rng: np.random.Generator) -> tuple[Array, Array]:
    """Correct completions and their squares summed over problems, [n, K + 1] each, of curves [n, K + 1]."""
    flat, place = np.unique(np.round(curves, 4), return_inverse=True)
    counts = rng.binomial(design.k, problem_success(flat, effects, design.problem_sd)[place.reshape(-1)])
    shape = curves.shape
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


def draw_table(kind: Kind, design: StudyDesign, rng: np.random.Generator, **labels: str) -> pl.DataFrame:
    """A whole run table of one kind; labels: arm, task and role."""
    x, _, curves = draw_curves(kind, design, rng)
    return run_table(x, *draw_counts(curves, draw_effects(design, rng), design, rng), design, **labels)


def write_simulated_table(wanted: SimulatedTable, out: Path) -> Path:
    """Writes one simulated table to `out/table.parquet`; returns its path. Raises TableError for an unknown kind."""
    if wanted.kind not in KINDS:
        raise TableError(f"no kind {wanted.kind!r}; the kinds are {', '.join(KINDS)}")
    out.mkdir(parents=True, exist_ok=True)
    path = out / "table.parquet"
    draw_table(KINDS[wanted.kind], wanted.design, np.random.default_rng(wanted.seed)).write_parquet(path)
    return path
