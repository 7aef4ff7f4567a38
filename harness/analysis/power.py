"""Which lines a design can recognise: a table fixed before the data, and what an undecided curve still needs."""

import numpy as np

from harness.analysis.curves import Curves
from harness.analysis.intervals import Estimate
from harness.analysis.shape import RATIO, slope_weights, slopes
from harness.analysis.shares import calibration

MOST_SEEDS = 64


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


def would_decide(short: dict[str, Estimate], curves: Curves, laws_left: list[str]) -> dict:
    """What would settle the contrasts that fell short (each is needed above 0 at a one-sided 95%).

    seeds: replicates in all, or None if more of them would not do. problems_factor: times as many problems, or None
    where noise of evaluation is not what hides it. decades: more decades, where a contrast points the other way or a
    curved law could not be rejected.
    """
    share = _noise_shares(curves)
    seeds, factors, turned = [], [], False
    for name, contrast in short.items():
        if contrast.mean <= 0 or not np.isfinite(contrast.sd):
            turned = True
            continue
        enough = [n for n in range(max(contrast.n, 2), MOST_SEEDS + 1) if _clear(contrast, n)]
        seeds.append(enough[0] if enough else None)
        factors.append(_problems_factor(contrast, share.get(name, share["slope"])))
    known = [n for n in seeds if n is not None]
    return {
        "seeds": max(known) if known and len(known) == len(seeds) and not turned else None,
        "problems_factor": max(factors) if factors and None not in factors and not turned else None,
        "decades": 1.0 if turned or laws_left or not (known or factors) else None,
    }


def _clear(contrast: Estimate, n: int) -> bool:
    return Estimate(contrast.mean, contrast.sd, n).interval(0.9)[0] > 0


def _problems_factor(contrast: Estimate, noise_share: float) -> float | None:
    """Times as many problems that make the contrast clear with the replicates there are."""
    target = contrast.mean / (contrast.mean - contrast.interval(0.9)[0])  # shrink the error by this much
    left = target**2 - (1 - noise_share)
    return float(np.ceil(10 * noise_share / left) / 10) if left > 0 else None


def _noise_shares(curves: Curves) -> dict[str, float]:
    """Share of the variance between replicates that evaluation noise explains, of the slope and of each contrast."""
    z = np.log10(curves.x)
    third = slopes(z, np.eye(len(z))).thirds  # the weights of each budget in each third's slope
    weights = {"slope": slope_weights(z)}
    weights |= {f"b{i + 1} - b{j + 1}/2": third[:, i] - RATIO * third[:, j] for i in range(3) for j in range(3)}
    shares = {}
    for name, weight in weights.items():
        seen = float(np.var(curves.accuracy @ weight, ddof=1)) if len(curves.accuracy) > 1 else 0.0
        shares[name] = min(1.0, float(curves.noise.mean(0) @ weight**2) / seen) if seen > 0 else 1.0
    return shares
