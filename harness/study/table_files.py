"""A study's tables on disk: table.parquet and problems.parquet, and manifest.json, which has their hashes.

New tables lie beside the old as NAME.new until the manifest that names them is written, so that a process killed at any
moment leaves the old three or the new three. Manifests of older versions have no hashes.
"""

import io
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.files import read_json, set_aside, sha256, write_hashed_json, write_whole

if TYPE_CHECKING:
    import polars as pl

MANIFEST, TABLES = "manifest.json", ("table.parquet", "problems.parquet")


def write_table_files(folder: Path, tables: Mapping[str, "pl.DataFrame"], manifest: Mapping[str, Any]) -> None:
    """tables: by name of their file."""
    hashes = {}
    for name, frame in tables.items():
        data = io.BytesIO()
        frame.write_parquet(data)
        hashes[name] = sha256(data.getvalue())
        write_whole(_new(folder / name), data.getvalue())
    write_hashed_json(folder / MANIFEST, {**manifest, "files": hashes})
    _use_new_tables(folder, hashes)


def _new(path: Path) -> Path:
    return path.with_name(f"{path.name}.new")


def _use_new_tables(folder: Path, hashes: Mapping[str, str]) -> None:
    for name, expected in hashes.items():
        with suppress(FileNotFoundError):  # they have their names, or another process was faster
            if sha256(_new(folder / name).read_bytes()) == expected:
                _new(folder / name).replace(folder / name)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a study's folder, where both of its tables are there and whole; else None. What is damaged is set
    aside."""
    lies_there = (folder / MANIFEST).is_file()
    manifest, before = read_json(folder / MANIFEST), None
    while manifest is not None and manifest != before:  # another launch may be writing them
        _use_new_tables(folder, manifest.get("files", {}))
        damaged = _damaged_tables(folder, manifest)
        before, manifest = manifest, read_json(folder / MANIFEST) if damaged else manifest
    if manifest is None and lies_there:
        lost = "without manifest.json its rows cannot be matched to runs"
        damaged = {folder / name: lost for name in TABLES if (folder / name).is_file()}
    elif manifest is None:
        return None
    for path, reason in damaged.items():
        set_aside(path, reason)
    return manifest if all((folder / name).is_file() for name in TABLES) else None


def _damaged_tables(folder: Path, manifest: Mapping[str, Any]) -> dict[Path, str]:
    """With the reason."""
    reasons = {path: _damage(path, manifest.get("files", {}).get(path.name)) for path in map(folder.joinpath, TABLES)}
    return {path: reason for path, reason in reasons.items() if reason}


def _damage(path: Path, expected: str | None) -> str:
    """What is wrong with a table; "" if nothing is, or there is none."""
    import polars as pl

    try:
        if expected is not None:
            return "" if sha256(path.read_bytes()) == expected else "its content does not match its hash"
        pl.read_parquet(path)
    except FileNotFoundError:
        return ""
    except (pl.exceptions.PolarsError, OSError) as error:
        return str(error)
    return ""
