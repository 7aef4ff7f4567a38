"""metrics.jsonl is the truth, and W&B mirrors it without ever getting in the way."""

import contextlib
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.config.identity import code_version
from harness.config.schema import NoTracker
from harness.run.tracker import METRICS, cut_back, open_tracker, read_metrics
from tests.wandb_files import wandb_runs, wandb_tracker

NONE = NoTracker("none")
LABELS = {"study": "quick", "arm": "true_reward", "seed_group": 3, "name": "quick-true_reward-s1"}


def log_rows(run_dir, rows, config=NONE, run_id="run-1"):
    with open_tracker(config, run_dir, run_id, {"optim": {"lr": 1e-4}, "seed": 1}, LABELS) as tracker:
        for row in rows:
            tracker.log(row)


def row(step, **more):
    return {"compute/step": step, "compute/tokens": 10 * step, "train/accuracy": step / 10, **more}


def test_rows_come_back_as_they_were_logged(tmp_path):
    log_rows(tmp_path, [row(1), row(2, **{"eval/add/mean@1": np.float32(0.5)})])
    assert read_metrics(tmp_path) == [row(1), row(2, **{"eval/add/mean@1": 0.5})]


def test_values_that_are_not_finite_are_null_so_that_any_json_reader_copes(tmp_path):
    log_rows(tmp_path, [row(1, nan=float("nan"), inf=np.inf)])
    assert "NaN" not in (tmp_path / METRICS).read_text()
    assert read_metrics(tmp_path) == [row(1, nan=None, inf=None)]


def test_a_row_without_a_step_is_refused(tmp_path):
    with pytest.raises(ValueError, match="compute/step"):
        log_rows(tmp_path, [{"train/loss": 1.0}])


def test_a_logged_row_survives_sigkill(tmp_path):
    code = f"""
import os, signal, sys
from pathlib import Path
from harness.config.identity import code_version
from harness.config.schema import NoTracker
from harness.run.tracker import open_tracker
with open_tracker(NoTracker("none"), Path({str(tmp_path)!r}), "r", {{}}, {{}}) as tracker:
    tracker.log({{"compute/step": 1}})
    os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = subprocess.run([sys.executable, "-c", code], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert read_metrics(tmp_path) == [{"compute/step": 1}]


@given(steps=st.lists(st.integers(0, 50), max_size=12), at=st.integers(0, 50), torn=st.text("{}ab", max_size=5))
def test_cut_back_keeps_exactly_the_rows_up_to_the_checkpoint(tmp_path_factory, steps, at, torn):
    run_dir = tmp_path_factory.mktemp("run")
    log_rows(run_dir, [row(step) for step in steps])
    with (run_dir / METRICS).open("a") as file:
        file.write(torn)
    cut_back(run_dir, at)
    assert read_metrics(run_dir) == [row(step) for step in steps if step <= at]
    log_rows(run_dir, [row(99)])
    assert read_metrics(run_dir)[-1] == row(99)


def test_a_torn_last_line_does_not_swallow_the_next_row(tmp_path):
    log_rows(tmp_path, [row(1)])
    with (tmp_path / METRICS).open("a") as file:
        file.write('{"compute/st')
    assert read_metrics(tmp_path) == [row(1)]
    log_rows(tmp_path, [row(2)])
    assert read_metrics(tmp_path) == [row(1), row(2)]


def test_a_damaged_line_in_the_middle_is_named(tmp_path):
    (tmp_path / METRICS).write_text('{"compute/step": 1}\nnonsense\n{"compute/step": 2}\n')
    with pytest.raises(ValueError, match="line 2"):
        read_metrics(tmp_path)


# ---- the mirror, read back from the files that W&B itself writes offline


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")


@pytest.mark.slow
def test_w_and_b_mirrors_every_row_with_the_axes_of_the_design(tmp_path, offline):
    log_rows(tmp_path, [row(1), row(2)], wandb_tracker(tmp_path, tags=("toy",)))
    (run,) = wandb_runs(tmp_path)
    assert run["rows"] == read_metrics(tmp_path) == [row(1), row(2)]
    assert (run["id"], run["group"], run["job_type"]) == ("run-1", "quick", "true_reward")
    assert run["name"] == "quick-true_reward-s1"
    assert run["tags"] == ["toy"]
    assert (run["config"]["optim"], run["config"]["seed"]) == ({"lr": 1e-4}, 1)
    assert (run["config"]["labels"], run["config"]["code_version"]) == (LABELS, code_version())
    assert run["commit"] == subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    assert run["axes"]["train/*"] == run["axes"]["eval/*"] == "compute/step"
    assert run["exit_code"] == 0


@pytest.mark.slow
def test_runs_of_one_process_stay_apart_and_the_one_that_raises_is_marked_failed(tmp_path, offline):
    for number in range(3):
        (tmp_path / str(number)).mkdir()
        with (
            contextlib.suppress(ZeroDivisionError),
            open_tracker(wandb_tracker(tmp_path), tmp_path / str(number), f"run-{number}", {}, LABELS) as tracker,
        ):
            tracker.log(row(number))
            tracker.log(row(number + 1, ratio=1 / (number - 1)))
    runs = wandb_runs(tmp_path)
    assert [run["id"] for run in runs] == ["run-0", "run-1", "run-2"]
    assert [len(run["rows"]) for run in runs] == [2, 1, 2]
    assert [run["exit_code"] for run in runs] == [0, 1, 0]


@pytest.mark.slow
def test_a_resumed_run_keeps_its_w_and_b_id_though_its_steps_go_back(tmp_path, offline):
    log_rows(tmp_path, [row(1), row(2), row(3)], wandb_tracker(tmp_path))
    cut_back(tmp_path, 1)
    log_rows(tmp_path, [row(2), row(3)], wandb_tracker(tmp_path))
    first, second = wandb_runs(tmp_path)
    assert first["id"] == second["id"] == "run-1"
    assert second["rows"] == [row(2), row(3)]


@pytest.mark.parametrize("broken_at", ["init", "log", "finish"])
def test_a_w_and_b_failure_warns_once_and_loses_no_row(tmp_path, monkeypatch, broken_at):
    import wandb

    def lost(*args, **options):
        raise ConnectionResetError("connection lost")

    run = SimpleNamespace(define_metric=lambda *a, **o: None, log=lambda *a, **o: None, finish=lambda *a, **o: None)
    if broken_at == "init":
        monkeypatch.setattr(wandb, "init", lost)
    else:
        setattr(run, broken_at, lost)
        monkeypatch.setattr(wandb, "init", lambda **options: run)
    with pytest.warns(UserWarning, match="W&B failed") as caught:
        log_rows(tmp_path, [row(1), row(2), row(3)], wandb_tracker(tmp_path))
    assert len(caught) == 1
    assert len(read_metrics(tmp_path)) == 3


@pytest.mark.slow
def test_killing_the_w_and_b_service_does_not_stop_the_run(tmp_path):
    """The real service process is killed between two rows; in a process of its own, since W&B keeps one for life."""
    code = f"""
import os, signal, subprocess, warnings
from pathlib import Path
from harness.run.tracker import open_tracker
from tests.wandb_files import wandb_tracker
warnings.simplefilter("always")
folder = Path({str(tmp_path)!r})
with open_tracker(wandb_tracker(folder), folder, "r", {{}}, {{}}) as tracker:
    tracker.log({{"compute/step": 1}})
    table = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True).stdout.splitlines()
    service = [line for line in table if "wandb-core" in line and line.endswith(f"--pid {{os.getpid()}}")]
    os.kill(int(service[0].split()[0]), signal.SIGKILL)
    for step in range(2, 50):
        tracker.log({{"compute/step": step}})
print("trained to the end")
"""
    env = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}  # not that of this process
    env["WANDB_MODE"] = "offline"
    ended = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert "trained to the end" in ended.stdout
    assert ended.stderr.count("W&B failed") == 1
    assert len(read_metrics(tmp_path)) == 49


@pytest.mark.slow
def test_without_a_login_w_and_b_stays_offline(tmp_path, monkeypatch):
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    log_rows(tmp_path, [row(1)], wandb_tracker(tmp_path))
    assert [run["rows"] for run in wandb_runs(tmp_path)] == [[row(1)]]
