"""How often the analysis is right: verdicts, intervals and power on tables whose true curve is planted."""

import json
import time
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np

from harness.analysis.calibration.calibration_page import calibration_page
from harness.analysis.calibration.code_hash import JUDGES, code_hash
from harness.analysis.calibration.confusion import confusion
from harness.analysis.calibration.mechanism import FOUND, mechanism
from harness.analysis.calibration.simulate import KINDS, Draw, Kind, StudyDesign, draw_tables, line, problem_success
from harness.analysis.data.json_files import write_json
from harness.analysis.data.options import Options
from harness.analysis.stats.covariance import mean_curve
from harness.analysis.stats.fitting import fit
from harness.analysis.stats.intervals import estimate
from harness.analysis.stats.law_table import intervals
from harness.analysis.stats.laws import LAWS
from harness.analysis.stats.slopes import slope_weights, slopes
from harness.analysis.verdict.decide import decide
from harness.analysis.verdict.task_shares import CALIBRATION, calibration

HILL = {"A": 0.7, "B": 1.2}  # of the kind hill_levels_off
POWER_GRID = ((0.03, 0.05, 0.08, 0.12), (512, 2048, 8192), (8, 16))  # slope per decade, completions, seeds
SIZES = {"confusion": "tables", "coverage": "coverage", "power": "power"}  # part -> its size


@dataclass(frozen=True)
class CalibrationSizes:
    """Simulated tables: a kind for the confusion matrix, a case for coverage, a cell for power, a case for the
    mechanism. 0 keeps a part.

    progress: a file to which each finished case of the confusion matrix is appended, and from which a stopped
    calibration goes on. workers: processes that judge tables.
    """

    tables: int = 200
    coverage: int = 1000
    power: int = 100
    mechanism: int = 200
    seed: int = 1
    page: str = "docs/explanation/calibration.md"
    workers: int = 1
    progress: str = "outputs/calibration.jsonl"


def coverage(n: int, seed: int) -> list[dict]:
    """How often 95% intervals hold the truth: slopes of three kinds, and the hill's A and B by jackknife-t.

    The truth is the true curve, the mean over all possible problems; `given the problems` is the same for
    the problems that were drawn. Intervals over seeds promise the second.
    """
    rows = []
    for case, (name, seeds) in enumerate(product(("line", "hill_levels_off", "flat"), (5, 8, 16))):
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
    mean = mean_curve(c)
    own = intervals(fit(LAWS["hill"], mean), mean, float(c.problem_noise.mean()))
    a_here = float(problem_success(np.array([HILL["A"]]), drawn.effects, sd).mean())
    for quantity, value in {"A": HILL["A"], "A, given the problems": a_here, "B": HILL["B"]}.items():
        interval = own[quantity[0]]
        if not isinstance(interval, str):
            held[quantity] = interval[0] <= value <= interval[1]
    return held


def power(n: int, seed: int, options: Options) -> list[dict]:
    """Chance that a true line is called log_linear, at 10 budgets over 3 decades."""
    rows = []
    for case, (slope, completions, seeds) in enumerate(product(*POWER_GRID)):
        design = replace(StudyDesign(), seeds=seeds, problems=completions // StudyDesign().k)
        kind = Kind(line(3 * slope), "log_linear")
        tables = draw_tables(kind, design, n, (seed, 2, case))
        called = [decide(t.curves, options, t.rng).judgement.verdict == "log_linear" for t in tables]
        row = {"slope": slope, "completions": completions, "seeds": seeds, "tables": n}
        rows.append(row | {"power": float(np.mean(called))})
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
    found = calibration() if CALIBRATION.exists() else {}
    if sizes.tables:
        found["confusion"] = confusion(sizes.tables, sizes.seed, options, Path(sizes.progress), sizes.workers)
        found["judged_by"] = code_hash(JUDGES)
    if sizes.coverage:
        found["coverage"] = coverage(sizes.coverage, sizes.seed)
    if sizes.power:
        found["power"] = power(sizes.power, sizes.seed, options)
    run = [name for name, size in SIZES.items() if getattr(sizes, size)]
    found["seeds"] = found.get("seeds", {}) | dict.fromkeys(run, sizes.seed)
    found["window"] = window_table()
    write_json(CALIBRATION, found)
    path = Path(sizes.page)
    path.parent.mkdir(parents=True, exist_ok=True)
    if sizes.mechanism:
        write_json(FOUND, mechanism(sizes.mechanism, sizes.seed))
    path.write_text(calibration_page(found | {"mechanism": json.loads(FOUND.read_text())}))
    print(f"wrote {CALIBRATION} and {path} in {time.monotonic() - began:.0f} s")
