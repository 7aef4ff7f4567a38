"""Jobs on a Ray cluster, one that runs already or one of this machine alone.

Run folders must lie on storage that all nodes see, under the same path; a job whose node is lost then goes on from its
last checkpoint elsewhere. The package must be installed on every node. Set RAY_AUTH_MODE alike on all of them.
"""

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError, TaskCancelledError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from harness.config.schema import RayConfig
from harness.core.errors import UserError
from harness.launch.jobs import Event, Job
from harness.launch.local import POLL_SECONDS
from harness.launch.worker import attempt, job_from

CONNECT_SECONDS = 10.0
QUEUED_PER_SLOT = 4  # jobs queued for each that the cluster can run, so that no node waits for this process


class RayPool:
    """A `Pool` of Ray tasks. Ray places them; a lost worker or node gives a `killed` event, which `launch` retries."""

    def __init__(self, config: RayConfig, function: bytes, n_jobs: int):
        self._config, self._function = config, function
        self._running: dict[ray.ObjectRef, tuple[Job, float]] = {}
        self._stopped_at: float | None = None
        self._forced = False

    def __enter__(self) -> "RayPool":
        self._owner = not ray.is_initialized()
        if self._owner:
            with _own_sigterm():
                _connect(self._config.address)
        _require_fit(self._config)
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        self._progress: Any = _ProgressRows.options(scheduling_strategy=here, num_cpus=0).remote()
        self._task = _run.options(num_cpus=self._config.cpus, num_gpus=self._config.gpus, max_retries=0)
        return self

    def __exit__(self, *error: object) -> None:
        for ref in self._running:
            ray.cancel(ref, force=True)
        ray.kill(self._progress)
        if self._owner:
            ray.shutdown()

    def free(self) -> int:
        total = ray.cluster_resources()
        fit = total.get("CPU", 0) / self._config.cpus
        if self._config.gpus:
            fit = min(fit, total.get("GPU", 0) / self._config.gpus)
        most = self._config.jobs or QUEUED_PER_SLOT * max(1, int(fit))
        return max(0, most - len(self._running))

    def submit(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            ref = self._task.remote(self._function, asdict(job), self._progress)
            self._running[ref] = (job, time.monotonic())

    def poll(self) -> Iterable[Event]:
        if not self._running:
            time.sleep(POLL_SECONDS)
            return []
        ended, _ = ray.wait(list(self._running), num_returns=len(self._running), timeout=POLL_SECONDS)
        self._force_if_overdue()
        return [*(Event(**fields) for fields in self._rows()), *(self._end(ref) for ref in ended)]

    def stop(self) -> None:
        if self._stopped_at is None:
            self._stopped_at = time.monotonic()
            for ref in self._running:
                ray.cancel(ref)  # arrives in the task as Ctrl-C, so `defer_signals` lets it save

    def _force_if_overdue(self) -> None:
        overdue = self._stopped_at is not None and time.monotonic() > self._stopped_at + self._config.grace
        if overdue and not self._forced:
            self._forced = True
            for ref in self._running:
                ray.cancel(ref, force=True)

    def _rows(self) -> list[dict[str, Any]]:
        """Progress so far; none if the node that holds it is busy: it comes with the next call."""
        try:
            return ray.get(self._progress.take.remote(), timeout=POLL_SECONDS)
        except (GetTimeoutError, RayError):
            return []

    def _end(self, ref: ray.ObjectRef) -> Event:
        job, started = self._running.pop(ref)
        seconds = time.monotonic() - started
        try:
            return Event(**ray.get(ref))
        except TaskCancelledError:
            return Event(job.run_id, "cancelled", "stopped before it could save", seconds)
        except RayTaskError as error:
            return Event(job.run_id, "failed", str(error), seconds)
        except RayError as error:
            kind = "killed" if self._stopped_at is None else "cancelled"
            return Event(job.run_id, kind, f"{type(error).__name__}: {str(error).splitlines()[0]}", seconds)


@ray.remote
def _run(function: bytes, fields: dict[str, Any], progress: Any) -> dict[str, Any]:
    """One job on a node; the fields of the Event that ends it. Ray has set OMP_NUM_THREADS to the job's cpus."""
    return attempt(function, job_from(fields), progress.put.remote)


@ray.remote
class _ProgressRows:
    """Events of progress on their way to the launching process."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def put(self, event: dict[str, Any]) -> None:
        self.rows.append(event)

    def take(self) -> list[dict[str, Any]]:
        rows, self.rows = self.rows, []
        return rows


@contextmanager
def _own_sigterm() -> Generator[None]:
    """Keeps this process's answer to SIGTERM, which ray.init would replace by leaving at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)


def _connect(address: str | None) -> None:
    """Joins the cluster at `address` ("auto", host:port), or starts one of this machine. Quiet; no dashboard."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if address is None:
        # "local", since None would look for traces of another cluster on this machine, and wait for it.
        ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        return
    try:
        if ":" in address:  # Ray itself would look for it for minutes
            host, port = address.rsplit(":", 1)
            socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, ValueError) as error:
        fix = "start it with `ray start --head`, name its host:port, or leave the address out for this machine alone"
        raise UserError(f"launcher.address={address}", f"no Ray cluster answers ({error})", fix) from None


def _require_fit(config: RayConfig) -> None:
    """Raises UserError if no node could ever run one job, which Ray would wait for silently."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for name, need in (("CPU", config.cpus), ("GPU", config.gpus)):
        most = max((node.get(name, 0.0) for node in nodes), default=0.0)
        if need > most:
            key, reason = f"launcher.{name.lower()}s", f"the largest node of the cluster has {most:g}"
            raise UserError(f"{key}={need:g}", reason, f"lower {key} to at most {most:g}")
