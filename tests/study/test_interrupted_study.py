"""A study whose launching process is killed outright: nothing is lost, and nothing of it stays behind."""

import random
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.launch.test_local import alive
from tests.launch.whole_study import check_same, command, metrics, study

pytestmark = pytest.mark.slow
LONGER = ["base.steps=60", "rl.steps=64", "study.seeds=[0,1]", "launcher.jobs=2"]


def bytes_written(out, kind):
    """Of all rows of metrics of the runs of a kind: how far the work has come."""
    return sum(path.stat().st_size for path in out.glob(f"runs/{kind}*/metrics.jsonl"))


def workers_of(pid):
    """Processes whose parent is `pid`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended meanwhile
            if int(path.read_text().rsplit(")", 1)[1].split()[1]) == pid:
                found.append(int(path.parent.name))
    return found


def kill_amid_the_work(out, kind, written, delay):
    """Launches the study, and kills the launching process alone `delay` seconds after the runs of a kind have written
    so many bytes. Returns the workers that it left; none if the study was over before."""
    quiet = subprocess.DEVNULL
    starting = command(out, *LONGER)
    launching = subprocess.Popen(starting, cwd=out, stdout=quiet, stderr=quiet, start_new_session=True)
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
    study(whole, *LONGER)
    moments = random.Random(7)
    shares = [("base", moments.random()), *(("rl", (quarter + moments.random()) / 4) for quarter in range(4))]
    for kind, share in shares:  # once in pretraining, and in each quarter of RL
        workers = kill_amid_the_work(broken, kind, share * bytes_written(whole, kind), moments.uniform(0, 0.05))
        assert workers, "the kill came too late to interrupt anything"
        end = time.monotonic() + 20
        while any(alive(pid) for pid in workers):
            assert time.monotonic() < end, "a worker outlived the launching process"
            time.sleep(0.02)
    study(broken, *LONGER)
    check_same(broken, whole)
    assert metrics(broken) == metrics(whole)
