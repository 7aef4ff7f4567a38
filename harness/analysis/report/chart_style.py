"""What all charts share: colours, symbols and dashes of arms, readable names, log axes over budgets, data as rows."""

import colorsys
import re
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import polars as pl

from harness.analysis.report.curve_series import Axis

Chart = alt.Chart | alt.LayerChart

# Okabe and Ito's palette less black and yellow, which vanish on one of the two backgrounds.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#A6761D")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "triangle-down", "triangle-right", "triangle-left")
DASHES = ((1, 0), (6, 4), (2, 3), (6, 3, 2, 3), (10, 4), (10, 3, 2, 3))
GREY = "#888888"
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
LEGEND_WIDTH = 480  # points
GOLDEN = 0.618  # of the circle of hues: successive turns by it never come near a hue already taken

# Sizes and strokes of every chart; the page adds the colours of its light or dark side.
CONFIG: dict[str, Any] = {
    "view": {"stroke": None},
    "axis": {
        "labelFontSize": 11,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "labelLimit": 220,
        "gridWidth": 0.7,
    },
    "axisX": {"grid": False},
    "legend": {"labelFontSize": 11, "titleFontSize": 11, "titleFontWeight": "normal", "labelLimit": 330},
    "title": {"fontSize": 12, "anchor": "start", "fontWeight": 600},
    "line": {"strokeJoin": "round", "strokeCap": "butt"},
    "point": {"strokeWidth": 2},
}


def colour_of(i: int) -> str:
    """The colour of the i-th of a figure's arms: no two are alike, however many there are."""
    if i < len(COLOURS):
        return COLOURS[i]
    hue, lightness = (i * GOLDEN) % 1, (0.38, 0.5, 0.62)[i % 3]
    return "#" + "".join(f"{round(255 * part):02x}" for part in colorsys.hls_to_rgb(hue, lightness, 0.75))


def dash_of(i: int) -> tuple[int, ...]:
    return DASHES[i % len(DASHES)]


def readable(name: str) -> str:
    """A name of the configuration in words: shuffled_within_group → shuffled within group."""
    return name.replace("_", " ").strip() or name


def natural_order(text: str) -> list[tuple[float, str]]:
    """A key that sorts "difficulty 2" before "difficulty 10", and words by name before what follows them."""
    parts = re.split(r"(\d+(?:\.\d+)?)", text)
    return [(float(part), "") if i % 2 else (-1, part) for i, part in enumerate(parts)]


def sentence_case(text: str) -> str:
    return text[:1].upper() + text[1:]


def inline(frame: pl.DataFrame | Sequence[Mapping[str, Any]]) -> alt.InlineData:
    """Rows as a chart holds them, numbers to six figures, what is not finite as a gap. A tuple, which Altair passes on
    where it copies a list row by row, for each layer."""
    data = frame if isinstance(frame, pl.DataFrame) else pl.DataFrame(frame, infer_schema_length=None)
    floats = pl.selectors.float()
    finite = data.with_columns(pl.when(floats.is_finite()).then(floats.round_sig_figs(6)))
    return alt.InlineData(values=tuple(finite.to_dicts()))


def legend_of(labels: Sequence[str], **style: Any) -> alt.Legend | None:
    """A legend above the plot, where it covers nothing, as many labels beside one another as fit (page.js does the same
    for the reader's width); none for a single label."""
    if len(labels) < 2:
        return None
    columns = max(1, min(len(labels), int(LEGEND_WIDTH // (6.2 * max(map(len, labels)) + 34))))
    return alt.Legend(title=None, orient="top", columns=columns, symbolOpacity=1, **style)


def arm_channels(
    labels: Sequence[str], legend: bool = True, places: Sequence[tuple[int, int]] | None = None
) -> dict[str, Any]:
    """Colour, shape and dash of each label. places: the numbers of its colour and of its dash, by default its own."""
    places = places or [(i, i) for i in range(len(labels))]
    shown: Any = legend_of(labels) if legend else None

    def channel(kind: Any, values: Sequence[Any]) -> Any:
        return kind("label:N", scale=alt.Scale(domain=list(labels), range=list(values)), legend=shown)

    return {
        "color": channel(alt.Color, [colour_of(i) for i, _ in places]),
        "shape": channel(alt.Shape, [SYMBOLS[i % len(SYMBOLS)] for i, _ in places]),
        "strokeDash": channel(alt.StrokeDash, [list(dash_of(j)) for _, j in places]),
    }


def line_channels(labels: Sequence[str], first: int = 0) -> dict[str, Any]:
    """Colour and dash of lines without symbols, from the `first` on; the legend shows pieces of them."""
    places = [(first + i, first + i) for i in range(len(labels))]
    channels = only(arm_channels(labels, places=places), "color", "strokeDash")
    for one in channels.values():
        one.legend = legend_of(labels, symbolType="stroke", symbolSize=300)
    return channels


def only(channels: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: channels[name] for name in names}


def budget_x(axis: Axis, titled: bool = True) -> alt.X:
    """The log axis over budgets; the page exchanges it for another one when the reader switches axes."""
    scale = alt.Scale(type="log", domain=[10**end for end in axis.range], nice=False)
    labels = "".join(f"abs(datum.value / {value:.17g} - 1) < 1e-6 ? '{text}' : " for value, text in axis.ticks) + "''"
    ticks = alt.Axis(
        values=[value for value, _ in axis.ticks],
        labelExpr=labels,
        title=axis.title if titled else None,
        labelOverlap=True,
    )
    return alt.X(f"{axis.name}:Q", scale=scale, axis=ticks)


def log_ticks(title: str) -> alt.Axis:
    """A log axis whose powers of ten are written as such from a million on, other ticks as numbers."""
    power = "round(log(datum.value) / LN10)"
    raised = [str(n).translate(RAISED) for n in range(31)]
    whole = f"abs(log(datum.value) / LN10 - {power}) < 1e-6"
    labels = f"datum.value < 1e6 ? format(datum.value, '~g') : {whole} ? '10' + {raised}[{power}] : ''"
    return alt.Axis(title=title, labelExpr=labels, labelOverlap=True, tickCount=5)


def log_x(field: str, title: str) -> alt.X:
    """A log axis of one chart alone: its field is none of the axes that the page switches."""
    return alt.X(f"{field}:Q", scale=alt.Scale(type="log", nice=False), axis=log_ticks(title))


def before_rule(axes: Sequence[Axis]) -> alt.Chart:
    """The dotted line between the policy before RL and the budgets."""
    data = inline([{axis.name: axis.gap for axis in axes}])
    return alt.Chart(data).mark_rule(strokeDash=[2, 3], color=GREY).encode(budget_x(axes[0]))


def horizontal_line(y: float = 0.0) -> alt.Chart:
    """A horizontal line at y."""
    return alt.Chart(inline([{"level": y}])).mark_rule(color=GREY).encode(alt.Y("level:Q"))


def tooltip(*names: str, **formats: str) -> list[alt.Tooltip]:
    """The tooltip of a mark: names as they are, and numbers in their formats."""
    words = [alt.Tooltip(f"{name}:N") for name in names]
    return words + [alt.Tooltip(f"{name}:Q", format=form) for name, form in formats.items()]


def accuracy_tooltip(axes: Sequence[Axis], *names: str) -> list[alt.Tooltip]:
    """What a point says: its names, its accuracy, and where it lies on the axis shown."""
    return [*tooltip(*names, accuracy=".3f"), alt.Tooltip(f"{axes[0].name}:Q", title=axes[0].title, format=",.4~g")]
