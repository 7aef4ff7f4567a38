"""Seconds of an RL step beside TRL's, beside the machine's own ceiling, and beside the plain path."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch

from benchmarks.ours import SHAPES, THINKING, PlainBackend, Shape, config_of, stepper
from benchmarks.peer import PEERS, peers, require_trl
from benchmarks.timing import CEILING, ROUNDS, Work, in_turn, markdown, median, products, table
from harness.policy.transformer import parameter_count

OURS = {
    "ours, fp32": ("bench.half", "fp32"),
    "ours, bf16": ("bench.half", "bf16"),
    "ours, no filter": ("bench.full", "fp32"),
}
FIRST_STEPS = 15
RATIOS = (
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
    peers: Sequence[str] = PEERS,
) -> dict[str, Any]:
    """Of each shape all medians, seconds a step, with what a step computes. Raises UserError without TRL."""
    require_trl()
    return {
        "threads": torch.get_num_threads(),
        "shapes": [_of_shape(shape, rounds, peers, progress) for shape in shapes],
    }


def _of_shape(shape: Shape, rounds: int, names: Sequence[str], progress: Callable[[str], None]) -> dict[str, Any]:
    product, product_flops = products()
    works: dict[str, Work] = {CEILING: product}
    ours = {name: stepper(config_of(shape, *settings)) for name, settings in OURS.items()}
    works |= {name: one.step for name, one in ours.items()}
    plain = stepper(config_of(shape, "bench.full"))
    plain.state.backend = PlainBackend()
    works["ours, plain"] = plain.step
    for one in ours.values():  # in bfloat16 each new shape is prepared once: a run has soon met them all
        for _ in range(FIRST_STEPS):
            one.step()
    full = ours["ours, no filter"]
    progress(f"{shape.model}, {shape.tokens} tokens")
    with ExitStack() as stack:
        seconds = in_turn(works | peers(stack, shape, names), rounds, progress)
    computed, convention = full.flops()
    return {
        "model": shape.model,
        "tokens": shape.tokens,
        "prompt": shape.prompt_tokens,
        "parameters": parameter_count(full.config.model),
        "rows": shape.rows,
        "flops": computed,
        "flops_convention": convention,
        "ceiling": product_flops / median(seconds)[CEILING],
        "seconds": {name: values for name, values in seconds.items() if name != CEILING},
    }


def section(measured: dict[str, Any]) -> str:
    """The Markdown of this part."""
    shapes = measured["shapes"]
    names = list(shapes[0]["seconds"])
    medians = [median(one["seconds"]) for one in shapes]
    labels = [_label(one) for one in shapes]
    times = [[label, *(f"{m[name]:.3g}" if name in m else "" for name in names)] for label, m in zip(labels, medians)]
    ratios = [[label, *_ratios(one, m)] for label, one, m in zip(labels, shapes, medians)]
    text = (
        f"Seconds a step of 256 completions (32 problems x 8), GRPO, {measured['threads']} threads, medians. Half of "
        "the problems give no signal, but for *no filter* and *plain*, where all do. *Plain* computes each prompt "
        "once a completion and packs nothing. TRL's best is the quickest of its columns. Prompts have as many tokens "
        "as completions, but for *32 + 64*: 64 of thinking after 32."
    )
    tables = table(("policy, tokens", *names), times), table(("policy, tokens", *RATIOS), ratios)
    return markdown("## A step of RL", text, *tables)


def _label(one: dict[str, Any]) -> str:
    tokens, prompt = one["tokens"], one.get("prompt", one["tokens"])
    return f"{one['model']}, {tokens}" if prompt == tokens else f"{one['model']}, {prompt} + {tokens}"


def _ratios(one: dict[str, Any], medians: dict[str, float]) -> list[str]:
    ours, ours32 = min(medians["ours, fp32"], medians["ours, bf16"]), medians["ours, fp32"]
    trl = min(s for name, s in medians.items() if name.startswith("TRL"))
    trl32 = min(s for name, s in medians.items() if name.startswith("TRL, fp32"))
    whole, ceiling = medians["ours, no filter"], one["ceiling"]
    ratios = [trl / ours, trl32 / ours32, trl32 / whole, medians["ours, plain"] / whole]
    ratios += [whole / (one[flops] / ceiling) for flops in ("flops", "flops_convention")]
    return [f"{one['rows'] / ours:,.0f}, {one['rows'] / trl:,.0f}", *(f"{ratio:.1f}x" for ratio in ratios)]
