"""Strict JSON files: no NaN, no infinities, never half a file."""

import json
import math
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from harness.core.files import write_whole


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


def json_schema(kind: Any, title: str) -> dict[str, Any]:
    """JSON Schema of a file that holds a value of this type."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title}
    return head | TypeAdapter(kind).json_schema() | {"title": title}
