"""What a run left behind, as frames: its metrics, evaluations and samples, without a look at its files."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from harness.config.run_names import find_run, name_of
from harness.core.accuracy import accuracy
from harness.core.files import read_json
from harness.run.tracker import read_metrics

if TYPE_CHECKING:
    from harness.run.generate import Policy


@dataclass(frozen=True)
class Run:
    """A run folder; frames are read when first looked at.

    metrics: a row a logged step, columns as in metrics.jsonl (train/accuracy, compute/flops …). table: a row for each
    budget, task, difficulty and setting, with its accuracy. samples: completions of the first problem of each.
    """

    path: Path

    @property
    def id(self) -> str:
        return self.path.name

    @cached_property
    def name(self) -> str:
        return name_of(self.path)

    @cached_property
    def config(self) -> dict[str, Any]:
        return read_json(self.path / "config.json")

    @property
    def status(self) -> dict[str, Any]:
        """state (done, failed, running or stopped) and step; {} where it was never started."""
        return read_json(self.path / "status.json") or {}

    @cached_property
    def metrics(self) -> pl.DataFrame:
        return pl.from_dicts(rows, infer_schema_length=None) if (rows := read_metrics(self.path)) else pl.DataFrame()

    @cached_property
    def table(self) -> pl.DataFrame:
        found = [read_json(path) for path in sorted(self.path.glob("evaluations/*/step-*.json"))]
        rows = [{"step": content["spent"]["step"]} | row for content in found if content for row in content["rows"]]
        return with_accuracy(pl.from_dicts(rows, infer_schema_length=None)) if rows else pl.DataFrame()

    @cached_property
    def samples(self) -> pl.DataFrame:
        parts = [
            pl.read_ndjson(path).with_columns(step=pl.lit(int(path.stem.removeprefix("step-"))))
            for path in sorted(self.path.glob("samples/step-*.jsonl"))
        ]
        return pl.concat(parts, how="diagonal_relaxed") if parts else pl.DataFrame()

    def policy(self, step: int | None = None, device: str = "cpu") -> "Policy":
        """Its policy at a budget, by default the last. Raises UserError where it keeps no weights there."""
        from harness.run.generate import Policy  # torch takes seconds to import: not for frames

        return Policy.load(self.path, step, device=device)


def with_accuracy(table: pl.DataFrame) -> pl.DataFrame:
    """A run table with a column `accuracy`: the share of completions that are correct."""
    return table.with_columns(accuracy=accuracy(table))


def load_run(path: str | Path, out: str | Path = "outputs") -> Run:
    """A run by its folder, or by its name or id, or a pattern of these, among the runs of `out`. Raises UserError where
    there is no such run, or several."""
    return Run(find_run(path, out))
