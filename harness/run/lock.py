"""One process at a time in a run's folder: a lock of the operating system on the folder, and run.lock, which names its
holder.

The first ends with its process, whatever clocks, host names and process numbers say. Where the file system has none, or
holds it for one machine only (network file systems), run.lock decides: on the same machine and in the same namespace of
process numbers its process must live, elsewhere its heartbeat must be recent. There the clocks of machines must agree
within STALE_SECONDS.
"""

import errno
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from harness.core.errors import UserError
from harness.core.files import set_aside, write_json
from harness.run.folder import RunFolder

STALE_SECONDS = 120.0
_HELD = (errno.EWOULDBLOCK, errno.EACCES)
_TRIES = 4  # is_locked holds the lock of another process's folder for an instant


def _process_start(pid: int) -> str:
    """When a process was started, in the kernel's ticks; "" where that is unknown. Distinguishes a reused pid."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    return ""


def lock_content(os_lock: bool) -> dict[str, Any]:
    """What run.lock holds of this process. host, boot, pid_namespace: where its number means what it means here; "" for
    what the system does not have. os_lock: whether it holds the folder's lock of the operating system."""
    here = {"host": socket.gethostname(), "boot": "", "pid_namespace": ""}
    with suppress(OSError):
        here["boot"] = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    with suppress(OSError):
        here["pid_namespace"] = os.readlink("/proc/self/ns/pid")
    pid = os.getpid()
    return {**here, "pid": pid, "started": _process_start(pid), "os_lock": os_lock, "heartbeat": time.time()}


def _is_alive(owner: Mapping[str, Any], os_lock: bool) -> bool:
    """Whether the process that wrote run.lock still works. os_lock: whether this process holds the folder's lock."""
    here = lock_content(os_lock)
    same_machine = (owner["host"], owner["boot"]) == (here["host"], here["boot"])
    if same_machine and os_lock and owner["os_lock"]:
        return False  # it would hold it
    if not same_machine or owner["pid_namespace"] != here["pid_namespace"]:
        return abs(time.time() - owner["heartbeat"]) < STALE_SECONDS  # one far in the future is of a wrong clock
    try:
        os.kill(owner["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return owner["pid"] != here["pid"] and owner["started"] == _process_start(owner["pid"])


@contextmanager
def _os_lock(folder: Path) -> Generator[bool | None]:
    """Whether this process holds the system's lock on the folder within the block; None where there is none."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield _try_lock(descriptor)
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool | None:
    for _ in range(_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError as error:
            if error.errno not in _HELD:
                return None
            time.sleep(0.02)
    return False


def _owner(path: Path) -> dict[str, Any] | None:
    """What run.lock says; None if there is none, or it cannot be read: half written by a process that was killed."""
    try:
        owner = json.loads(path.read_bytes())
        return owner if owner.keys() >= lock_content(os_lock=False).keys() else None
    except (OSError, ValueError, AttributeError):
        return None


def is_locked(folder: RunFolder) -> bool:
    """Whether a living process is at work in the folder."""
    owner = _owner(folder.path / "run.lock")
    if not folder.path.is_dir():
        return False
    with _os_lock(folder.path) as held:
        return held is False or (owner is not None and _is_alive(owner, bool(held)))


def run_state(folder: RunFolder) -> str:
    """done, running, failed, stopped or to do. A run with status running whose lock no process holds was killed: it is
    stopped."""
    if is_locked(folder):
        return "running"
    state = folder.status().get("state", "to do")
    return "stopped" if state == "running" else state


def _refuse(folder: RunFolder, owner: Mapping[str, Any] | None) -> UserError:
    who, silent = "a process", ""
    if owner is not None:
        who = f"process {owner['pid']} on {owner['host']}"
        silent = f"; its last heartbeat was {time.time() - owner['heartbeat']:.0f} s ago"
    fix = "wait for it or stop it; two processes would corrupt the run"
    return UserError(f"the run {folder.run_id} is already running", f"{who} is at work in {folder.path}{silent}", fix)


def _take_lock_file(folder: RunFolder, os_lock: bool) -> None:
    """Makes run.lock, or takes it over from a dead process; of several that try, one succeeds."""
    path, content = folder.path / "run.lock", json.dumps(lock_content(os_lock)).encode()
    while True:
        try:
            file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            _remove_dead(folder, path, os_lock)
        else:
            os.write(file, content)
            os.close(file)
            return


def _remove_dead(folder: RunFolder, path: Path, os_lock: bool) -> None:
    """Raises UserError if the owner of run.lock lives."""
    try:
        data, age = path.read_bytes(), time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return  # another was faster
    owner = _owner(path)
    if owner is None:
        if not os_lock and abs(age) < STALE_SECONDS:  # it may be about to be written
            raise _refuse(folder, None)
        set_aside(path, "it names no process, and none holds the run")
        return
    if _is_alive(owner, os_lock):
        raise _refuse(folder, owner)
    dead = path.with_name(f".run.lock.dead.{os.getpid()}")
    try:
        path.rename(dead)
    except FileNotFoundError:
        return
    if dead.read_bytes() != data:
        os.link(dead, path)  # another had taken it over since it was read: it is theirs
    dead.unlink()


@contextmanager
def hold_lock(folder: RunFolder) -> Generator[None]:
    """Holds the run for this process, with a heartbeat; a lock that a dead process left is taken over. Raises UserError
    if it is held."""
    folder.path.mkdir(parents=True, exist_ok=True)
    path, ended = folder.path / "run.lock", threading.Event()
    with _os_lock(folder.path) as held:
        if held is False:
            raise _refuse(folder, _owner(path))
        _take_lock_file(folder, bool(held))

        def beat() -> None:
            while not ended.wait(STALE_SECONDS / 6):
                with suppress(OSError):  # a disk that is full now may not be at the next beat
                    write_json(path, lock_content(bool(held)))

        heart = threading.Thread(target=beat, daemon=True)
        heart.start()
        try:
            yield
        finally:
            ended.set()
            heart.join()
            path.unlink(missing_ok=True)
