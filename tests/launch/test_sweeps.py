"""A sweep of many jobs, of which ten are killed and five raise; and what W&B holds of a sweep with failures."""

import json
import os
import signal
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest

from harness.config.schema import LocalConfig, StudyConfig
from harness.core.files import read_json
from harness.launch.launch import launch
from harness.run.job import run_job
from harness.run.tracker import read_metrics
from harness.study.expand import Entry, ExpandedStudy
from harness.study.tables import build_tables
from tests.test_scripts import SETTINGS, runs_of, script
from tests.toys import base_job, rl_job, silent, tiny
from tests.wandb_files import wandb_runs_by_id

# A learning rate of 1e38 spoils the policy in its first update; the second step then has no sample of any probability.
SPOILING = 1e38
LOCAL = LocalConfig("local", 2, 1, 0.1, 1, 10.0)


@pytest.mark.slow
def test_of_200_runs_ten_killed_and_five_raising_195_give_whole_tables(tmp_path):
    config = tiny("model.norm=none", out=tmp_path)
    run_job(base_job(config), silent)
    spoilt = {*range(7, 200, 40)}
    configs = [
        replace(config, seed=i, optim=replace(config.optim, lr=SPOILING if i in spoilt else 1e-2)) for i in range(200)
    ]
    jobs = [replace(rl_job(each), needs=()) for each in configs]
    killed, over = [], threading.Event()

    def kill_at_random():
        rng = np.random.default_rng(0)
        while len(killed) < 10 and not over.wait(0.3):
            for path in rng.permutation(sorted(tmp_path.glob("runs/rl-*/run.lock")))[:1]:
                with suppress(TypeError, ProcessLookupError):  # the run ended meanwhile
                    os.kill(read_json(path)["pid"], signal.SIGKILL)
                    killed.append(path)

    killer = threading.Thread(target=kill_at_random)
    killer.start()
    ended = {r.job.run_id: r for r in launch(jobs, replace(LOCAL, retries=3), run_job)}
    over.set()
    killer.join()
    assert len(killed) == 10
    assert sum(result.attempts - 1 for result in ended.values()) == 10
    failed = {run_id for run_id, result in ended.items() if result.status != "done"}
    assert failed == {jobs[i].run_id for i in spoilt}
    assert all("sampler_logprobs is not finite" in ended[run_id].error for run_id in failed)
    about = StudyConfig("toy", "?", tuple(range(200)), (0,), "step", {"a": ()})
    whole = tuple(Entry("a", each) for each, job in zip(configs, jobs) if job.run_id not in failed)
    table, problems = build_tables(ExpandedStudy(about, whole))
    cells = Counter(table["run_id"].to_list())
    assert len(cells) == 195
    assert set(cells.values()) == {4 * 2 * 2}  # budgets, tasks, difficulties
    assert problems.height == 195 * 4 * 2 * 2 * config.evaluation.problems


EIGHT_JOBS = ("seed=0,1", f"optim.lr=1e-2,1e-3,1e-4,{SPOILING}", "model.norm=none")
LAUNCHERS = ("launcher=local", "launcher=ray", "hydra/launcher=basic")


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_sweep_of_8_jobs_of_which_2_raise_gives_8_w_and_b_runs_the_two_marked_failed(tmp_path, launcher):
    if launcher == "launcher=ray":
        pytest.importorskip("ray")
    settings = [setting for setting in SETTINGS if not setting.startswith("optim.lr")]
    ended = script("train", "-m", *EIGHT_JOBS, *settings, "tracker=wandb", f"out={tmp_path}", launcher, cwd=tmp_path)
    assert ended.returncode == 2, ended.stderr + ended.stdout
    said = " ".join(ended.stdout.split())  # lines are wrapped
    assert said.count("NonFinite: step 1: sampler_logprobs is not finite") == 2 * 2  # at once, and in full at the end
    found, mirrors = {}, wandb_runs_by_id(tmp_path)
    for folder in runs_of(tmp_path, "rl-"):
        (mirror,) = mirrors[folder.name]
        config = json.loads((folder / "config.json").read_text())
        assert mirror["id"] == folder.name
        assert (mirror["config"]["seed"], mirror["config"]["optim"]["lr"]) == (config["seed"], config["optim"]["lr"])
        assert mirror["rows"] == [{k: v for k, v in row.items() if v is not None} for row in read_metrics(folder)]
        steps = [row["compute/step"] for row in mirror["rows"] if "train/loss" in row]
        found[config["seed"], config["optim"]["lr"]] = (mirror["exit_code"], steps)
    assert found == {
        (seed, lr): (1, [1]) if lr == 1e38 else (0, [1, 2, 3, 4]) for seed in (0, 1) for lr in (1e-2, 1e-3, 1e-4, 1e38)
    }
