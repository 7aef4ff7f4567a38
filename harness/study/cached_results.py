"""What a study's own tables already hold, so that runs finished elsewhere need neither their folders nor their weights.

A study's folder may be committed, or copied from another machine: a run counts as finished at a budget when the tables
there hold its scores, under the same identity of run and of evaluation.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness.core.flops import Spent
from harness.run.folder import read_json

LONGER = " longer"  # joins the name of a task at difficulties that are only evaluated
AXES = tuple(asdict(Spent()))
BASE_COLUMNS = ("base_id", "base_seed", "model", "model_params", "pretrain_tokens", "pretrain_loss", "budgets_mode")
CELL = ("task", "difficulty", "setting")
# Of the run, the study or the arm rather than of one score; written anew from the study at hand.
LABELS = {"study", "run_id", "arm", "seed", "role", "split", "x", "code_version", *BASE_COLUMNS, *AXES}

# Of a run at a step: {"spent": axes, "rows": of the run table, "problems": …, "code_version": of what measured it}.
Scores = dict[str, Any]


@dataclass(frozen=True)
class Known:
    """evaluations: run_id -> evaluation_id. table, problems: run_id -> its rows, a polars frame each: as Python objects
    they would take thirty times the memory."""

    evaluations: Mapping[str, str] = field(default_factory=dict)
    table: Mapping[str, Any] = field(default_factory=dict)
    problems: Mapping[str, Any] = field(default_factory=dict)

    def steps(self, run_id: str, evaluation_id: str) -> set[int]:
        """The steps of which scores are known."""
        found = run_id in self.table and self.evaluations.get(run_id) == evaluation_id
        return set(self.table[run_id]["step"]) if found else set()

    def scores(self, run_id: str, evaluation_id: str) -> dict[int, Scores]:
        """By step."""
        scores: dict[int, Scores] = {step: {"rows": [], "problems": []} for step in self.steps(run_id, evaluation_id)}
        if not scores:
            return {}
        step_of: dict[float, int] = {}
        for row in self.table[run_id].iter_rows(named=True):
            scores[row["step"]]["spent"] = {axis: row[axis] for axis in AXES}
            scores[row["step"]]["code_version"] = row.get("code_version")
            own = {k: v for k, v in _own(row).items() if k not in LABELS and v is not None}
            scores[row["step"]]["rows"].append(own)
            step_of[row["x"]] = row["step"]
        for row in self.problems[run_id].iter_rows(named=True):
            own = {k: v for k, v in _own(row).items() if k not in ("run_id", "arm", "seed", "x")}
            scores[step_of[row["x"]]]["problems"].append(own)
        return scores

    def base(self, run_id: str) -> Mapping[str, Any] | None:
        """The columns that tell of a run's base."""
        return self.table[run_id].row(0, named=True) if run_id in self.table else None


NOTHING = Known()


def _own(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"task": row["task"].removesuffix(LONGER)}


def known_in(folder: Path) -> Known:
    """What the tables of a study's folder hold; nothing where there are none."""
    manifest = read_json(folder / "manifest.json")
    if manifest is None or not all((folder / f"{name}.parquet").is_file() for name in ("table", "problems")):
        return Known()
    import polars as pl

    def by_run(name: str, key: list[str]) -> dict[str, Any]:
        # Two arms may share a run; its scores are the same in both.
        whole = pl.read_parquet(folder / f"{name}.parquet").unique(["run_id", *key, *CELL], maintain_order=True)
        return {part["run_id"][0]: part for part in whole.partition_by("run_id", maintain_order=True)}

    evaluations = {run["run_id"]: run["evaluation_id"] for run in manifest["runs"]}
    return Known(evaluations, by_run("table", ["step"]), by_run("problems", ["x", "problem"]))
