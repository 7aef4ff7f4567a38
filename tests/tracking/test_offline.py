"""Offline recordings are found, and nothing is sent without a login."""

import pytest

from harness.config.schema import WandbTracker
from harness.core.errors import UserError
from harness.run.tracker import open_tracker
from harness.tracking.sync import offline_runs, send

WANDB = WandbTracker("wandb", "p", None, "compute/step", ())


def record(out, run_id, steps):
    run_dir = out / "runs" / run_id
    run_dir.mkdir(parents=True, exist_ok=True)
    with open_tracker(WANDB, run_dir, run_id, {}, {}) as tracker:
        for step in steps:
            tracker.log({"compute/step": step})


@pytest.mark.slow
def test_each_recording_is_listed_with_its_run_and_a_sent_one_is_known(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    record(tmp_path, "rl-1", [0, 1])
    record(tmp_path, "rl-1", [2])
    record(tmp_path, "rl-2", [0])
    runs = offline_runs(tmp_path)
    assert [(run.run_id, run.rows, run.sent) for run in runs] == [("rl-1", 3, False)] * 2 + [("rl-2", 1, False)]
    (recording,) = runs[2].path.glob("*.wandb")
    recording.with_name(recording.name + ".synced").touch()
    assert [run.sent for run in offline_runs(tmp_path)] == [False, False, True]


def test_without_a_login_nothing_is_sent_and_it_is_said(tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    (tmp_path / "runs/rl-1/wandb/offline-run-20260101_000000-rl-1").mkdir(parents=True)
    monkeypatch.setattr("subprocess.run", lambda *a, **o: pytest.fail("something was sent"))
    with pytest.raises(UserError, match=r"W&B: not logged in\n.*wandb login"):
        send(offline_runs(tmp_path))


def test_no_recordings_need_no_login(tmp_path):
    send(offline_runs(tmp_path))


def test_a_recording_of_an_analysis_is_found_with_its_study(tmp_path):
    (tmp_path / "studies/quick/wandb/offline-run-20260101_000000-analysis-quick").mkdir(parents=True)
    (found,) = offline_runs(tmp_path)
    assert (found.run_id, found.rows, found.sent) == ("analysis-quick", 0, False)
