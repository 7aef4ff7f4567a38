"""Charts of a comparison: curves of groups of runs, and where they ended over the settings that were swept."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np
import polars as pl

from harness.analysis.report.budget_charts import PANEL_HEIGHT
from harness.analysis.report.chart_style import (
    Chart,
    before_rule,
    budget_x,
    colour_of,
    dash_of,
    inline,
    legend_of,
    log_ticks,
    sentence_case,
)
from harness.analysis.report.compare_runs import Curve, Group, setting_words, sort_key
from harness.analysis.report.curve_series import Axis

CELL_HEIGHT = 30


@dataclass(frozen=True)
class Style:
    colour: str
    dash: tuple[int, ...]


def styles_of(groups: Sequence[Group]) -> dict[str, Style]:
    """By label. Of two settings swept, the one with more values gives the colour and the other the dashes."""
    factors = grid_factors(groups)
    if factors is None:
        return {group.label: Style(colour_of(i), dash_of(i)) for i, group in enumerate(groups)}
    values = [values_of(groups, name) for name in factors]
    places = {g.label: [own.index(g.settings[name]) for own, name in zip(values, factors)] for g in groups}
    return {label: Style(colour_of(i), dash_of(j)) for label, (i, j) in places.items()}


def values_of(groups: Sequence[Group], name: str) -> list[Any]:
    """The values of a swept setting, each once, in order."""
    found: list[Any] = []
    for group in groups:
        if group.settings[name] not in found:
            found.append(group.settings[name])
    return sorted(found, key=sort_key)


def grid_factors(groups: Sequence[Group]) -> tuple[str, str] | None:
    """The two swept settings, the one with more values first; None where one, or more, were."""
    names = list(groups[0].settings)
    if len(names) != 2:
        return None
    counts = [len(values_of(groups, name)) for name in names]
    return (names[0], names[1]) if counts[0] >= counts[1] else (names[1], names[0])


def accuracy_range(curves: Sequence[Curve]) -> tuple[float, float]:
    """From the lowest to the highest run of all, to full tenths."""
    low, high = min(c.low.min() for c in curves), max(c.high.max() for c in curves)
    return math.floor(low * 10 - 1e-9) / 10 if low > 0.02 else 0.0, min(1.0, math.ceil(high * 10 + 1e-9) / 10)


def group_curves(
    curves: Mapping[str, Curve],
    axes: Sequence[Axis],
    styles: Mapping[str, Style],
    limits: tuple[float, float] | None = None,
) -> Chart:
    """Mean of each group, and from its lowest to its highest run as a band; without limits no band, as a small
    multiple. Budget 0 has its place at the left."""
    rows = pl.concat([_rows(label, curve, axes) for label, curve in curves.items()], how="diagonal")
    known = list(curves)
    colour = alt.Scale(domain=known, range=[styles[label].colour for label in known])
    dash = alt.Scale(domain=known, range=[list(styles[label].dash) for label in known])
    scale = alt.Scale(zero=False) if limits is None else alt.Scale(domain=list(limits), nice=False)
    y = alt.Y("value:Q", title=None, scale=scale, axis=alt.Axis(format="~g", tickCount=5))
    base = alt.Chart(inline(rows)).encode(
        budget_x(axes[0], titled=limits is not None),
        alt.Color("label:N", scale=colour, legend=None),
        tooltip=["label:N", alt.Tooltip("value:Q", format=".4~g")],
    )
    lines = [base.mark_line(strokeWidth=1.8).encode(y, alt.StrokeDash("label:N", scale=dash, legend=None))]
    if limits is None:
        return alt.layer(*lines, base.mark_point(filled=True, size=14).encode(y)).properties(height=PANEL_HEIGHT)
    band = base.mark_area(opacity=0.16).encode(alt.Y("low:Q", scale=scale, title=None), alt.Y2("high:Q"))
    points = base.mark_point(filled=True, size=22).encode(y)
    return alt.layer(before_rule(axes), band, *lines, points).properties(height=PANEL_HEIGHT + 20)


def _rows(label: str, curve: Curve, axes: Sequence[Axis]) -> pl.DataFrame:
    x = {a.name: np.where(curve.axes[a.name] > 0, curve.axes[a.name], a.zero) for a in axes if a.name in curve.axes}
    return pl.DataFrame(x | {"value": curve.mean, "low": curve.low, "high": curve.high}).with_columns(
        label=pl.lit(label)
    )


def end_maps(groups: Sequence[Group], ends: Mapping[str, Mapping[str, Curve]]) -> dict[str, Chart]:
    """For each role the last accuracy over the two swept settings as a heat map; all on one scale of colours."""
    factors = grid_factors(groups)
    if factors is None:
        return {}
    values = [curve.mean[-1] for curves in ends.values() for curve in curves.values()]
    return {
        f"{sentence_case(role)} tasks": _end_map(
            [g for g in groups if g.label in curves], curves, factors, (min(values), max(values))
        )
        for role, curves in ends.items()
    }


def _end_map(
    groups: Sequence[Group], curves: Mapping[str, Curve], factors: tuple[str, str], limits: tuple[float, float]
) -> Chart:
    tall, wide = factors
    rows = [
        {"x": setting_words(wide, group.settings[wide]), "y": setting_words(tall, group.settings[tall]),
         "accuracy": float(curves[group.label].mean[-1])}
        for group in groups
    ]  # fmt: skip
    order = {
        axis: [setting_words(name, value) for value in values_of(groups, name)]
        for axis, name in (("x", wide), ("y", tall))
    }
    low, high = limits
    scale = alt.Scale(domain=[low, high if high > low else low + 1e-6], scheme="blues")
    on_dark = f"datum.accuracy > {(low + high) / 2:.6g}"
    base = alt.Chart(inline(rows)).encode(
        alt.X("x:N", sort=order["x"], title=None, axis=alt.Axis(labelAngle=0, orient="top", labelLimit=90)),
        alt.Y("y:N", sort=order["y"], title=None, axis=alt.Axis(grid=False, labelLimit=140)),
        tooltip=["x:N", "y:N", alt.Tooltip("accuracy:Q", format=".3f")],
    )
    number = base.mark_text(fontSize=12).encode(
        alt.Text("accuracy:Q", format=".2f"),
        alt.condition(on_dark, alt.ColorValue("#ffffff"), alt.ColorValue("#111111")),
    )
    cells = base.mark_rect().encode(alt.Color("accuracy:Q", scale=scale, legend=None))
    return alt.layer(cells, number).properties(height=CELL_HEIGHT * len(order["y"]))


def end_line(groups: Sequence[Group], ends: Mapping[str, Mapping[str, Curve]]) -> Chart | None:
    """Last accuracy of each role over the one swept setting, from the lowest to the highest run; None where it is not a
    number, or has two values."""
    names = list(groups[0].settings)
    if len(names) != 1 or len(groups) < 3 or any(sort_key(g.settings[names[0]])[0] for g in groups):
        return None
    rows = [
        {"setting": float(group.settings[names[0]]), "label": role, "accuracy": float(curve.mean[-1]),
         "low": float(curve.low[-1]), "high": float(curve.high[-1])}
        for role, curves in ends.items()
        for group in groups
        if (curve := curves.get(group.label)) is not None
    ]  # fmt: skip
    values = [float(group.settings[names[0]]) for group in groups]
    log = min(values) > 0 and max(values) >= 5 * min(values)
    x = alt.X(
        "setting:Q",
        scale=alt.Scale(type="log", nice=False, padding=10) if log else alt.Scale(zero=False, padding=10),
        axis=log_ticks(names[0]) if log else alt.Axis(title=names[0]),
    )
    roles = list(ends)
    scale = alt.Scale(domain=roles, range=[colour_of(i) for i in range(len(roles))])
    base = alt.Chart(inline(rows)).encode(x, alt.Color("label:N", scale=scale, legend=legend_of(roles)))
    y = alt.Y("accuracy:Q", title="accuracy", scale=alt.Scale(zero=False))
    told = ["label:N", "setting:Q", alt.Tooltip("accuracy:Q", format=".3f")]
    return alt.layer(
        base.mark_rule(strokeWidth=1.5).encode(alt.Y("low:Q", title="accuracy"), alt.Y2("high:Q")),
        base.mark_line().encode(y),
        base.mark_point(filled=True, size=45, opacity=1).encode(y, tooltip=told),
    ).properties(height=PANEL_HEIGHT + 50)
