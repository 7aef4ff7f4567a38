"""One writer in a run's folder, whatever hosts, clocks and process numbers say."""

import errno
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

from harness.core.errors import UserError
from harness.core.files import damaged_copy, read_json, write_json
from harness.run.folder import run_folder
from harness.run.lock import STALE_SECONDS, hold_lock, is_locked, lock_content


@pytest.fixture
def folder(tmp_path):
    folder = run_folder(tmp_path, "run-1")
    folder.path.mkdir(parents=True)
    return folder


HOLD = """
import sys
from harness.run.folder import run_folder
from harness.run.lock import hold_lock
with hold_lock(run_folder(sys.argv[1], "run-1")):
    print("held", flush=True)
    sys.stdin.read()
"""


def start_holder(out, *before):
    process = subprocess.Popen(
        [*before, sys.executable, "-c", HOLD, str(out)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    return process


def end(process):
    process.kill()
    process.communicate()


@pytest.fixture
def holder(tmp_path, folder):
    """Another process at work in the run."""
    process = start_holder(tmp_path)
    yield process
    end(process)


def no_os_locks(*args):
    raise OSError(errno.ENOLCK, "no locks available")


@pytest.fixture(params=[True, False], ids=["os locks", "no os locks"])
def os_locks(request, monkeypatch):
    """Whether the file system has locks for this process; another one that holds the run may have them or not."""
    if not request.param:
        monkeypatch.setattr(fcntl, "flock", no_os_locks)
    return request.param


def raises_in_use(folder, match="already running"):
    with pytest.raises(UserError, match=match), hold_lock(folder):
        pass
    assert is_locked(folder)


def taken_over(folder):
    assert not is_locked(folder)
    with hold_lock(folder):
        assert read_json(folder.path / "run.lock")["pid"] == os.getpid()
    assert not [path for path in folder.path.iterdir() if path.name.endswith("lock")]


def test_a_run_that_a_live_process_holds_is_refused_by_name(folder, holder, os_locks):
    raises_in_use(folder, f"process {holder.pid} on")
    assert (folder.path / "run.lock").is_file()


def test_the_lock_of_a_killed_process_is_taken_over(folder, holder, os_locks):
    end(holder)
    assert (folder.path / "run.lock").is_file()
    taken_over(folder)


def lock_of(folder, **changes):
    write_json(folder.path / "run.lock", {**lock_content(os_lock=True), **changes})


def test_a_process_number_that_was_given_to_another_process_is_no_owner(folder, os_locks):
    """The parent lives, and has this number, but was not started when the lock says."""
    lock_of(folder, pid=os.getppid(), started="1")
    taken_over(folder)


ELSEWHERE = [{"host": "not-" + socket.gethostname()}, {"boot": "another"}]


@pytest.mark.parametrize("where", ELSEWHERE, ids=["another host", "another machine of the same name"])
@pytest.mark.parametrize("age", [0.0, STALE_SECONDS + 1, -86400.0], ids=["beats", "stale", "from the future"])
def test_a_process_of_another_machine_is_alive_while_it_beats(folder, where, age, os_locks):
    lock_of(folder, **where, heartbeat=time.time() - age)
    raises_in_use(folder) if age == 0.0 else taken_over(folder)


UNSHARE = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc")


def can_unshare():
    return bool(shutil.which("unshare")) and subprocess.run([*UNSHARE, "true"], capture_output=True).returncode == 0


@pytest.mark.skipif(not can_unshare(), reason="no namespaces of process numbers here")
def test_a_process_in_another_namespace_keeps_its_run_until_it_ends(tmp_path, folder, os_locks):
    """Its number, 1 there, is that of another process here; both have the same host name."""
    process = start_holder(tmp_path, *UNSHARE)
    try:
        assert read_json(folder.path / "run.lock")["pid"] < 10
        raises_in_use(folder)
        third = subprocess.run([*UNSHARE, sys.executable, "-c", HOLD, str(tmp_path)], capture_output=True, text=True)
        assert "already running" in third.stderr
    finally:
        end(process)
    if os_locks:  # else its heartbeat counts until it is old
        deadline = time.time() + 10
        while is_locked(folder):  # until the kernel has ended all of the namespace
            assert time.time() < deadline
            time.sleep(0.02)
        taken_over(folder)


@pytest.mark.parametrize("content", [b"", b'{"host": "a", "pi', b"[]", b"\xff\xfe\x00", b'{"host": 1}'])
def test_a_damaged_lock_is_named_and_holds_nobody_up(folder, content, os_locks, capfd):
    path = folder.path / "run.lock"
    path.write_bytes(content)
    if not os_locks:  # it may be about to be written
        with pytest.raises(UserError, match="already running"), hold_lock(folder):
            pass
        os.utime(path, (0, 0))
    taken_over(folder)
    assert f"damaged file {path}" in capfd.readouterr().err
    assert damaged_copy(path).read_bytes() == content


def test_the_lock_is_released_after_a_failure(folder, os_locks):
    with pytest.raises(ZeroDivisionError), hold_lock(folder):
        raise ZeroDivisionError
    taken_over(folder)


@pytest.mark.parametrize("locks", ["", "import errno, fcntl\nfcntl.flock = lambda *a: open('/none/such')\n"])
def test_of_many_that_start_at_once_one_holds_the_run(folder, tmp_path, locks):
    """Real processes, from a lock that a dead process left, with locks of the system and without; each prints how its
    try ended."""
    lock_of(folder, pid=2**22 - 7)
    code = f"""
import time
from pathlib import Path
from harness.core.errors import UserError
from harness.run.folder import RunFolder
from harness.run.lock import hold_lock
{locks}
while time.time() < {time.time() + 3}: pass
try:
    with hold_lock(RunFolder(Path({str(folder.path)!r}))):
        time.sleep(2)
        print("held")
except UserError:
    print("refused")
"""
    tries = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert sorted(each.communicate()[0].strip() for each in tries) == ["held", "refused", "refused", "refused"]
    assert not [path for path in folder.path.iterdir() if "lock" in path.name]


def test_a_process_that_is_stopped_for_long_keeps_its_run(folder, holder):
    """SIGSTOP, as of a suspended laptop: no heart beats, but the lock of the system stays."""
    holder.send_signal(signal.SIGSTOP)
    owner = read_json(folder.path / "run.lock")
    changes = {"heartbeat": time.time() - 10 * STALE_SECONDS, "pid_namespace": "pid:[1]"}
    write_json(folder.path / "run.lock", owner | changes)
    raises_in_use(folder)


def test_the_heart_beats_while_the_run_is_held(folder, monkeypatch):
    monkeypatch.setattr("harness.run.lock.STALE_SECONDS", 0.06)
    with hold_lock(folder):
        first = read_json(folder.path / "run.lock")["heartbeat"]
        deadline = time.time() + 10
        while read_json(folder.path / "run.lock")["heartbeat"] == first:
            assert time.time() < deadline, "no beat"
            time.sleep(0.01)
