"""The answer printed in a terminal of 80 columns."""

from collections.abc import Sequence

from rich.console import Group
from rich.table import Table as Grid
from rich.text import Text

from harness.analysis.report.report_page import ROLES, main_pools
from harness.analysis.report.sections import several_sizes
from harness.analysis.report.verdict_cards import VERDICT_TONES, answer_word
from harness.analysis.stats.formatting import Record, format_count, format_number
from harness.analysis.verdict.primary import PrimaryRecord

MOST_TASKS = 12  # of a role; more are in the report
TERMS = "Accuracies are means over seeds. Per decade: for each tenfold of compute. More: docs/explanation/verdicts.md."


def terminal_summary(verdicts: Sequence[Record], transfer: Record, primary: PrimaryRecord | None = None) -> Group:
    """First and last accuracy and its change: of all tasks of a role in each arm, verified ones first, then of each
    task in the arm of interest; then what was found, in sentences, and the answer to the registered measure."""
    main = main_pools(verdicts, transfer["real_arm"])
    sized = several_sizes([v for v in verdicts if v["task"] == "all"])
    grids = [_pools(verdicts, role, sized) for role in ROLES] + [_tasks(verdicts, main, role) for role in ROLES]
    lines = [f"Of {format_count(main[0]['model_params'])} parameters:"] if sized and main else []
    lines += [text for v in main for text in v.get("sentences", [])] + list(transfer["sentences"][:3])
    lines += [] if primary is None else [f"Registered measure: {primary.sentence}.", *_undecided(primary)]
    notes = [*(f"missing: {lack}" for lack in transfer["missing"]), TERMS]
    shown = [grid for grid in grids if grid is not None]
    spaced = [part for grid in shown for part in (grid, Text())]
    return Group(*spaced, *(Text(line) for line in lines), *(Text(note, style="dim") for note in notes))


def _undecided(primary: PrimaryRecord) -> list[str]:
    return [f"What would decide it: {primary.what_would_decide}"] if primary.what_would_decide else []


def _grid(name: str, *more: str) -> Grid:
    grid = Grid(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    grid.add_column(name, overflow="fold")
    for column in more:
        grid.add_column(column, justify="right" if column in ("size", "first", "last", "change") else "left")
    return grid


def _levels(v: Record) -> tuple[str, str, str]:
    first, last = v.get("accuracy_first"), v.get("accuracy_last")
    change = None if first is None or last is None else last - first
    return format_number(first), format_number(last), format_number(change, sign=True)


def _pools(verdicts: Sequence[Record], role: str, sized: bool) -> Grid | None:
    """A row for each arm over all its tasks of a role; None where there is none."""
    pools = [v for v in verdicts if v["task"] == "all" and v["role"] == role]
    grid = _grid(f"all {role} tasks", *["size"] * sized, "first", "last", "change", "log-linear?")
    for v in pools:
        tone = "" if v.get("withheld") else VERDICT_TONES.get(v["verdict"], "")
        word = Text(answer_word(v), style={"good": "green", "bad": "red"}.get(tone, "yellow"))
        grid.add_row(v["arm"], *[format_count(v["model_params"])] * sized, *_levels(v), word)
    return grid if pools else None


def _tasks(verdicts: Sequence[Record], main: Sequence[Record], role: str) -> Grid | None:
    """A row for each task of a role in the arm, and of the size, that `main` is about; None where there is none or but
    one, which is the pool."""
    pool = next((v for v in main if v["role"] == role), None)
    same = ("arm", "role", "model_params")
    own = [v for v in verdicts if pool and v["task"] != "all" and all(v.get(k) == pool.get(k) for k in same)]
    if pool is None or len(own) < 2:
        return None
    grid = _grid(f"{role} tasks of {pool['arm']}", "first", "last", "change")
    for v in own[:MOST_TASKS]:
        grid.add_row(v["task"], *_levels(v))
    if len(own) > MOST_TASKS:
        grid.add_row(f"and {len(own) - MOST_TASKS} more, in the report")
    return grid
