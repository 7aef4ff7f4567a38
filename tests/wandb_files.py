"""Reads the files that W&B writes offline, with W&B's own reader."""

import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from harness.config.schema import WandbTracker


def wandb_tracker(folder: Path, **changes: Any) -> WandbTracker:
    """Settings of configs/tracker/wandb.yaml, with recordings in `folder`."""
    plain = {
        "name": None, "project": "p", "entity": None, "group": None, "notes": None, "tags": (), "mode": None,
        "dir": str(folder), "axis": "compute/step", "log_model": False, "system_metrics": False,
    }  # fmt: skip
    return WandbTracker(**plain | changes)


def wandb_runs(folder: Path) -> list[dict[str, Any]]:
    """One dict per W&B run anywhere under `folder`: id, name, group, job_type, tags, config, axes, rows, exit_code.

    `rows` leaves out W&B's own keys (_step, _runtime …) and tables; `tables` holds the number of rows of each table of
    samples; `artifacts` is {name of a study: its files}; `weights` is {step: aliases}; `axes` is {glob: step metric}.
    """
    return [_run(path) for path in sorted(Path(folder).rglob("*.wandb"))]


def wandb_runs_by_id(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Those of `wandb_runs` by their ids; a run that was resumed has several, in order."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for run in wandb_runs(folder):
        found[run["id"]].append(run)
    return found


def _run(path: Path) -> dict[str, Any]:
    command = [str(Path(sys.executable).with_name("wandb")), "leet", "inspect", "--json", str(path)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    records: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for record in map(json.loads, lines):
        records[record["type"]].append(record[record["type"]])
    run, items = records["run"][0], [history["item"] for history in records["history"]]
    return {
        **{key: run.get(key) for key in ("project", "entity", "notes", "job_type")},
        "id": run["run_id"],
        "name": run.get("display_name"),
        "commit": run.get("git", {}).get("commit"),
        "group": run.get("run_group"),
        "tags": run.get("tags", []),
        "config": {key: value for key, value in run["config"]["update"].items() if key != "_wandb"},
        "axes": {metric["glob_name"]: metric.get("step_metric") for metric in records["metric"]},
        "rows": [row for item in items if (row := _own(item))],
        "tables": [item["samples.nrows"] for item in items if "samples.nrows" in item],
        "summary": {key: value for record in records["summary"] for key, value in _own(record["update"]).items()},
        "weights": {
            json.loads(record["metadata"])["step"]: sorted({*record["aliases"]} - {"latest"})
            for record in records["artifact"]
            if record["type"] == "model"
        },
        "artifacts": {
            record["name"]: [file["path"] for file in record["manifest"]["contents"]]
            for record in records["artifact"]
            if record["type"] == "study"
        },
        "exit_code": records["exit"][0]["exit_code"] if records["exit"] else None,
    }


def _own(item: dict[str, Any]) -> dict[str, Any]:
    """What the project logged itself, tables left out."""
    return {key: value for key, value in item.items() if not key.startswith(("_", "samples."))}
