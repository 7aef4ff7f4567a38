"""Whether the backends agree on this device: the eager one on a CPU is the reference of all."""

import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.ours import Shape, config_of, request_of
from harness.config.schema import Config
from harness.core.types import Batch, to_device
from harness.policy.backends import native
from harness.policy.backends.backend import Backend
from harness.policy.backends.cuda_graphs import CudaGraphsBackend
from harness.policy.backends.eager import EagerBackend
from harness.policy.backends.native import NativeBackend
from harness.run.job import new_state
from harness.train.update import gradients

SEEDS = (0, 1)
CALLS = 3  # the first warms up, the second is recorded, the third is replayed
EQUAL_ROWS = 0.98  # rounding may move a token across the border between two
TOLERANCE = 1e-4  # of the largest value, or of 1
TOKENS = "sampled rows that differ"


def compare(shape: Shape, device: str, recorder: Any = None) -> Iterator[dict[str, Any]]:
    """Rows {what, backend, difference, agrees, note} of each backend against the eager one on a CPU. `recorder` stands
    for a CUDA graph where there is no GPU."""
    reference = _outputs(EagerBackend(), shape, "cpu")
    others: list[tuple[str, Backend, str]] = [(f"eager on {device}", EagerBackend(), device)]
    graphs = CudaGraphsBackend(record=recorder) if recorder else CudaGraphsBackend()
    others.append((f"cuda_graphs on {device}", graphs, device))
    if native.library() is not None:
        others.append(("native on cpu", NativeBackend(), "cpu"))
    for name, backend, where in others:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", RuntimeWarning)
            found = _outputs(backend, shape, where)
        note = "; ".join(dict.fromkeys(str(w.message) for w in caught if w.category is RuntimeWarning))
        for what, value in found.items():
            yield _row(what, name, value, reference[what], note)


def _row(what: str, backend: str, value: Tensor, reference: Tensor, note: str) -> dict[str, Any]:
    if what == TOKENS:
        difference, limit = float((value != reference).any(-1).double().mean()), 1 - EQUAL_ROWS
    else:
        scale = max(1.0, float(reference.abs().max()))
        difference, limit = float((value - reference).abs().max()) / scale, TOLERANCE
    # A warning says that a capture failed: the work was then done eagerly, and proves nothing.
    return {"what": what, "backend": backend, "difference": difference, "agrees": difference <= limit and not note} | (
        {"note": note} if note else {}
    )


def _outputs(backend: Backend, shape: Shape, device: str) -> dict[str, Tensor]:
    """What the backend computes on this device from inputs that are the same on all, on the CPU."""
    config = config_of(shape, "bench.full", device=device)
    state = new_state(config, config.optim, SEEDS)
    state.backend, policy = backend, state.policy
    batch, request = random_batch(config, shape), request_of(shape, SEEDS, device)
    weights = list(policy.parameters())
    corpora = [[np.arange(16, 16 + n) for n in range(4, 4 + 2 * shape.tokens, 3)] for _ in SEEDS]
    for _ in range(CALLS):
        drawn = backend.sample(policy, request)
        logprobs, _ = backend.completion_logprobs(policy, batch, 1.0)
        (part, *_) = backend.microbatches(policy, batch, 0)
        _, grads = backend.gradients(policy, "update", partial(gradients, state, config, weights), part)
    loss = torch.stack([backend.document_loss(policy, one) for one in backend.document_batches(policy, corpora)])
    found = {
        TOKENS: drawn.ids,
        "log-probs of completions": logprobs,
        "gradients of an update": torch.cat([g.flatten() for g in grads]),
        "loss of documents": loss.sum(0) / sum(map(len, corpora[0])),
    }
    return {name: value.detach().cpu() for name, value in found.items()}


def random_batch(config: Config, shape: Shape, seeds: int = len(SEEDS)) -> Batch:
    """Random completions of random prompts, all trained on, on the configuration's device."""
    rng = torch.Generator().manual_seed(0)
    request = request_of(shape, range(seeds))
    size = (seeds, shape.rows, shape.tokens)
    tokens = torch.full((seeds,), float(shape.rows * shape.tokens))
    return to_device(
        Batch(
            prompts=request.prompts,
            prompt_length=request.length,
            completions=torch.randint(16, 112, size, generator=rng),
            mask=torch.ones(size, dtype=torch.bool),
            sampler_logprobs=torch.full(size, -float(np.log(112))),
            advantages=torch.randn((*size[:2], 1), generator=rng).expand(size),
            weight=torch.ones(size[:2]),
            denominator=tokens,
            loss_tokens=tokens,
            update_tokens=tokens + request.prompts[0].numel(),
        ),
        torch.device(config.device),
    )
