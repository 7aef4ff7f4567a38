"""States of the packs in a queue: Slurm's, read by squeue, or local processes.

squeue needs no accounting, and lists a job that is requeued or preempted as what it is: waiting again. A pack is known
by the name it was queued under, which is written down before it is queued, so that one whose launch was killed at any
moment is found again; Slurm's ids are given out anew where a controller lost its state.
"""

import os
import subprocess
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass

LISTING_SECONDS = 5.0  # between two calls of squeue; how runs end is read from files, sooner
SQUEUE = ("squeue", "--me", "--all", "--noheader", "--array", "--states=all", "--format=%i|%T|%j")
# Of the states in squeue(1) those after which a job does not run again. Jobs that ended are listed for a while, too.
ENDED = {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"}
ENDED |= {"REVOKED", "TIMEOUT"}


@dataclass(frozen=True)
class Listed:
    """A job of a queue."""

    job_id: str
    state: str

    @property
    def ended(self) -> bool:
        return self.state in ENDED


NOT_LISTED = Listed("", "COMPLETED")


class SlurmQueue:
    """This user's jobs in Slurm. listings: how many succeeded so far; error: why the last one failed."""

    def __init__(self) -> None:
        self.listings, self.error = 0, ""
        self._found: dict[str, Listed] = {}
        self._next = 0.0

    def list_again(self, packs: dict[str, str | None]) -> None:
        """Looks at the packs, {name: job id if it is known}, unless it did a moment ago. Keeps what it knows if it
        gets no answer."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + LISTING_SECONDS
        answer = subprocess.run(SQUEUE, capture_output=True, text=True, check=False)
        self.error = answer.stderr.strip() if answer.returncode else ""
        if not self.error:
            self.listings += 1
            self._found = dict(map(_named, answer.stdout.splitlines()))

    def find(self, name: str) -> Listed:
        return self._found.get(name, NOT_LISTED)

    def cancel(self, job_ids: Collection[str]) -> None:
        subprocess.run(["scancel", *job_ids], capture_output=True, check=False)


class ProcessQueue(SlurmQueue):
    """As SlurmQueue, of packs that are processes of this machine; a job id is a process id."""

    def list_again(self, packs: dict[str, str | None]) -> None:
        self.listings += 1
        self._found = {name: Listed(pid, "RUNNING") for name, pid in packs.items() if pid and _runs(int(pid))}

    def cancel(self, job_ids: Collection[str]) -> None:
        for pid in job_ids:
            with suppress(ProcessLookupError):
                os.kill(int(pid), 15)


def _named(line: str) -> tuple[str, Listed]:
    """("name_3", …) of an array's "17_3|RUNNING|name"; without an index of a single job."""
    job_id, state, name = line.split("|", 2)
    _, _, index = job_id.partition("_")
    return (f"{name}_{index}" if index else name), Listed(job_id, state)


def _runs(pid: int) -> bool:
    with suppress(ChildProcessError):  # started by an earlier launch
        os.waitpid(pid, os.WNOHANG)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
