"""The scripts as a person starts them, with W&B writing its real files offline."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.run.tracker import read_metrics
from tests.toys import TINY
from tests.wandb_files import wandb_runs_by_id

ROOT = Path(__file__).parent.parent
SETTINGS = [setting for setting in TINY if not setting.startswith("tracker")]


def script(name, *arguments, cwd):
    python_path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "WANDB_MODE": "offline", "PYTHONPATH": python_path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "scripts" / f"{name}.py"), *arguments]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)


def runs_of(out, kind):
    return sorted(path for path in (out / "runs").iterdir() if path.name.startswith(kind))


@pytest.mark.slow
def test_each_job_of_a_multirun_is_a_w_and_b_run_of_its_own_that_mirrors_its_metrics(tmp_path):
    """Extended afterwards, a run keeps its id, and its steps go on."""
    sweep = ["-m", "seed=0,1", "optim.lr=1e-2,1e-3", *SETTINGS[:-1], f"out={tmp_path}", "tracker=wandb"]
    ended = script("train", *sweep, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr + ended.stdout
    folders = runs_of(tmp_path, "rl-")
    assert len(folders) == 4
    assert len(runs_of(tmp_path, "base-")) == 1
    mirrors = wandb_runs_by_id(tmp_path)
    assert mirrors.keys() >= {folder.name for folder in folders}
    for folder in folders:
        (mirror,) = mirrors[folder.name]
        metrics = [{k: v for k, v in row.items() if v is not None} for row in read_metrics(folder)]
        assert mirror["id"] == folder.name
        assert mirror["rows"] == metrics
        assert mirror["axes"]["train/*"] == "compute/step"
        assert mirror["exit_code"] == 0
        assert mirror["config"]["seed"] == json.loads((folder / "config.json").read_text())["seed"]

    longer = script("train", *sweep, "rl.steps=6", cwd=tmp_path)
    assert longer.returncode == 0, longer.stderr + longer.stdout
    assert runs_of(tmp_path, "rl-") == folders
    _, second = wandb_runs_by_id(tmp_path)[folders[0].name]
    assert [row["compute/step"] for row in second["rows"] if "train/loss" in row] == [5, 6]


@pytest.mark.slow
def test_a_study_runs_to_its_report_and_a_second_time_does_nothing(tmp_path):
    settings = ["study=skills", *SETTINGS, f"out={tmp_path}", "tracker=none", "study.seeds=[0,1]", "launcher.jobs=1"]
    ended = script("study", *settings, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr + ended.stdout
    folder = tmp_path / "studies" / "skills"
    present = {path.name for path in folder.iterdir()}
    assert {"table.parquet", "problems.parquet", "manifest.json", "verdicts.json", "report.html"} <= present
    verdicts = json.loads((folder / "verdicts.json").read_text())
    assert {verdict["verdict"] for verdict in verdicts} == {"insufficient_data"}
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("metrics.jsonl")}
    again = script("study", *settings, cwd=tmp_path)
    assert again.returncode == 0
    assert "are done already" in again.stdout
    assert times == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("metrics.jsonl")}


@pytest.mark.slow
def test_the_plan_spends_nothing_and_a_mistake_has_status_2(tmp_path):
    planned = script("train", *SETTINGS, f"out={tmp_path}/out", "tracker=none", "plan=true", cwd=tmp_path)
    assert planned.returncode == 0, planned.stderr
    assert "2 to do, 0 done" in planned.stdout
    assert not (tmp_path / "out").exists()
    wrong = script("train", *SETTINGS, "rl.group_size=1", f"out={tmp_path}/out", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "rl.group_size=1" in wrong.stderr
    assert "Traceback" not in wrong.stderr
