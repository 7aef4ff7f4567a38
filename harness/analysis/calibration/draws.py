"""Simulated tables pooled to curves, with the truth that they were drawn from."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from harness.analysis.calibration.simulate import Kind, StudyDesign, draw_counts, draw_curves, draw_effects, run_table
from harness.analysis.data.arrays import Array
from harness.analysis.data.curves import Curves, curves
from harness.analysis.data.table import check_table


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
