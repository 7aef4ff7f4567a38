"""A sweep of many jobs, of which ten are killed and five raise; and what W&B holds of a sweep with failures."""

import os
import signal
from pathlib import Path

import pytest

from harness.launch.jobs import Job, LocalConfig, launch
from harness.tracker import read_metrics
from tests.wandb_files import wandb_runs

LOCAL = LocalConfig("local", 2, 1, 0.1, 1, 10.0)


@pytest.mark.slow
def test_of_200_jobs_ten_killed_and_five_raising_195_give_their_result_and_the_rest_say_why():
    raising, doomed = {f"{i}" for i in range(7, 200, 40)}, {f"{i}" for i in range(0, 200, 20)}
    jobs = [Job(f"{i}", {"do": "raise" if f"{i}" in raising else "report_and_sleep"}, until=i) for i in range(200)]
    killed = set()

    def kill_once(job, row):
        if job.run_id in doomed - killed:
            killed.add(job.run_id)
            os.kill(row["pid"], signal.SIGKILL)

    ended = {result.job.run_id: result for result in launch(jobs, LOCAL, "tests.launch.works:act", kill_once)}
    assert killed == doomed
    assert {run_id for run_id, result in ended.items() if result.status == "failed"} == raising
    assert all("planted in" in ended[run_id].error for run_id in raising)
    done = {run_id: result.value for run_id, result in ended.items() if result.status == "done"}
    assert done == {job.run_id: job.until for job in jobs if job.run_id not in raising}
    assert {run_id for run_id, result in ended.items() if result.attempts == 2} == doomed


def jobs_with_tracker(folder: Path) -> list[Job]:
    """Eight jobs that log to W&B; the third and the sixth raise after their first row."""
    return [Job(f"run-{i}", {"do": "track", "out": str(folder), "fails": i in (2, 5)}, until=3) for i in range(8)]


def check_tracked(folder: Path) -> None:
    runs = wandb_runs(folder)
    assert [run["id"] for run in runs] == [f"run-{i}" for i in range(8)]
    assert [run["exit_code"] for run in runs] == [1 if i in (2, 5) else 0 for i in range(8)]
    for i, run in enumerate(runs):
        assert run["rows"] == read_metrics(folder / f"run-{i}")
        assert [row["train/mark"] for row in run["rows"]] == [i] * (1 if i in (2, 5) else 3)


@pytest.mark.slow
def test_a_local_sweep_gives_each_job_its_own_w_and_b_run_and_marks_the_failed(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    ended = list(launch(jobs_with_tracker(tmp_path), LOCAL, "tests.launch.works:act"))
    assert sorted(result.job.run_id for result in ended if result.status == "failed") == ["run-2", "run-5"]
    check_tracked(tmp_path)


@pytest.mark.slow
def test_a_serial_sweep_in_one_process_gives_each_job_its_own_w_and_b_run(tmp_path, monkeypatch):
    """As Hydra's own serial launcher runs it."""
    from harness.launch.worker import attempt

    monkeypatch.setenv("WANDB_MODE", "offline")
    for job in jobs_with_tracker(tmp_path):
        attempt("tests.launch.works:act", job, lambda row: None)
    check_tracked(tmp_path)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_ray_sweep_gives_each_job_its_own_w_and_b_run_and_marks_the_failed(tmp_path, monkeypatch):
    pytest.importorskip("ray")
    from harness.launch.jobs import RayConfig

    monkeypatch.setenv("WANDB_MODE", "offline")
    ray_config = RayConfig("ray", None, 2, 1.0, 0.0, 0, 10.0)
    ended = list(launch(jobs_with_tracker(tmp_path), ray_config, "tests.launch.works:act"))
    assert sorted(result.job.run_id for result in ended if result.status == "failed") == ["run-2", "run-5"]
    check_tracked(tmp_path)
