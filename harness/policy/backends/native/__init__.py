"""A policy's forward, backward and sampling on a CPU in compiled C, one call each (policy.c).

PyTorch takes dozens of operations a layer for a few short rows, and each costs more to start than to do. Where the C
cannot be compiled, with RL_SCALING_NATIVE=0, and for policies of another kind, the plain path does the work, to which
all here is tested equal.
"""

import ctypes
import functools
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from harness.config.schema import ModelConfig
from harness.policy.backends.native.build import library, missing
from harness.policy.backends.native.calls import (
    Completions,
    Gradients,
    Request,
    Tokens,
    call,
    function_of,
    pointer,
    whole,
)
from harness.policy.backends.native.layout import Layout, Spans, laid_out, packed_documents, rows_of_equal_length
from harness.policy.backends.native.weights import Ready, addresses, of_seed, ready_for, weights_of

if TYPE_CHECKING:
    from harness.policy.transformer import Transformer

__all__ = [
    "Layout",
    "Spans",
    "has_tiles",
    "hidden",
    "laid_out",
    "library",
    "logprobs",
    "missing",
    "packed_documents",
    "plain",
    "refused",
    "rows_of_equal_length",
    "sample",
    "serves",
    "shared_by",
]

COLUMNS = 16  # of which the C takes a multiple
TILE = 32  # the same where products are bfloat16
_off = False


@contextmanager
def plain() -> Generator[None]:
    """Within it the plain path does the work."""
    global _off
    before, _off = _off, True
    try:
        yield
    finally:
        _off = before


@contextmanager
def shared_by(threads: int) -> Generator[None]:
    """Within it each call is shared out among so many threads. Their number changes no bit."""
    if library() is None:
        yield
        return
    before = function_of("set_threads")(threads)
    try:
        yield
    finally:
        function_of("set_threads")(before)


def refused(config: ModelConfig, precision: str) -> str:
    """Why policies of this kind are not computed here; "" where they are."""
    multiple = TILE if precision == "bf16" else COLUMNS
    if config.norm != "rmsnorm" or config.norm_position != "pre" or config.qk_norm:
        return "only model.norm=rmsnorm model.norm_position=pre model.qk_norm=false is compiled"
    if config.width % multiple or config.mlp % COLUMNS or config.vocab % COLUMNS:
        return f"only model.width in multiples of {multiple} and model.mlp of {COLUMNS} is compiled"
    if library() is None:
        return missing()
    return "" if precision == "fp32" or has_tiles() else "only with AMX is precision=bf16 compiled"


def serves(policy: "Transformer") -> bool:
    """Whether this policy is computed here: on a CPU, its weights in float32, and not `refused`."""
    here = policy.embedding.device.type == "cpu" and policy.embedding.dtype == torch.float32
    return here and not _off and not refused(policy.config, policy.precision)


@functools.cache
def has_tiles() -> bool:
    """Whether this CPU has tiles for products in bfloat16."""
    return bool(function_of("has_tiles")())


@dataclass(frozen=True)
class _Forward:
    """What a forward pass is of. `keep`: whether it leaves what the backward pass needs."""

    ready: Ready
    ids: Tensor
    spans: Spans
    keep: bool

    def seeds(self) -> Iterator[tuple[int, Any, Any]]:
        """Each seed, the policy and the tokens as the C knows them."""
        n, r = self.ids.shape[1], self.spans.rows.shape[1]
        for i, one in enumerate(self.ready.seeds):
            given = (self.ids[i], self.spans.position[i], self.spans.rows[i])
            yield i, one, Tokens(n, r, *map(pointer, given))

    def store(self) -> Tensor:
        """Room for what it leaves, [S, bytes]."""
        room = whole("store_size", self.ready.seeds[0], self.ids.shape[1], int(self.keep))
        return torch.empty((len(self.ids), room), dtype=torch.uint8)


def _forward(policy: "Transformer", weights: Sequence[Tensor], ids: Tensor, spans: Spans) -> _Forward:
    _check(policy, ids)
    keep = torch.is_grad_enabled() and any(x.requires_grad for x in weights)
    return _Forward(ready_for(policy, weights), ids.long().contiguous(), spans, keep)


def _check(policy: "Transformer", ids: Tensor) -> None:
    if len(ids) != policy.seeds or not ids.is_cpu:
        raise ValueError(f"tokens [{len(ids)}, ...] on {ids.device} for {policy.seeds} policies on the CPU")


def _gradients(weights: Sequence[Tensor]) -> tuple[list[Tensor], Any]:
    """Room for the gradients of these weights, and that of a seed as the C knows it."""
    grads = [torch.empty_like(x) for x in weights]

    def of(seed: int) -> Any:
        embedding, head, gain, *layers = of_seed(grads, seed)
        return Gradients(embedding, head, gain, addresses(layers))

    return grads, of


class _Hidden(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, made: _Forward, *weights: Tensor) -> Tensor:
        out, store = weights[0].new_empty((*made.ids.shape, weights[0].shape[-1])), made.store()
        for i, policy, tokens in made.seeds():
            call("forward", policy, tokens, store[i], int(made.keep), out[i])
        ctx.made = made
        ctx.save_for_backward(store, *weights)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Any:
        (store, *weights), g = ctx.saved_tensors, g.contiguous()
        grads, of = _gradients(weights)
        for i, policy, tokens in ctx.made.seeds():
            call("backward", policy, tokens, store[i], g[i], of(i))
        return None, grads[0], None, None, *grads[3:]


class _Logprobs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, made: _Forward, target: Tensor, temperature: float, *weights: Tensor) -> Tensor:
        out, store, cooled = weights[0].new_empty(target.shape), made.store(), ctypes.c_float(temperature)
        for i, policy, tokens in made.seeds():
            call("score", policy, tokens, target[i], cooled, store[i], int(made.keep), out[i])
        ctx.given = made, target, cooled
        ctx.save_for_backward(store, *weights)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Any:
        (made, target, cooled), (store, *weights), g = ctx.given, ctx.saved_tensors, g.contiguous()
        grads, of = _gradients(weights)
        for i, policy, tokens in made.seeds():
            call("score_grad", policy, tokens, target[i], cooled, store[i], g[i], of(i))
        return None, None, None, *grads


def hidden(policy: "Transformer", ids: Tensor, spans: Spans) -> Tensor:
    """Flat tokens ids [S, N] -> [S, N, width], normalised, before the head."""
    weights = weights_of(policy)
    return cast(Tensor, _Hidden.apply(_forward(policy, weights, ids, spans), *weights))


def logprobs(policy: "Transformer", ids: Tensor, spans: Spans, target: Tensor, temperature: float) -> Tensor:
    """log p of what follows each of the flat tokens ids [S, N], target [S, N], at this temperature; 0, and nothing
    computed of the head, where a target is negative."""
    weights = weights_of(policy)
    made = _forward(policy, weights, ids, spans)
    return cast(Tensor, _Logprobs.apply(made, target.long().contiguous(), temperature, *weights))


# ---- Sampling


@torch.no_grad()
def sample(
    policy: "Transformer",
    prompts: Tensor,
    length: Tensor,
    group_size: int,
    max_tokens: int,
    temperature: float,
    uniforms: Tensor,
    active: Tensor,
    thinking: int | None,
    stop: int,
    answer: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As harness.policy.sampler.sample: ids, log-probabilities, which tokens were taken, and which of them drawn, each
    [S, R, room]; `stop` ends a row, `answer` ends its thinking."""
    room, ready = uniforms.shape[-1], ready_for(policy, weights_of(policy))
    prompts, length, active, uniforms = (
        x.contiguous() for x in (prompts.long(), length.long(), active.bool(), uniforms.float())
    )
    rows = (len(prompts), prompts.shape[1] * group_size)
    if active.shape != rows or uniforms.shape[:2] != rows or length.shape != prompts.shape[:2]:
        raise ValueError(f"prompts {[*prompts.shape]} x {group_size}, uniforms {[*uniforms.shape]}")
    _check(policy, prompts)
    ids, found = torch.zeros(uniforms.shape, dtype=torch.int64), torch.zeros(uniforms.shape)
    taken, drawn = torch.zeros(uniforms.shape, dtype=torch.bool), torch.zeros(uniforms.shape, dtype=torch.bool)
    for i, one in enumerate(ready.seeds):
        asked = Request(
            pointer(prompts[i]), pointer(length[i]), *prompts.shape[1:], group_size, pointer(uniforms[i]),
            pointer(active[i]), room, max_tokens, -1 if thinking is None else thinking, stop, answer, temperature,
        )  # fmt: skip
        out = Completions(*(pointer(x[i]) for x in (ids, found, taken, drawn)))
        call("sample", one, asked, out)
    return ids, found, taken, drawn


# --- SHIM (uncommitted)
supports, unsupported_reason, num_threads, disabled, has_amx = serves, refused, shared_by, plain, has_tiles
token_logprobs, equal_rows, pack_documents, layout_completions, missing_reason = (
    logprobs,
    rows_of_equal_length,
    packed_documents,
    laid_out,
    missing,
)
CompletionLayout = Layout
Layout.scatter = Layout.put


def _pd(corpora):
    ids, spans, target = packed_documents(corpora)
    return ids, spans, target
