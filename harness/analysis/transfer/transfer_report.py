"""Transfer: does RL on verified tasks raise tasks that it never rewards? (docs/explanation/protocol.md)

Gains are before-to-after changes of the real arm minus those of the primary control, paired by replicate. A task's
role is the one it has for the real arm; other arms are read on the same tasks whatever they reward.
"""

from typing import Any

import numpy as np
import polars as pl

from harness.analysis.data.grids import Array, Grid, align_arms, arm_grids, base_means
from harness.analysis.data.options import Options
from harness.analysis.data.table import Table
from harness.analysis.stats.contrasts import LEVEL, add_holm, fieller_ratio, mean_record, two_way_record
from harness.analysis.stats.intervals import estimate
from harness.analysis.transfer.arm_contrasts import ROLES, contrasts, matched_verified_gain, matrix, slope_ratio
from harness.analysis.transfer.problems import gain_new_problems, sharpening
from harness.analysis.transfer.sentences import missing, sentences


def transfer_report(table: Table, options: Options) -> dict[str, Any]:
    """The transfer section as strict JSON; of the largest model size, with the other sizes under `by_size`.

    What the table does not contain is None, and named in `missing`.
    """
    sizes = table.sizes(options.real_arm) if options.real_arm in table.arms else [None]
    reports = {size: _of_size(table.of_size(size), options, size) for size in sizes}
    whole = reports[sizes[-1]]
    return whole if len(sizes) == 1 else whole | {"by_size": {str(size): one for size, one in reports.items()}}


def _of_size(table: Table, options: Options, size: int | None) -> dict[str, Any]:
    arms = arm_grids(table)
    tasks = {role: table.tasks(options.real_arm, role) if options.real_arm in arms else [] for role in ROLES}
    control = options.primary_control if options.primary_control in arms else None
    report: dict[str, Any] = {
        "real_arm": options.real_arm,
        "control": control,
        "size": size,
        "margin": options.transfer_margin,
        "level": LEVEL,
        "missing": missing(table, arms, tasks, options),
        **{role: _role(table, arms, tasks[role], options) for role in ROLES},
        "slope_ratio": slope_ratio(table, tasks, options),
        "contrasts": contrasts(arms, tasks["unverified"], options),
        "matched_verified_gain": matched_verified_gain(arms, tasks, options),
        "matrix": matrix(table, arms, options),
        "sharpening": sharpening(table, tasks, options),
    }
    return report | {"sentences": sentences(report)}


def _role(table: Table, arms: dict[str, Grid], tasks: list[str], options: Options) -> dict[str, Any] | None:
    """Before, after and gains of one role's tasks, each and pooled; None where the real arm was not evaluated so."""
    both = align_arms(arms, tasks, options.real_arm, options.primary_control)
    found = both or align_arms(arms, tasks, options.real_arm)
    if found is None:
        return None
    real, drift = found[0], both[1].change if both else np.zeros_like(found[0].change)
    values, drift = (base_means(part, real.units, options.min_bases) for part in (real.change - drift, drift))
    gains = [mean_record(column) for column in values.T]
    add_holm(gains)
    each = [
        {"task": task, "family": _family(table, task), **_before_after(real, j, options), "gain": gains[j]}
        for j, task in enumerate(real.columns)
    ]
    pooled = values.mean(axis=1)
    return {
        "tasks": each,
        "pooled": {
            **_before_after(real, slice(None), options),
            "control_change": mean_record(drift.mean(axis=1)) if both else None,
            "gain": mean_record(pooled),
            "gain_new_tasks": two_way_record(values),
            "gain_new_problems": gain_new_problems(table, found, options.min_bases),
            "interquartile_mean": interquartile_mean(values),
            "no_transfer_p": estimate(pooled).p_equivalent(options.transfer_margin),
        },
        "direct": _direct(arms, list(real.columns), options),
        "x": float(real.x[-1]),
        "budget": float(real.budgets[-1]),
        "n_replicates": len(values),
        "n_bases": len({base for base, _ in real.units}),
    }


def _before_after(grid: Grid, columns: int | slice, options: Options) -> dict[str, Any]:
    """Accuracy before and after, and the change of the arm by itself, over the columns."""

    def over(values: Array) -> Array:
        return base_means(values[:, columns].reshape(len(grid.units), -1).mean(axis=1), grid.units, options.min_bases)

    before, after = over(grid.before), over(grid.values[:, -1])
    return {"before": float(before.mean()), "after": float(after.mean()), "change": mean_record(after - before)}


def interquartile_mean(values: Array) -> float:
    """Mean of the middle half of all replicate-by-task values (rliable, arXiv 2108.13264): a summary, never a test."""
    ordered = np.sort(values, axis=None)
    cut = len(ordered) // 4
    return float(ordered[cut : len(ordered) - cut].mean())


def _family(table: Table, task: str) -> str | None:
    names = table.frame.filter(pl.col("task") == task)["family"].drop_nulls()
    return names[0] if len(names) else None


def _direct(arms: dict[str, Grid], tasks: list[str], options: Options) -> dict[str, Any] | None:
    """Ratio of the gain to that of RL on the targets themselves, and the share of the way from base to there.

    The ratio subtracts the control above and below; the share subtracts nothing. None without a direct arm.
    """
    controls = [options.primary_control] * (options.primary_control in arms)
    found = align_arms(arms, tasks, options.real_arm, options.direct_arm, *controls)
    if found is None:
        return None
    real, direct, *drifts = (base_means(grid.change, found[0].units, options.min_bases) for grid in found)
    drift = drifts[0] if drifts else 0.0
    gains = (real - drift).mean(1), (direct - drift).mean(1)
    ratio, narrow = fieller_ratio(*gains), fieller_ratio(*gains, level=0.9)
    return {
        "gain_of_direct": mean_record(gains[1]),
        "ratio": ratio.record(),
        "within_share_margin": narrow.inside(options.transfer_margin_share) if narrow.value is not None else None,
        "share_of_gap": fieller_ratio(real.mean(1), direct.mean(1)).record(),
        "share_of_gap_by_task": {
            task: fieller_ratio(real[:, j], direct[:, j]).record() for j, task in enumerate(found[0].columns)
        },
    }
