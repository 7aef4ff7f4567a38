"""What the bases could do before any RL, and what of it is out of reach."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from harness.analysis.report.html import Section, html_table, paragraphs
from harness.analysis.stats.formatting import counted, format_number

HEADER = ("task", "role", "difficulty", "setting", "success before RL", "of", "groups with signal", "reach")


def reach_section(found: Sequence[Mapping[str, Any]]) -> Section:
    """found: records of Reach (harness/study/reach.py), one for each kind of base."""
    parts = []
    for reach in found:
        rows = [
            [
                cell["task"],
                cell["role"],
                str(cell["difficulty"]),
                cell["setting"],
                format_number(cell["success"]),
                f"{cell['completions']:,}",
                f"{cell['signal']:.0%}",
                cell["state"],
            ]
            for cell in reach["cells"]
        ]
        caption = f"{reach['policy']}: {reach['source']}; groups of {reach['group_size']}."
        table = html_table(caption, HEADER, rows, 4)
        parts += [
            f"<h3>{escape(reach['policy'])}</h3>",
            paragraphs(reach["sentences"]),
            f"<details><summary>{counted(len(rows), 'cell')}</summary>{table}</details>",
        ]
    return Section("reach", "What was within reach", "".join(parts))
