"""How often the analysis is right: verdicts, intervals and power on tables whose true curve is planted."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.analysis.calibration.calibration_page import calibration_page
from harness.analysis.calibration.simulate import (
    KINDS,
    Kind,
    StudyDesign,
    draw_counts,
    draw_curves,
    draw_effects,
    line,
    problem_success,
    run_table,
)
from harness.analysis.data.curves import Curves, curves
from harness.analysis.data.options import Options
from harness.analysis.data.table import check_table
from harness.analysis.stats.covariance import mean_curve
from harness.analysis.stats.intervals import estimate
from harness.analysis.stats.law_table import law_intervals
from harness.analysis.stats.slopes import slope_weights, slopes
from harness.analysis.verdict.decide import decide
from harness.analysis.verdict.rules import VERDICTS
from harness.analysis.verdict.task_shares import CALIBRATION

Array = NDArray[np.float64]
OTHER_SEEDS = (5, 16)  # besides the design's 8, for one kind of each truth
KINDS_AT_OTHER_SEEDS = ("line_steep", "hill_levels_off", "hill_shallow", "power_up", "rise_and_fall", "flat")
POWER_GRID = ((0.03, 0.05, 0.08, 0.12), (512, 2048, 8192), (8, 16))  # slope per decade, completions, seeds
HILL = {"A": 0.7, "B": 1.2}  # of the kind hill_levels_off


@dataclass(frozen=True)
class CalibrationSizes:
    """Simulated tables: a kind for the confusion matrix, a case for coverage, a cell for power. 0 keeps a part."""

    tables: int = 200
    coverage: int = 1000
    power: int = 100
    seed: int = 1
    page: str = "docs/calibration.md"


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


def confusion(n: int, seed: int, options: Options) -> dict[str, dict]:
    """Per kind (and number of seeds) the verdicts of n tables."""
    found = {}
    cases = [(name, StudyDesign()) for name in KINDS]
    cases += [(name, StudyDesign(seeds=seeds)) for seeds in OTHER_SEEDS for name in KINDS_AT_OTHER_SEEDS]
    for case, (name, design) in enumerate(cases):
        kind = KINDS[name]
        tables = draw_tables(kind, design, n, (seed, 0, case))
        counts = Counter(decide(t.curves, options, t.rng).judgement.verdict for t in tables)
        found[f"{name}, {design.seeds} seeds"] = {
            "truth": kind.truth,
            "seeds": design.seeds,
            "tables": n,
            "right": sum(counts[v] for v in kind.right),
            "false": sum(k for v, k in counts.items() if v not in kind.right and v != "indistinguishable"),
            "verdicts": {v: counts[v] for v in VERDICTS if counts[v]},
        }
        print(name, design.seeds, found[f"{name}, {design.seeds} seeds"]["verdicts"], flush=True)
    return found


def coverage(n: int, seed: int) -> list[dict]:
    """How often 95% intervals hold the truth: slopes of three kinds, and the hill's A and B by jackknife-t.

    The truth is the true curve, the mean over all possible problems; `given the problems` is the same for
    the problems that were drawn. Intervals over seeds promise the second.
    """
    rows = []
    for case, (name, seeds) in enumerate((k, s) for k in ("line", "hill_levels_off", "flat") for s in (5, 8, 16)):
        held: dict[str, list[bool]] = {}
        for drawn in draw_tables(KINDS[name], StudyDesign(seeds=seeds), n, (seed, 1, case)):
            for quantity, inside in _covered(name, drawn).items():
                held.setdefault(quantity, []).append(inside)
        for quantity, inside in held.items():
            row = {"kind": name, "seeds": seeds, "quantity": quantity, "tables": n, "identified": len(inside)}
            rows.append(row | {"covered": float(np.mean(inside))})
            print(rows[-1], flush=True)
    return rows


def _covered(name: str, drawn: Draw) -> dict[str, bool]:
    """Whether each interval of one table holds its truth; intervals that are not identified are left out."""
    c, sd = drawn.curves, StudyDesign().problem_sd
    z = np.log10(c.x)
    weights = slope_weights(z)
    low, high = estimate(slopes(z, c.accuracy).overall).interval()
    here = problem_success(drawn.truth, drawn.effects, sd).mean(1)
    held = {
        "slope": bool(low <= float(np.dot(drawn.truth, weights)) <= high),
        "slope, given the problems": bool(low <= float(np.dot(here, weights)) <= high),
    }
    if name != "hill_levels_off":
        return held
    intervals = law_intervals("hill", mean_curve(c))
    a_here = float(problem_success(np.array([HILL["A"]]), drawn.effects, sd).mean())
    for quantity, parameter, value in (
        ("A", "A", HILL["A"]),
        ("A, given the problems", "A", a_here),
        ("B", "B", HILL["B"]),
    ):
        own = intervals[parameter]
        if not isinstance(own, str):
            held[quantity] = own[0] <= value <= own[1]
    return held


def power(n: int, seed: int, options: Options) -> list[dict]:
    """Chance that a true line is called log_linear, at 10 budgets over 3 decades."""
    rows = []
    for case, (slope, completions, seeds) in enumerate(
        (a, b, c) for a in POWER_GRID[0] for b in POWER_GRID[1] for c in POWER_GRID[2]
    ):
        design = replace(StudyDesign(), seeds=seeds, problems=completions // StudyDesign().k)
        kind = Kind(line(3 * slope), frozenset({"log_linear"}), "log_linear")
        tables = draw_tables(kind, design, n, (seed, 2, case))
        called = [decide(t.curves, options, t.rng).judgement.verdict == "log_linear" for t in tables]
        rows.append(
            {"slope": slope, "completions": completions, "seeds": seeds, "tables": n, "power": float(np.mean(called))}
        )
        print(rows[-1], flush=True)
    return rows


def window_table() -> list[dict]:
    """What decides is B x decades: share of a sigmoid's gain in a window around x_mid, R2 of a straight line there, and
    the evaluation points that distinguish the two (80% power at 5%, two extra parameters: non-centrality 9.63)."""
    rows = []
    for b, half in ((1.0, 0.25), (1.0, 0.5), (1.0, 1.0), (1.7, 0.5)):
        z = np.linspace(-half, half, 2001)
        share = 1 / (1 + 10.0 ** (-b * z))
        rest = share - np.polyval(np.polyfit(z, share, 1), z)
        squares = float(np.mean(rest**2))
        rows.append(
            {
                "B": b,
                "half_window": half,
                "share": [float(share[0]), float(share[-1])],
                "r_squared": 1 - squares / float(np.var(share)),
                "points": {str(noise): int(np.ceil(9.635 * noise**2 / squares)) for noise in (0.01, 0.02)},
            }
        )
    return rows


def calibrate(sizes: CalibrationSizes, options: Options) -> None:
    """Runs the parts whose size is above 0, keeps the others, and writes calibration.json and the page."""
    began = time.monotonic()
    found = json.loads(CALIBRATION.read_text()) if CALIBRATION.exists() else {}
    if sizes.tables:
        found["confusion"] = confusion(sizes.tables, sizes.seed, options)
    if sizes.coverage:
        found["coverage"] = coverage(sizes.coverage, sizes.seed)
    if sizes.power:
        found["power"] = power(sizes.power, sizes.seed, options)
    found |= {"window": window_table(), "seed": sizes.seed}
    CALIBRATION.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n")
    path = Path(sizes.page)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(calibration_page(found))
    print(f"wrote {CALIBRATION} and {path} in {time.monotonic() - began:.0f} s")
