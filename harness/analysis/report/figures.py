"""A figure, once for the page and for papers: titled panels, written as PNG and PDF, and as the page's data."""

import base64
import functools
import json
import re
import textwrap
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert

from harness.analysis.report.chart_style import CONFIG, Chart

PNG_SCALE = 2.0  # dots a point
SMALL = 220  # points: width of a panel among many
WIDTH = 480


@dataclass(frozen=True)
class Figure:
    """title: what is seen, in words. caption: what is drawn. panels: their headings → charts; one alone is headed "".
    columns: of the printed figure."""

    title: str
    caption: str
    panels: Mapping[str, Chart]
    columns: int = 1

    @cached_property
    def specs(self) -> dict[str, dict[str, Any]]:
        """Each panel's Vega-Lite specification, unstyled. Not validated, which takes longer than all else."""
        whole = {heading: chart.to_dict(validate=False) for heading, chart in self.panels.items()}
        return {
            heading: {k: v for k, v in spec.items() if k not in ("$schema", "config")}
            for heading, spec in whole.items()
        }

    def _repr_png_(self) -> bytes:
        """What a notebook shows."""
        return vl_convert.svg_to_png(svg_of(self), scale=PNG_SCALE)


def single(title: str, caption: str, chart: Chart) -> Figure:
    return Figure(title, caption, {"": chart})


def printed(figure: Figure) -> dict[str, Any]:
    """The figure as one Vega-Lite specification, its title above, in the colours for paper."""
    width = WIDTH if figure.columns == 1 else max(SMALL, WIDTH * 3 // 2 // figure.columns)
    columns = min(figure.columns, len(figure.panels))
    lines = textwrap.wrap(figure.title, max(40, round(columns * width / 6.5)))
    specs = figure.specs.values()
    top = {
        "$schema": alt.SCHEMA_URL,
        "config": CONFIG | {"background": "white"},
        "title": {"text": lines, "anchor": "start", "offset": 10},
        "datasets": {name: rows for spec in specs for name, rows in spec.get("datasets", {}).items()},
        "params": [param for spec in specs for param in spec.get("params", [])],  # which must stand at the top
    }
    panels = [
        {name: part for name, part in spec.items() if name not in top}
        | {"width": width}
        | ({"title": heading} if heading else {})
        for heading, spec in figure.specs.items()
    ]
    return panels[0] | top if len(panels) == 1 else top | {"concat": panels, "columns": columns}


def write_figures(folder: Path, figures: Mapping[str, Figure]) -> list[Path]:
    """Writes each figure as PNG and PDF, named as in `figures`; returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{kind}" for name in figures for kind in ("png", "pdf")]
    for figure, png, pdf in zip(figures.values(), paths[::2], paths[1::2]):
        svg = svg_of(figure)
        png.write_bytes(vl_convert.svg_to_png(svg, scale=PNG_SCALE))
        pdf.write_bytes(vl_convert.svg_to_pdf(svg))
    return paths


def svg_of(figure: Figure) -> str:
    # Exponents become raised digits: the converter's own font lacks most of Unicode's superscripts.
    plain = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "−0123456789")
    raised = '<tspan baseline-shift="super" font-size="70%">{}</tspan>'
    svg = vl_convert.vegalite_to_svg(printed(figure))
    return re.sub("[⁻⁰¹²³⁴-⁹]+", lambda found: raised.format(found[0].translate(plain)), svg)


def packed(content: Any) -> str:
    """JSON for a script element, compressed, as base64, in which no markup can stand; page.js unpacks it."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


@functools.cache
def page_library() -> str:
    """Vega, Vega-Lite and vega-embed as one script that fetches nothing."""
    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
