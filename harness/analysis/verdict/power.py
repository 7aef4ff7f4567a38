"""Which lines a design can recognise: a table fixed before the data; what an undecided curve still needs; and which
verdicts a design can reach, before any of it is run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.analysis.data.curves import Curves
from harness.analysis.data.options import Options
from harness.analysis.stats.covariance import MeanCurve
from harness.analysis.stats.fitting import fit
from harness.analysis.stats.formatting import counted, format_number
from harness.analysis.stats.intervals import Estimate
from harness.analysis.stats.laws import LAWS
from harness.analysis.stats.slopes import slope_weights, slopes
from harness.analysis.verdict.rules import EXCESS, RATIO, missing_data
from harness.analysis.verdict.task_shares import calibration

MAX_SEEDS, MAX_PROBLEMS_FACTOR, MAX_DECADES = 64, 32.0, 3.0  # beyond these an answer is out of reach
NONCENTRALITY_80 = 9.63  # non-centrality for 80% power at 5% with two more parameters


def shape_power(slope: float, completions: float, seeds: int) -> float | None:
    """Chance that a line of this slope per decade is called log_linear, from the calibration's power table.

    Read at the largest slope, completions and seeds of the table that do not exceed those given, never extrapolated;
    None below the table.
    """
    reached = [
        row["power"]
        for row in calibration()["power"]
        if row["slope"] <= slope and row["completions"] <= completions and row["seeds"] <= seeds
    ]
    return max(reached, default=None)


def effective_completions(curves: Curves) -> float:
    """Completions of distinct problems with the same evaluation noise: p (1 - p) / noise, over the window."""
    p = curves.accuracy.mean()
    return float(p * (1 - p) / max(curves.noise.mean(), 1e-9))


def would_decide(short: dict[str, Estimate], standing: list[str], curves: Curves, mean: MeanCurve) -> dict:
    """About what would settle an undecided curve, each alone and the rest unchanged; None where it would not do.

    seeds: replicates in all. problems_factor: times as many problems. decades: more decades of RL. Contrasts `short`
    of their bound must become clear in sign, `standing` laws distinguishable from a line. Where neither is left, the
    hidden budgets of a line were missed, and another decade shows whether it goes on.
    """
    if not short and not standing:
        return {"seeds": None, "problems_factor": None, "decades": 1.0}
    shares = _noise_shares(curves)
    seeds = [_seeds_for(contrast, _level(name)) for name, contrast in short.items()]
    factors = [_problems_factor(contrast, shares[name], _level(name)) for name, contrast in short.items()]
    seeds += [_seeds_to_reject(name, mean) for name in standing]
    decades = [_decades_to_reject(name, mean) for name in standing]
    return {
        "seeds": _all(seeds),
        "problems_factor": _all(factors) if not standing else None,
        "decades": _all(decades) if not short else None,
    }


def _all(needs: Sequence[float | None]) -> float | None:
    """The largest need, None if one cannot be met."""
    return None if None in needs else max(need for need in needs if need is not None)


def _level(name: str) -> float:
    """Of the interval that has to leave 0 out (rules.judge)."""
    return 0.9 if name.endswith("/2") else 0.95


def _seeds_for(contrast: Estimate, level: float = 0.9) -> int | None:
    size = abs(contrast.mean)
    seeds = range(max(contrast.n, 2), MAX_SEEDS + 1)
    return next((n for n in seeds if Estimate(size, contrast.sd, n).interval(level)[0] > 0), None)


def _problems_factor(contrast: Estimate, noise_share: float, level: float = 0.9) -> float | None:
    """Times as many problems that make the contrast clear with the replicates there are."""
    half = contrast.mean - contrast.interval(level)[0]
    left = (contrast.mean / half) ** 2 - (1 - noise_share)
    factor = float(np.ceil(10 * noise_share / left) / 10) if left > 0 else np.inf
    return factor if factor <= MAX_PROBLEMS_FACTOR else None


def _seeds_to_reject(name: str, mean: MeanCurve) -> int | None:
    needed = np.ceil(len(mean.replicates) * NONCENTRALITY_80 / max(_distance(name, mean, 0.0), 1e-9))
    return int(needed) if needed <= MAX_SEEDS else None


def _decades_to_reject(name: str, mean: MeanCurve) -> float | None:
    steps = (0.5 * i for i in range(1, 1 + int(2 * MAX_DECADES)))
    return next((extra for extra in steps if _distance(name, mean, extra) >= NONCENTRALITY_80), None)


def _distance(name: str, mean: MeanCurve, extra: float) -> float:
    """Non-centrality of a line's misfit to the fitted law, over a window longer by `extra` decades at the same
    spacing and scatter (that of the last budget beyond it)."""
    spacing = (mean.z[-1] - mean.z[0]) / (len(mean.z) - 1)
    beyond = mean.z[-1] + spacing * np.arange(1, 1 + round(extra / spacing))
    z = np.concatenate([mean.z, beyond])
    variance = np.diag(mean.covariance)[1:]
    weight = 1 / np.sqrt(np.concatenate([variance, np.full(len(beyond), variance[-1])]))
    curve = fit(LAWS[name], mean).predict(z)[0]
    line = np.polyval(np.polyfit(z, curve, 1, w=weight), z)
    return float(np.sum(((curve - line) * weight) ** 2))


def _noise_shares(curves: Curves) -> dict[str, float]:
    """Share of the variance between replicates that evaluation noise explains, of the slope and of each contrast."""
    z = np.log10(curves.x)
    third = slopes(z, np.eye(len(z))).thirds  # the weights of each budget in each third's slope
    weights = {"slope": slope_weights(z)}
    weights |= {f"b{i + 1} - b{j + 1}/2": third[:, i] - RATIO * third[:, j] for i in range(3) for j in range(3)}
    weights |= {f"b3 - 1.5 b{j + 1}": third[:, 2] - EXCESS * third[:, j] for j in range(2)}
    shares = {}
    for name, weight in weights.items():
        seen = float(np.var(curves.accuracy @ weight, ddof=1)) if len(curves.accuracy) > 1 else 0.0
        shares[name] = min(1.0, float(curves.noise.mean(0) @ weight**2) / seen) if seen > 0 else 1.0
    return shares


@dataclass(frozen=True)
class Design:
    """What an arm's curve will be made of: replicates, on so many bases; budgets in the window that counts, and its
    width in decades; by role the completions at each budget of a replicate."""

    replicates: int
    bases: int
    budgets: int
    decades: float
    completions: Mapping[str, int]


def reachable_verdicts(design: Design, options: Options) -> list[str]:
    """In sentences: whether the design has what a verdict needs, and how often it would call a line one."""
    curve = f"{counted(design.budgets, 'budget')} over {design.decades:.1f} decades"
    size = f"{counted(design.replicates, 'replicate')}, {curve}"
    if lacks := missing_data(design.budgets, design.decades, design.replicates, options):
        return [f"only insufficient_data ({size}): any other needs {', '.join(lacks)}"]
    lines = [f"any ({size})"]
    if design.bases < options.min_bases:
        lines.append(f"given {counted(design.bases, 'base')}; fewer than {options.min_bases} do not stand for others")
    return lines + [line_power(role, n, design.replicates) for role, n in design.completions.items()]


def line_power(role: str, completions: int, replicates: int) -> str:
    """Chances by the calibration's power table, of 10 budgets over 3 decades, at its entry below the design."""
    table = calibration()["power"]
    chances = {slope: shape_power(slope, completions, replicates) for slope in sorted({row["slope"] for row in table})}
    what = f"{role}, {completions:,} completions a budget"
    if None in chances.values():
        fewest = " and ".join(f"{min(row[name] for row in table):,} {name}" for name in ("completions", "seeds"))
        return f"{what}: below the power table, which begins at {fewest}"
    words = [f"{format_number(chance, 2)} at {format_number(slope, 2)} a decade" for slope, chance in chances.items()]
    return f"{what}: a line is called one with chance {', '.join(words)}"
