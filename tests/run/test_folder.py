"""Run folders: one writer, and a status however it ends."""

import os
import socket
import subprocess
import sys
import time

import pytest

from harness.core.errors import UserError
from harness.core.signals import Stopped
from harness.run.folder import (
    STALE_SECONDS,
    _lock_content,
    hold_lock,
    read_json,
    record_outcome,
    run_folder,
    write_json,
)


@pytest.fixture
def folder(tmp_path):
    folder = run_folder(tmp_path, "run-1")
    folder.path.mkdir(parents=True)
    return folder


HOLD = """
import sys
from harness.run.folder import hold_lock, run_folder
with hold_lock(run_folder(sys.argv[1], "run-1")):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path, folder):
    """Another process at work in the run."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_run_that_a_live_process_holds_is_refused_by_name(folder, holder):
    with pytest.raises(UserError, match=f"process {holder.pid} on"), hold_lock(folder):
        pass
    assert (folder.path / "run.lock").is_file()


def test_the_lock_of_a_killed_process_is_taken_over(folder, holder):
    holder.kill()
    holder.wait()
    assert (folder.path / "run.lock").is_file()
    with hold_lock(folder):
        assert read_json(folder.path / "run.lock")["pid"] == os.getpid()
    assert not (folder.path / "run.lock").exists()


def lock_of(folder, **changes):
    write_json(folder.path / "run.lock", {**_lock_content(), **changes})


def test_a_process_number_that_was_given_to_another_process_is_no_owner(folder):
    """The parent lives, and has this number, but was not started when the lock says."""
    lock_of(folder, pid=os.getppid(), started="1")
    with hold_lock(folder):
        pass


@pytest.mark.parametrize(("age", "refused"), [(0.0, True), (STALE_SECONDS + 1, False)])
def test_a_process_of_another_host_is_alive_while_it_beats(folder, age, refused):
    lock_of(folder, host="not-" + socket.gethostname(), heartbeat=time.time() - age)
    if refused:
        with pytest.raises(UserError, match="already running"), hold_lock(folder):
            pass
    else:
        with hold_lock(folder):
            pass


def test_the_lock_is_released_after_a_failure(folder):
    with pytest.raises(ZeroDivisionError), hold_lock(folder):
        raise ZeroDivisionError
    assert not (folder.path / "run.lock").exists()


def test_a_failed_run_leaves_its_traceback_and_a_later_success_removes_it(folder):
    folder.set_status("running", 7)
    with pytest.raises(ZeroDivisionError), record_outcome(folder):
        raise ZeroDivisionError("planted")
    status = folder.status()
    assert (status["state"], status["step"], status["error"]) == ("failed", 7, "ZeroDivisionError: planted")
    assert "ZeroDivisionError: planted" in (folder.path / "traceback.txt").read_text()
    with record_outcome(folder):
        pass
    assert not (folder.path / "traceback.txt").exists()


def test_a_stopped_run_is_not_a_failed_one(folder):
    with pytest.raises(Stopped), record_outcome(folder):
        raise Stopped(15)
    assert folder.status()["state"] == "stopped"
    assert not (folder.path / "traceback.txt").exists()


def test_a_run_that_succeeds_while_an_error_is_handled_is_not_marked_failed(folder):
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        with record_outcome(folder):
            folder.set_status("done", 3)
    assert folder.status()["state"] == "done"


def test_a_file_is_replaced_whole(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert read_json(path) == {"a": 1}
    assert read_json(tmp_path / "none.json") is None


def test_of_many_that_start_at_once_one_holds_the_run(folder, tmp_path):
    """Real processes, from a lock that a dead process left; each says how its try ended."""
    lock_of(folder, pid=2**22 - 7)
    code = f"""
import time
from pathlib import Path
from harness.core.errors import UserError
from harness.run.folder import RunFolder, hold_lock
while time.time() < {time.time() + 3}: pass
try:
    with hold_lock(RunFolder(Path({str(folder.path)!r}), "run-1")):
        time.sleep(2)
        print("held")
except UserError:
    print("refused")
"""
    tries = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert sorted(each.communicate()[0].strip() for each in tries) == ["held", "refused", "refused", "refused"]
    assert not [path for path in folder.path.iterdir() if "lock" in path.name]


def test_the_heart_beats_while_the_run_is_held(folder, monkeypatch):
    monkeypatch.setattr("harness.run.folder.STALE_SECONDS", 0.06)
    with hold_lock(folder):
        first = read_json(folder.path / "run.lock")["heartbeat"]
        deadline = time.time() + 10
        while read_json(folder.path / "run.lock")["heartbeat"] == first:
            assert time.time() < deadline, "no beat"
            time.sleep(0.01)
