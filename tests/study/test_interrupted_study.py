"""A study whose launching process is killed outright: nothing is lost, and nothing of it stays behind."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from harness.run.tracker import read_metrics
from tests.launch.test_local import alive
from tests.test_scripts import ROOT, SETTINGS, script

pytestmark = pytest.mark.slow
LONGER = [
    "study=skills",
    *(setting for setting in SETTINGS if not setting.startswith(("base.steps", "rl.steps"))),
    "tracker=none",
    "base.steps=60",
    "rl.steps=64",
    "save.seconds=0.05",
    "study.seeds=[0,1]",
    "launcher.jobs=2",
]


def table(out, name="table"):
    """Rows without times, and without the version: a commit made while the test runs is not its concern."""
    frame = pl.read_parquet(out / "studies" / "skills" / f"{name}.parquet")
    return frame.drop("seconds", "code_version", strict=False)


def metrics(out):
    """{run_id: rows of metrics.jsonl} without what is measured in seconds."""
    timed = ("time/", "perf/", "compute/seconds")
    return {
        folder.name: [{k: v for k, v in row.items() if not k.startswith(timed)} for row in read_metrics(folder)]
        for folder in (out / "runs").iterdir()
    }


def finished(out, *settings):
    ended = script("study", *LONGER, *settings, f"out={out}", cwd=out)
    assert ended.returncode == 0, ended.stderr + ended.stdout
    return ended.stdout


def bytes_written(out, kind):
    """Of all rows of metrics of the runs of a kind: how far the work has come."""
    return sum(path.stat().st_size for path in out.glob(f"runs/{kind}*/metrics.jsonl"))


def workers_of(pid):
    """Processes whose parent is `pid`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(path.read_text().rsplit(")", 1)[1].split()[1]) == pid:
                found.append(int(path.parent.name))
        except OSError:
            pass  # it ended meanwhile
    return found


def kill_amid_the_work(out, kind, written, delay):
    """Launches the study, and kills the launching process alone `delay` seconds after the runs of a kind have written
    so many bytes. Returns the workers that it left; none if the study was over before."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "scripts" / "study.py"), *LONGER, f"out={out}"]
    quiet = subprocess.DEVNULL
    launching = subprocess.Popen(command, cwd=out, env=env, stdout=quiet, stderr=quiet, start_new_session=True)
    while bytes_written(out, kind) < written and launching.poll() is None:
        time.sleep(0.002)
    time.sleep(delay)
    workers = workers_of(launching.pid)
    launching.kill()
    assert launching.wait() in (0, -signal.SIGKILL)
    return workers if launching.returncode else []


def test_a_study_whose_launching_process_is_killed_five_times_ends_with_the_tables_of_an_unbroken_one(tmp_path):
    """And with its metrics: no row is missing or written twice. Its workers end by themselves."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    finished(whole)
    moments = random.Random(7)
    shares = [("base", moments.random()), *(("rl", (quarter + moments.random()) / 4) for quarter in range(4))]
    for kind, share in shares:  # once in pretraining, and in each quarter of RL
        workers = kill_amid_the_work(broken, kind, share * bytes_written(whole, kind), moments.uniform(0, 0.05))
        assert workers, "the kill came too late to interrupt anything"
        end = time.monotonic() + 20
        while any(alive(pid) for pid in workers):
            assert time.monotonic() < end, "a worker outlived the launching process"
            time.sleep(0.02)
    finished(broken)
    for name in ("table", "problems"):
        assert_frame_equal(table(broken, name), table(whole, name), check_exact=True)
    assert metrics(broken) == metrics(whole)
