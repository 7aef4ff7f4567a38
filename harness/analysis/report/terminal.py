"""The answer printed in a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group
from rich.table import Table as Grid
from rich.text import Text

from harness.analysis.report.report_page import main_pools
from harness.analysis.report.sections import several_sizes
from harness.analysis.report.verdict_cards import VERDICT_LABELS, VERDICT_TONES
from harness.analysis.stats.formatting import format_count, format_interval, format_number

Record = Mapping[str, Any]
SHORT = {"yes": "yes", "no": "no", "undecided": "?"}


def terminal_summary(verdicts: Sequence[Record], transfer: Record) -> Group:
    """The answer for a terminal: a line for each pool, and what transfer found."""
    pools = [v for v in verdicts if v["task"] == "all"]
    sized, with_roles = several_sizes(pools), len({v["role"] for v in pools}) > 1
    gap = 1 if sized and with_roles else 2  # fits 80 columns
    grid = Grid(box=None, padding=(0, gap, 0, 0), pad_edge=False)
    answered = not (sized and with_roles)  # there is room for the two answers
    names = ("arm", *["size"] * sized, *["tasks"] * with_roles, *["rises", "line"] * answered)
    columns = (*names, "verdict", "slope per decade (95%)")
    for column in columns:
        grid.add_column(column, no_wrap=True)
    for v in pools:
        word = "Withheld" if v.get("withheld") else VERDICT_LABELS[v["verdict"]]
        style = {"good": "green", "bad": "red"}.get(VERDICT_TONES.get(v["verdict"], ""), "yellow")
        slope = f"{format_number(v['slope_per_decade'], sign=True)} ({format_interval(v['slope_ci'], sign=True)})"
        cells = (v["arm"], *[format_count(v["model_params"])] * sized, *[v["role"]] * with_roles)
        cells += tuple(SHORT.get(v.get(name, ""), "–") for name in ("rises", "is_log_linear")) if answered else ()
        grid.add_row(*cells, Text(word, style=style), slope)
    main = main_pools(verdicts, transfer["real_arm"])
    lines = [f"Of {format_count(main[0]['model_params'])} parameters:"] if sized and main else []
    lines += [text for v in main for text in v.get("sentences", [])] + list(transfer["sentences"][:3])
    lacks = [f"missing: {lack}" for lack in transfer["missing"]]
    return Group(grid, *(Text(line) for line in lines), *(Text(lack, style="dim") for lack in lacks))
