"""Seconds of an RL step beside TRL's, beside the machine's own ceiling, and beside the plain path."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch

from benchmarks.ours import SHAPES, THINKING, Shape, config_of, plainly, stepper
from benchmarks.peer import Peer, require_trl
from benchmarks.timing import CEILING, ROUNDS, Work, in_turn, median, products, rate

OURS = {
    "ours, fp32": ("bench.half", "fp32"),
    "ours, bf16": ("bench.half", "bf16"),
    "ours, no filter": ("bench.full", "fp32"),
}
PEERS = {
    "TRL, fp32": (False, False),
    "TRL, fp32, compiled": (False, True),
    "TRL, bf16": (True, False),
    "TRL, bf16, compiled": (True, True),
}

FIRST_STEPS = 15
RATIOS = (
    "policy, tokens",
    "completions/s, ours and TRL",
    "best against best",
    "fp32",
    "fp32, no filter",
    "plain path over ours",
    "computed work over the ceiling",
    "by convention",
)


def measure(
    progress: Callable[[str], None],
    shapes: Sequence[Shape] = (*SHAPES, *THINKING),
    rounds: int = ROUNDS,
    peers: Sequence[str] = tuple(PEERS),
) -> dict[str, Any]:
    """Of each shape all medians, seconds a step, with what a step computes. Raises UserError without TRL."""
    require_trl()
    return {
        "threads": torch.get_num_threads(),
        "shapes": [_of_shape(shape, rounds, peers, progress) for shape in shapes],
    }


def _of_shape(shape: Shape, rounds: int, peers: Sequence[str], progress: Callable[[str], None]) -> dict[str, Any]:
    works: dict[str, Work] = {CEILING: products()}
    ours = {name: stepper(config_of(shape, *settings)) for name, settings in OURS.items()}
    works |= {name: one.step for name, one in ours.items()}
    works["ours, plain"] = plainly(stepper(config_of(shape, "bench.full")))
    for one in ours.values():  # in bfloat16 each new shape is prepared once: a run has soon met them all
        for _ in range(FIRST_STEPS):
            one.step()
    full = ours["ours, no filter"]
    progress(f"{shape.model}, {shape.tokens} tokens")
    with ExitStack() as stack:
        for name in peers:
            peer = Peer(shape, *PEERS[name])
            stack.callback(peer.close)
            works[name] = peer.step
        seconds = in_turn(works, rounds, progress)
    computed, convention = full.flops()
    return {
        "model": shape.model,
        "tokens": shape.tokens,
        "prompt": shape.prompt_tokens,
        "parameters": sum(weight.numel() for weight in full.state.policy.parameters()),
        "rows": shape.rows,
        "flops": computed,
        "flops_convention": convention,
        "ceiling": rate(median(seconds)[CEILING]),
        "seconds": {name: values for name, values in seconds.items() if name != CEILING},
    }


def _best(medians: dict[str, float], start: str, dtype: str = "") -> tuple[float, str]:
    """The quickest of those that begin so."""
    return min((s, name) for name, s in medians.items() if name.startswith(start) and dtype in name)


def section(measured: dict[str, Any]) -> str:
    """The Markdown of this part."""
    return "\n".join(
        [
            "## A step of RL",
            "",
            f"Seconds a step of 256 completions (32 problems x 8), GRPO, {measured['threads']} threads, medians. Half",
            "of the problems give no signal, but for *no filter* and *plain*, where all do. *Plain* computes each",
            "prompt once a completion and packs nothing. TRL's best is the quickest of its columns. Prompts have as",
            "many tokens as completions, but for *32 + 64*: 64 of thinking after 32.",
            "",
            *_times(measured["shapes"]),
            "",
            *_ratios(measured["shapes"]),
        ]
    )


def _label(one: dict[str, Any]) -> str:
    tokens, prompt = one["tokens"], one.get("prompt", one["tokens"])
    return f"{one['model']}, {tokens}" if prompt == tokens else f"{one['model']}, {prompt} + {tokens}"


def _times(shapes: Sequence[dict[str, Any]]) -> list[str]:
    names = list(shapes[0]["seconds"])
    lines = ["| policy, tokens | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for one in shapes:
        medians = median(one["seconds"])
        cells = [f"{medians[name]:.3g}" if name in medians else "" for name in names]
        lines.append(f"| {_label(one)} | " + " | ".join(cells) + " |")
    return lines


def _ratios(shapes: Sequence[dict[str, Any]]) -> list[str]:
    lines = [f"| {' | '.join(RATIOS)} |", "|---" * len(RATIOS) + "|"]
    for one in shapes:
        medians = median(one["seconds"])
        ours, trl = min(medians["ours, fp32"], medians["ours, bf16"]), _best(medians, "TRL")[0]
        trl32, whole = _best(medians, "TRL", "fp32")[0], medians["ours, no filter"]
        cells = [
            f"{one['rows'] / ours:,.0f}, {one['rows'] / trl:,.0f}",
            f"{trl / ours:.1f}x",
            f"{trl32 / medians['ours, fp32']:.1f}x",
            f"{trl32 / whole:.1f}x",
            f"{medians['ours, plain'] / whole:.1f}x",
            f"{whole / (one['flops'] / one['ceiling']):.1f}x",
            f"{whole / (one['flops_convention'] / one['ceiling']):.1f}x",
        ]
        lines.append(f"| {_label(one)} | " + " | ".join(cells) + " |")
    return lines
