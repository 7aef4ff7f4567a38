"""A figure, once for the page and for papers: titled panels, written as PNG and PDF, and as the page's data."""

import functools
import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import vl_convert

from harness.analysis.report.chart_style import CONFIG, Chart

PNG_SCALE = 2.0  # dots a point
SMALL = 220  # points: width of a panel among many
WIDTH = 480
WORTH_SHARING = 40  # characters of a part


@dataclass(frozen=True)
class Figure:
    """title: what is seen, in words. caption: what is drawn. panels: their headings → charts; one alone is headed "".
    columns: of the printed figure."""

    title: str
    caption: str
    panels: Mapping[str, Chart]
    columns: int = 1

    @property
    def panel_width(self) -> int:
        return WIDTH if self.columns == 1 else max(SMALL, WIDTH * 3 // 2 // self.columns)

    @cached_property
    def specs(self) -> dict[str, dict[str, Any]]:
        """Each panel's Vega-Lite specification. Not validated, which takes longer than all else."""
        return {heading: chart.to_dict(validate=False) for heading, chart in self.panels.items()}

    def _repr_png_(self) -> bytes:
        """What a notebook shows."""
        return vl_convert.svg_to_png(svg_of(self), scale=PNG_SCALE)


def single(title: str, caption: str, chart: Chart) -> Figure:
    return Figure(title, caption, {"": chart})


def printed(figure: Figure) -> dict[str, Any]:
    """The figure as one Vega-Lite specification, its title above, in the colours for paper."""
    width = figure.panel_width
    columns = min(figure.columns, len(figure.panels))
    lines = textwrap.wrap(figure.title, max(40, round(columns * width / 6.5)))
    specs = list(figure.specs.values())
    top = {
        "$schema": specs[0]["$schema"],
        "config": CONFIG | {"background": "white"},
        "title": {"text": lines, "anchor": "start", "offset": 10},
        "datasets": {name: rows for spec in specs for name, rows in spec.get("datasets", {}).items()},
        "params": shared_params(specs),
    }
    panels = [
        {name: part for name, part in spec.items() if name not in top}
        | {"width": width}
        | ({"title": heading} if heading else {})
        for heading, spec in figure.specs.items()
    ]
    return panels[0] | top if len(panels) == 1 else top | {"concat": panels, "columns": columns}


def shared_params(specs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The parameters of all panels, which must stand at the top; one of a name, for the views of all that have it."""
    found: dict[str, dict[str, Any]] = {}
    for param in (param for spec in specs for param in spec.get("params", [])):
        before = found.get(param["name"], {})
        found[param["name"]] = {**param, "views": [*before.get("views", []), *param.get("views", [])]}
    return list(found.values())


def write_figures(folder: Path, figures: Mapping[str, Figure]) -> list[Path]:
    """Writes each figure as PNG and PDF, named as in `figures`; returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    return [path for name, figure in figures.items() for path in write_figure(folder / name, figure)]


def svg_of(figure: Figure) -> str:
    return raise_exponents(vl_convert.vegalite_to_svg(printed(figure)))


def write_figure(stem: Path, figure: Figure) -> list[Path]:
    svg = svg_of(figure)
    paths = [stem.with_name(f"{stem.name}.{kind}") for kind in ("png", "pdf")]
    paths[0].write_bytes(vl_convert.svg_to_png(svg, scale=PNG_SCALE))
    paths[1].write_bytes(vl_convert.svg_to_pdf(svg))
    return paths


def raise_exponents(svg: str) -> str:
    """Exponents as raised digits: the converter's own font lacks most of Unicode's superscripts."""
    plain = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "−0123456789")
    raised = '<tspan baseline-shift="super" font-size="70%">{}</tspan>'
    return re.sub("[⁻⁰¹²³⁴-⁹]+", lambda found: raised.format(found[0].translate(plain)), svg)


def page_spec(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A panel as the page keeps it: its data by columns, which takes a third of the room of rows."""
    data = {name: as_columns(rows) for name, rows in spec.get("datasets", {}).items()}
    return {key: value for key, value in spec.items() if key not in ("$schema", "config")} | {"datasets": data}


def as_columns(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def compact_json(content: Any) -> str:
    """JSON for a script element in which parts that occur again stand once: {"content": …, "parts": […]}, a part in its
    places as {"$": number}. Axes, colours and budgets are the same in most panels."""
    seen: dict[str, list[int]] = {}  # the text of a part → how often it occurs, its number among the parts
    parts: list[Any] = []

    def text(value: Any) -> str:
        return json.dumps(value, allow_nan=False, separators=(",", ":"))

    def count(value: Any) -> None:
        if isinstance(value, dict | list) and len(key := text(value)) >= WORTH_SHARING:
            times = seen.setdefault(key, [0, -1])
            times[0] += 1
            if times[0] == 1:  # what lies within a part that occurs again lies there once
                for each in value.values() if isinstance(value, dict) else value:
                    count(each)

    def shared(value: Any) -> Any:
        if not isinstance(value, dict | list):
            return value
        times = seen.get(text(value), [1, -1])
        if times[0] > 1 and times[1] >= 0:
            return {"$": times[1]}
        whole = {k: shared(v) for k, v in value.items()} if isinstance(value, dict) else [shared(v) for v in value]
        if times[0] == 1:
            return whole
        times[1] = len(parts)
        parts.append(whole)
        return {"$": times[1]}

    count(content)
    # No "<" within the script: "<!--<script>" in a name would keep the browser from seeing where it ends.
    return text({"content": shared(content), "parts": parts}).replace("<", "\\u003c")


@functools.cache
def page_library() -> str:
    """Vega, Vega-Lite and vega-embed as one script that fetches nothing."""
    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
