"""Peak memory of RL steps, each side in a process of its own."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch

from benchmarks.ours import Shape, config_of, stepper
from benchmarks.peer import Peer, require_trl
from benchmarks.timing import Work, markdown, table
from harness.core.errors import UserError
from harness.launch.worker import keep_freed_memory

STEPS = 2
SHAPE = Shape("small", 32)
SIDES = {"ours": "ours", "trl": "TRL"}


def measure(progress: Callable[[str], None], shape: Shape = SHAPE) -> dict[str, Any]:
    """Megabytes of each side: before the first step, and at the peak of two. Raises UserError without TRL or /proc."""
    require_trl()
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        ours = process.submit(_ours, shape, torch.get_num_threads()).result()
    peer = Peer(shape, bf16=False, compile=False)
    found = {"ours": ours, "trl": _held(peer.step, peer.pid)}
    peer.close()
    for side, label in SIDES.items():
        progress(f"{label}: {found[side]['peak']:,.0f} MB")
    return {"model": shape.model, "tokens": shape.tokens, "rows": shape.rows, "sides": found}


def _ours(shape: Shape, threads: int) -> dict[str, float]:
    """What this process holds."""
    torch.set_num_threads(threads)
    keep_freed_memory()  # as a run has it
    return _held(stepper(config_of(shape)).step)


def _held(step: Work, pid: int | str | None = "self") -> dict[str, float]:
    before = megabytes(pid)
    for _ in range(STEPS):
        step()
    return {"before": before, "peak": megabytes(pid)}


def megabytes(pid: int | str | None) -> float:
    """The most that a process has held so far."""
    status = Path(f"/proc/{pid}/status")
    if not status.is_file():
        reason = "this system has no /proc, which says what a process holds"
        raise UserError("part=memory", reason, "measure it on Linux")
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 2**10


def section(measured: dict[str, Any]) -> str:
    """The Markdown of this part."""
    held = [(label, measured["sides"][side]) for side, label in SIDES.items()]
    rows = [
        [label, *(f"{megabytes:,.0f}" for megabytes in (own["before"], own["peak"], own["peak"] - own["before"]))]
        for label, own in held
    ]
    text = (
        f"Peak resident megabytes of {STEPS} steps, fp32: `{measured['model']}`, {measured['rows']} completions of "
        f"{measured['tokens']} tokens after prompts of as many; before the first step the libraries and the weights."
    )
    return markdown("## Memory", text, table(("", "before", "peak", "the steps' own"), rows))
