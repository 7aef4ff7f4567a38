"""Sampling alone beside Hugging Face's generate."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from benchmarks.ours import SHAPES, Shape, as_in_a_run, config_of, request_of
from benchmarks.peer import generate, require_trl
from benchmarks.timing import ROUNDS, Work, in_turn, markdown, median, table
from harness.core.seeding import keys
from harness.policy.backends.backend import choose_backend
from harness.policy.transformer import Transformer


def measure(progress: Callable[[str], None], shapes: Sequence[Shape] = SHAPES, rounds: int = ROUNDS) -> dict[str, Any]:
    """Seconds of 256 completions of each shape. Raises UserError without the extra `bench`."""
    require_trl()
    return {"threads": torch.get_num_threads(), "shapes": [_of_shape(shape, rounds, progress) for shape in shapes]}


def _of_shape(shape: Shape, rounds: int, progress: Callable[[str], None]) -> dict[str, Any]:
    request, works = request_of(shape), dict[str, Work]()

    def ours(policy: Transformer) -> None:
        backend, _ = choose_backend("auto", policy.config, policy.precision, policy.embedding.device)
        with as_in_a_run(backend):
            backend.sample(policy, request)

    for precision in ("fp32", "bf16"):
        policy = Transformer(config_of(shape).model, 1, precision).initialise(keys("init", (0,), 0))
        works[f"ours, {precision}"] = partial(ours, policy)
        works[f"generate, {precision}"] = generate(policy, request.prompts, shape.group_size, shape.tokens, precision)
    progress(f"{shape.model}, {shape.tokens} tokens")
    seconds = in_turn(works, rounds, progress)
    return {"model": shape.model, "tokens": shape.tokens, "seconds": seconds}


def section(measured: dict[str, Any]) -> str:
    """The Markdown of this part."""
    names, rows = [f"{side}, {precision}" for precision in ("fp32", "bf16") for side in ("ours", "generate")], []
    for one in measured["shapes"]:
        found = median(one["seconds"])
        ours, theirs = ([found[n] for n in names if n.startswith(side)] for side in ("ours", "generate"))
        ratios = (min(theirs) / min(ours), theirs[0] / ours[0])
        label = f"{one['model']}, {one['tokens']}"
        rows.append([label, *(f"{found[n]:.3g}" for n in names), *(f"{ratio:.1f}x" for ratio in ratios)])
    text = (
        "Seconds for 256 completions (32 prompts x 8, up to so many tokens) of an untrained policy, "
        f"{measured['threads']} threads, medians, beside Hugging Face's generate; best against best, and in fp32."
    )
    columns = ("policy, tokens", *names, "best against best", "fp32")
    return markdown("## Sampling alone", text, table(columns, rows))
