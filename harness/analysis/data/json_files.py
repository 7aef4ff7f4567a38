"""Strict JSON files: no NaN, no infinities, never half a file."""

import json
import math
from pathlib import Path
from typing import Any


def write_json(path: Path, value: Any) -> None:
    """Strict JSON, written whole and then renamed, so that a reader never sees half a file."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(strict(value), indent=1, allow_nan=False) + "\n")
    partial.replace(path)


def strict(value: Any) -> Any:
    """The value with NaN and infinities, which JSON cannot hold, as None."""
    if isinstance(value, dict):
        return {str(key): strict(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [strict(each) for each in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value
