"""A policy's forward, backward and sampling on a CPU in compiled C, one call each (policy.c).

PyTorch takes dozens of operations a layer for a few short rows, and each costs more to start than to do. Where the C
cannot be compiled, with RL_SCALING_NATIVE=0, and for policies of another kind, the plain path does the work, to which
all here is tested equal.
"""

import ctypes
import functools
import threading
import weakref
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from harness.policy.native.build import library, missing

if TYPE_CHECKING:
    from harness.policy.transformer import Transformer

__all__ = [
    "Spans",
    "completions_after_prompts",
    "has_tiles",
    "hidden",
    "library",
    "missing",
    "plain",
    "rows_of_equal_length",
    "sample",
    "serves",
]

COLUMNS = 16  # of which the C takes a multiple
TILE = 32  # the same where products are bfloat16
# A layer's weights, in the order of policy.c.
GIVEN = ("attention_norm", "qkv", "attention_out", "mlp_norm", "gate_up", "down")

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


def serves(policy: "Transformer") -> bool:
    """Whether this policy is computed here: on a CPU, pre-norm with RMSNorm, of widths that are whole vectors; in bf16
    only where the CPU has tiles for it (AMX)."""
    config = policy.config
    in_kind = config.norm == "rmsnorm" and config.norm_position == "pre" and not config.qk_norm
    low = policy.precision == "bf16"
    fits = config.width % (TILE if low else COLUMNS) == 0 and config.mlp % COLUMNS == 0
    here = policy.embedding.device.type == "cpu" and policy.embedding.dtype == torch.float32
    return in_kind and fits and here and not _off and library() is not None and (not low or has_tiles())


@functools.cache
def has_tiles() -> bool:
    """Whether this CPU has tiles for products in bfloat16."""
    return bool(_function("has_tiles")())


def _function(name: str) -> Any:
    return getattr(library(), name)


def _pointer(x: Tensor) -> int:
    assert x.is_contiguous()
    return x.data_ptr()


def _pointers(tensors: Sequence[Tensor]) -> Any:
    return (ctypes.c_void_p * len(tensors))(*map(_pointer, tensors))


def _given(arguments: Sequence[Any]) -> list[Any]:
    """Tensors by address, contiguous; integers; what ctypes knows."""
    return [
        ctypes.c_void_p(_pointer(x)) if isinstance(x, Tensor) else ctypes.c_int64(x) if isinstance(x, int) else x
        for x in arguments
    ]


def _call(name: str, *arguments: Any) -> None:
    if _function(name)(*_given(arguments)):
        raise MemoryError(f"policy.c: {name} found no memory")


def _whole(name: str, *arguments: Any) -> int:
    """What the function gives."""
    function = _function(name)
    function.restype = ctypes.c_uint64
    return function(*_given(arguments))


# ---- Weights as the C reads them


class _Shape(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_int64) for name in ("layers", "width", "heads", "mlp", "vocab", "positions", "low")
    ]  # fmt: skip


def _shape(policy: "Transformer") -> Any:
    c = policy.config
    return ctypes.byref(
        _Shape(c.layers, c.width, c.heads, c.mlp, c.vocab, len(policy.cos), int(policy.precision == "bf16"))
    )


def _weights(policy: "Transformer") -> list[Tensor]:
    """Of all layers, as given."""
    return [getattr(block, name) for block in policy.blocks for name in GIVEN]


@dataclass(frozen=True)
class _Packed:
    """Weights laid out for products [S, bytes], and what they were made of."""

    fingerprint: int
    seeds: Tensor


_packed: "weakref.WeakKeyDictionary[Transformer, _Packed]" = weakref.WeakKeyDictionary()
_packing = threading.Lock()


def _pack(policy: "Transformer") -> Tensor:
    """This policy's weights, laid out once for as long as they stay as they are. That is told by their numbers: a fused
    optimizer does not tell PyTorch that it has changed them."""
    given = [*_weights(policy), policy.head, policy.final_norm]
    with _packing:
        sizes = (ctypes.c_int64 * len(given))(*(x.numel() for x in given))
        fingerprint = _whole("fingerprint", _pointers(given), sizes, len(given))
        held = _packed.get(policy)
        if held is None or held.fingerprint != fingerprint:
            shape = _shape(policy)
            held = _Packed(fingerprint, torch.empty((policy.seeds, _whole("packed_size", shape)), dtype=torch.uint8))
            for seed, to in enumerate(held.seeds):
                *weights, head, gain = [x.detach()[seed] for x in given]
                _call("pack_weights", shape, _pointers(weights), head, gain, to)
            _packed[policy] = held
        return held.seeds


# ---- Forward and backward


@dataclass(frozen=True)
class Spans:
    """Rows of tokens that lie one after the other, with nothing between them.

    Row r [S, rows, 4] of a seed's tokens: (context_start, context_end, start, end). Its tokens see their row, causally,
    and all of its context: for completions the row of their prompt. position [S, N] is a token's place in its sequence.
    """

    rows: Tensor
    position: Tensor


def rows_of_equal_length(seeds: int, rows: int, tokens: int) -> Spans:
    """Rows of so many tokens each, none with a context."""
    ends = torch.arange(1, rows + 1) * tokens
    none = torch.zeros_like(ends)
    row = torch.stack((none, none, ends - tokens, ends), dim=1)
    return Spans(row.repeat(seeds, 1, 1), torch.arange(tokens).repeat(seeds, rows))


def completions_after_prompts(prompts: Tensor, completions: Tensor, position: Tensor) -> Spans:
    """Each seed's prompts, of lengths prompts [S, P], then their completions, of lengths completions [S, P·G], which
    see their prompt; then other tokens, if any, up to those of position [S, N]."""
    p = prompts.shape[1]
    length = torch.cat((prompts, completions), dim=1)
    ends = length.cumsum(1)
    row = torch.stack((ends - length, ends), dim=-1)  # [S, P + P·G, 2]
    context = row[:, :p].repeat_interleave(completions.shape[1] // p, dim=1)
    context = torch.cat((torch.zeros_like(row[:, :p]), context), dim=1)
    return Spans(torch.cat((context, row), dim=-1), position.contiguous())


class _Hidden(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, policy: "Transformer", ids: Tensor, spans: Spans, keep: bool, embedding: Tensor, *weights: Tensor
    ) -> Tensor:
        (s, n), config, shape = ids.shape, policy.config, _shape(policy)
        packed, ids = _pack(policy), ids.contiguous()
        of_layer = _whole("kept_size", shape, n)
        room = config.layers * of_layer + 4 * n if keep else of_layer
        store, out = torch.empty((s, room), dtype=torch.uint8), embedding.new_empty((s, n, config.width))
        for i in range(s):
            rows = spans.rows[i]
            _call(
                "forward", shape, packed[i], embedding[i], policy.cos, policy.sin, ids[i], spans.position[i], n, rows,
                len(rows), store[i], int(keep), out[i],
            )  # fmt: skip
        ctx.given = policy, packed, spans, store
        ctx.save_for_backward(ids, out, embedding, *weights)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Any:
        policy, packed, spans, store = ctx.given
        ids, out, embedding, *weights = ctx.saved_tensors
        shape, n, g = _shape(policy), ids.shape[1], g.contiguous()
        grads = [torch.empty_like(x) for x in (embedding, *weights)]
        for i in range(len(ids)):
            rows = spans.rows[i]
            _call(
                "backward", shape, packed[i], _pointers([x[i] for x in weights]), policy.cos, policy.sin, ids[i],
                spans.position[i], n, rows, len(rows), store[i], out[i], g[i], grads[0][i],
                _pointers([x[i] for x in grads[1:]]),
            )  # fmt: skip
        return None, None, None, None, *grads


def hidden(policy: "Transformer", ids: Tensor, spans: Spans) -> Tensor:
    """Flat tokens ids [S, N] -> [S, N, width], normalised, before the head."""
    weights = _weights(policy)
    keep = torch.is_grad_enabled() and any(x.requires_grad for x in (policy.embedding, *weights))
    return cast(Tensor, _Hidden.apply(policy, ids, spans, keep, policy.embedding, *weights))


# ---- Sampling


class _Request(ctypes.Structure):
    _fields_ = [
        ("ids", ctypes.c_void_p), ("length", ctypes.c_void_p),
        ("prompts", ctypes.c_int64), ("longest", ctypes.c_int64), ("group", ctypes.c_int64),
        ("uniforms", ctypes.c_void_p), ("active", ctypes.c_void_p),
        ("room", ctypes.c_int64), ("max_tokens", ctypes.c_int64), ("thinking", ctypes.c_int64),
        ("stop", ctypes.c_int64), ("answer", ctypes.c_int64),
        ("temperature", ctypes.c_float),
    ]  # fmt: skip


class _Completions(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in ("ids", "logprobs", "taken", "drawn")]


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
    room, packed = uniforms.shape[-1], _pack(policy)
    prompts, length, active = prompts.contiguous(), length.contiguous(), active.contiguous()
    uniforms = uniforms.float().contiguous()
    ids, logprobs = torch.zeros(uniforms.shape, dtype=torch.int64), torch.zeros(uniforms.shape)
    taken, drawn = torch.zeros(uniforms.shape, dtype=torch.bool), torch.zeros(uniforms.shape, dtype=torch.bool)
    for i in range(len(prompts)):
        given = (prompts[i], length[i], uniforms[i], active[i])
        asked = _Request(
            _pointer(given[0]), _pointer(given[1]), *prompts.shape[1:], group_size, _pointer(given[2]),
            _pointer(given[3]), room, max_tokens, -1 if thinking is None else thinking, stop, answer, temperature,
        )  # fmt: skip
        out = _Completions(*(_pointer(x[i]) for x in (ids, logprobs, taken, drawn)))
        _call(
            "sample", _shape(policy), packed[i], policy.embedding.detach()[i], policy.cos, policy.sin,
            ctypes.byref(asked), ctypes.byref(out),
        )  # fmt: skip
    return ids, logprobs, taken, drawn
