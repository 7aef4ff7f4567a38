"""Reads the files that W&B writes offline, with W&B's own reader."""

import json
import subprocess
import sys
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
    found: dict[str, list[dict[str, Any]]] = {}
    for run in wandb_runs(folder):
        found.setdefault(run["id"], []).append(run)
    return found


def _run(path: Path) -> dict[str, Any]:
    command = [str(Path(sys.executable).with_name("wandb")), "leet", "inspect", "--json", str(path)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    records: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        record = json.loads(line)
        records.setdefault(record["type"], []).append(record[record["type"]])
    run = records["run"][0]
    return {
        "id": run["run_id"],
        "name": run.get("display_name"),
        "project": run.get("project"),
        "entity": run.get("entity"),
        "notes": run.get("notes"),
        "commit": run.get("git", {}).get("commit"),
        "group": run.get("run_group"),
        "job_type": run.get("job_type"),
        "tags": run.get("tags", []),
        "config": {key: value for key, value in run["config"]["update"].items() if key != "_wandb"},
        "axes": {metric["glob_name"]: metric.get("step_metric") for metric in records.get("metric", [])},
        "rows": [row for history in records.get("history", []) if (row := _own(history["item"]))],
        "tables": [
            item["samples.nrows"]
            for history in records.get("history", [])
            if "samples.nrows" in (item := history["item"])
        ],
        "summary": {
            key: value for record in records.get("summary", []) for key, value in _own(record["update"]).items()
        },
        "weights": {
            json.loads(record["metadata"])["step"]: sorted({*record["aliases"]} - {"latest"})
            for record in records.get("artifact", [])
            if record["type"] == "model"
        },
        "artifacts": {
            record["name"]: [file["path"] for file in record["manifest"]["contents"]]
            for record in records.get("artifact", [])
            if record["type"] == "study"
        },
        "exit_code": records["exit"][0]["exit_code"] if "exit" in records else None,
    }


def _own(item: dict[str, Any]) -> dict[str, Any]:
    """What the project logged itself, tables left out."""
    return {key: value for key, value in item.items() if not key.startswith(("_", "samples."))}
