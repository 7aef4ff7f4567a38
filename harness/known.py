"""What a study's own tables already hold, so that runs finished elsewhere need neither their folders nor their weights.

A study's folder may be committed, or copied from another machine: a run counts as finished at a budget when the tables
there hold its scores, under the same identity of run and of evaluation.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness.flops import Spent
from harness.runs import read_json

LONGER = " longer"  # joins the name of a task at difficulties that are only evaluated
AXES = tuple(asdict(Spent()))
BASE_COLUMNS = ("base_id", "base_seed", "model", "model_params", "pretrain_tokens", "pretrain_loss", "budgets_mode")
CELL = ("task", "difficulty", "setting")
# Of the run, the study or the arm rather than of one score; written anew from the study at hand.
LABELS = {"study", "run_id", "arm", "seed", "role", "split", "x", "code_version", *BASE_COLUMNS, *AXES}

Scores = dict[str, Any]  # of a run at a step: {"spent": axes, "rows": of the run table, "problems": …}


@dataclass(frozen=True)
class Known:
    """runs: (run_id, evaluation_id) -> step -> scores. bases: run_id -> the columns that tell of its base."""

    runs: Mapping[tuple[str, str], Mapping[int, Scores]] = field(default_factory=dict)
    bases: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def scores(self, run_id: str, evaluation_id: str) -> Mapping[int, Scores]:
        return self.runs.get((run_id, evaluation_id), {})


NOTHING = Known()


def _own(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"task": row["task"].removesuffix(LONGER)}


def known_in(folder: Path) -> Known:
    """What the tables of a study's folder hold; nothing where there are none."""
    manifest = read_json(folder / "manifest.json")
    if manifest is None or not all((folder / f"{name}.parquet").is_file() for name in ("table", "problems")):
        return Known()
    import polars as pl

    evaluations = {run["run_id"]: run["evaluation_id"] for run in manifest["runs"]}
    runs: dict[tuple[str, str], dict[int, Scores]] = {}
    bases: dict[str, Mapping[str, Any]] = {}
    step_of: dict[tuple[str, float], int] = {}
    # Two arms may share a run; its scores are the same in both.
    table = pl.read_parquet(folder / "table.parquet").unique(["run_id", "step", *CELL], maintain_order=True)
    for row in table.iter_rows(named=True):
        run_id, step = row["run_id"], row["step"]
        scores = runs.setdefault((run_id, evaluations[run_id]), {})
        at = scores.setdefault(step, {"spent": {axis: row[axis] for axis in AXES}, "rows": [], "problems": []})
        at["rows"].append({k: v for k, v in _own(row).items() if k not in LABELS and v is not None})
        bases.setdefault(run_id, {name: row[name] for name in BASE_COLUMNS})
        step_of[run_id, row["x"]] = step
    problems = pl.read_parquet(folder / "problems.parquet").unique(
        ["run_id", "x", *CELL, "problem"], maintain_order=True
    )
    for row in problems.iter_rows(named=True):
        run_id = row.pop("run_id")
        at = runs[run_id, evaluations[run_id]][step_of[run_id, row.pop("x")]]
        at["problems"].append({k: v for k, v in _own(row).items() if k not in ("arm", "seed")})
    return Known(runs, bases)
