"""How long a chain is done at a budget, and whether accuracy at a length is the product of its steps'.

The horizon is the difficulty at which accuracy crosses a level, interpolated (as in METR's time horizon, arXiv
2503.14499; the inverse of T ∝ D^γ, arXiv 2605.06638). Difficulties that are only evaluated are longer
chains of the task.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from harness.analysis.data.crossing import crossing
from harness.analysis.data.curves import complete_block
from harness.analysis.data.difficulty_times import is_difficulty, threshold_times
from harness.analysis.data.grids import Array, Grid, arm_grids, base_means
from harness.analysis.data.options import Options
from harness.analysis.data.table import Table
from harness.analysis.data.table_checks import CELL
from harness.analysis.stats.contrasts import fieller_ratio, mean_record
from harness.analysis.stats.slopes import slope_weights
from harness.config.roles import LONGER

LEVELS = (0.5, 0.8)  # accuracies at which a difficulty counts as done
FEWEST_DIFFICULTIES = 4
FEWEST_FITTED = 2  # difficulties that fix the two numbers of the product
SHARES = (0.1, 0.9)  # of a horizon's rise, between which its doublings are counted


@dataclass(frozen=True)
class Chains:
    """Accuracy of an arm on a task by difficulty, a complete block. x: [K] ascending, the first 0 where it was
    evaluated before RL. difficulties: [D] ascending. accuracy: [n, K, D]. trained: how many of the difficulties are the
    task's own; the others are longer ones, only evaluated. guess: accuracy of guessing."""

    x: Array
    difficulties: Array
    accuracy: Array
    trained: int
    guess: float


def chain_lengths(table: Table, options: Options) -> list[dict]:
    """One record per arm (its largest policies), task and setting with at least four numeric difficulties."""
    found = []
    for arm, grid in arm_grids(table.largest(), by=CELL).items():
        for task, setting in dict.fromkeys((c[0].removesuffix(LONGER), c[2]) for c in grid.columns):
            chains = _chains(table, grid, task, setting, options.min_bases)
            if chains is not None:
                names = {"arm": arm, "task": task, "setting": setting}
                found.append({**names, **_record(chains), "product": product_of_steps(chains)})
    return found


def _chains(table: Table, grid: Grid, task: str, setting: str, min_bases: int) -> Chains | None:
    """The arm's chains of a task and its longer ones; None with fewer than four difficulties or no whole replicate."""
    own = [c for c in grid.columns if c[2] == setting and c[0] in (task, task + LONGER) and is_difficulty(c[1])]
    own.sort(key=lambda cell: float(cell[1]))
    if len(own) < FEWEST_DIFFICULTIES:
        return None
    chosen = grid.select(own)
    values = np.concatenate([chosen.before[:, None], chosen.values], axis=1)
    x = np.concatenate([[0.0], chosen.x])
    kept = np.isfinite(values).any((0, 2))
    if not kept.any():
        return None
    values, x = values[:, kept], x[kept]
    rows, budgets = complete_block(np.isfinite(values.sum(2)))
    if not len(budgets):
        return None
    accuracy = base_means(values[np.ix_(rows, budgets)], [chosen.units[row] for row in rows], min_bases)
    trained = sum(cell[0] == task for cell in own)
    return Chains(x[budgets], np.array([float(c[1]) for c in own]), accuracy, trained, _guess_rate(table.frame, task))


def _guess_rate(frame: pl.DataFrame, task: str) -> float:
    if "guess_rate" not in frame.columns:
        return 0.0
    rates = frame.filter(pl.col("task").is_in([task, task + LONGER]))["guess_rate"].cast(pl.Float64).drop_nulls()
    return float(rates.to_numpy().mean()) if len(rates) else 0.0


def _record(chains: Chains) -> dict:
    """The horizons at each level, their rise per decade and the factor of compute that doubles them."""
    levels, curve = [], falling(chains.accuracy)
    for level in LEVELS:
        length, short, long = horizons(curve, chains.difficulties, level)
        means = [mean_record(column) for column in length.T]
        above = chains.x > 0
        steep = above.sum() > 1
        rise = length[:, above] @ slope_weights(np.log10(chains.x[above])) if steep else None
        levels.append(
            {
                "level": level,
                **{name: [one[name] for one in means] for name in ("mean", "low", "high")},
                "shorter": short.sum(0).tolist(),
                "longer": long.sum(0).tolist(),
                "rise_per_decade": mean_record(rise) if rise is not None else None,
                "doubling": doubling(length[:, above], chains.x[above]) if steep else None,
            }
        )
    return {
        "replicates": len(chains.accuracy),
        "difficulties": chains.difficulties.tolist(),
        "trained": chains.trained,
        "x": chains.x.tolist(),
        "accuracy_at_last": chains.accuracy[:, -1].mean(0).tolist(),
        "solved": [_solved(chains.x, chains.accuracy[..., d]) for d in range(len(chains.difficulties))],
        "horizons": levels,
    }


def _solved(x: Array, accuracy: Array) -> dict:
    """x at which accuracy [n, K] of a difficulty reaches one half, geometric mean over the replicates that do within
    the budgets, and how many do."""
    above = x > 0
    times = threshold_times(np.log10(x[above]), accuracy[:, above])
    known = times[np.isfinite(times)]
    return {"x": float(10 ** known.mean()) if len(known) else None, "n": len(known)}


def falling(accuracy: Array) -> Array:
    """Accuracy [..., D] made to fall along the difficulties (isotonic least squares)."""
    rows = accuracy.reshape(-1, accuracy.shape[-1])
    return np.array([isotonic_regression(row, increasing=False).x for row in rows]).reshape(accuracy.shape)


def horizons(accuracy: Array, difficulties: Array, level: float) -> tuple[Array, NDArray[np.bool_], NDArray[np.bool_]]:
    """[...] difficulty at which falling accuracy [..., D] crosses the level, interpolated; and whether it is censored:
    shorter than the smallest difficulty, which then stands for it, or longer than the largest."""
    done = (accuracy >= level).sum(-1)
    last = accuracy.shape[-1] - 1
    below = np.clip(done, 1, last)  # the first difficulty below the level
    left, right = (np.take_along_axis(accuracy, at[..., None], -1)[..., 0] for at in (below - 1, below))
    share = np.clip((left - level) / np.where(left > right, left - right, 1.0), 0.0, 1.0)
    length = difficulties[below - 1] + share * (difficulties[below] - difficulties[below - 1])
    short, long = done == 0, done > last
    return np.where(short, difficulties[0], np.where(long, difficulties[-1], length)), short, long


def doubling(length: Array, x: Array) -> dict | None:
    """The factor of compute that doubles a horizon [n, K] between a tenth and nine tenths of its rise, geometric mean
    over the replicates that rise by a difficulty, with its 95% t-interval; None where fewer than two do."""
    z, logs = np.log10(x), []
    for row in length:
        rising = isotonic_regression(row).x
        if rising[-1] - rising[0] < 1.0:
            continue
        ends = [rising[0] + share * (rising[-1] - rising[0]) for share in SHARES]
        first, last = (crossing(z, rising, end) for end in ends)
        logs.append((last - first) / np.log2(ends[1] / ends[0]))
    if len(logs) < 2:
        return None
    found = mean_record(np.array(logs))
    factors = {name: None if found[name] is None else 10 ** found[name] for name in ("mean", "low", "high")}
    return {"n": len(logs), **factors}


def product_of_steps(chains: Chains) -> dict | None:
    """What p^D · c, fitted at each budget and replicate to the trained difficulties, predicts of the longer ones; None
    where nothing is longer. over: measured over predicted, means over difficulties, by Fieller over replicates."""
    fitted, longer = chains.difficulties[: chains.trained], chains.difficulties[chains.trained :]
    if len(fitted) < FEWEST_FITTED or not len(longer):
        return None
    measured = chains.accuracy[..., chains.trained :]
    p, c = fit_product(chains.accuracy[..., : chains.trained], fitted, chains.guess)
    predicted = chains.guess + (1 - chains.guess) * c[..., None] * p[..., None] ** longer
    return {
        "fitted": fitted.tolist(),
        "p": p.mean(0).tolist(),
        "c": c.mean(0).tolist(),
        "difficulties": longer.tolist(),
        "measured": measured.mean(0).tolist(),
        "predicted": predicted.mean(0).tolist(),
        "over": [fieller_ratio(*pair).record() for pair in zip(measured.mean(2).T, predicted.mean(2).T)],
        "over_at_last": [fieller_ratio(*pair).record() for pair in zip(measured[:, -1].T, predicted[:, -1].T)],
    }


def fit_product(accuracy: Array, difficulties: Array, guess: float = 0.0) -> tuple[Array, Array]:
    """(p, c) [...] of guess + (1 - guess) · c · p^D by least squares on accuracy [..., D], p and c within 0 and 1."""
    beyond = (accuracy - guess) / (1 - guess)
    grid = np.linspace(0.0, 1.0, 501)
    powers = grid[:, None] ** difficulties
    scale = np.clip(beyond @ powers.T / np.maximum((powers**2).sum(1), 1e-300), 0.0, 1.0)
    error = ((beyond[..., None, :] - scale[..., None] * powers) ** 2).sum(-1)
    best = error.argmin(-1)
    return grid[best], np.take_along_axis(scale, best[..., None], -1)[..., 0]


def sentence(record: Mapping[str, Any]) -> str:
    """The 50% horizon before and after, and the product of steps at the last budget."""
    half = record["horizons"][0]
    first, last = (_length(half, k) for k in (0, -1))
    text = f"{record['arm']} on {record['task']}: the 50% horizon goes from {first} to {last}"
    if (factor := half["doubling"]) is not None:
        text += f", doubling with {factor['mean']:.2g} times the compute while it rises"
    product = record["product"]
    if product and (over := product["over"][-1])["value"] is not None:
        text += f"; on longer chains accuracy is {over['value']:.2f} of the product of steps"
    return text + "."


def _length(half: Mapping[str, Any], k: int) -> str:
    """The mean at the k-th budget, "at least" or "at most" where some replicate is censored."""
    bounds: Sequence[str] = ["at most"] * bool(half["shorter"][k]) + ["at least"] * bool(half["longer"][k])
    return " ".join([*bounds, f"{half['mean'][k]:.1f}"]) if len(bounds) < 2 else f"about {half['mean'][k]:.1f}"
