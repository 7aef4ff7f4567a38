"""The section on laws: fits and residuals, their parameters by arm, and what is predicted of hidden budgets."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
import polars as pl

from harness.analysis.data.arrays import Array
from harness.analysis.report import budget_charts as charts
from harness.analysis.report.chart_style import GREY, Chart, arm_channels, inline, readable, sentence_case, tooltip
from harness.analysis.report.curve_series import Axis, Series
from harness.analysis.report.figures import Figure, single
from harness.analysis.report.gain_charts import forest_chart
from harness.analysis.report.html import Section, record_table
from harness.analysis.stats.formatting import Record, format_number, format_p, format_significant

SEED, TASK = "a seed of a pool", "a task, mean"
LEAST_SHOWN = 3  # budgets that a line is drawn through
# Panels by arm: heading → (parameter of the hill law, or "" for the slope; whether the axis is logarithmic).
PARAMETERS = {
    "Slope per decade": ("", False),
    "Ceiling A": ("A", False),
    "Steepness B": ("B", False),
    "x at half of the gain": ("x_mid", True),
}


def laws_section(
    verdicts: Sequence[Record], pools: Sequence[Record], drawn: Mapping[str, Sequence[Series]], axes: Sequence[Axis]
) -> Section:
    """Every candidate law on the real arm's pools, residuals, held-out extrapolation and the table of laws; then the
    parameters of every arm, and predicted against measured at hidden budgets."""
    parts: list[str | dict[str, Figure]] = []
    for record in pools:
        role, fits = record["role"], record.get("laws") or {}
        one = next(iter(drawn[role]), None)
        parts.append(f"<h3>{role.capitalize()} tasks</h3>")
        if one is None or not fits:
            parts.append("<p>No law has fewer parameters than there are budgets.</p>")
            continue
        parts += [
            {f"laws_{role}": law_figure(role, one, fits, axes)},
            law_fit_table(role, fits, record.get("rejections") or {}),
            extrapolation_table(role, record.get("extrapolation") or {}),
        ]
    if (arms := law_parameters(verdicts, pools)) is not None:
        parts += ["<h3>Every arm</h3>", {"law_parameters": arms}]
    if (predicted := prediction_figure(verdicts, drawn)) is not None:
        parts += ["<h3>Hidden budgets</h3>", {"predicted": predicted}]
    return Section("laws", "Candidate laws", *parts)


def law_figure(role: str, one: Series, fits: Mapping[str, Record], axes: Sequence[Axis]) -> Figure:
    """The laws on the mean curve, and what each leaves over."""
    known = {name: fit["aicc"] for name, fit in fits.items() if fit.get("aicc") is not None}
    best = f": {readable(min(known, key=known.__getitem__))} describes it best" if len(known) > 1 else ""
    panels = {"Measured and fitted": charts.law_fits(one, axes, fits)}
    if set(fits) > {"constant"}:
        panels["Residuals"] = charts.residuals(one, axes, fits)
    return Figure(
        f"{len(fits)} law{'s' * (len(fits) > 1)} on {role} accuracy{best}",
        "Every candidate law, fitted to the mean curve, and what each leaves over; bars are 95% intervals, open points "
        "are hidden in the held-out extrapolation. Laws explain; they do not decide.",
        panels,
        columns=2,
    )


def law_fit_table(role: str, fits: Mapping[str, Record], rejections: Mapping[str, float]) -> str:
    """Parameters with intervals, AICc differences, held-out error and rejection p of each law."""
    best = min((fit["aicc"] for fit in fits.values() if fit.get("aicc") is not None), default=None)
    ranked = sorted(fits.items(), key=lambda item: (item[1].get("aicc") is None, item[1].get("aicc")))
    records = [{**fit, "law": name, "p": rejections.get(name)} for name, fit in ranked]
    columns = {
        "law": lambda fit: fit["law"],
        "parameters (95%)": lambda fit: "; ".join(
            _parameter(key, value, fit["intervals"].get(key)) for key, value in fit["parameters"].items()
        ),
        "flags": _flags,
        "ΔAICc": lambda fit: format_number(None if fit.get("aicc") is None else fit["aicc"] - best, 1),
        "held-out error": lambda fit: format_number(fit.get("held_out_error")),
        "rejection p": lambda fit: format_p(fit["p"]),
    }
    caption = f"Laws of {role} tasks by ΔAICc (display only); held-out error relative to the gain."
    return record_table(caption, records, columns, 3)


def _flags(fit: Record) -> str:
    flags = ["at bound"] * bool(fit.get("at_bound")) + ["not converged"] * (fit.get("converged") is False)
    return ", ".join(flags) or "–"


def _parameter(name: str, value: float | None, interval: Sequence[float] | str | None) -> str:
    known = isinstance(interval, Sequence) and not isinstance(interval, str)
    ends = " to ".join(map(format_significant, interval)) if known else "not identified"
    return f"{name} {format_significant(value)} ({ends})"


def extrapolation_table(role: str, found: Mapping[str, Record]) -> str:
    """The line's prediction of hidden budgets beside the two baselines."""
    names = {"last_4x": "last factor of 4", "top_half": "top half of the decades"}
    answers = {True: "yes", False: "no", None: "–"}
    columns = {
        "hidden": lambda e: e["name"],
        "budgets": lambda e: str(e["hidden"]),
        "line": lambda e: format_number(e["line"]),
        "last value": lambda e: format_number(e["last_value"]),
        "last slope": lambda e: format_number(e["last_slope"]),
        "line covers": lambda e: answers[e["covers"]],
        "passed": lambda e: answers[e["passed"]],
    }
    records = [{**e, "name": names.get(key, key)} for key, e in found.items()]
    return record_table(f"Held-out extrapolation on {role} tasks: error relative to the gain.", records, columns)


def law_parameters(verdicts: Sequence[Record], real: Sequence[Record]) -> Figure | None:
    """The slope and the hill law's parameters of each arm's pools, those of the real arm in the title; None where there
    are fewer than two arms."""
    pools = [v for v in verdicts if v["task"] == "all" and v["slope_ci"]]
    if len({pool["arm"] for pool in pools}) < 2:
        return None
    sizes = len({pool["model_params"] for pool in pools}) > 1
    panels, roles = {}, list(dict.fromkeys(pool["role"] for pool in pools))
    for heading, (name, log) in PARAMETERS.items():
        rows = [row for pool in pools if (row := _parameter_row(pool, name, sizes)) is not None]
        if rows:
            panels[heading] = forest_chart(rows, roles, heading if name else "accuracy per decade", log=log)
    slopes = [f"{format_number(v['slope_per_decade'], sign=True)} a decade on {v['role']} tasks" for v in real]
    return Figure(
        f"{sentence_case(readable(real[0]['arm']))}: {', '.join(slopes)}" if real else "Slopes and parameters by arm",
        "Least-squares slope, and ceiling, steepness and middle of the hill law, of each pool, with 95% intervals; "
        "parameters that the data do not identify are left out.",
        panels,
        columns=2,
    )


def _parameter_row(pool: Record, name: str, sizes: bool) -> dict[str, Any] | None:
    """The pool's value and interval of a parameter of the hill law, or of the slope for ""; None if not identified."""
    value, interval = pool["slope_per_decade"], pool["slope_ci"]
    if name:
        hill = (pool.get("laws") or {}).get("hill") or {}
        value, interval = (hill.get(part, {}).get(name) for part in ("parameters", "intervals"))
    if value is None or interval is None or isinstance(interval, str):
        return None
    arm = readable(pool["arm"]) + (f", {pool['model_params']:,}" if sizes else "")
    return {"row": arm, "label": pool["role"], "mean": value, "low": interval[0], "high": interval[1]}


def hidden_predictions(x: Array, values: Array) -> tuple[Array, Array, Array] | None:
    """At budgets x [K] with values [K]: the budgets of the last factor of four [H], what a line in log x through the
    budgets before predicts there [H], and the last value before [H]; None with fewer than three before."""
    hidden = x > x[-1] / charts.HIDDEN_FACTOR * (1 + 1e-9)
    if (~hidden).sum() < LEAST_SHOWN:
        return None
    z, seen = np.log10(x), values[~hidden]
    return x[hidden], np.polyval(np.polyfit(z[~hidden], seen, 1), z[hidden]), np.full(hidden.sum(), seen[-1])


def prediction_rows(verdicts: Sequence[Record], drawn: Mapping[str, Sequence[Series]]) -> list[dict[str, Any]]:
    """A row for each hidden budget of every seed of every arm's pools, and of every task of the real arm."""
    curves = [
        (one.label, f"{role}, {seed}", SEED, own["x"].to_numpy(), own["accuracy"].to_numpy())
        for role, series in drawn.items()
        for one in series
        for (seed,), own in one.runs.filter(pl.col("x") > 0).group_by("seed", maintain_order=True)
    ]
    real = {series[0].arm: series[0].label for series in drawn.values() if series}
    curves += [
        (real[v["arm"]], readable(v["task"]), TASK, np.array(v["curve"]["x"]), np.array(v["curve"]["mean"]))
        for v in verdicts
        if v["task"] != "all" and v["arm"] in real and v.get("curve")
    ]
    rows = []
    for label, name, kind, x, values in curves:
        if (found := hidden_predictions(x, values)) is not None:
            about = {"label": label, "curve": name, "kind": kind}
            numbers = zip(*found, values[-len(found[0]) :])
            rows += [about | dict(zip(("x", "predicted", "last", "measured"), each)) for each in numbers]
    return rows


def prediction_figure(verdicts: Sequence[Record], drawn: Mapping[str, Sequence[Series]]) -> Figure | None:
    """Measured against predicted accuracy at the hidden budgets; None where no curve has budgets enough."""
    rows = prediction_rows(verdicts, drawn)
    if not rows:
        return None
    measured, *others = (np.array([row[name] for row in rows]) for name in ("measured", "predicted", "last"))
    line, last = (np.sqrt(np.mean((predicted - measured) ** 2)) for predicted in others)
    better = "better" if line < last else "no better"
    return single(
        f"A line through earlier budgets predicts hidden ones {better} than their last value: off by {line:.3f} "
        f"against {last:.3f}",
        "Accuracy at the budgets of the last factor of four, measured against the line through those before: each seed "
        "of each arm's pools (circles), and each task of the real arm (squares). Errors are root mean squares.",
        prediction_chart(rows),
    )


def prediction_chart(rows: Sequence[Record]) -> Chart:
    labels = list(dict.fromkeys(row["label"] for row in rows))
    ends = [min(min(row["predicted"], row["measured"]) for row in rows), max(row["measured"] for row in rows)]
    diagonal = alt.Chart(inline([{"predicted": end, "measured": end} for end in ends]))
    x = alt.X("predicted:Q", title="accuracy predicted", scale=alt.Scale(zero=False))
    y = alt.Y("measured:Q", title="accuracy measured", scale=alt.Scale(zero=False))
    told = tooltip("label", "curve", x=",.4~g", predicted=".3f", measured=".3f")
    points = alt.Chart(inline(rows)).mark_point(filled=True, size=28, opacity=0.7)
    shape = alt.Shape("kind:N", scale=alt.Scale(domain=[SEED, TASK], range=["circle", "square"]), legend=None)
    return alt.layer(
        diagonal.mark_line(color=GREY, strokeDash=[4, 4]).encode(x, y),
        points.encode(x, y, shape, arm_channels(labels)["color"], tooltip=told),
    ).properties(height=charts.HEIGHT)
