"""Results that a study's tables hold already, so that their runs need neither folders nor weights.

The tables are the study's own, or those of a folder that `reuse` names, committed or copied from another machine. A run
counts as finished at a budget where they hold its scores under the same identity of run and of evaluation.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness.config.identity import SCHEMA_VERSION
from harness.config.roles import LONGER
from harness.core.errors import UserError
from harness.core.flops import Spent
from harness.study.table_files import read_manifest

AXES = tuple(asdict(Spent()))
BASE_COLUMNS = ("base_id", "base_seed", "model", "model_params", "pretrain_tokens", "pretrain_loss", "budgets_mode")
CELL = ("task", "difficulty", "setting")
PROVENANCE_COLUMNS = ("code_version", "backend")  # of an evaluation: what computed it
# Of the run, the study or the arm rather than of one score; written anew from the study at hand.
LABELS = {"study", "run_id", "arm", "seed", "role", "split", "x", "ended_step", "phase", "phases_ended"}
LABELS |= {*PROVENANCE_COLUMNS, *BASE_COLUMNS, *AXES}

# Of a run at a step: {"spent": axes, "rows": of the run table, "problems": …, and PROVENANCE_COLUMNS}.
Scores = dict[str, Any]


@dataclass(frozen=True)
class CachedRun:
    """table, problems: its rows of both, polars frames: as Python objects they would take thirty times the memory.
    end: the step at which rl.stop_at ended it, if it did."""

    evaluation_id: str
    table: Any
    problems: Any
    end: int | None


@dataclass(frozen=True)
class CachedResults:
    """What tables hold, by run_id."""

    runs: Mapping[str, CachedRun] = field(default_factory=dict)

    def steps(self, run_id: str, evaluation_id: str) -> set[int]:
        """The steps of which the tables hold scores."""
        run = self.runs.get(run_id)
        return set(run.table["step"]) if run and run.evaluation_id == evaluation_id else set()

    def scores(self, run_id: str, evaluation_id: str) -> dict[int, Scores]:
        """By step."""
        scores: dict[int, Scores] = {step: {"rows": [], "problems": []} for step in self.steps(run_id, evaluation_id)}
        if not scores:
            return {}
        step_of: dict[float, int] = {}
        for row in self.runs[run_id].table.iter_rows(named=True):
            scores[row["step"]]["spent"] = {axis: row[axis] for axis in AXES}
            scores[row["step"]] |= {name: row.get(name) for name in PROVENANCE_COLUMNS}
            scores[row["step"]]["rows"].append(_score(row))
            step_of[row["x"]] = row["step"]
        for row in self.runs[run_id].problems.iter_rows(named=True):
            own = {k: v for k, v in _own(row).items() if k not in ("run_id", "arm", "seed", "x")}
            scores[step_of[row["x"]]]["problems"].append(own)
        return scores

    def rows_before_rl(self, run_id: str, evaluation_id: str) -> list[dict[str, Any]]:
        """Those of the run table at budget 0; [] where they hold none."""
        if 0 not in self.steps(run_id, evaluation_id):
            return []
        table = self.runs[run_id].table
        return [_score(row) for row in table.filter(table["step"] == 0).iter_rows(named=True)]

    def base(self, run_id: str) -> Mapping[str, Any] | None:
        """The columns that describe a run's base."""
        return self.runs[run_id].table.row(0, named=True) if run_id in self.runs else None

    def end(self, run_id: str) -> int | None:
        """The step at which rl.stop_at ended the run, if it did."""
        return self.runs[run_id].end if run_id in self.runs else None

    def __or__(self, other: "CachedResults") -> "CachedResults":
        """The runs of both; where both hold a run, as `other` does, but if it has fewer steps of one evaluation."""
        return CachedResults({**other.runs, **{i: run for i, run in self.runs.items() if self._has_more(i, other)}})

    def _has_more(self, run_id: str, other: "CachedResults") -> bool:
        which = self.runs[run_id].evaluation_id
        return run_id not in other.runs or self.steps(run_id, which) > other.steps(run_id, which) != set()


EMPTY = CachedResults()


def _own(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"task": row["task"].removesuffix(LONGER)}


def _score(row: dict[str, Any]) -> dict[str, Any]:
    """What was measured, without labels."""
    return {k: v for k, v in _own(row).items() if k not in LABELS and v is not None}


def read_cached_results(folder: Path) -> CachedResults:
    """All that the tables of a study's folder hold; EMPTY where there are none."""
    manifest = read_manifest(folder)
    if manifest is None:
        return CachedResults()
    import polars as pl

    def by_run(name: str, key: list[str]) -> dict[str, Any]:
        # Two arms may share a run; its scores are the same in both.
        whole = pl.read_parquet(folder / f"{name}.parquet").unique(["run_id", *key, *CELL], maintain_order=True)
        return {part["run_id"][0]: part for part in whole.partition_by("run_id", maintain_order=True)}

    table, problems = by_run("table", ["step"]), by_run("problems", ["x", "problem"])
    measured = [(run["run_id"], run) for run in manifest["runs"] if run["run_id"] in table.keys() & problems.keys()]
    return CachedResults(
        {i: CachedRun(run["evaluation_id"], table[i], problems[i], run.get("ended_step")) for i, run in measured}
    )


def read_reused_results(folder: Path) -> CachedResults:
    """As `read_cached_results`. Raises UserError where there are none that can be compared with today's runs."""
    manifest, found = read_manifest(folder), read_cached_results(folder)
    if manifest is None or not found.runs:
        reason = "it holds no manifest.json with table.parquet and problems.parquet"
        raise UserError(f"reuse={folder}", reason, "name the folder of a study, such as docs/results/transfer")
    if (other := manifest.get("identity_version", 1)) != SCHEMA_VERSION:
        reason = f"its runs have identities of version {other}, and this is version {SCHEMA_VERSION}"
        raise UserError(f"reuse={folder}", reason, "use the version of the package that wrote it")
    return found
