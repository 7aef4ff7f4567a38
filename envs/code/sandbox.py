"""Runs untrusted programs in a sandbox.

Covered. A program runs in pydantic-monty, a Python interpreter in Rust, in a worker process of its own pool: no files,
network, environment or host objects; its own limits on time, memory, recursion and output; sleep returns at once; clock
and random numbers are fixed, so that a result depends on the program alone. Each program gets a fresh session. A worker
that dies is replaced, and its program is reported as lost, not as failed. Values are compared on the host, by exact
type, so an object that calls itself equal to everything equals nothing. The host keeps no large value or error text.

Not covered. Faults of the interpreter itself: a program that broke out would have the rights of the worker process.
Run studies of untrusted policies as a user without rights. The time limit is wall-clock, so a machine that stands
still for as long may fail a program that is right.
"""

import atexit
import os
import sys
import threading
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from types import TracebackType
from typing import Any

SECONDS = 0.2
MEMORY = 16 << 20
OUTPUT = 4096
DEPTH = 100
MAX_VALUE_BYTES = 1 << 16  # bytes of a value or an error text on the host; no honest answer needs as many
CACHE = 32 << 20  # bytes of all cached outcomes, with their programs


class Ending(Enum):
    """How a program ended: with a value, by its own error, at a limit, or because its worker process was lost."""

    VALUE = "value"
    ERROR = "error"
    LIMIT = "limit"
    LOST = "lost"


@dataclass(frozen=True)
class Outcome:
    """`value` of the program's last expression, `output` of its prints, `reason` in words if it did not end well."""

    ending: Ending
    value: Any = None
    output: str = ""
    reason: str = ""


def same(a: Any, b: Any) -> bool:
    """Equality of plain values by exact type: True is not 1, 1.0 is not 1, and only plain values equal anything."""
    if type(a) is not type(b):
        return False
    if type(a) in (list, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) in (int, str, bool, float, type(None)) and a == b


def _size(value: Any, most: int) -> int:
    """Bytes of a plain value in memory; some number above `most` for one that takes more. Raises TypeError for a value
    that is not plain: one that `same` calls equal to nothing."""
    left, size = [value], 0
    while left and size <= most:
        part = left.pop()
        size += sys.getsizeof(part)
        if type(part) in (list, tuple):
            left += part[: most // 8]  # where more remain, these alone are above `most`
        elif type(part) not in (int, str, bool, float, type(None)):
            raise TypeError(f"its value holds a {type(part).__name__}, which is not a plain value")
    return size


def _bytes(program: str, outcome: Outcome) -> int:
    """What a cached outcome takes; the table of the cache itself is about 200 more."""
    texts = (program, outcome.output, outcome.reason)
    return 200 + sum(map(sys.getsizeof, texts)) + _size(outcome.value, MAX_VALUE_BYTES)


def _ended_with(value: Any, output: str) -> Outcome:
    try:
        if _size(value, MAX_VALUE_BYTES) > MAX_VALUE_BYTES:
            return Outcome(Ending.LIMIT, output=output, reason=f"its value takes more than {MAX_VALUE_BYTES:,} bytes")
    except TypeError as error:
        return Outcome(Ending.ERROR, output=output, reason=str(error))
    return Outcome(Ending.VALUE, value, output)


class Sandbox:
    """A pool of worker processes; a context manager, safe for threads, closed by `close`.

    Outcomes are cached by program text, up to CACHE bytes, except those of lost programs. Workers start with the first
    program.
    """

    def __init__(self, workers: int = 1, seconds: float = SECONDS, memory: int = MEMORY):
        # Imported here since the import takes as long as all of envs, and most runs have no programs.
        import pydantic_monty

        self._monty = pydantic_monty
        self._limits = pydantic_monty.ResourceLimits(
            max_feed_duration_secs=seconds, max_memory=memory, max_recursion_depth=DEPTH, max_suspensions=10
        )
        self._policy = pydantic_monty.OSPolicy(
            sleep="zero", datetime=datetime(2000, 1, 1), random_start={"seed": 0}, timezone="utc"
        )
        # Some operations look at the clock late: the pool kills the worker at twice the limit.
        pool = pydantic_monty.Monty(min_processes=0, max_processes=workers, feed_duration_limit_grace=seconds)
        self._pool = pool.__enter__()
        self._cache: OrderedDict[str, Outcome] = OrderedDict()
        self._cached = 0  # bytes
        self._lock = threading.Lock()

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends the workers."""
        self._pool.__exit__(None, None, None)

    def run(self, program: str) -> Outcome:
        """The outcome of a program, from the cache where it has run before. Raises nothing that a program can cause."""
        with self._lock:
            if program in self._cache:
                self._cache.move_to_end(program)
                return self._cache[program]
        outcome = self._run(program)
        if outcome.ending is not Ending.LOST:
            self._keep(program, outcome)
        return outcome

    def _keep(self, program: str, outcome: Outcome) -> None:
        with self._lock:
            if program in self._cache:  # another thread ran it too
                return
            self._cache[program] = outcome
            self._cached += _bytes(program, outcome)
            while self._cached > CACHE:
                self._cached -= _bytes(*self._cache.popitem(last=False))

    def _run(self, program: str) -> Outcome:
        monty, printed = self._monty, self._monty.CollectString(OUTPUT)
        try:
            with self._pool.checkout(limits=self._limits, os_policy=self._policy) as session:
                value = session.feed_run(program, print_callback=printed)
        except monty.MontyCrashedError as error:
            # Killed by the pool for running over time is the program's fault; any other death may be the machine's.
            return Outcome(Ending.LIMIT if error.timed_out else Ending.LOST, reason=str(error))
        except monty.MontyError as error:
            limit = isinstance(error.exception(), (TimeoutError, MemoryError, RecursionError))
            return Outcome(
                Ending.LIMIT if limit else Ending.ERROR, output=printed.output, reason=str(error)[:MAX_VALUE_BYTES]
            )
        except UnicodeEncodeError as error:
            return Outcome(Ending.ERROR, reason=str(error))
        return _ended_with(value, printed.output)


_shared: dict[int, Sandbox] = {}


def shared() -> Sandbox:
    """This process's own sandbox, made at first use and closed at exit. A forked child makes its own."""
    pid = os.getpid()
    if pid not in _shared:
        _shared[pid] = Sandbox()
        atexit.register(_shared[pid].close)
    return _shared[pid]
