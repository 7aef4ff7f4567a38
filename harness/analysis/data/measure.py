"""A registered measure of a run table, seed by seed: weighted means of a metric over cells, paired between arms."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import comb
from typing import Any

import numpy as np
import polars as pl

from harness.analysis.data.difficulty_times import FEWEST_DIFFICULTIES, difficulty_exponents
from harness.analysis.data.grids import ACCURACY, Array, base_means
from harness.analysis.data.rise import rise_decades
from harness.analysis.data.table import Table
from harness.analysis.data.table_checks import CELL, TableError, budget_column, typed_problems
from harness.config.roles import cells_there
from harness.config.schema.study import DIFFICULTY_EXPONENT, RISE_DECADES, RISE_TO_ONE_DECADES, Measure, MeasureTerm
from harness.core.errors import nearest

# A metric of a whole curve: its value by (base, seed), and why a replicate has none.
FEW, SHORT = f"solve fewer than {FEWEST_DIFFICULTIES} difficulties", "do not pass a tenth and nine tenths of the way"
CURVE_METRICS = {
    DIFFICULTY_EXPONENT: (difficulty_exponents, f"{FEW} within the budgets"),
    RISE_DECADES: (rise_decades, "do not rise, or rise before the first budget"),
    RISE_TO_ONE_DECADES: (partial(rise_decades, end=1.0), f"{SHORT} within the budgets"),
}
PASS_ALL = re.compile(r"pass_all_at_([1-9]\d*)")


@dataclass(frozen=True)
class MeasureValues:
    """numerator, denominator: [n] a value for each replicate that every term has, or for each base where there are
    enough, none where an arm has none; denominator is None where nothing divides. unit: seeds or bases. notes: what was
    left out or assumed."""

    numerator: Array
    denominator: Array | None
    unit: str
    notes: tuple[str, ...]


def measure_values(table: Table, measure: Measure, min_bases: int) -> MeasureValues:
    """The sums of `measure.terms` and of `measure.per` at each replicate. Raises TableError, which names what there is,
    for an arm, metric, step or cells that the table lacks."""
    frame = with_metric(table, measure.metric)
    base = "base_seed" if "base_seed" in frame.columns and not frame["base_seed"].null_count() else "base_id"
    frame = frame.with_columns(pl.col(base).cast(pl.String).alias("base"))
    columns, notes = [], []
    for i, term in enumerate((*measure.terms, *measure.per)):
        values, own = _term_values(frame, term, measure, table.source)
        columns.append(values.rename({"value": f"term {i}"}))
        notes += own
    if any(map(pl.DataFrame.is_empty, columns)):  # such as of an exponent of what is not solved
        return MeasureValues(np.empty(0), np.empty(0) if measure.per else None, "seeds", tuple(dict.fromkeys(notes)))
    known = pl.concat(columns, how="align").sort("base", "seed")
    shared = known.drop_nulls()
    if shared.is_empty():
        fix = "run the arms with the same seeds; bases are paired by the column base_seed, else by base_id"
        raise TableError("the registered measure", "its arms share no seed", fix)
    if lost := sorted(known.join(shared, on=["base", "seed"], how="anti")["seed"]):
        notes.append(f"{len(lost)} of {len(known)} replicates left out, which not every arm has there: seeds {lost}")
    units = shared.select("base", "seed").rows()
    weighted = shared.drop("base", "seed").to_numpy() * [term.weight for term in (*measure.terms, *measure.per)]
    numerator, denominator = (
        base_means(part.sum(axis=1), units, min_bases) for part in np.split(weighted, [len(measure.terms)], axis=1)
    )
    unit = "bases" if len(numerator) < len(units) else "seeds"
    return MeasureValues(numerator, denominator if measure.per else None, unit, tuple(dict.fromkeys(notes)))


def with_metric(table: Table, metric: str) -> pl.DataFrame:
    """The table's rows with the metric as `value`. Raises TableError for a metric that it cannot give."""
    if metric == "accuracy" or metric in CURVE_METRICS:
        return table.frame.with_columns(ACCURACY.alias("value"))
    if found := PASS_ALL.fullmatch(metric):
        return _with_pass_all(table, int(found[1]))
    column = table.frame[metric].cast(pl.Float64, strict=False) if metric in table.frame.columns else None
    if column is None or column.null_count() == len(column):
        numeric = [name for name, kind in table.frame.schema.items() if kind.is_numeric()]
        known = ["accuracy", "pass_all_at_K", *CURVE_METRICS, *numeric]
        close = nearest(metric, known)
        fix = f"did you mean {' or '.join(close)}?" if close else choices_text(known)
        raise TableError(f"metric {metric}", "the run table has no such column of numbers", fix)
    return table.frame.with_columns(column.alias("value"))


def _with_pass_all(table: Table, k: int) -> pl.DataFrame:
    """Mean over problems of C(c, k) / C(n, k), c of n samples right: the unbiased chance that k samples all are."""
    if table.problems is None:
        fix = "put problems.parquet beside the table, or choose another metric"
        raise TableError(f"metric pass_all_at_{k}", "it needs the counts of each problem", fix)
    most = min(table.problems["k"].to_list(), default=0)
    if k > most:
        fix = f"choose K of at most {most}, or raise evaluation.samples"
        raise TableError(f"metric pass_all_at_{k}", f"the table has {most} samples of each problem", fix)
    pairs = table.problems.select("k", "n_correct").unique()
    chance = [comb(c, k) / comb(n, k) for n, c in pairs.rows()]
    key = ["run_id", "x", *CELL]
    cells = typed_problems(table.problems).join(pairs.with_columns(pl.Series("value", chance)), on=["k", "n_correct"])
    return table.frame.join(cells.group_by(key).agg(pl.col("value").mean()), on=key, how="left")


def _term_values(
    frame: pl.DataFrame, term: MeasureTerm, measure: Measure, source: str
) -> tuple[pl.DataFrame, list[str]]:
    """By base and seed the mean over the term's cells of each replicate that has all of them, or a metric of its curve;
    and notes."""
    (rows, notes), unit = _rows_of_arm(frame, term, source), ["base", "seed"]
    if measure.metric in CURVE_METRICS:
        of_curves, lacks = CURVE_METRICS[measure.metric]
        found, replicates = of_curves(rows), rows.select(unit).n_unique()
        if lacking := replicates - len(found):
            notes.append(f"arm {term.arm}: {lacking} of {replicates} replicates {lacks} and are left out")
        return found, notes
    rows = _at(rows, term)
    if gaps := rows["value"].null_count():
        fix = "choose the tasks that have it, or another metric"
        raise TableError(f"metric {measure.metric}", f"{gaps} of {rows.height} rows of arm {term.arm} have none", fix)
    whole = rows.select(CELL).n_unique()
    complete = rows.filter(pl.len().over(unit) == whole)
    if lacking := rows.select(unit).n_unique() - complete.select(unit).n_unique():
        notes.append(f"arm {term.arm}: {lacking} replicates lack some of its {whole} cells and are left out")
    alike = complete if measure.alike == "cells" else complete.group_by(*unit, "task").agg(pl.col("value").mean())
    return alike.group_by(unit).agg(pl.col("value").mean()), notes


def _rows_of_arm(frame: pl.DataFrame, term: MeasureTerm, source: str) -> tuple[pl.DataFrame, list[str]]:
    """The rows of the term's cells, of the arm's largest model."""
    arms = frame["arm"].unique(maintain_order=True).to_list()
    if term.arm not in arms:
        raise TableError(f"arm {term.arm} of the registered measure", f"{source} has no rows of it", choices_text(arms))
    rows, notes = frame.filter(pl.col("arm") == term.arm), []
    if (sizes := rows["model_params"].n_unique()) > 1:
        largest = rows["model_params"].max()
        rows = rows.filter(pl.col("model_params") == largest)
        notes.append(f"arm {term.arm}: the largest of {sizes} model sizes, {largest:,} parameters")
    cells = rows.select("role", *CELL).unique(maintain_order=True)
    chosen = cells.filter([term.selects(*cell) for cell in cells.rows()])
    if chosen.is_empty():
        fix = cells_there(cells.rows())
        raise TableError(f"arm {term.arm} of the registered measure", "a term of it selects no cell", fix)
    return rows.join(chosen, on=["role", *CELL]), notes


def choices_text(names: Sequence[Any]) -> str:
    """What there is to choose from, as the fix of an error."""
    return f"there are {', '.join(map(str, names))}"


def _at(rows: pl.DataFrame, term: MeasureTerm) -> pl.DataFrame:
    """The rows at the budget of the term: the arm's first, its last, or a step."""
    key = budget_column(rows)
    if isinstance(term.at, int) and key == "x":
        raise TableError(f"step {term.at} of arm {term.arm}", "the table has no steps", "use first or last")
    budgets = rows[key].unique().sort().to_list()
    budget = {"first": budgets[0], "last": budgets[-1]}.get(term.at, term.at)
    if budget not in budgets:
        raise TableError(f"step {term.at} of arm {term.arm}", "nothing was evaluated there", choices_text(budgets))
    return rows.filter(pl.col(key) == budget)
