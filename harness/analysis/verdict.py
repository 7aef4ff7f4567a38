"""Verdicts on learning curves: one record per arm and task, and one per arm and role over all its tasks."""

import zlib
from collections.abc import Mapping, Sequence

import numpy as np

from harness.analysis import checks
from harness.analysis.covariance import MeanCurve, mean_curve
from harness.analysis.curves import Curves, cells, curves, measured
from harness.analysis.evidence import CURVED, HIDDEN_LAST, extrapolation, rejection_p
from harness.analysis.intervals import Estimate, estimate, holm
from harness.analysis.law_table import law_table, share_of_gain
from harness.analysis.options import Options
from harness.analysis.power import effective_problems, shape_power, would_decide
from harness.analysis.sentences import given, sentences
from harness.analysis.shape import Judgement, Slopes, judge, missing, slopes
from harness.analysis.table import Table, TableError

Evidence = tuple[dict[str, float], dict[str, dict]]


def verdicts(table: Table, options: Options) -> list[dict]:
    """Every record of verdicts.json, pools before their tasks, ordered by arm, size and role."""
    records = []
    for arm in table.arms:
        by_size = [_arm_records(table, arm, size, options) for size in table.sizes(arm)]
        _add_left_out_sizes(by_size)
        records += [record for group in by_size for record in group]
    return records


def decide(c: Curves, options: Options, rng: np.random.Generator) -> tuple[Judgement, Evidence]:
    """The ordered rules on one set of curves. Returns the judgement, and for a candidate line the p-value of each
    curved law and both extrapolations (empty where an earlier rule decided)."""
    n_seeds = len(c.accuracy)
    z = np.log10(c.x)
    if lacks := missing(len(c.x), c.decades, n_seeds, options):
        return Judgement("insufficient_data", 0, f"too little data: a verdict needs {', '.join(lacks)}", 1.0, {}), (
            {},
            {},
        )
    c = checks.by_base(c, options.min_bases)
    found = judge(slopes(z, c.accuracy), options.margin)
    if found.verdict != "log_linear":
        return found, ({}, {})
    mean = mean_curve(c)
    p = {name: rejection_p(name, mean, options.bootstraps, rng) for name in CURVED}
    hidden = {
        "last_4x": extrapolation(mean, HIDDEN_LAST),
        "top_half": extrapolation(mean, (z[-1] - z[0]) / 2),
    }
    return _gate(found, mean, p, hidden), (p, hidden)


def _gate(found: Judgement, mean: MeanCurve, p: dict[str, float], hidden: dict[str, dict]) -> Judgement:
    """Rule 6's rejections and the gating extrapolation."""
    left = [name for name in CURVED if p[name] >= 0.05]
    if left:
        why = "" if mean.has_zero else " (budget 0 was not evaluated for every replicate, which leaves R0 free)"
        reason = f"a line fits, but so does {', '.join(f'{name} (p {p[name]:.2f})' for name in left)}{why}"
        return Judgement("indistinguishable", 7, reason, 1.0, {})
    if not hidden["last_4x"]["passed"]:
        reason = (
            "a line fits, but fails to predict the hidden last factor of four (against two baselines, and in range)"
        )
        return Judgement("indistinguishable", 7, reason, 1.0, {})
    worst = max(p.values())
    reason = f"{found.reason}, every curved law is rejected (p at most {worst:.3f}) and hidden budgets are predicted"
    return Judgement("log_linear", 6, reason, max(found.p, *p.values()), {})


def _arm_records(table: Table, arm: str, size: int | None, options: Options) -> list[dict]:
    """Records of one arm and model size."""
    records = []
    for role in table.roles(arm):
        tasks = [task for task in table.tasks(arm, role) if measured(table, arm, [task], size)]
        if not tasks:
            continue
        per_task = {task: _window(curves(table, arm, [task], size=size), options) for task in tasks}
        pool = _window(curves(table, arm, tasks, size=size), options)
        own = [_record(table, c, task, role, size, options) for task, c in per_task.items()]
        _add_holm(own)
        pooled = _record(table, pool, "all", role, size, options)
        rest = {
            t: _window(curves(table, arm, [o for o in tasks if o != t], size=size), options)
            for t in tasks
            if len(tasks) > 2
        }
        pooled["leave_one_task_out"] = checks.leave_one_task_out(per_task, rest, options.margin)
        _add_holm([pooled])
        records += [pooled, *own]
    return records


def _window(c: Curves, options: Options) -> Curves:
    """The budgets that count: those from twice the warm-up on."""
    kept = c.between(2 * options.warmup)
    if len(kept.x) == 0:
        raise TableError(
            f"warmup={options.warmup:g} leaves no budget of {c.arm!r} (largest {c.x[-1]:g}); it is in units of x"
        )
    return kept


def _record(table: Table, c: Curves, task: str, role: str, size: int | None, options: Options) -> dict:
    """One record of verdicts.json."""
    label = f"{c.arm}|{task}|{role}|{size}"
    rng = np.random.default_rng(np.random.SeedSequence(options.seed, spawn_key=(zlib.crc32(label.encode()),)))
    judgement, (p, hidden) = decide(c, options, rng)
    clustered = checks.by_base(c, options.min_bases)
    s = slopes(np.log10(c.x), clustered.accuracy)
    mean = mean_curve(clustered)
    laws = law_table(mean)
    n_bases = len(set(c.bases))
    record = {
        "arm": c.arm, "task": task, "role": role, "model_params": size,
        "verdict": judgement.verdict, "rule": judgement.rule, "reason": judgement.reason,
        **_numbers(c, clustered, s),
        "n_seeds": len(c.seeds), "n_bases": n_bases, "given": given(n_bases, options.min_bases),
        "share_of_gain": share_of_gain(mean, laws), "laws": laws, "rejections": p or None,
        "extrapolation": hidden or _extrapolations(mean),
        "p_rise": estimate(s.overall).p_above(), "p_claim": min(judgement.p, 1.0),
        "would_decide": _would_decide(judgement, p, clustered),
        "power": shape_power(float(np.mean(s.overall)), effective_problems(c), len(c.seeds)),
        "warmup_cuts": checks.warmup_cuts(_unwindowed(table, c, size), options),
        "scales": checks.other_scales(clustered) if judgement.rule else None,
        "mixture": _mixture(table, c, size, options) if judgement.verdict == "log_linear" else None,
        "collapsed_share": checks.collapsed_share(c),
        "notes": list(c.notes),
    }  # fmt: skip
    record |= _withholding(table, clustered, judgement, role, size, options)
    return record | {"sentences": sentences(record)}


def _numbers(c: Curves, clustered: Curves, s: Slopes) -> dict:
    """What was measured, whatever the verdict."""
    slope, r0 = estimate(s.overall), estimate(c.r0)
    level = estimate_columns(clustered)
    return {
        "slope_per_decade": slope.mean, "slope_ci": _ci(slope), "rise": s.rise.mean, "rise_ci": _ci(s.rise),
        "thirds": [
            {"slope": e.mean, "ci": _ci(e)} for e in (estimate(s.thirds[:, i]) for i in range(3)) if np.isfinite(e.mean)
        ],
        "r0": r0.mean, "r0_ci": _ci(r0), "accuracy_first": float(c.accuracy[:, 0].mean()),
        "accuracy_last": float(c.accuracy[:, -1].mean()), "x_first": float(c.x[0]), "x_last": float(c.x[-1]),
        "decades": c.decades, "n_budgets": len(c.x),
        "curve": {"x": c.x.tolist(), "mean": level[0], "low": level[1], "high": level[2]},
    }  # fmt: skip


def estimate_columns(c: Curves) -> tuple[list[float], list[float | None], list[float | None]]:
    """Mean and 95% band at each budget: t over replicates, the variance of having drawn these problems added."""
    shared = np.sqrt(c.problem_noise.mean(0))
    means, lows, highs = [], [], []
    for column, extra in zip(c.accuracy.T, shared):
        e = estimate(column)
        low, high = Estimate(e.mean, float(np.hypot(e.sd, extra * np.sqrt(e.n))), e.n).interval()
        means.append(e.mean)
        lows.append(low)
        highs.append(high)
    return means, lows, highs


def _ci(e: Estimate) -> list[float] | None:
    low, high = e.interval()
    return [low, high] if np.isfinite(low) and np.isfinite(high) else None


def _extrapolations(mean: MeanCurve) -> dict[str, dict]:
    width = float(mean.z[-1] - mean.z[0])
    return {"last_4x": extrapolation(mean, HIDDEN_LAST), "top_half": extrapolation(mean, width / 2)}


def _would_decide(judgement: Judgement, p: dict[str, float], c: Curves) -> dict | None:
    if judgement.verdict != "indistinguishable":
        return None
    return would_decide(judgement.undecided, c, [name for name, value in p.items() if value >= 0.05])


def _unwindowed(table: Table, c: Curves, size: int | None) -> Curves:
    return curves(table, c.arm, c.tasks, size=size)


def _mixture(table: Table, c: Curves, size: int | None, options: Options) -> dict | None:
    parts = [_window(part, options) for part in cells(table, c.arm, c.tasks, size).values()]
    return checks.mixture_artefact(c, parts)


def _withholding(table: Table, c: Curves, judgement: Judgement, role: str, size: int | None, options: Options) -> dict:
    """Controls of an arm that is none itself, and whether they withhold a claim that RL raised the curve."""
    nothing = {"controls": None, "withheld": False, "withheld_reason": None}
    if c.arm in options.controls:
        return nothing
    controls = _controls(table, c, role, size, options)
    if not controls:
        return nothing
    found, reasons = checks.against_controls(c, controls)
    withheld = judgement.verdict in checks.CLAIMS and bool(reasons)
    return {"controls": found, "withheld": withheld, "withheld_reason": "; ".join(reasons) if withheld else None}


def _controls(table: Table, c: Curves, role: str, size: int | None, options: Options) -> Mapping[str, Curves]:
    """Curves of each control arm on the same tasks and window, base means where the arm has them."""
    found = {}
    for name in options.controls:
        if name != c.arm and measured(table, name, c.tasks, size):
            control = _window(curves(table, name, c.tasks, size=size), options)
            found[name] = checks.by_base(control, options.min_bases)
    return found


def _add_holm(records: Sequence[dict]) -> None:
    """Holm-adjusted p-values over the tasks of one arm and role."""
    for name in ("p_rise", "p_claim"):
        for record, p in zip(records, holm([record[name] for record in records])):
            record[f"{name}_holm"] = p


def _add_left_out_sizes(by_size: Sequence[Sequence[dict]]) -> None:
    """Leave-one-size-out prediction of the pooled slopes, where an arm has three sizes or more."""
    pools = [r for records in by_size for r in records if r["task"] == "all" and r["model_params"] is not None]
    for role in {r["role"] for r in pools}:
        same = [r for r in pools if r["role"] == role]
        left_out = checks.leave_one_size_out({r["model_params"]: r["slope_per_decade"] for r in same})
        for r in same:
            r["leave_one_size_out"] = left_out[r["model_params"]] if left_out else None
