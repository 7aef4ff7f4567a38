"""What a run's folder holds beside the table: metrics.jsonl, a row a logged step."""

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
    if not path.exists():
        return []
    try:
        return read_jsonl(path)
    except ValueError as error:
        raise TableError(f"{error}; cut the file there") from error
