"""A pack: some short jobs one after the other in one job of a queue; what runs on the node, and what the launch keeps.

How a job ends goes into the pack's file of messages, at once. A pack that is stopped exits without a message: after a
requeue or a preemption the queue starts it again with the same arguments, after scancel it does not.
"""

import json
import os
import signal
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import JobPaths

from harness.core.files import write_json
from harness.core.signals import Stopped, defer_signals
from harness.launch.jobs import Event
from harness.launch.local import OUTPUT_BYTES, THREAD_VARIABLES
from harness.launch.slurm_queue import NOT_LISTED, Listed
from harness.launch.worker import Report, attempt, job_from

PREEMPTED = signal.Signals["SIG" + submitit.JobEnvironment.USR_SIG]


class Pack(submitit.helpers.Checkpointable):
    """Several jobs one after the other, on a node. Called again after a requeue, it passes over what is done."""

    def __init__(self, function: bytes, jobs: Sequence[dict[str, Any]], messages: Path, threads: int):
        self.function, self.jobs, self.messages, self.threads = function, list(jobs), messages, threads

    def __call__(self) -> None:
        """Does not return when it is stopped: the queue decides what follows."""
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(self.threads)))
        stopped = self._run()
        if stopped == str(Stopped(PREEMPTED)):
            signal.raise_signal(PREEMPTED)  # submitit's own answer: checkpoint(), requeue, leave
        if stopped:
            raise SystemExit(stopped)

    def _run(self) -> str | None:
        """What stopped it, if anything did."""
        with defer_signals() as stop, _open_messages(self.messages) as send:
            for fields in self.jobs:
                if stopped := stop():
                    return str(stopped)
                event = attempt(self.function, job_from(fields), send)
                if event["kind"] == "cancelled":
                    return event["data"]
                send(event)
        return None


@dataclass(eq=False)
class QueuedPack:
    """A pack in the queue under `name`, written down in `folder`. `jobs`: by run_id, as JSON. `left`: run_ids that this
    launch waits for. `listed`: as the queue gave it last, in its listing number `looked_at`."""

    folder: Path
    name: str
    jobs: dict[str, dict[str, Any]]
    job_id: str | None = None
    left: set[str] = field(default_factory=set)
    listed: Listed = NOT_LISTED
    looked_at: int = 0
    since: float = field(default_factory=time.monotonic)
    _gone: int = 0  # listings in a row in which it had ended
    _bytes: int = 0
    _ended: set[str] = field(default_factory=set)

    @staticmethod
    def read(path: Path) -> "QueuedPack":
        return QueuedPack(path.parent, path.stem, **json.loads(path.read_text()))

    def write(self) -> None:
        write_json(self._note, {"jobs": self.jobs, "job_id": self.job_id})

    def forget(self) -> None:
        self._note.unlink(missing_ok=True)
        self.messages.unlink(missing_ok=True)

    @property
    def messages(self) -> Path:
        return self.folder / f"{self.name}.messages"

    @property
    def _note(self) -> Path:
        return self.folder / f"{self.name}.json"

    @property
    def is_over(self) -> bool:
        """Whether each job has ended, or the queue has given it as ended twice: between the two, the last messages
        reach this node."""
        return self._gone > 1 or self._ended.issuperset(self.jobs)

    def look(self, listed: Listed, listing: int) -> None:
        """Takes the state from a listing that was made after it was queued and that it has not seen."""
        if listing > self.looked_at:
            self.looked_at = listing
            if not (self._gone and listed.ended):  # how it ended is listed for a while only
                self.listed = listed
            self._gone = self._gone + 1 if listed.ended else 0

    def new_events(self) -> Iterator[Event]:
        if not self.messages.is_file():
            return
        with self.messages.open("rb") as file:
            file.seek(self._bytes)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._bytes += len(whole)
        for line in whole.splitlines():
            with suppress(json.JSONDecodeError):  # cut off by a kill
                event = Event(**json.loads(line))
                if event.run_id in self.left:
                    yield event
                if event.kind != "progress":
                    self._ended.add(event.run_id)
                    self.left.discard(event.run_id)

    def printed(self) -> str:
        """The end of what it printed."""
        path = JobPaths(self.folder, self.listed.job_id or self.job_id).stderr
        return path.read_bytes()[-OUTPUT_BYTES:].decode(errors="replace") if path.is_file() else ""


@contextmanager
def _open_messages(path: Path) -> Generator[Report]:
    """A function that appends an event. Ends a line that a kill cut off."""
    torn = path.is_file() and not path.read_bytes().endswith(b"\n")
    with path.open("a", buffering=1) as messages:
        if torn:
            messages.write("\n")

        def send(event: dict[str, Any]) -> None:
            messages.write(json.dumps(event) + "\n")

        yield send
