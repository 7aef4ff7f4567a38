"""Where the next FLOP should go: marginal gain per decade, pretraining or RL, problems, group size or steps.

Each answer is a record with `identified`; where the data do not identify it, `reason` names what they lack. Optima
are claimed only inside the range that was measured.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from harness.analysis.data.curves import Curves, base_mean_curves, curves, has_budgets
from harness.analysis.data.grids import ACCURACY, Array, Grid, arm_grids
from harness.analysis.data.options import Options
from harness.analysis.data.table import Table
from harness.analysis.data.table_checks import budget_column
from harness.analysis.stats.contrasts import mean_record
from harness.analysis.stats.covariance import mean_curve
from harness.analysis.stats.fitting import fit
from harness.analysis.stats.intervals import jackknife_t
from harness.analysis.stats.laws import LAWS

FACTORS = ("problems_per_step", "group_size")  # steps are what is left of the budget
FEWEST = 3  # levels of a factor, and clusters to resample


def allocation(table: Table, options: Options) -> dict[str, Any]:
    """Records `marginal_gain` (by role), `pretraining_or_rl` and `within_rl` of the real arm, as strict JSON."""
    real = options.real_arm
    if real not in table.arms:
        lacking = not_identified(f"no arm {real}")
        return {"marginal_gain": {}, "pretraining_or_rl": lacking, "within_rl": lacking}
    largest = table.sizes(real)[-1]
    roles = [role for role in ("verified", "unverified") if has_budgets(table, real, table.tasks(real, role), largest)]
    gains = {role: marginal_gain(curves(table, real, role=role, size=largest), options) for role in roles}
    return {
        "marginal_gain": gains,
        "pretraining_or_rl": pretraining_or_rl(table, options),
        "within_rl": within_rl(table, options),
    }


def not_identified(reason: str) -> dict[str, Any]:
    """The record of a quantity that the data do not identify."""
    return {"identified": False, "reason": reason}


def marginal_gain(c: Curves, options: Options) -> dict[str, Any]:
    """Gain of each measured decade of x, from the top down, and the gain that each law predicts for the next.

    Measured: accuracy interpolated in log x, t over replicates. Predicted: jackknife-t over replicates; the laws'
    spread is the uncertainty, since fitting singles out no law.
    """
    c = base_mean_curves(c, options.min_bases)
    z, decades = np.log10(c.x), []
    for top in z[-1] - np.arange(int(np.floor(c.decades + 1e-9))):
        ends = [np.array([np.interp(at, z, row) for row in c.accuracy]) for at in (top, top - 1)]
        gain = mean_record(ends[0] - ends[1])
        decades.append({"from": float(10 ** (top - 1)), "to": float(10**top), "gain": gain})
    return {"measured": decades, "next_decade": _next_decade(c)}


def _next_decade(c: Curves) -> dict[str, dict[str, Any]]:
    """R(10 x_last) - R(x_last) by each law with fewer parameters than budgets."""
    mean = mean_curve(c)
    n, ends = len(c.accuracy), np.log10(c.x[-1]) + np.array([0.0, 1.0])
    predicted = {}
    for name, law in LAWS.items():
        if len(mean.z) <= law.n_parameters + 1 or name == "constant":
            continue
        whole = float(np.diff(fit(law, mean).predict(ends)[0])[0])
        predicted[name] = {"gain": whole, "low": None, "high": None}
        if n < FEWEST:
            continue
        left_out = (mean.replicates.sum(axis=0) - mean.replicates) / (n - 1)
        low, high = jackknife_t(whole, np.diff(fit(law, mean, left_out).predict(ends), axis=1)[:, 0])
        # Where a law bends sharply the pseudo-values can miss the estimate itself: then they bound nothing.
        if low <= whole <= high:
            predicted[name] |= {"low": float(low), "high": float(high)}
    return predicted


def pretraining_or_rl(table: Table, options: Options) -> dict[str, Any]:
    """Share of FLOPs for RL that maximises accuracy on verified tasks at a fixed total.

    Accuracy is taken as a + b_p log10(pretraining FLOPs) + b_r log10(RL FLOPs), the tangent plane of any smooth law;
    under a fixed sum its maximum lies at the share b_r / (b_p + b_r), whatever the total. Bases are left out one by
    one.
    """
    needed = ("pretrain_tokens", "flops")
    lacking = [name for name in needed if name not in table.frame.columns or table.frame[name].null_count()]
    if lacking or table.frame["model_params"].null_count():
        return not_identified(f"the table lacks {', '.join(lacking) or 'model_params'}")
    points = _base_points(table, options)
    spent = np.unique(points["pretraining"].round(6))
    clusters = points["base_id"].unique().sort().to_list()
    if len(spent) < FEWEST:
        return not_identified(
            f"{len(spent)} pretraining budgets; {FEWEST} or more bases of different pretraining would identify it"
        )
    whole = plane_slopes(points)
    each = np.array([plane_slopes(points.filter(pl.col("base_id") != base)) for base in clusters])
    slopes = {}
    for name, slope, left_out in zip(("pretraining", "rl"), whole, each.T):
        low, high = jackknife_t(float(slope), left_out)
        slopes[name] = {"slope": float(slope), "low": low, "high": high}
    flat = [name for name, one in slopes.items() if one["low"] <= 0]
    if flat or (each <= 0).any():
        reason = f"the slope along {' and '.join(flat) or 'an axis'} is not clearly above 0"
        return not_identified(reason) | {"slopes": slopes}
    odds = np.log10(whole[1] / whole[0])
    low, high = jackknife_t(float(odds), np.log10(each[:, 1] / each[:, 0]))
    seen = (points["rl"] - points["pretraining"]).to_numpy()
    if not seen.min() <= odds <= seen.max():
        return not_identified("the optimum lies outside the splits that were measured") | {"slopes": slopes}
    share = {name: float(1 / (1 + 10.0**-value)) for name, value in (("value", odds), ("low", low), ("high", high))}
    return {"identified": True, "reason": "", "share_of_flops_for_rl": share, "slopes": slopes}


def _base_points(table: Table, options: Options) -> pl.DataFrame:
    """One row per base and budget > 0: log10 FLOPs of pretraining and RL, pooled verified accuracy."""
    rows = table.frame.filter((pl.col("arm") == options.real_arm) & (pl.col("role") == "verified") & (pl.col("x") > 0))
    pretraining = (6.0 * pl.col("model_params") * pl.col("pretrain_tokens").cast(pl.Float64)).log10()
    rl = pl.col("flops").cast(pl.Float64).log10()
    key, means = ["base_id", "model_params", "x"], pl.col("pretraining", "rl", "accuracy").mean()
    cells = rows.select(*key, "task", pretraining=pretraining, rl=rl, accuracy=ACCURACY)
    return cells.group_by(*key, "task").agg(means).group_by(key).agg(means).sort(key)


def plane_slopes(points: pl.DataFrame) -> Array:
    """Least-squares slopes [2] of accuracy on log10 FLOPs of pretraining and RL, bases counting equally."""
    weight = (1.0 / points.select(pl.len().over("base_id")).to_series()).sqrt().to_numpy()
    design = np.column_stack([np.ones(len(points)), points["pretraining"], points["rl"]])
    return np.linalg.lstsq(design * weight[:, None], points["accuracy"].to_numpy() * weight, rcond=None)[0][1:]


def within_rl(table: Table, options: Options) -> dict[str, Any]:
    """Best problems a step and group size, at the largest number of completions that every setting reached.

    Arms whose runs are unfinished are left out. A quadratic in the logs of the factors that vary (3 levels or more) is
    fitted to accuracy on verified tasks, with seeds left out one by one. Steps are what is left of the completions.
    """
    columns = [name for name in FACTORS if name in table.frame.columns]
    varied = [name for name in columns if table.frame[name].drop_nulls().n_unique() >= FEWEST]
    if not varied or "completions" not in table.frame.columns:
        return not_identified(f"no arms that vary {' or '.join(FACTORS)} over 3 levels with a column completions")
    settings, values = _settings(table, varied, options)
    f = len(varied)
    if len(values) < FEWEST or values.shape[1] <= 1 + f + f * (f + 1) // 2:  # as many terms has a full quadratic
        return not_identified(f"{values.shape[1]} settings and {len(values)} shared seeds are too few for {f} factors")
    best = quadratic_peak(settings, values.mean(axis=0))
    each = [quadratic_peak(settings, np.delete(values, i, axis=0).mean(axis=0)) for i in range(len(values))]
    if best is None or any(one is None for one in each):
        return not_identified("accuracy has no peak inside the settings that were measured")
    left_out = np.stack([one for one in each if one is not None])
    found = {}
    for j, name in enumerate(varied):
        low, high = jackknife_t(float(best[j]), left_out[:, j])
        inside = bool(settings[:, j].min() <= low and high <= settings[:, j].max())
        found[name] = {"value": float(10 ** best[j]), "low": float(10**low), "high": float(10**high), "inside": inside}
    identified = all(one["inside"] for one in found.values())
    reason = "" if identified else "an interval reaches beyond the settings that were measured"
    return {"identified": identified, "reason": reason, "best": found}


def _settings(table: Table, varied: Sequence[str], options: Options) -> tuple[Array, Array]:
    """log10 factors of each setting [M, F] and accuracy [n, M] of the seeds they share, at matched completions. Arms
    that draw no groups have no factors and are left out."""
    draws = ~pl.col("arm").is_in(options.controls) & (pl.col("role") == "verified")
    rows = table.frame.filter(draws & pl.all_horizontal(pl.col(varied).is_not_null()))
    arms: Mapping[str, Grid] = arm_grids(Table(rows, None, table.source, table.notes))
    factors = {arm: rows.filter(pl.col("arm") == arm).select(varied).unique() for arm in arms}
    whole = {arm: g for arm, g in arms.items() if factors[arm].height == 1 and np.isfinite(g.values).all()}
    spent = {arm: _completions(rows, grid) for arm, grid in whole.items()}
    most = min((values[-1] for values in spent.values()), default=0.0)
    units = sorted(set.intersection(*(set(grid.units) for grid in whole.values()))) if whole else []
    columns = np.empty((len(units), len(whole)))
    for j, (arm, grid) in enumerate(whole.items()):
        pooled = grid.at(units, grid.budgets).values.mean(axis=2)
        columns[:, j] = [np.interp(np.log(most), np.log(spent[arm]), row) for row in pooled]
    logs = [np.log10(np.array(factors[arm].row(0), dtype=float)) for arm in whole]
    return np.array(logs).reshape(-1, len(varied)), columns


def _completions(rows: pl.DataFrame, grid: Grid) -> Array:
    """[K] mean completions of an arm at its budgets, which are steps where every row has one (x may differ by seed)."""
    key = budget_column(rows)
    own = rows.filter(pl.col("arm") == grid.arm).with_columns(pl.col(key, "completions").cast(pl.Float64))
    return np.array([own.filter(pl.col(key).is_close(at))["completions"].mean() for at in grid.budgets])


def quadratic_peak(settings: Array, values: Array) -> Array | None:
    """Where a full quadratic through values [M] at settings [M, F] has its maximum, [F]; None unless it is one, inside
    the settings' range."""
    m, f = settings.shape
    centre = settings.mean(axis=0)
    u = settings - centre
    pairs = [(i, j) for i in range(f) for j in range(i, f)]
    design = np.column_stack([np.ones(m), u, *(u[:, i] * u[:, j] for i, j in pairs)])
    if np.linalg.matrix_rank(design) < design.shape[1]:
        return None
    coefficients = np.linalg.lstsq(design, values, rcond=None)[0]
    hessian = np.zeros((f, f))
    for (i, j), value in zip(pairs, coefficients[1 + f :]):
        hessian[i, j] += value
        hessian[j, i] += value
    if np.linalg.eigvalsh(hessian).max() >= 0:
        return None
    top = centre - np.linalg.solve(hessian, coefficients[1 : 1 + f])
    inside = (settings.min(axis=0) <= top) & (top <= settings.max(axis=0))
    return top if inside.all() else None
