"""The runs of an output folder as a table for people."""

from fnmatch import fnmatchcase

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from harness.config.run_names import name_of, runs_by_name
from harness.core.errors import UserError
from harness.run.folder import RunFolder
from harness.run.lock import run_state


def list_runs(match: str, out: str) -> Table:
    """One row a run whose display name or id has the pattern `match`. Names are whole on a console of `least_width`.
    Raises UserError where there is no such run."""
    found = {path for name, own in runs_by_name(out).items() if fnmatchcase(name, match) for path in own}
    if not found:
        raise UserError(f"out={out}, match={match}", "no run goes by that", "set out=… to the folder that holds runs/")
    table = Table(title=f"{out}/runs", title_justify="left")
    for column in ("run", "id", "state", "step", "arms"):
        table.add_column(column, no_wrap=column != "arms", justify="right" if column == "step" else "left")
    for name, path in sorted((name_of(path), path) for path in found):
        run = RunFolder(path)
        arms = dict.fromkeys(str(labels.get("arm", "")) for labels in run.labels())
        table.add_row(name, run.run_id, run_state(run), str(run.status().get("step", 0)), ", ".join(arms))
    return table


def least_width(table: Table) -> int:
    """Columns of text that the table needs for its longest words: narrower, a console would cut names off."""
    wide = Console(width=10_000)
    return Measurement.get(wide, wide.options, table).minimum
