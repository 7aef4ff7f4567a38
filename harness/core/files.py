"""Atomic writes, and hashes that detect damage. A damaged file is named and set aside.

A JSON object of a run ends with an entry "sha256", the hash of the text before it. Files of older versions have none:
of them it is only checked that they are JSON.
"""

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_HASHED = re.compile(rb'(.*),\n "sha256": "([0-9a-f]{64})"\n}', re.DOTALL)
_DAMAGED_HASH = re.compile(rb"\n(?=.*[0-9a-f]{20}).{77}\n}")  # an entry of that length with half a hash at least
_UNFINISHED = re.compile(r"\..+\.\d+")  # .NAME.PID


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def write_whole(path: Path, data: bytes) -> None:
    """A reader sees the old file or the new one, also after a power failure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def remove_unfinished(folder: Path) -> None:
    """Deletes what processes that were killed while they wrote left in the folder; for the one that holds it."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if _UNFINISHED.fullmatch(path.name):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    write_whole(path, json.dumps(content, indent=1).encode())


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    write_whole(path, "".join(json.dumps(row) + "\n" for row in rows).encode())


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The rows of a file that is appended to; a last line that was cut off by a kill is left out.

    Raises ValueError, naming the line, for any other line that is not JSON.
    """
    rows = []
    for number, line in enumerate(path.read_text().split("\n")[:-1], start=1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}, line {number} is not JSON ({error.msg})") from None
    return rows


def write_hashed_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a non-empty JSON object with a hash of its text, which `read_json` checks."""
    body = json.dumps(content, indent=1).encode().removesuffix(b"\n}")
    write_whole(path, body + f',\n "sha256": "{sha256(body)}"\n}}'.encode())


def read_json(path: Path) -> Any:
    """The content, without its hash. None if there is no such file, or if it was damaged: then it is set aside."""
    text = _intact_text(path)
    return None if text is None else json.loads(text)


def is_intact(path: Path) -> bool:
    """Whether the JSON file is there and whole; a damaged one is set aside."""
    return _intact_text(path) is not None


def _intact_text(path: Path) -> bytes | None:
    """The JSON text without its hash; of a file that has one nothing else is looked at, so this takes no time."""
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    hashed = _HASHED.fullmatch(data)
    if hashed and hashed[2].decode() == sha256(hashed[1]):
        return hashed[1] + b"\n}"
    try:
        json.loads(data)
    except ValueError as error:
        set_aside(path, f"it is not JSON ({error})")
        return None
    if hashed or _DAMAGED_HASH.fullmatch(data[-80:]):
        set_aside(path, "its content does not match its hash")
        return None
    return data


def is_unchanged(path: Path, expected: str) -> bool:
    """Whether the file is there and has this `sha256`; one that has another is set aside."""
    if not path.is_file():
        return False
    if sha256(path.read_bytes()) == expected:
        return True
    set_aside(path, "its content does not match its hash")
    return False


def damaged_copy(path: Path) -> Path:
    return path.with_name(f"{path.name}.damaged")


def set_aside(path: Path, reason: str) -> None:
    """Renames a damaged file to NAME.damaged, and prints it to stderr. It is then made again as if it were missing."""
    try:
        path.replace(damaged_copy(path))
        moved = f"set aside as {damaged_copy(path).name}; what it held is made again where it can be"
    except OSError as error:
        moved = f"not used (and not set aside: {error.strerror})"
    print(f"damaged file {path}: {reason}; {moved}", file=sys.stderr, flush=True)
