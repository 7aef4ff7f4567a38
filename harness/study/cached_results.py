"""Results that a study's tables hold already, so that their runs need neither folders nor weights.

The tables are the study's own, or those of a folder that `reuse` names, committed or copied from another machine. A run
counts as finished at a budget where they hold its scores under the same identity of run and of evaluation. Identities
of another version cannot be compared: then runs are matched by the labels in manifest.json.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from harness.config.identity import SCHEMA_VERSION
from harness.config.roles import LONGER
from harness.config.schema.study import arm_variants
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


class RunLabels(NamedTuple):
    """What names a run of a study whatever the version of identities. overrides: those of its variant of the arm."""

    arm: str
    overrides: tuple[str, ...]
    seed: int
    base_seed: int


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
    measured = [(run["run_id"], run) for run in manifest["runs"] if run["run_id"] in table]
    return CachedResults(
        {i: CachedRun(run["evaluation_id"], table[i], problems[i], run.get("ended_step")) for i, run in measured}
    )


def read_reused_results(folder: Path, wanted: Mapping[RunLabels, tuple[str, str]]) -> CachedResults:
    """The results of `folder` under the (run_id, evaluation_id) that `wanted` gives to labels, where its manifest was
    written under another version of identities; else under its own. Raises UserError if it holds no tables."""
    manifest, found = read_manifest(folder), read_cached_results(folder)
    if manifest is None or not found.runs:
        reason = "it holds no manifest.json with table.parquet and problems.parquet"
        raise UserError(f"reuse={folder}", reason, "name the folder of a study, such as docs/results/transfer")
    if manifest.get("identity_version", 1) == SCHEMA_VERSION:
        return found
    runs = {}
    for labels, old in _labelled_runs(manifest):
        if labels in wanted and old in found.runs:
            run_id, which = wanted[labels]
            runs[run_id] = replace(found.runs[old], evaluation_id=which)
    return CachedResults(runs)


def _labelled_runs(manifest: Mapping[str, Any]) -> Iterator[tuple[RunLabels, str]]:
    """(labels, run_id) of each run of a manifest, which lists an arm's runs variant by variant."""
    for arm, changes in manifest["study"]["arms"].items():
        runs = [run for run in manifest["runs"] if run["arm"] == arm]
        variants = arm_variants(changes)
        each = len(runs) // len(variants)
        for i, run in enumerate(runs[: each * len(variants)]):
            yield RunLabels(arm, variants[i // each], run["seed"], run["base_seed"]), run["run_id"]
