"""How near learning times and exponents of difficulty come to planted ones, and how often intervals hold them.

Every problem of a cell is learned as a sigmoid in log10 x, at a time that scatters over seeds, by seed and by cell, and
over the cell's problems, which are drawn once and shared by seeds and budgets. Times beyond the window are censored.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
from scipy import special

from harness.analysis.calibration.code_hash import MECHANISM, code_hash
from harness.analysis.calibration.simulate import StudyDesign
from harness.analysis.data.arrays import Array
from harness.analysis.data.crossing import crossing
from harness.analysis.data.curves import Curves
from harness.analysis.data.difficulty_times import THRESHOLD
from harness.analysis.data.options import default_options
from harness.analysis.stats.slopes import slope_weights
from harness.analysis.verdict.difficulty import difficulty_scaling
from harness.analysis.verdict.learning_times import learning_times

FOUND = Path(__file__).with_name("mechanism.json")  # committed
DESIGN = StudyDesign(budgets=13, decades=3.0, problems=64, k=4)  # problems of a cell
SEEDS, CENSORED = (5, 8, 16), (0.0, 0.25, 0.5)  # share of the cells whose time lies beyond the window
LOW, HIGH = 0.05, 0.95  # accuracy before a cell is learned, and after
STEEPNESS = 4.0  # of a problem's sigmoid: from a tenth to nine tenths in half a decade
BY_SEED, BY_CELL, BY_PROBLEM = 0.1, 0.05, 0.1  # sd in decades: shared by a seed's cells, its own, by all seeds
CELLS, FIRST = 24, 0.3  # of learning times: how many, and log10 x where they begin
DIFFICULTIES = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0])
GAMMA, GAMMA_SD = 1.5, 0.1  # mean over seeds and sd


def mechanism(n: int, seed: int) -> dict:
    """What FOUND holds: a row of each case of learning times, n tables each, and of exponents, 5 n, which cost less."""
    return {
        "seed": seed,
        "judged_by": code_hash(MECHANISM),
        "learning_times": rows(learning_row, n, (seed, 3)),
        "gamma": rows(gamma_row, 5 * n, (seed, 4)),
    }


def rows(row_of: Callable[..., dict], n: int, key: tuple[int, int]) -> list[dict]:
    """A row of each share of censored cells and number of seeds; key: the seed and what distinguishes this series."""
    found = []
    for case, (censored, seeds) in enumerate(product(CENSORED, SEEDS)):
        streams = (np.random.SeedSequence(key[0], spawn_key=(key[1], case, i)) for i in range(n))
        row = row_of(replace(DESIGN, seeds=seeds), censored, map(np.random.default_rng, streams))
        found.append({"seeds": seeds, "censored": censored, "tables": n} | row)
        print(found[-1], flush=True)
    return found


def learning_row(design: StudyDesign, censored: float, rngs: Iterator[np.random.Generator]) -> dict:
    """identified: tables with a spread; ratio: its mean over the planted spread, with 5% and 95% quantiles, and how
    many are within a tenth; error: of the times within the window, root mean square in decades."""
    ratios, errors = [], []
    for rng in rngs:
        spread, planted = plant_times(design, censored, rng)
        parts = {(str(i),): draw_cell(times, design, rng)[0] for i, times in enumerate(planted)}
        cells = list(parts.values())  # each a task of the pool
        pool = replace(cells[0], accuracy=np.mean([cell.accuracy for cell in cells], 0))
        record = learning_times(parts, pool, default_options().margin)
        assert record is not None
        if record["spread_decades"] is not None:
            ratios.append(record["spread_decades"] / spread)
        for cell in record["by_cell"]:
            times = planted[int(cell["task"])]
            found = np.log10(np.array(cell["x_half"], float))
            errors.append((found - times)[(times > 0) & (times < design.decades)])
    low, high = np.quantile(ratios, [0.05, 0.95])
    return {
        "identified": len(ratios),
        "ratio": float(np.mean(ratios)),
        "low": float(low),
        "high": float(high),
        "within_tenth": int(np.sum(np.abs(np.array(ratios) - 1) <= 0.1)),
        "error": float(np.sqrt(np.nanmean(np.concatenate(errors) ** 2))),
    }


def plant_times(design: StudyDesign, censored: float, rng: np.random.Generator) -> tuple[float, Array]:
    """(decades over which cells' times are spread log-uniformly, log10 times [CELLS, n]): without censoring they end
    a tenth of the window before it does."""
    spread = (0.9 if censored == 0 else 1.0) * design.decades - FIRST
    spread /= 1 - censored
    middles = FIRST + spread * (np.arange(CELLS) + rng.random(CELLS)) / CELLS
    return spread, middles[:, None] + scatter(CELLS, design, rng)


def scatter(cells: int, design: StudyDesign, rng: np.random.Generator) -> Array:
    """[cells, n] decades by which seeds are late."""
    return rng.normal(0, BY_SEED, design.seeds) + rng.normal(0, BY_CELL, (cells, design.seeds))


def gamma_row(design: StudyDesign, censored: float, rngs: Iterator[np.random.Generator]) -> dict:
    """identified: tables with an interval; used: mean number of difficulties; bias: of the mean; covered: share of the
    intervals that hold the planted exponent; given: the same of the exponent of the problems drawn."""
    begin = first_time(design, censored)
    errors, used, covered, given = [], [], [], []
    for rng in rngs:
        own = rng.normal(GAMMA, GAMMA_SD, design.seeds)
        times = begin + np.log10(DIFFICULTIES)[:, None] * own + scatter(len(DIFFICULTIES), design, rng)
        drawn = [draw_cell(each, design, rng) for each in times]
        parts = {("t", f"{d:g}", ""): part for d, (part, _) in zip(DIFFICULTIES, drawn)}
        (found,) = difficulty_scaling(parts)
        if found["gamma"] is None:
            continue
        kept = np.isin(DIFFICULTIES, found["used"])
        low, high = found["gamma"]["low"], found["gamma"]["high"]
        shift = float(slope_weights(np.log10(DIFFICULTIES[kept])) @ np.array([late for _, late in drawn])[kept])
        errors.append(found["gamma"]["mean"] - GAMMA)
        used.append(kept.sum())
        covered.append(low <= GAMMA <= high)
        given.append(low <= GAMMA + shift <= high)
    return {
        "identified": len(errors),
        "used": float(np.mean(used)),
        "bias": float(np.mean(errors)),
        "covered": float(np.mean(covered)),
        "given": float(np.mean(given)),
    }


def first_time(design: StudyDesign, censored: float) -> float:
    """log10 time of difficulty 1 with which a share of the difficulties lies beyond the window."""
    if censored == 0:
        return (design.decades - GAMMA) / 2
    first_beyond = round(len(DIFFICULTIES) * (1 - censored))
    return design.decades - GAMMA * float(np.mean(np.log10(DIFFICULTIES[first_beyond - 1 : first_beyond + 1])))


def draw_cell(times: Array, design: StudyDesign, rng: np.random.Generator) -> tuple[Curves, float]:
    """The curves of a cell whose seeds have these log10 times [n], and the decades by which the problems drawn put
    its threshold off."""
    z = np.linspace(0, design.decades, design.budgets)
    own = rng.normal(0, BY_PROBLEM, design.problems)
    late = np.concatenate([np.full((design.seeds, 1), -np.inf), z - times[:, None]], 1)
    counts = rng.binomial(design.k, sigmoid(late[:, :, None] - own))
    total = design.problems * design.k
    accuracy, noise = counts.sum(2) / total, (counts * (design.k - counts)).sum(2) / (design.k - 1) / total**2
    names = tuple(range(design.seeds)), ("base",) * design.seeds
    unused = np.zeros_like(noise[:, 1:])
    part = Curves("a", ("t",), 10**z, accuracy[:, 1:], noise[:, 1:], unused, accuracy[:, 0], noise[:, 0], *names)
    near = np.linspace(-0.3, 0.3, 61)
    return part, crossing(near, sigmoid(near[:, None] - own).mean(1), THRESHOLD)


def sigmoid(late: Array) -> Array:
    """Accuracy on a problem this many decades after its time."""
    return LOW + (HIGH - LOW) * special.expit(np.log(10) * STEEPNESS * late)
