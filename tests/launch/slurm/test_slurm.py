"""The Slurm launcher on a real Slurm of this machine (cluster.py): everything that a queue does to a job."""

import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from harness.config.schema import SubmititConfig
from harness.core.errors import UserError
from tests.launch.slurm.cluster import WAIT_SECONDS, wait_until
from tests.launch.works import job, launching, results, statuses

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


def config(folder, pack=1, wait=True, retries=0, minutes=5, grace=10.0, partition="low"):
    return SubmititConfig(
        "submitit", "slurm", str(folder), partition, None, minutes, 1, 0, 0.5, 8, pack, (), wait, retries, grace
    )  # fmt: skip


def starts(folder, run_id):
    return len(list(Path(folder).glob(f"{run_id}.*[0-9]")))


def test_packs_failures_needs_and_retries_end_as_on_the_local_launcher(cluster, tmp_path):
    flag = str(tmp_path / "flag")
    jobs = [job("a"), job("bad", "raise"), job("dies", "die_once", flag=flag)]
    jobs += [job("after", needs=["bad"]), job("d", needs=["a"])]
    rows = []
    ended = results(jobs, config(tmp_path, pack=2, retries=1), lambda job, row: rows.append((job.run_id, row)))
    assert statuses(ended) == {"a": "done", "bad": "failed", "dies": "done", "after": "skipped", "d": "done"}
    assert ended["dies"].attempts == 2
    assert "ValueError: planted in bad" in ended["bad"].error
    assert ("a", {"step": 7}) in rows


def test_after_sigterm_running_packs_save_pending_ones_leave_the_queue_and_the_launch_ends(cluster, tmp_path):
    jobs = [job(f"{i}", "save_when_stopped", saved=str(tmp_path / f"saved{i}")) for i in range(4)]
    with launching(jobs, config(tmp_path)) as process:
        wait_until(lambda: sorted(cluster.queue().values()) == ["PENDING", "PENDING", "RUNNING", "RUNNING"])
        wait_until(lambda: len(list(tmp_path.glob("*.messages"))) == 2)
        time.sleep(2)
        process.send_signal(signal.SIGTERM)
        printed, _ = process.communicate(timeout=WAIT_SECONDS)
    *ended, last = (line for line in printed.splitlines() if not line.startswith("{"))  # of progress
    assert [line.split()[1] for line in ended] == ["cancelled"] * 4
    assert last == "status 143"
    assert cluster.queue() == {}
    assert len(list(tmp_path.glob("saved*"))) == 2


def interrupt(cluster, tmp_path, how):
    """Runs a job that saves when it is stopped, calls `how(id)` while it runs, and returns its result."""
    saved = str(tmp_path / "saved")
    called = []

    def once_ready(job, row):
        if not called:
            (job_id,) = cluster.queue()
            called.append(job_id)
            how(job_id)

    ended = results([job("a", "save_and_resume", saved=saved)], config(tmp_path), once_ready)
    wait_until(lambda: cluster.queue() == {})
    return ended["a"]


def test_a_requeued_job_is_waited_for_and_goes_on(cluster, tmp_path):
    ended = interrupt(cluster, tmp_path, lambda job_id: cluster.run("scontrol", "requeue", job_id))
    assert (ended.status, ended.value, ended.attempts) == ("done", "resumed from whole step", 1)


def test_a_preempted_job_is_waited_for_and_goes_on(cluster, tmp_path):
    def preempt(job_id):
        cluster.run("sbatch", "--partition=high", "--nodes=2", "--output=/dev/null", "--wrap=sleep 3")

    ended = interrupt(cluster, tmp_path, preempt)
    wait_until(lambda: cluster.queue() == {})
    assert (ended.status, ended.value, ended.attempts) == ("done", "resumed from whole step", 1)


def test_a_job_out_of_time_saves_and_is_requeued(cluster, tmp_path):
    """Slurm warns `grace` seconds before the minute is over."""
    jobs = [job("a", "save_and_resume", saved=str(tmp_path / "saved"))]
    ended = results(jobs, config(tmp_path, minutes=1, grace=55.0))
    assert (ended["a"].status, ended["a"].value, ended["a"].attempts) == ("done", "resumed from whole step", 1)


def test_what_scancel_took_is_cancelled_and_runs_in_the_next_launch(cluster, tmp_path):
    saved = str(tmp_path / "saved")
    jobs = [job("a", "save_and_resume", saved=saved)]
    ended = results(jobs, config(tmp_path, retries=3), lambda *_: cluster.run("scancel", *cluster.queue()))
    assert (ended["a"].status, ended["a"].attempts) == ("cancelled", 1)
    assert "scancel" in ended["a"].error
    assert results(jobs, config(tmp_path))["a"].value == "resumed from whole step"


def test_a_job_on_a_node_that_is_lost_runs_again_on_another(cluster, tmp_path):
    lost = []

    def kill_its_node(job, row):
        if not lost:
            lost.append(cluster.run("squeue", "--noheader", "--format=%N").strip())
            cluster.kill_node(lost[0])

    try:
        ended = results([job("a", "sleep_at_first", dir=str(tmp_path))], config(tmp_path), kill_its_node)
        assert (ended["a"].status, ended["a"].attempts, starts(tmp_path, "a")) == ("done", 1, 2)
    finally:
        cluster.start_node(*lost)
        wait_until(cluster.is_idle)


def test_a_controller_that_is_away_for_a_while_loses_no_job(cluster, tmp_path):
    def restart(job, row):
        time.sleep(7)  # the controller saves its state every 5 s
        cluster.kill_controller()
        time.sleep(6)
        cluster.start_controller()

    ended = results([job("a", "report_and_sleep"), job("b", "sleep", seconds=25)], config(tmp_path), restart)
    assert statuses(ended) == {"a": "done", "b": "done"}


def test_nothing_is_queued_while_slurm_does_not_say_what_runs(cluster, tmp_path):
    jobs = [job("a", "sleep", seconds=3, dir=str(tmp_path))]
    results(jobs, config(tmp_path, wait=False))
    cluster.kill_controller()
    try:
        with pytest.raises(UserError, match=r"(?s)squeue fails.*cannot be seen what runs"):
            results(jobs, config(tmp_path))
    finally:
        cluster.start_controller()


def test_the_launch_after_a_killed_one_waits_for_its_jobs_and_queues_none_twice(cluster, tmp_path):
    jobs = [job(f"{i}", "sleep", seconds=6, dir=str(tmp_path)) for i in range(3)]
    with launching(jobs, config(tmp_path)) as process:
        wait_until(lambda: len(cluster.queue()) == 3)
        process.kill()
        process.wait()
    assert statuses(results(jobs, config(tmp_path))) == dict.fromkeys("012", "done")
    assert [starts(tmp_path, run_id) for run_id in "012"] == [1, 1, 1]


def test_a_launch_killed_as_soon_as_slurm_has_its_jobs_has_queued_none_unseen(cluster, tmp_path):
    """Killed within sbatch, before it can write down what Slurm answered."""
    real = shutil.which("sbatch")
    fake = tmp_path / "bin" / "sbatch"
    fake.parent.mkdir()
    fake.write_text(f'#!/bin/sh\n{real} "$@"\nkill -KILL $PPID\n')
    fake.chmod(0o755)
    jobs = [job(f"{i}", "sleep", seconds=6, dir=str(tmp_path)) for i in range(2)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
        with launching(jobs, config(tmp_path)) as process:
            process.communicate(timeout=WAIT_SECONDS)
    assert len(cluster.queue()) == 2
    assert set(statuses(results(jobs, config(tmp_path, wait=False))).values()) == {"submitted"}
    assert len(cluster.queue()) == 2
    cluster.run("scancel", "--me")  # submitit's part of them was not written
    wait_until(lambda: cluster.queue() == {})
    assert statuses(results(jobs, config(tmp_path))) == dict.fromkeys("01", "done")
    assert [starts(tmp_path, run_id) for run_id in "01"] == [1, 1]


def test_a_requeued_job_is_not_queued_again_by_the_next_launch(cluster, tmp_path):
    """Without waiting: requeued while no launch looks at it, and seen by the next one in the middle of that."""
    jobs = [job("a", "save_and_resume", saved=str(tmp_path / "saved"), dir=str(tmp_path))]
    assert statuses(results(jobs, config(tmp_path, wait=False))) == {"a": "submitted"}
    wait_until(lambda: starts(tmp_path, "a") == 1)
    time.sleep(1)
    cluster.run("scontrol", "requeue", *cluster.queue())
    wait_until((tmp_path / "saved").exists)
    assert statuses(results(jobs, config(tmp_path, wait=False))) == {"a": "submitted"}
    assert len(cluster.queue()) == 1
    assert results(jobs, config(tmp_path))["a"].value == "resumed from whole step"
    assert starts(tmp_path, "a") == 2


def test_a_longer_run_waits_for_the_shorter_one_that_is_queued(cluster, tmp_path):
    """They write to one folder, so that they must not run beside each other."""
    shorter, longer = (job("a", "overlap", until=until, dir=str(tmp_path), seconds=5) for until in (5, 9))
    assert statuses(results([shorter], config(tmp_path, wait=False))) == {"a": "submitted"}
    assert results([longer], config(tmp_path))["a"].value == {"until": 9, "beside": False}


def test_what_slurm_refuses_is_said_with_its_reason(cluster, tmp_path):
    with pytest.raises(UserError, match=r"(?s)launcher=submitit.*Invalid partition.*launcher.partition"):
        results([job("a")], config(tmp_path, partition="none"))
