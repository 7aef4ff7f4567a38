"""Sampling alone beside Hugging Face's generate."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from harness.bench.ours import SHAPES, Shape, config_of, prompts_of
from harness.bench.peer import generate, require_trl
from harness.bench.timing import ROUNDS, in_turn, median
from harness.policy.sampler import sample
from harness.policy.transformer import Transformer
from harness.seeding import Key, keys, uniforms


def measure(progress: Callable[[str], None], shapes: Sequence[Shape] = SHAPES, rounds: int = ROUNDS) -> dict[str, Any]:
    """Seconds of 256 completions of each shape. Raises UserError without the extra `bench`."""
    require_trl()
    return {"threads": torch.get_num_threads(), "shapes": [_of_shape(shape, rounds, progress) for shape in shapes]}


def _of_shape(shape: Shape, rounds: int, progress: Callable[[str], None]) -> dict[str, Any]:
    policy = Transformer(config_of(shape).model).initialise(keys("init", (0,), 0))
    ids, length = prompts_of(shape)
    u = uniforms(Key("sampling", 0), torch.arange(shape.rows), torch.arange(shape.tokens))[None]
    works = {
        "ours": lambda: sample(policy, ids, length, shape.group_size, shape.tokens, 1.0, u),
        "generate": generate(policy, ids, shape.group_size, shape.tokens),
    }
    progress(f"{shape.model}, {shape.tokens} tokens")
    seconds = in_turn(works, rounds, progress)
    return {"model": shape.model, "tokens": shape.tokens, "seconds": seconds}


def section(measured: dict[str, Any]) -> str:
    """The Markdown of this part."""
    lines = [
        "## Sampling alone",
        "",
        f"Seconds for 256 completions (32 prompts x 8) of an untrained policy, {measured['threads']} threads, medians.",
        "",
        "| policy, tokens | ours | Hugging Face generate | ratio |",
        "|---|---|---|---|",
    ]
    for one in measured["shapes"]:
        found = median(one["seconds"])
        ratio = found["generate"] / found["ours"]
        lines.append(
            f"| {one['model']}, {one['tokens']} | {found['ours']:.3g} | {found['generate']:.3g} | {ratio:.1f}x |"
        )
    return "\n".join(lines)
