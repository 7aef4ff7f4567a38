"""What the bases could do before any RL, and what of it is out of reach."""

from collections.abc import Callable, Sequence
from html import escape

from harness.analysis.report.html import Section, folded, paragraphs, record_table
from harness.analysis.stats.formatting import Record, counted, format_number

COLUMNS: dict[str, Callable[[Record], str]] = {
    "task": lambda cell: cell["task"],
    "role": lambda cell: cell["role"],
    "difficulty": lambda cell: str(cell["difficulty"]),
    "setting": lambda cell: cell["setting"],
    "success before RL": lambda cell: format_number(cell["success"]),
    "of": lambda cell: f"{cell['completions']:,}",
    "groups with signal": lambda cell: f"{cell['signal']:.0%}",
    "reach": lambda cell: cell["state"],
}


def reach_section(found: Sequence[Record]) -> Section:
    """found: records of Reach (harness/study/reach.py), one for each kind of base."""
    parts = []
    for reach in found:
        caption = f"{reach['policy']}: {reach['source']}; groups of {reach['group_size']}."
        table = record_table(caption, reach["cells"], COLUMNS, 4)
        parts += [
            f"<h3>{escape(reach['policy'])}</h3>",
            paragraphs(reach["sentences"]),
            folded(counted(len(reach["cells"]), "cell"), table),
        ]
    return Section("reach", "What was within reach", "".join(parts))
