"""Verdicts on learning curves: one record per arm and task, and one per arm and role over all its tasks."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np
import polars as pl

from harness.analysis.data.curves import Curves, base_mean_curves, cell_curves, curves, has_budgets
from harness.analysis.data.options import Options
from harness.analysis.data.table import Table
from harness.analysis.data.table_checks import TableError
from harness.analysis.stats.contrasts import add_holm
from harness.analysis.stats.covariance import MeanCurve, mean_curve
from harness.analysis.stats.intervals import Estimate, estimate
from harness.analysis.stats.law_table import law_table, share_of_gain
from harness.analysis.stats.slopes import Slopes, slopes
from harness.analysis.verdict import robustness
from harness.analysis.verdict.decide import Decision, decide, extrapolations, widest_line_window
from harness.analysis.verdict.difficulty import difficulty_scaling, gain_by_base_success
from harness.analysis.verdict.learning_times import learning_times
from harness.analysis.verdict.power import effective_completions, shape_power, would_decide
from harness.analysis.verdict.record import SCHEMA_VERSION
from harness.analysis.verdict.rules import is_log_linear, rises
from harness.analysis.verdict.sentences import conditional_on, sentences
from harness.analysis.verdict.task_shares import calibration, confusion_by_truth, task_shares


@dataclass(frozen=True)
class Scope:
    """The part of a table that one verdict looks at: each arm's own table, of one model size."""

    arms: Mapping[str, Table]
    size: int | None
    options: Options
    _made: dict[tuple, Curves] = field(default_factory=dict)  # an arm is also a control of the others

    def whole(self, arm: str, tasks: Sequence[str]) -> Curves:
        """Curves at every budget above 0."""
        key = (arm, tuple(tasks))
        if key not in self._made:
            self._made[key] = curves(self.arms[arm], arm, tasks)
        return self._made[key]

    def windowed(self, arm: str, tasks: Sequence[str]) -> Curves:
        """Curves at the budgets that count: those from twice the warm-up on. Raises TableError where none is left."""
        return self.window(self.whole(arm, tasks))

    def window(self, whole: Curves) -> Curves:
        warmup = self.options.warmup
        kept = whole.between(2 * warmup)
        if len(kept.x) == 0:
            largest = f"largest {whole.x[-1]:g}"
            raise TableError(f"warmup={warmup:g} leaves no budget of {whole.arm!r} ({largest}); it is in units of x")
        return kept

    def cells(self, arm: str, tasks: Sequence[str]) -> dict[tuple, Curves]:
        """Curves of each (task, difficulty, setting)."""
        return {cell: self.window(part) for cell, part in cell_curves(self.arms[arm], arm, tasks).items()}

    def controls_of(self, c: Curves) -> dict[str, Curves]:
        """The control arms on the same tasks and window, base means where one has enough bases; none of a control."""
        names = self.options.controls
        if c.arm in names:
            return {}
        there = [name for name in names if name in self.arms and has_budgets(self.arms[name], name, c.tasks)]
        return {name: base_mean_curves(self.windowed(name, c.tasks), self.options.min_bases) for name in there}


def verdicts(table: Table, options: Options) -> list[dict]:
    """Every record of verdicts.json, pools before their tasks, ordered by arm, size and role."""
    scopes = {size: _scope(table, size, options) for size in {s for arm in table.arms for s in table.sizes(arm)}}
    records = []
    for arm in table.arms:
        own = [record for size in table.sizes(arm) for record in _arm_records(scopes[size], arm)]
        _add_left_out_sizes(own)
        records += own
    return records


def _scope(table: Table, size: int | None, options: Options) -> Scope:
    rows = table.frame.filter(pl.col("model_params").eq_missing(size))
    parts = rows.partition_by("arm", as_dict=True, maintain_order=True)
    return Scope({str(arm): replace(table, frame=part) for (arm,), part in parts.items()}, size, options)


def _arm_records(scope: Scope, arm: str) -> list[dict]:
    """Records of one arm; a role whose tasks have no budget above 0 yet has none."""
    records, table = [], scope.arms[arm]
    for role in table.roles(arm):
        tasks = [task for task in table.tasks(arm, role) if has_budgets(table, arm, [task])]
        if not tasks:
            continue
        own = [_record(scope, arm, [task], task, role) for task in tasks]
        pooled = _record(scope, arm, tasks, "all", role)
        pooled |= {} if arm in scope.options.controls else _mechanism(scope, arm, tasks)
        each = {task: scope.windowed(arm, [task]) for task in tasks}
        pooled["leave_one_task_out"] = robustness.leave_one_task_out(
            each, lambda others: scope.windowed(arm, others), scope.options.margin
        )
        shares = [record["verdict"] for record in own]
        pooled["task_shares"] = task_shares(shares, confusion_by_truth(calibration()["confusion"]))
        for family, name in product((own, [pooled]), ("p_rise", "p_claim")):
            add_holm(family, name)
        records += [pooled, *own]
    return records


def _record(scope: Scope, arm: str, tasks: Sequence[str], task: str, role: str) -> dict:
    """One record of verdicts.json."""
    options, whole = scope.options, scope.whole(arm, tasks)
    c = scope.window(whole)
    label = f"{arm}|{task}|{role}|{scope.size}".encode()
    rng = np.random.default_rng(np.random.SeedSequence(options.seed, spawn_key=(zlib.crc32(label),)))
    decision = decide(c, options, rng)
    judgement = decision.judgement
    clustered = base_mean_curves(c, options.min_bases)
    mean, s = mean_curve(clustered), slopes(np.log10(c.x), clustered.accuracy)
    laws, n_bases = law_table(mean, float(clustered.problem_noise.mean())), len(set(c.bases))
    controls, doubts = robustness.compare_with_controls(clustered, scope.controls_of(clustered))
    withheld = judgement.verdict in robustness.RISE_CLAIMS and bool(doubts)
    line_found = judgement.verdict == "log_linear"
    line = decision.line.record() if decision.line else None
    record = {
        "schema_version": SCHEMA_VERSION,
        "arm": arm,
        "task": task,
        "role": role,
        "model_params": scope.size,
        "rises": rises(judgement, s, options.margin, doubts),
        "is_log_linear": is_log_linear(judgement, decision.line),
        "verdict": judgement.verdict,
        "rule": judgement.rule,
        "reason": judgement.reason,
        **_numbers(c, clustered, s),
        "n_seeds": len(c.seeds),
        "n_bases": n_bases,
        "given": conditional_on(n_bases, options.min_bases),
        "share_of_gain": share_of_gain(mean, laws),
        "laws": laws,
        "line_fit": line,
        "line_window": None if line is None else widest_line_window(clustered, mean, rng.spawn(1)[0]),
        "rejections": decision.rejections or None,
        "extrapolation": extrapolations(mean),
        "p_rise": estimate(s.overall).p_above(),
        "p_claim": min(judgement.p, 1.0),
        "would_decide": _would_decide(decision, clustered, mean),
        "power": shape_power(float(np.mean(s.overall)), effective_completions(c), len(c.seeds)),
        "warmup_cuts": robustness.warmup_cuts(whole, options),
        "scales": robustness.other_scales(clustered),
        "mixture": robustness.mixture_artefact(c, scope.cells(arm, tasks)) if line_found else None,
        "collapsed_share": robustness.collapsed_share(c),
        "notes": list(c.notes),
        "controls": controls or None,
        "withheld": withheld,
        "withheld_reason": "; ".join(doubts) if withheld else None,
    }
    return record | {"sentences": sentences(record)}


def _numbers(c: Curves, clustered: Curves, s: Slopes) -> dict:
    """What was measured, whatever the verdict."""
    slope, r0 = estimate(s.overall), estimate(c.r0)
    thirds = [estimate(s.thirds[:, i]) for i in range(3)]
    return {
        "slope_per_decade": slope.mean,
        "slope_ci": _ci(slope),
        "rise": s.rise.mean,
        "rise_ci": _ci(s.rise),
        "thirds": [{"slope": e.mean, "ci": _ci(e)} for e in thirds if np.isfinite(e.mean)],
        "r0": r0.mean,
        "r0_ci": _ci(r0),
        "accuracy_first": float(c.accuracy[:, 0].mean()),
        "accuracy_last": float(c.accuracy[:, -1].mean()),
        "x_first": float(c.x[0]),
        "x_last": float(c.x[-1]),
        "decades": c.decades,
        "n_budgets": len(c.x),
        "curve": _band(clustered),
    }


def _band(c: Curves) -> dict[str, list]:
    """Mean and 95% band at each budget: t over replicates, the variance of having drawn these problems added."""
    shared = np.sqrt(c.problem_noise.mean(0))
    levels = [estimate(column) for column in c.accuracy.T]
    wide = [Estimate(e.mean, float(np.hypot(e.sd, extra * np.sqrt(e.n))), e.n) for e, extra in zip(levels, shared)]
    low, high = zip(*(e.interval() for e in wide))
    return {"x": c.x.tolist(), "mean": [e.mean for e in levels], "low": list(low), "high": list(high)}


def _ci(e: Estimate) -> list[float] | None:
    low, high = e.interval()
    return [low, high] if np.isfinite(low) and np.isfinite(high) else None


def _would_decide(decision: Decision, clustered: Curves, mean: MeanCurve) -> dict | None:
    """What would decide the shape of a curve; None where it is decided, or where more data would not decide it."""
    judgement, laws = decision.judgement, decision.laws_not_rejected
    line_may_stand = judgement.verdict == "indistinguishable" and bool(judgement.undecided or decision.rejections)
    if not line_may_stand and not (judgement.verdict == "not_log_linear" and judgement.undecided):
        return None
    need = would_decide(judgement.undecided, laws if line_may_stand else [], clustered, mean)
    return need | {"unit": "bases" if len(set(clustered.bases)) == len(clustered.bases) > 1 else "seeds"}


def _mechanism(scope: Scope, arm: str, tasks: Sequence[str]) -> dict:
    """What the cells of a pool show of why it has its shape: when each is learned, how that depends on difficulty, and
    what each gains beside its base success."""
    parts = scope.cells(arm, tasks)
    return {
        "learning_times": learning_times(parts, scope.windowed(arm, tasks), scope.options.margin),
        "difficulty_scaling": difficulty_scaling(parts),
        "gain_by_base_success": gain_by_base_success(parts, _group_size(scope.arms[arm], arm)),
    }


def _group_size(table: Table, arm: str) -> int | None:
    """Completions of a problem in RL, where the table has one number for the arm."""
    if "group_size" not in table.frame.columns:
        return None
    sizes = table.frame.filter(pl.col("arm") == arm)["group_size"].drop_nulls().unique().to_list()
    return int(sizes[0]) if len(sizes) == 1 else None


def _add_left_out_sizes(records: Sequence[dict]) -> None:
    """Leave-one-size-out prediction of the pooled slopes of one arm."""
    pools = [r for r in records if r["task"] == "all" and r["model_params"] is not None]
    for role in {r["role"] for r in pools}:
        same = [r for r in pools if r["role"] == role]
        left_out = robustness.leave_one_size_out({r["model_params"]: r["slope_per_decade"] for r in same})
        for r in same:
            r["leave_one_size_out"] = left_out[r["model_params"]] if left_out else None
