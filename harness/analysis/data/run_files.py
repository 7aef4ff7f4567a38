"""What a run's folder holds beside the table: metrics.jsonl, a row a logged step, and samples of completions."""

from pathlib import Path
from typing import Any

from harness.analysis.data.table_checks import TableError
from harness.core.files import read_jsonl

Row = dict[str, Any]


def metrics_rows(folder: Path) -> list[Row]:
    """The rows of a run's metrics.jsonl, [] without one; a last line torn by a kill is left out.

    Raises TableError naming a broken line.
    """
    path = folder / "metrics.jsonl"
    return json_rows(path) if path.exists() else []


def json_rows(path: Path) -> list[Row]:
    try:
        return read_jsonl(path)
    except ValueError as error:
        raise TableError(f"{error}; cut the file there") from error


def first_and_last_samples(folder: Path) -> list[tuple[Row, Row]]:
    """Pairs of the same problem (task, difficulty, setting, prompt, answer, completions) before RL and at the last
    budget that was sampled; [] where a run kept none."""
    files = sorted((folder / "samples").glob("step-*.jsonl"))
    if len(files) < 2 or int(files[0].stem.split("-")[1]):
        return []
    before, after = (json_rows(path) for path in (files[0], files[-1]))
    known = {_place(row): row for row in after}
    return [(row, known[_place(row)]) for row in before if _place(row) in known]


def _place(row: Row) -> tuple[Any, ...]:
    return row["task"], row["difficulty"], row.get("setting", ""), row["prompt"]
