"""The reach table in a terminal."""

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from harness.core.groups import signal_share
from harness.study.reach import CellReach, Reach, reach_sentences

MOST_NAMED = 3  # of the bases that are not pretrained yet
STYLES = {"out of reach": "red", "solved": "green", "within reach": ""}


def reach_tables(reaches: Sequence[Reach]) -> Iterator[RenderableType]:
    """A table of each reach that is known, and a line on all of which no base is pretrained yet."""
    yield from (reach_table(reach) for reach in reaches if reach.cells)
    if unknown := [reach for reach in reaches if not reach.cells]:
        names = [reach.policy for reach in unknown]
        of = ", ".join(names) if len(names) <= MOST_NAMED else f"{len(names)} kinds of base"
        yield Text(f"reach of {of}: unknown, {unknown[0].source}; a launch shows it once it is", style="yellow")


def reach_table(reach: Reach) -> RenderableType:
    """Success before RL by difficulty, below a verified task the share of its groups that will carry signal, and in
    words what is out of reach and what is solved."""
    fewest, most = (f(cell.completions for cell in reach.cells) for f in (min, max))
    counted = f"{most:,}" if fewest == most else f"{fewest:,} to {most:,}"
    title = f"success before RL of {reach.policy} ({reach.source}; {counted} completions a cell)"
    table = RichTable(box=None, padding=(0, 1), pad_edge=False)
    difficulties = sorted({cell.name.difficulty for cell in reach.cells})
    table.add_column("difficulty")
    for difficulty in difficulties:
        table.add_column(str(difficulty), justify="right")
    for label, by_difficulty in _by_task(reach):
        cells = [by_difficulty.get(difficulty) for difficulty in difficulties]
        table.add_row(label, *(_success(cell) for cell in cells))
        if any(cell and cell.role == "verified" for cell in cells):
            shares = ("" if c is None else f"{signal_share(c.success, reach.group_size):.0%}" for c in cells)
            table.add_row("  groups with signal", *shares, style="dim")
    return Group(Text(title), table, *(Text(sentence) for sentence in reach_sentences(reach)))


def _by_task(reach: Reach) -> Iterator[tuple[str, dict[int, CellReach]]]:
    rows: dict[str, dict[int, CellReach]] = {}
    for cell in reach.cells:
        setting = f", {cell.name.setting}" if cell.name.setting else ""
        label = f"{cell.name.task}{setting}" + (" (unverified)" if cell.role == "unverified" else "")
        rows.setdefault(label, {})[cell.name.difficulty] = cell
    yield from rows.items()


def _success(cell: CellReach | None) -> Text:
    if cell is None:
        return Text("")
    text = f"{cell.success:.2f}".removeprefix("0") if cell.success >= 0.01 else "<.01"
    return Text(text if cell.correct else "0", style=STYLES[cell.state])
