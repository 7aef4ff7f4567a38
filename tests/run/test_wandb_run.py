"""What a W&B user finds there, read back from the files that W&B itself writes offline."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from harness.run.job import run_stack
from harness.run.tracker import open_tracker, read_metrics
from tests.toys import base_job, rl_job, silent, tiny, train
from tests.wandb_files import wandb_runs

VARIABLES = {
    "PROJECT": "mine", "ENTITY": "us", "RUN_GROUP": "grid", "NAME": "first", "NOTES": "why", "TAGS": "a,b",
    "MODE": "offline",
}  # fmt: skip
ALONE = {"study": "single", "arm": "true_reward", "name": "true_reward-s0"}


@pytest.fixture(autouse=True)
def no_variables(monkeypatch, tmp_path):
    for name in (*VARIABLES, "DIR"):
        monkeypatch.delenv(f"WANDB_{name}", raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "data"))


def numbers(folder):
    """The rows of a run without what is null."""
    return [{k: v for k, v in row.items() if v is not None} for row in read_metrics(folder)]


def tracker(*overrides):
    return tiny("tracker=wandb", *overrides).tracker


def test_the_variables_of_w_and_b_count_and_settings_count_more(monkeypatch):
    for name, value in VARIABLES.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    monkeypatch.setenv("WANDB_DIR", "/elsewhere")
    found = tracker()
    assert (found.project, found.entity, found.group, found.name) == ("mine", "us", "grid", "first")
    assert (found.notes, found.tags, found.mode, found.dir) == ("why", ("a", "b"), "offline", "/elsewhere")
    own = tracker("tracker.project=other", "tracker.tags=[c]", "tracker.name=second", "tracker.mode=disabled")
    assert (own.project, own.tags, own.name, own.mode) == ("other", ("c",), "second", "disabled")


def test_without_variables_the_defaults_stand(monkeypatch):
    monkeypatch.delenv("WANDB_MODE")
    found = tracker()
    assert (found.project, found.entity, found.group, found.name) == ("rl-scaling", None, None, None)
    assert (found.tags, found.mode, found.dir) == ((), None, ".")
    with pytest.raises(ValidationError, match="'online', 'offline' or 'disabled'"):
        tracker("tracker.mode=of")


def test_a_w_and_b_failure_of_a_job_that_ends_well_is_reported_to_the_launch(tmp_path):
    """Its recordings cannot be written: their folder is a file."""
    (tmp_path / "file").touch()
    alarms = []
    folder = train(
        tiny("tracker=wandb", f"tracker.dir={tmp_path}/file", out=tmp_path),
        lambda row: alarms.append(row["alarm"]) if "alarm" in row else None,
    )
    assert len(read_metrics(folder)) == 8
    assert [text.partition(" (")[0] for text in alarms] == [
        *(f"run {path.name}: W&B failed" for path in sorted((tmp_path / "runs").iterdir()))
    ]
    assert all(text.endswith("metrics.jsonl") for text in alarms)


@pytest.mark.slow
def test_what_was_asked_for_stands_in_the_recording_and_wandb_sync_finds_it(tmp_path, monkeypatch):
    for name, value in VARIABLES.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    monkeypatch.chdir(tmp_path)
    with open_tracker(tracker(), tmp_path, "rl-1", {}, ALONE) as opened:
        opened.log({"compute/step": 1})
    with open_tracker(tracker(), tmp_path, "rl-2", {}, {"study": "sweep", "arm": "lr=1e-3", "name": "lr=1e-3-s0"}):
        pass
    run, other = wandb_runs(tmp_path)
    assert (run["project"], run["entity"], run["group"], run["name"]) == ("mine", "us", "grid", "first")
    assert (run["notes"], run["tags"]) == ("why", ["a", "b"])
    assert other["name"] == "first-lr=1e-3-s0"
    command = [str(Path(sys.executable).with_name("wandb")), "sync", "--dry-run"]
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}  # W&B says nothing where WANDB_SILENT is set
    ended = subprocess.run(command, capture_output=True, text=True, env=env)
    assert "2 run(s)" in ended.stdout + ended.stderr


@pytest.mark.slow
def test_a_run_shows_pooled_accuracy_transfer_samples_and_weights_at_its_budgets(tmp_path):
    config = tiny("tracker=wandb", f"tracker.dir={tmp_path}", "tracker.log_model=true", out=tmp_path)
    folder = train(config)
    base, run = sorted(wandb_runs(tmp_path), key=lambda one: one["id"])
    assert run["rows"] == numbers(folder)
    scored = [row for row in run["rows"] if "eval/verified/mean@1" in row]
    assert [row["compute/step"] for row in scored] == [0, 1, 2, 4]
    for row in scored:
        assert row["eval/verified/mean@1"] == row["eval/toy.symbolic/mean@1"]
        assert row["eval/unverified/mean@1"] == row["eval/toy.worded/mean@1"]
        gain = row["eval/unverified/mean@1"] - scored[0]["eval/unverified/mean@1"]
        assert row["eval/transfer_gain"] == pytest.approx(gain)
    assert len(run["tables"]) == 4
    assert run["config"]["optim"]["lr"] == config.optim.lr
    best = max(scored, key=lambda row: row["eval/verified/mean@1"])["compute/step"]
    both = {best: ["best", f"step-{best}"], 4: ["last", "step-4"]}
    assert run["weights"] == ({4: ["best", "last", "step-4"]} if best == 4 else both)
    assert base["weights"] == {}
    assert base["tables"] == []


@pytest.mark.slow
def test_runs_of_a_stack_are_runs_of_their_own(tmp_path):
    tracked = ("tracker=wandb", f"tracker.dir={tmp_path}", "backend=eager")
    configs = [tiny(*tracked, f"seed={seed}", out=tmp_path) for seed in (0, 1)]
    run_stack([base_job(configs[0])], lambda job, row: silent(row))
    folders = run_stack([rl_job(config) for config in configs], lambda job, row: silent(row))
    found = {run["id"]: run for run in wandb_runs(tmp_path)}
    for folder in map(Path, folders):
        assert found[folder.name]["rows"] == numbers(folder)
