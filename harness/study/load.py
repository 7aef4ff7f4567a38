"""What a study left behind, as frames: its run table, problems, metrics and verdicts."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from harness.analysis.analysis import Analysis, analyze, verdict_frame
from harness.analysis.data.registered import registered_measure
from harness.analysis.data.table import load_table, read_frame
from harness.analysis.verdict.primary import PrimaryRecord, typed_primary
from harness.core.errors import UserError, nearest
from harness.core.files import read_json
from harness.run.load import Run, with_accuracy


@dataclass(frozen=True)
class Study:
    """The folder of a study, of its own or of committed results; frames are read when first looked at.

    table: the run table, a row for each run, budget, task, difficulty and setting, with its accuracy. problems: counts
    of each problem. metrics: rows of metrics.jsonl of all runs that have a folder, with run, arm and seed; no columns
    without any. verdicts: a row a verdict, arms times tasks and the pools `all`. primary: the answer to the registered
    measure; None where none is registered.
    """

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The study's configuration, and its runs with arm, seed and id."""
        manifest = read_json(self.path / "manifest.json")
        if manifest is None:
            raise UserError(str(self.path), "holds no manifest.json", "launch the study again: it is then written anew")
        return manifest

    @cached_property
    def table(self) -> pl.DataFrame:
        return with_accuracy(read_frame(self.path / "table.parquet"))

    @cached_property
    def problems(self) -> pl.DataFrame:
        return read_frame(self.path / "problems.parquet")

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        """Those that have a folder; committed results have none."""
        folders = (self.path.parents[1] / "runs" / row["run_id"] for row in self.manifest["runs"])
        return tuple(Run(folder) for folder in dict.fromkeys(folders) if (folder / "config.json").is_file())

    @cached_property
    def metrics(self) -> pl.DataFrame:
        labels = {row["run_id"]: row for row in reversed(self.manifest["runs"])}
        parts = [
            run.metrics.select(
                pl.lit(run.name).alias("run"),
                pl.lit(labels[run.id]["arm"]).alias("arm"),
                pl.lit(labels[run.id]["seed"]).alias("seed"),
                pl.all(),
            )
            for run in self.runs
        ]
        return pl.concat(parts, how="diagonal_relaxed") if parts else pl.DataFrame()

    @cached_property
    def verdicts(self) -> pl.DataFrame:
        records = read_json(self.path / "verdicts.json")
        return verdict_frame(records) if records else self.analyze().verdicts

    @cached_property
    def primary(self) -> PrimaryRecord | None:
        record = read_json(self.path / "primary.json")
        return typed_primary(record) if record else self.analyze().primary

    def analyze(self, **options: Any) -> Analysis:
        """Its run table analysed anew; options as in the section `analysis` of configs/analyze.yaml, by default as the
        study registered them."""
        own = self.manifest["study"].get("analysis", {})
        return analyze(load_table(self.path), registered=registered_measure(self.path), **{**own, **options})


def load_study(path: str | Path, out: str | Path = "outputs") -> Study:
    """A study by its folder, or by its name among the studies of `out`. Raises UserError where there is none."""
    known = {folder.parent.name: folder.parent for folder in Path(out).glob("studies/*/table.parquet")}
    folder = Path(path) if (Path(path) / "table.parquet").is_file() else known.get(str(path))
    if folder is None:
        near = nearest(str(path), known) or sorted(known)
        fix = f"did you mean {' or '.join(near)}?" if near else "name a folder that holds table.parquet, or set out="
        raise UserError(f"{path}", f"no study lies there, and none of that name in {out}/studies", fix)
    return Study(folder.resolve())
