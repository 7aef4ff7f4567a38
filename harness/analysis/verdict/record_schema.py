"""What follows from the types of the records: reading a verdicts.json, which entries are one value, the JSON Schema."""

from collections.abc import Sequence
from dataclasses import fields
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin

from pydantic import TypeAdapter

from harness.analysis.verdict.record import VerdictRecord


def _is_single(hint: Any) -> bool:
    """Whether a type is of one value or null."""
    if isinstance(hint, UnionType):
        return all(map(_is_single, get_args(hint)))
    return get_origin(hint) is Literal or hint in (str, int, float, bool, NoneType)


_RECORDS = TypeAdapter(list[VerdictRecord])
INTERVALS = tuple(one.name for one in fields(VerdictRecord) if one.name.endswith("_ci"))
SINGLE_VALUES = tuple(one.name for one in fields(VerdictRecord) if _is_single(one.type))


def typed_records(records: Sequence[dict[str, Any]]) -> list[VerdictRecord]:
    """The records of a verdicts.json, typed. Raises ValidationError for a file of another schema."""
    return _RECORDS.validate_python(records)


def json_schema() -> dict[str, Any]:
    """JSON Schema of verdicts.json."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "verdicts.json",
    } | _RECORDS.json_schema()
