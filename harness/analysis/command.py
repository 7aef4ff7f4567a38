"""What `scripts/analyze.py` does with its configuration."""

from pathlib import Path
from typing import Any, Literal

import polars as pl
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from harness.analysis.data.options import Options
from harness.analysis.data.table import read_frame
from harness.analysis.data.table_checks import TableError
from harness.analysis.data.wandb_table import local
from harness.analysis.report.analyze import analyze, provenance


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Command:
    """The configuration of one analysis (configs/analyze.yaml)."""

    table: str | list[str] | None
    runs: list[str] | None
    out: str
    law: Literal["rl", "pretraining"]
    split: str | None
    analysis: Options


def run(container: Any) -> None:
    """Analyses, compares runs or fits the pretraining law, and says where the results lie."""
    command = Command(**container)
    if command.runs is not None:
        from harness.analysis.report.compare import compare

        print(f"report: {compare([local(run, command.out) for run in command.runs], command.out)}")
    elif command.table is None:
        raise TableError("no table given: python scripts/analyze.py table=runs.csv out=DIR  (or runs='[one,other]')")
    elif command.law == "pretraining":
        from harness.analysis.stats.pretraining_law import write_pretraining_law

        frame = pl.concat([read_frame(path) for path in _paths(command)], how="diagonal_relaxed")
        print(f"law: {write_pretraining_law(frame, command.out, command.analysis.seed)}")
    else:
        _analyze(command)


def _paths(command: Command) -> list[Path]:
    """Where the tables lie, those of W&B projects downloaded first."""
    assert command.table is not None
    names = [command.table] if isinstance(command.table, str) else command.table
    return [local(name, command.out) for name in names]


def _analyze(command: Command) -> None:
    from rich.console import Console

    from harness.analysis.report.report import summary

    found = analyze(_paths(command), command.out, command.analysis, command.split, provenance())
    Console().print(summary(found["verdicts"], found["transfer"]))
    print(f"report: {found['report']}")
