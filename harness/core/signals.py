"""Stopping on request: Ctrl-C, SIGTERM, and SIGUSR1 and SIGUSR2 (a cluster's warning before it takes the node).

Outside `defer_signals` a signal raises `Stopped` at once. Inside it the first one only sets a flag, which a loop reads
between two steps, so that what is saved is a whole step; a second signal stops at once.
"""

import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


class Stopped(KeyboardInterrupt):
    """The process was asked to stop. `status` is the shell's exit status for the signal: 130 Ctrl-C, 143 SIGTERM."""

    def __init__(self, signum: int):
        super().__init__(signum)
        self.signum = signum
        self.status = 128 + signum

    def __str__(self) -> str:
        return f"stopped by {signal.Signals(self.signum).name}"


def raise_on_signals() -> None:
    """From here on a signal of SIGNALS raises `Stopped` in the main thread, which must be the one that calls this."""
    for signum in SIGNALS:
        signal.signal(signum, _raise)


@contextmanager
def defer_signals() -> Generator[Callable[[], Stopped | None]]:
    """Yields `stop`; `stop()` is None until a signal came, then the `Stopped` to raise once the state is saved.

    In a thread other than the main one, where Python allows no signal handlers, `stop()` is always None.
    """
    received: list[int] = []

    def record(signum: int, frame: object) -> None:
        if received:
            _raise(signum, frame)
        received.append(signum)

    def stop() -> Stopped | None:
        return Stopped(received[0]) if received else None

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {signum: signal.signal(signum, record) for signum in SIGNALS}
    try:
        yield stop
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _raise(signum: int, frame: object) -> None:
    raise Stopped(signum)
