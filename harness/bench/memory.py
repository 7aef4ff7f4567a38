"""Peak memory of RL steps, each side in a process of its own: python -m harness.bench.memory ours|trl MODEL TOKENS"""

import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from harness.bench.ours import Shape, config_of, stepper
from harness.bench.peer import Peer, require_trl
from harness.launch.memory import keep_freed_memory

STEPS = 2
SHAPE = Shape("small", 32)
SIDES = {"ours": "ours", "trl": "TRL"}


def measure(progress: Callable[[str], None], shape: Shape = SHAPE) -> dict[str, Any]:
    """Megabytes of each side: before the first step, and at the peak of two. Raises UserError without TRL."""
    require_trl()
    found = {}
    for side in SIDES:
        command = [sys.executable, "-m", "harness.bench.memory", side, shape.model, str(shape.tokens)]
        command += [str(torch.get_num_threads()), *shape.overrides]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[side] = json.loads(done.stdout.splitlines()[-1])
        progress(f"{SIDES[side]}: {found[side]['peak']:,.0f} MB")
    return {"model": shape.model, "tokens": shape.tokens, "rows": shape.rows, "sides": found}


def megabytes() -> float:
    """The most that this process has held so far; Linux counts in kilobytes, macOS in bytes."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (2**20 if sys.platform == "darwin" else 2**10)


def main(side: str, model: str, tokens: str, threads: str, *overrides: str) -> None:
    torch.set_num_threads(int(threads))
    keep_freed_memory()  # as a run has it
    shape = Shape(model, int(tokens), overrides=overrides)
    one = stepper(config_of(shape))
    with tempfile.TemporaryDirectory() as out:
        peer = Peer(shape, one.state.policy, Path(out), bf16=False, compile=False) if side == "trl" else None
        before = megabytes()
        for _ in range(STEPS):
            (peer or one).step()
        if peer:
            peer.close()
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
