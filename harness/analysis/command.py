"""What `scripts/analyze.py` does with its configuration (configs/analyze.yaml)."""

from pathlib import Path
from typing import Annotated, Any, Literal

import polars as pl
from pydantic import BeforeValidator, ConfigDict
from pydantic.dataclasses import dataclass

from harness.analysis.calibration.analysis_speed import SpeedDesign, measure_speed
from harness.analysis.calibration.calibrate import CalibrationSizes, calibrate
from harness.analysis.calibration.simulate import SimulatedTable, write_simulated_table
from harness.analysis.data.json_files import json_schema, write_json
from harness.analysis.data.options import Options
from harness.analysis.data.registered import as_its_study
from harness.analysis.data.table import Table, load_table, read_frame
from harness.analysis.data.table_checks import TableError
from harness.analysis.data.wandb_table import PREFIX, local_path
from harness.analysis.report.analyze import primary_of, provenance, write_analysis, write_primary
from harness.analysis.transfer.before_after import before_after_rows, markdown
from harness.analysis.verdict.primary import PrimaryRecord
from harness.analysis.verdict.record import VerdictRecord
from harness.config.run_names import find

STRICT = ConfigDict(extra="forbid")
Names = Annotated[list[str], BeforeValidator(lambda given: [given] if isinstance(given, str) else given)]
Action = Literal[
    "analyze", "before_after", "breadth", "primary", "sharpness", "calibrate", "simulate", "speed", "schema"
]


@dataclass(frozen=True, config=STRICT)
class BeforeAfter:
    """Which tasks `action=before_after` compares: those of a role, or those whose names match patterns."""

    role: str
    tasks: list[str]
    control: str | None


@dataclass(frozen=True, config=STRICT)
class Command:
    """The configuration of one call (configs/analyze.yaml)."""

    action: Action
    table: Names | None
    runs: Names | None
    outputs: str
    out: str
    law: Literal["rl", "pretraining"]
    split: str | None
    analysis: Options
    before_after: BeforeAfter
    calibrate: CalibrationSizes
    simulate: SimulatedTable
    speed: SpeedDesign


def run(container: Any) -> None:
    """Runs the action of a configuration, writes its results and prints where they are. Raises TableError."""
    command = Command(**container)
    out = Path(command.out)
    match command.action:
        case "analyze":
            _analyze(command, out)
        case "before_after":
            chosen = command.before_after
            rows = before_after_rows(_table(command), chosen.role, chosen.tasks, chosen.control)
            print(markdown(rows) if rows else "no arm has such tasks before and after RL")
        case "breadth":
            from harness.analysis.report.study_answers import write_breadth

            print(write_breadth(_table(command), out, command.analysis))
        case "primary":
            _primary(command, out)
        case "sharpness":
            from harness.analysis.report.study_answers import write_sharpness

            print(write_sharpness(_table(command), out).sentence)
        case "calibrate":
            calibrate(command.calibrate, command.analysis)
        case "simulate":
            print(f"table: {write_simulated_table(command.simulate, out)}")
        case "schema":
            write_json(out / "verdicts.schema.json", json_schema(list[VerdictRecord], "verdicts.json"))
            write_json(out / "primary.schema.json", json_schema(PrimaryRecord, "primary.json"))
        case "speed":
            measure_speed(command.speed, out, command.analysis)


def _analyze(command: Command, out: Path) -> None:
    """Verdicts, transfer and report of a table; runs compared; or the pretraining law."""
    if command.runs is not None:
        from harness.analysis.report.compare import compare

        runs = [path for text in command.runs for path in _runs(text, command)]
        print(f"report: {compare(runs, out)}")
    elif command.law == "pretraining":
        from harness.analysis.report.study_answers import write_pretraining_law

        frame = pl.concat([read_frame(path) for path in _paths(command)], how="diagonal_relaxed")
        print(f"law: {write_pretraining_law(frame, out, command.analysis.seed)}")
    else:
        paths = _paths(command)
        found = write_analysis(paths, out, as_its_study(command.analysis, paths), command.split, provenance())
        from rich.console import Console

        from harness.analysis.report.terminal import terminal_summary

        Console().print(terminal_summary(found["verdicts"], found["transfer"], found["primary"]))
        print(f"report: {found['report']}")


def _runs(text: str, command: Command) -> list[Path]:
    """What one entry of `runs` stands for: downloaded from W&B, or a path, or runs of `outputs` by name."""
    return [local_path(text, command.out)] if text.startswith(PREFIX) else find([text], command.outputs)


def _primary(command: Command, out: Path) -> None:
    """The registered measure alone, which takes seconds."""
    paths = _paths(command)
    found = primary_of(load_table(paths, command.split), paths, as_its_study(command.analysis, paths))
    if found is None:
        fix = "write it under study.registered.measure of the study's configuration"
        raise TableError(f"table={', '.join(map(str, paths))}", "its manifest.json registers no measure", fix)
    write_primary(out, found)
    print(found.sentence)


def _table(command: Command) -> Table:
    return load_table(_paths(command), command.split)


def _paths(command: Command) -> list[Path]:
    """The tables as local files; those of W&B projects are downloaded first. Raises TableError without a table."""
    if command.table is None:
        raise TableError("no table given: python scripts/analyze.py table=runs.csv out=DIR  (or runs='[one,other]')")
    return [local_path(name, command.out) for name in command.table]
