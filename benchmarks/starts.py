"""Operations that a step starts one by one, and how often it waits for a number: what a step of a small policy costs on
a GPU, counted on any machine (tests/policy/rehearsal.py)."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.ours import SHAPES, Shape, config_of, stepper
from benchmarks.timing import markdown, table
from harness.policy.backends.backend import Backend
from harness.policy.backends.cuda_graphs import CudaGraphsBackend
from harness.policy.backends.eager import EagerBackend
from tests.policy.rehearsal import Watched, new_recorder, uniforms_by_pytorch

FIRST_STEPS = 3  # after which all that is recorded has been
SEEDS = (1, 8)


def measure(
    progress: Callable[[str], None], shapes: Sequence[Shape] = SHAPES, seeds: Sequence[int] = SEEDS
) -> list[dict[str, Any]]:
    """Starts and looks of one step, plain and recorded, of each shape and number of stacked seeds."""
    found = []
    for shape, s in itertools.product(shapes, seeds):
        plain = _counted(shape, s, EagerBackend())
        recorded = _counted(shape, s, CudaGraphsBackend(record=new_recorder()))
        found.append({"model": shape.model, "tokens": shape.tokens, "seeds": s, "plain": plain, "recorded": recorded})
        progress(f"{shape.model}, {shape.tokens} tokens, {s} seeds: {plain} {recorded}")
    return found


def _counted(shape: Shape, seeds: int, backend: Backend) -> dict[str, int]:
    one = stepper(config_of(shape, "bench.full"), seeds)
    one.state.backend = backend
    with uniforms_by_pytorch():
        for _ in range(FIRST_STEPS):
            one.step()
        with Watched() as watched:
            one.step()
    return {"starts": watched.started, "looks": watched.looks}


def section(measured: Sequence[dict[str, Any]]) -> str:
    """The Markdown of this part."""
    counts = [(what, path) for what in ("starts", "looks") for path in ("plain", "recorded")]
    rows = [
        [f"{one['model']}, {one['tokens']}, {one['seeds']}", *(f"{one[path][what]:,}" for what, path in counts)]
        for one in measured
    ]
    text = (
        "Operations that a step starts one by one, and looks at a number, for which the CPU waits, on the "
        "plain path and with what a GPU records (cuda_graphs.py), counted on a CPU. A replay counts as one "
        "start, with the copies to and from it. Not counted: some ten small copies, of problems and keys to the "
        "GPU and of what the step's rows of metrics say back, when its work is done. No time was measured: no "
        "GPU was at hand."
    )
    columns = ("policy, tokens, stacked seeds", "starts, plain", "recorded", "looks, plain", "recorded")
    return markdown("## What a GPU would be asked", text, table(columns, rows))
