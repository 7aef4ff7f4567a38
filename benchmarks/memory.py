"""Peak memory of RL steps, each side in a process of its own."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.ours import Shape, config_of, stepper
from benchmarks.peer import Peer, require_trl
from harness.core.errors import UserError
from harness.launch.memory import keep_freed_memory

STEPS = 2
SHAPE = Shape("small", 32)
SIDES = {"ours": "ours", "trl": "TRL"}


def measure(progress: Callable[[str], None], shape: Shape = SHAPE) -> dict[str, Any]:
    """Megabytes of each side: before the first step, and at the peak of two. Raises UserError without TRL or /proc."""
    require_trl()
    found = {"ours": _ours(shape), "trl": _peers(shape)}
    for side, label in SIDES.items():
        progress(f"{label}: {found[side]['peak']:,.0f} MB")
    return {"model": shape.model, "tokens": shape.tokens, "rows": shape.rows, "sides": found}


def _ours(shape: Shape) -> dict[str, float]:
    command = [sys.executable, "-m", __name__, shape.model, str(shape.tokens)]
    command += [str(torch.get_num_threads()), *shape.overrides]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _peers(shape: Shape) -> dict[str, float]:
    peer = Peer(shape, bf16=False, compile=False)
    before = megabytes(peer.pid)
    for _ in range(STEPS):
        peer.step()
    peak = megabytes(peer.pid)
    peer.close()
    return {"before": before, "peak": peak}


def megabytes(pid: int | str = "self") -> float:
    """The most that a process has held so far."""
    status = Path(f"/proc/{pid}/status")
    if not status.is_file():
        raise UserError(
            "part=memory", "this system has no /proc, which says what a process holds", "measure it on Linux"
        )
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 2**10


def main(model: str, tokens: str, threads: str, *overrides: str) -> None:
    """Steps of ours in this process; prints what it held."""
    torch.set_num_threads(int(threads))
    keep_freed_memory()  # as a run has it
    one = stepper(config_of(Shape(model, int(tokens), overrides=overrides)))
    before = megabytes()
    for _ in range(STEPS):
        one.step()
    print(json.dumps({"before": before, "peak": megabytes()}))


def section(measured: dict[str, Any]) -> str:
    """The Markdown of this part."""
    lines = [
        "## Memory",
        "",
        f"Peak resident megabytes of {STEPS} steps, fp32: `{measured['model']}`, {measured['rows']} completions of",
        f"{measured['tokens']} tokens after prompts of as many; before the first step the libraries and the weights.",
        "",
        "| | before | peak | the steps' own |",
        "|---|---|---|---|",
    ]
    for side, label in SIDES.items():
        before, peak = (measured["sides"][side][name] for name in ("before", "peak"))
        lines.append(f"| {label} | {before:,.0f} | {peak:,.0f} | {peak - before:,.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main(*sys.argv[1:])
