"""A sweep of many jobs, of which ten are killed and five raise; and what W&B holds of a sweep with failures."""

import json
import os
import signal

import pytest

from harness.launch.jobs import Job, LocalConfig, launch
from harness.tracker import read_metrics
from tests.test_scripts import SETTINGS, runs_of, script
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


# A learning rate of 1e38 spoils the policy in its first update; with the entropy bonus, by which groups without signal
# take part in the update too, the second step then has no finite loss, and raises.
EIGHT_JOBS = ("seed=0,1", "optim.lr=1e-2,1e-3,1e-4,1e38", "model.norm=none", "algo.entropy_bonus=1e-3")
LAUNCHERS = ("launcher=local", "launcher=ray", "hydra/launcher=basic")


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_sweep_of_8_jobs_of_which_2_raise_gives_8_w_and_b_runs_the_two_marked_failed(tmp_path, launcher):
    if launcher == "launcher=ray":
        pytest.importorskip("ray")
    tiny = [setting for setting in SETTINGS if not setting.startswith("optim.lr")]
    ended = script("train", "-m", *EIGHT_JOBS, *tiny, "tracker=wandb", f"out={tmp_path}", launcher, cwd=tmp_path)
    assert ended.returncode == 2, ended.stderr + ended.stdout
    said = " ".join(ended.stdout.split())  # lines are wrapped
    assert said.count("NonFinite: step 1: loss is not finite") == 2 * 2  # at once, and in full at the end
    found = {}
    for folder in runs_of(tmp_path, "rl-"):
        (mirror,) = wandb_runs(folder)
        config = json.loads((folder / "config.json").read_text())
        assert mirror["id"] == folder.name
        assert (mirror["config"]["seed"], mirror["config"]["optim.lr"]) == (config["seed"], config["optim"]["lr"])
        assert mirror["rows"] == [{k: v for k, v in row.items() if v is not None} for row in read_metrics(folder)]
        steps = [row["compute/step"] for row in mirror["rows"] if "train/loss" in row]
        found[config["seed"], config["optim"]["lr"]] = (mirror["exit_code"], steps)
    assert found == {
        (seed, lr): (1, [1]) if lr == 1e38 else (0, [1, 2, 3, 4]) for seed in (0, 1) for lr in (1e-2, 1e-3, 1e-4, 1e38)
    }
