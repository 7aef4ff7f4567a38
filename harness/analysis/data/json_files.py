"""JSON files that the analysis writes, without NaN and infinities, and the metrics of runs that it reads."""

import json
import math
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from harness.analysis.data.table_checks import TableError
from harness.core.files import read_jsonl, write_whole


def write_json(path: Path, value: Any) -> None:
    """Strict JSON, written whole and then renamed, so that a reader never sees half a file."""
    write_whole(path, (json.dumps(strict(value), indent=1, allow_nan=False) + "\n").encode())


def strict(value: Any) -> Any:
    """The value with NaN and infinities, which JSON cannot hold, as None."""
    if isinstance(value, dict):
        return {str(key): strict(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [strict(each) for each in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value


def metrics_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of a run's metrics.jsonl, one a logged step, [] without one; a last line torn by a kill is left out.

    Raises TableError naming a broken line.
    """
    path = folder / "metrics.jsonl"
    try:
        return read_jsonl(path) if path.exists() else []
    except ValueError as error:
        raise TableError(f"{error}; cut the file there") from error


def json_schema(kind: Any, title: str) -> dict[str, Any]:
    """JSON Schema of a file that holds a value of this type."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title}
    return head | TypeAdapter(kind).json_schema() | {"title": title}
