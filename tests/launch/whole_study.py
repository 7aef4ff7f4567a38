"""A study of toys, run as a user runs it, for launchers to be compared by its tables."""

import subprocess
import sys
from pathlib import Path

import polars as pl

from tests.test_scripts import ROOT, SETTINGS

STUDY = [
    "study=skills",
    *(setting for setting in SETTINGS if not setting.startswith("rl.steps")),
    "tracker=none",
    "save.seconds=0.05",
]


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
    """`table` or `problems`, without what differs between two launches of the same."""
    frame = pl.read_parquet(out / "studies" / "skills" / f"{name}.parquet")
    return frame.drop("seconds", "code_version", strict=False)
