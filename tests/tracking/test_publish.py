"""A study's results reach W&B whole, and a failure of W&B costs none of them."""

import json
from unittest.mock import Mock

import pytest
import wandb

from harness.tracking.publish import FILES, present, publish_study, summary_of
from tests.wandb_files import wandb_runs, wandb_tracker

RECORDS = [
    {"arm": "true_reward", "role": "verified", "task": "all", "verdict": "log_linear", "withheld": False,
     "slope_per_decade": 0.05, "slope_ci": [0.04, 0.06]},
    {"arm": "true_reward", "role": "unverified", "task": "all", "verdict": "log_linear", "withheld": True,
     "slope_per_decade": 0.02, "slope_ci": None},
    {"arm": "true_reward", "role": "verified", "task": "sorting", "verdict": "flat", "withheld": False,
     "slope_per_decade": 0.0, "slope_ci": [-0.01, 0.01]},
]  # fmt: skip
TRANSFER = {"verified": None, "unverified": {"pooled": {"gain": {"mean": 0.03, "low": None, "high": None}}}}


@pytest.fixture(autouse=True)
def offline(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "data"))


def study_folder(out):
    folder = out / "studies" / "toy"
    folder.mkdir(parents=True)
    for name in ("table.parquet", "verdicts.json", "report.html"):
        (folder / name).write_text(json.dumps(name))
    (folder / "figures").mkdir()
    return folder


def test_the_summary_holds_the_pools_and_says_withheld_where_a_verdict_is():
    assert summary_of(RECORDS, TRANSFER) == {
        "verdict/true_reward/verified": "log_linear",
        "slope/true_reward/verified": 0.05,
        "slope/true_reward/verified/low": 0.04,
        "slope/true_reward/verified/high": 0.06,
        "verdict/true_reward/unverified": "withheld",
        "slope/true_reward/unverified": 0.02,
        "gain/unverified": 0.03,
    }


def test_only_the_results_of_a_study_are_sent(tmp_path):
    folder = study_folder(tmp_path)
    (folder / "secret.txt").write_text("not a result")
    assert {path.name for path in present(folder)} == {"table.parquet", "verdicts.json", "report.html"} <= set(FILES)


@pytest.mark.slow
def test_a_study_is_recorded_offline_as_one_artifact_with_its_verdicts(tmp_path):
    publish_study(wandb_tracker(tmp_path), study_folder(tmp_path), "toy", RECORDS, TRANSFER)
    (run,) = wandb_runs(tmp_path)
    assert (run["id"], run["group"], run["job_type"]) == ("analysis-toy", "toy", "analysis")
    assert run["artifacts"] == {"toy": ["report.html", "table.parquet", "verdicts.json"]}
    assert run["summary"] == summary_of(RECORDS, TRANSFER)
    assert run["exit_code"] == 0


def test_a_w_and_b_failure_is_said_with_where_the_results_lie(tmp_path, monkeypatch):
    run = Mock()
    run.log_artifact.side_effect = ConnectionResetError("connection lost")
    monkeypatch.setattr(wandb, "init", lambda **options: run)
    folder = study_folder(tmp_path)
    with pytest.warns(UserWarning, match=f"connection lost.*All results are in {folder}") as caught:
        publish_study(wandb_tracker(tmp_path), folder, "toy", RECORDS, TRANSFER)
    assert len(caught) == 1
