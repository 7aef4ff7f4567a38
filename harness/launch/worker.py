"""What runs where a job runs: the job's function, and a report of how it ended.

`python -m harness.launch.worker FD` serves a local pool over the inherited socket FD; the function comes first.
"""

import ctypes
import json
import os
import pickle
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

from harness.core.errors import UserError, as_write_error
from harness.core.signals import Stopped, raise_on_signals
from harness.launch.jobs import Job

Report = Callable[[dict[str, Any]], None]
RunJob = Callable[[Job, Report], Any]  # returns JSON
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # names of glibc's malloc.h
_HEAP = 1 << 30  # bytes


def job_from(fields: Mapping[str, Any]) -> Job:
    """The Job whose `asdict` went through JSON."""
    job = Job(**fields)
    return replace(job, budgets=tuple(job.budgets), needs=tuple(job.needs))


def attempt(function: bytes, job: Job, send: Report) -> dict[str, Any]:
    """Imports the pickled `function`, calls it as function(job, report), and returns the fields of the Event that ends
    the job; those of its progress are given to `send`.

    Never raises for what the function does: this is the one place where an unknown error becomes a report, with its
    traceback, so that a sweep goes on. A value that is not JSON counts as the function's error.
    """
    start = time.monotonic()
    keep_freed_memory()
    try:
        run_job: RunJob = pickle.loads(function)
        data = run_job(job, lambda row: send({"run_id": job.run_id, "kind": "progress", "data": row}))
        json.dumps(data)
        kind = "done"
    except Stopped as stopped:
        kind, data = "cancelled", str(stopped)
    except UserError as error:
        kind, data = "failed", str(error)
    except OSError as error:
        kind, data = "failed", str(as_write_error(error) or traceback.format_exc())
    except (Exception, SystemExit):
        kind, data = "failed", traceback.format_exc()
    return {"run_id": job.run_id, "kind": kind, "data": data, "seconds": time.monotonic() - start}


def keep_freed_memory() -> None:
    """Freed blocks stay with the process until a gigabyte is free at the end of its heap. glibc would map large ones
    one by one and unmap them, so that their pages are faulted in anew at every step, for a tenth of its time. Without
    glibc nothing changes."""
    with suppress(AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_TRIM_THRESHOLD, _HEAP)
        libc.mallopt(_MMAP_MAX, 0)


def serve(connection: Connection) -> None:
    """Runs jobs one after the other until the parent closes the pipe."""
    raise_on_signals()
    function = connection.recv_bytes()
    inbox: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(connection, inbox), daemon=True).start()
    lock = threading.Lock()

    def send(event: dict[str, Any]) -> None:
        message = json.dumps(event).encode()
        with lock:
            connection.send_bytes(message)

    while True:
        send(attempt(function, job_from(json.loads(inbox.get())), send))


def _read(connection: Connection, inbox: "queue.SimpleQueue[bytes]") -> None:
    """Hands jobs to the main thread. When the parent is gone, so is the worker: a run's state is safe at any moment."""
    try:
        while True:
            inbox.put(connection.recv_bytes())
    finally:  # whatever ended it: a worker whose parent is gone must exit
        os._exit(0)


if __name__ == "__main__":
    descriptor = int(sys.argv[1])
    os.set_inheritable(descriptor, False)
    serve(Connection(descriptor))
