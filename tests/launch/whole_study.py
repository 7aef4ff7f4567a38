"""A study of toys, run as a user runs it, for launches of it to be compared by what they leave."""

import subprocess
import sys
from pathlib import Path

import polars as pl
from polars.testing import assert_frame_equal

from tests.run.test_job import rows
from tests.test_scripts import ROOT, SETTINGS

STUDY = ["study=skills", *SETTINGS, "tracker=none", "save.seconds=0.05"]


def command(out: Path, *settings: str) -> list[str]:
    """The study in the folder `out`, which is made. settings: its steps and seeds, and the launcher."""
    out.mkdir(exist_ok=True)
    return [sys.executable, str(ROOT / "scripts" / "study.py"), *STUDY, *settings, f"out={out}"]


def study(out: Path, *settings: str) -> str:
    """Runs `command` to its end; returns what it printed."""
    ended = subprocess.run(command(out, *settings), cwd=out, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr + ended.stdout
    return ended.stdout


def table(out: Path, name: str) -> pl.DataFrame:
    """`table` or `problems`, without times, and without the version: a commit made meanwhile is no concern here."""
    frame = pl.read_parquet(out / "studies" / "skills" / f"{name}.parquet")
    return frame.drop("seconds", "code_version", strict=False)


def check_same(out: Path, whole: Path) -> None:
    """That the tables are equal to the number."""
    for name in ("table", "problems"):
        assert_frame_equal(table(out, name), table(whole, name), check_exact=True)


def metrics(out: Path) -> dict[str, list[dict]]:
    """{run_id: rows of metrics.jsonl} without what is measured in seconds."""
    return {folder.name: rows(folder) for folder in (out / "runs").iterdir()}
