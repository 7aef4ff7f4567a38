"""The local pool: no end of a worker loses another job, and nothing stays behind."""

import json
import signal
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.config.schema import LocalConfig
from harness.launch.launch import launch
from harness.launch.local import THREAD_VARIABLES, concurrency, cores, kept_workers, process_env_vars
from tests.launch import works
from tests.launch.works import act, job


def config(jobs=2, retries=0, grace=10.0, threads=1):
    return LocalConfig("local", jobs, threads, 0.1, retries, grace)


def results(jobs, settings=None, *on_progress):
    return works.results(jobs, settings or config(), *on_progress)


def alive(pid):
    """True for a process that runs; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def gone(pid, seconds=10.0):
    end = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.05)
    return not alive(pid)


def test_values_and_progress_come_back():
    rows = []
    ended = results([job("a"), job("b")], None, lambda job, row: rows.append((job.run_id, row)))
    assert {run_id: result.status for run_id, result in ended.items()} == {"a": "done", "b": "done"}
    assert ended["a"].value["until"] == 7
    assert sorted(rows) == [("a", {"step": 7}), ("b", {"step": 7})]


def test_jobs_share_the_places_that_no_other_job_could_fill():
    """A base that all wait for has them all, those after it one each."""
    after = [job(name, "share", needs=["base"], seconds=0.2) for name in "abc"]
    ended = results([job("base", "share", seconds=0), *after], config(jobs=3))
    assert {run_id: result.value for run_id, result in ended.items()} == {"base": 3, "a": 1, "b": 1, "c": 1}


def test_a_job_that_raises_is_told_whole_and_the_others_finish():
    ended = results([job("bad", "raise"), job("good"), job("after", needs=["bad"])])
    assert ended["bad"].status == "failed"
    assert "Traceback" in ended["bad"].error
    assert "works.py" in ended["bad"].error
    assert "ValueError: planted in bad" in ended["bad"].error
    assert ended["bad"].output == "about to fail\n"
    assert ended["after"].status == "skipped"
    assert ended["good"].status == "done"


def test_a_user_error_has_no_traceback():
    assert results([job("a", "user_error")])["a"].error == "group_size 1: rloo compares completions\n  use 2 or more"


def test_a_value_that_is_not_json_fails_its_own_job_only():
    ended = results([job("bad", "unwritable"), job("good")], config(jobs=1))
    assert "not JSON serializable" in ended["bad"].error
    assert ended["good"].status == "done"


def test_a_killed_worker_is_replaced_and_its_last_words_are_kept():
    jobs = [job("dies", "die"), *(job(f"good{i}") for i in range(5))]
    ended = results(jobs, config(jobs=1, retries=1))
    assert (ended["dies"].status, ended["dies"].attempts) == ("killed", 2)
    assert "SIGKILL" in ended["dies"].error
    assert ended["dies"].output == "last words\n"
    assert all(ended[f"good{i}"].status == "done" for i in range(5))


def test_a_job_killed_once_is_run_again(tmp_path):
    ended = results([job("a", "die_once", flag=str(tmp_path / "flag"))], config(retries=1))
    assert (ended["a"].status, ended["a"].value, ended["a"].attempts) == ("done", "survived", 2)


def test_no_more_jobs_run_at_once_than_asked_and_no_worker_outlives_the_launch():
    pids = {result.value["pid"] for result in results([job(f"{i}") for i in range(12)], config(jobs=2)).values()}
    assert 1 <= len(pids) <= 2
    assert all(gone(pid) for pid in pids)


def test_workers_kept_serve_the_next_launch_if_they_have_its_threads_and_none_outlives_the_context():
    def pids(n, **more):
        return {r.value["pid"] for r in results([job(str(i)) for i in range(n)], config(**more)).values()}

    with kept_workers():
        first = pids(4)
        assert pids(2) <= first
        other = pids(1, jobs=1, threads=2)
        assert not other & first
        assert results([job("k", "die")], config(jobs=1))["k"].status == "killed"
        assert all(alive(pid) for pid in other)
    assert all(gone(pid) for pid in first | other)
    assert not pids(1) & (first | other)


def test_leaving_the_loop_early_ends_the_workers_and_what_they_started():
    rows = {}
    jobs = [job("deaf", "deaf"), job("quick", "sleep", seconds=1), job("waits", "sleep", seconds=60)]
    going = launch(jobs, config(), act, lambda job, row: rows.update(row))
    assert next(going).job.run_id == "quick"
    going.close()
    assert gone(rows["ready"])
    assert gone(rows["child"])


@pytest.mark.slow
def test_threads_are_set_before_torch_is_imported(monkeypatch):
    for name in THREAD_VARIABLES:
        monkeypatch.setenv(name, str(cores()))
    assert results([job("a", "threads")], config(jobs=1, threads=1))["a"].value == 1


def test_cores_are_shared_out_among_the_jobs():
    assert concurrency(LocalConfig("local", None, None, 1e-9, 0, 1.0), n_jobs=1) == (1, cores())
    assert concurrency(LocalConfig("local", None, None, 1e-9, 0, 1.0), n_jobs=10_000) == (cores(), 1)
    assert concurrency(LocalConfig("local", None, None, 1e9, 0, 1.0), n_jobs=8)[0] == 1
    assert concurrency(LocalConfig("local", 3, 5, 1e9, 0, 1.0), n_jobs=8) == (3, 5)


def test_gpus_are_dealt_out_one_a_worker(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    assert [process_env_vars(place, 1)["CUDA_VISIBLE_DEVICES"] for place in range(3)] == ["4", "6", "4"]


# ---- stopping: the launching process is a real one, and gets real signals


@contextmanager
def started(do, tmp_path, grace=20.0):
    """The launching process, once its job runs, and the ids of the worker and of the worker's child."""
    jobs = [job("runs", do, saved=str(tmp_path / "saved")), job("waits", needs=["runs"])]
    with works.launching(jobs, config(jobs=1, retries=3, grace=grace)) as parent:
        yield parent, json.loads(parent.stdout.readline()).values()


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stop_is_passed_on_and_running_jobs_save(tmp_path, signum, status):
    with started("save_when_stopped", tmp_path) as (parent, ids):
        parent.send_signal(signum)
        printed, _ = parent.communicate(timeout=30)
    assert (tmp_path / "saved").read_text() == "whole step"
    assert "runs cancelled stopped by SIGTERM" in printed
    assert "waits cancelled the launch was stopped" in printed
    assert printed.endswith(f"status {status}\n")
    assert all(gone(pid) for pid in ids)


def test_a_job_that_does_not_stop_is_ended_with_its_children(tmp_path):
    with started("deaf", tmp_path, grace=0.5) as (parent, ids):
        parent.send_signal(signal.SIGTERM)
        printed, _ = parent.communicate(timeout=30)
    assert "runs cancelled did not stop in its grace time" in printed
    assert len(ids) == 2
    assert all(gone(pid) for pid in ids)


def test_when_the_launching_process_is_killed_its_workers_go_too(tmp_path):
    with started("save_when_stopped", tmp_path) as (parent, (worker,)):
        parent.kill()
    assert gone(worker)
    assert not (tmp_path / "saved").exists()
