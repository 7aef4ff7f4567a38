"""Charts of a comparison: curves of groups of runs, and where they ended over the settings that were swept."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import polars as pl

from harness.analysis.report.budget_charts import value_curves
from harness.analysis.report.chart_style import Chart, arm_channels, log_ticks, sentence_case, tooltip
from harness.analysis.report.compare_runs import Group, setting_words, sort_key
from harness.analysis.report.curve_series import Axis
from harness.analysis.report.gain_charts import heat_maps, lines_chart

Curves = Mapping[str, pl.DataFrame]  # label → as of group_curve
Places = Mapping[str, tuple[int, int]]  # label → the numbers of its colour and of its dash


def places_of(groups: Sequence[Group]) -> dict[str, tuple[int, int]]:
    """Of two settings swept, the one with more values gives the colour and the other the dashes."""
    factors = grid_factors(groups)
    if factors is None:
        return {group.label: (i, i) for i, group in enumerate(groups)}
    tall, wide = (values_of(groups, name) for name in factors)
    return {g.label: (tall.index(g.settings[factors[0]]), wide.index(g.settings[factors[1]])) for g in groups}


def values_of(groups: Sequence[Group], name: str) -> list[Any]:
    """The values of a swept setting, each once, in order."""
    return sorted({repr(group.settings[name]): group.settings[name] for group in groups}.values(), key=sort_key)


def grid_factors(groups: Sequence[Group]) -> tuple[str, str] | None:
    """The two swept settings, the one with more values first; None where one, or more, were."""
    names = list(groups[0].settings)
    if len(names) != 2:
        return None
    counts = [len(values_of(groups, name)) for name in names]
    return (names[0], names[1]) if counts[0] >= counts[1] else (names[1], names[0])


def accuracy_range(curves: Sequence[pl.DataFrame]) -> tuple[float, float]:
    """From the lowest to the highest run of all, to full tenths."""
    low = min(curve["low"].to_numpy().min() for curve in curves)
    high = max(curve["high"].to_numpy().max() for curve in curves)
    return math.floor(low * 10 - 1e-9) / 10 if low > 0.02 else 0.0, min(1.0, math.ceil(high * 10 + 1e-9) / 10)


def group_curves(
    curves: Curves, axes: Sequence[Axis], places: Places, limits: tuple[float, float] | None = None
) -> Chart:
    """Mean of each group, with limits also a band from its lowest to its highest run; budget 0 has its place at the
    left."""
    rows = pl.concat([curve.with_columns(label=pl.lit(label)) for label, curve in curves.items()], how="diagonal")
    channels = arm_channels(list(curves), legend=False, places=[places[label] for label in curves])
    if limits is None:
        return value_curves(rows.drop("low", "high"), axes, channels)
    return value_curves(rows, axes, channels, alt.Scale(domain=limits, nice=False))


def end_maps(groups: Sequence[Group], ends: Mapping[str, Curves]) -> dict[str, Chart]:
    """For each role the last accuracy over the two swept settings as a heat map; all on one scale of colours."""
    factors = grid_factors(groups)
    if factors is None:
        return {}
    tall, wide = factors
    shown = sorted(groups, key=lambda group: [sort_key(group.settings[name]) for name in factors])
    panels = {
        f"{sentence_case(role)} tasks": [
            {"x": setting_words(wide, group.settings[wide]), "y": setting_words(tall, group.settings[tall]),
             "accuracy": curve["value"][-1], "shown": f"{curve['value'][-1]:.2f}"}
            for group in shown
            if (curve := curves.get(group.label)) is not None
        ]
        for role, curves in ends.items()
    }  # fmt: skip
    return heat_maps(panels, "accuracy")


def end_line(groups: Sequence[Group], ends: Mapping[str, Curves]) -> Chart | None:
    """Last accuracy of each role over the one swept setting, from the lowest to the highest run; None where it is not a
    number, or has two values."""
    names = list(groups[0].settings)
    if len(names) != 1 or len(groups) < 3 or any(sort_key(g.settings[names[0]])[0] for g in groups):
        return None
    rows = [
        {"setting": float(group.settings[names[0]]), "label": role, "accuracy": curve["value"][-1],
         "low": curve["low"][-1], "high": curve["high"][-1]}
        for role, curves in ends.items()
        for group in groups
        if (curve := curves.get(group.label)) is not None
    ]  # fmt: skip
    values = [float(group.settings[names[0]]) for group in groups]
    x = alt.X("setting:Q", scale=alt.Scale(zero=False, padding=10), axis=alt.Axis(title=names[0]))
    if min(values) > 0 and max(values) >= 5 * min(values):
        x = alt.X("setting:Q", scale=alt.Scale(type="log", nice=False, padding=10), axis=log_ticks(names[0]))
    y = alt.Y("accuracy:Q", title="accuracy", scale=alt.Scale(zero=False))
    return lines_chart(rows, x, y, tooltip("label", setting="~g", accuracy=".3f"), intervals=True)
