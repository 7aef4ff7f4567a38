"""A policy's forward, backward and sampling on a CPU in compiled C, one call each (policy.c).

PyTorch takes dozens of operations a layer for a few short rows, and each costs more to start than to do. Where the C
cannot be compiled, with RL_SCALING_NATIVE=0, and for policies of another kind, the plain path does the work, to which
all here is tested equal.
"""

import ctypes
import functools
import threading
import weakref
from collections.abc import Generator, Iterator, Sequence
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
    "Layout",
    "Spans",
    "has_tiles",
    "hidden",
    "laid_out",
    "library",
    "logprobs",
    "missing",
    "plain",
    "rows_of_equal_length",
    "sample",
    "serves",
]

COLUMNS = 16  # of which the C takes a multiple
TILE = 32  # the same where products are bfloat16
NO_MEMORY = 1  # a status of policy.c
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
    fits = config.width % (TILE if low else COLUMNS) == config.mlp % COLUMNS == config.vocab % COLUMNS == 0
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


def _structure(*names: str, **kinds: Any) -> type[ctypes.Structure]:
    """A struct of policy.c: pointers, but for the fields of which a kind is given."""
    fields = [(name, kinds.get(name, ctypes.c_void_p)) for name in names]
    return type("Structure", (ctypes.Structure,), {"_fields_": fields})


_n = ctypes.c_int64
_Policy: Any = _structure(
    "layers", "width", "heads", "mlp", "vocab", "positions", "low",
    "cos", "sin", "embedding", "head", "gain", "weights", "packed",
    layers=_n, width=_n, heads=_n, mlp=_n, vocab=_n, positions=_n, low=_n, weights=ctypes.POINTER(ctypes.c_void_p),
)  # fmt: skip
_Tokens: Any = _structure("count", "n_rows", "ids", "position", "rows", count=_n, n_rows=_n)
_Gradients: Any = _structure("embedding", "head", "gain", "weights", weights=ctypes.POINTER(ctypes.c_void_p))
_Request: Any = _structure(
    "ids", "length", "prompts", "longest", "group", "uniforms", "active", "room", "max_tokens", "thinking", "stop",
    "answer", "temperature",
    prompts=_n, longest=_n, group=_n, room=_n, max_tokens=_n, thinking=_n, stop=_n, answer=_n,
    temperature=ctypes.c_float,
)  # fmt: skip
_Completions: Any = _structure("ids", "logprobs", "taken", "drawn")


def _call(name: str, *arguments: Any) -> None:
    """Structs and tensors by address, tensors contiguous; integers; what ctypes knows."""
    status = _function(name)(*map(_passed, arguments))
    if status == NO_MEMORY:
        raise MemoryError(f"policy.c: {name} found no memory")
    if status:
        raise IndexError("a token outside the vocabulary, a position outside the context, or a prompt without a token")


def _whole(name: str, *arguments: Any) -> int:
    """What the function gives."""
    function = _function(name)
    function.restype = ctypes.c_uint64
    return function(*map(_passed, arguments))


def _passed(x: Any) -> Any:
    if isinstance(x, Tensor):
        return ctypes.c_void_p(_pointer(x))
    if isinstance(x, int):
        return _n(x)
    return ctypes.byref(x) if isinstance(x, ctypes.Structure) else x


# ---- Weights as the C reads them


def _weights(policy: "Transformer") -> list[Tensor]:
    """Embedding, head, the gain of its rows, then those of the layers, as given."""
    layers = [getattr(block, name) for block in policy.blocks for name in GIVEN]
    return [policy.embedding, policy.head, policy.final_norm, *layers]


def _of_seed(tensors: Sequence[Tensor], seed: int) -> list[int]:
    """Where this seed's part [...] of each [S, ...] begins, all float32."""
    return [_pointer(x) + 4 * seed * x.stride(0) for x in tensors]


def _addresses(pointers: Sequence[int]) -> Any:
    return (ctypes.c_void_p * len(pointers))(*pointers)


@dataclass(frozen=True)
class _Packed:
    """Weights laid out for products [S, bytes], and what they were made of."""

    fingerprints: list[int]
    seeds: Tensor


_packed: "weakref.WeakKeyDictionary[Transformer, _Packed]" = weakref.WeakKeyDictionary()
_packing = threading.Lock()


@dataclass(frozen=True)
class _Ready:
    """Each seed of a policy as the C knows it, and what must live as long as that is asked for."""

    seeds: list[Any]
    held: tuple[Any, ...]


def _ready(policy: "Transformer", weights: Sequence[Tensor]) -> _Ready:
    """With its weights laid out, once for as long as they stay as they are. That is told by their numbers: a fused
    optimizer does not tell PyTorch that it has changed them."""
    c, low = policy.config, int(policy.precision == "bf16")
    sizes = (c.layers, c.width, c.heads, c.mlp, c.vocab, len(policy.cos), low)
    seeds = []
    for seed in range(policy.seeds):
        embedding, head, gain, *layers = _of_seed(weights, seed)
        tables = _pointer(policy.cos), _pointer(policy.sin)
        seeds.append(_Policy(*sizes, *tables, embedding, head, gain, _addresses(layers), None))
    with _packing:
        fingerprints = [_whole("fingerprint", one) for one in seeds]
        held = _packed.get(policy)
        if held is None or held.fingerprints != fingerprints:
            room = torch.empty((len(seeds), _whole("packed_size", seeds[0])), dtype=torch.uint8)
            for one, to in zip(seeds, room):
                _call("pack_weights", one, to)
            held = _packed[policy] = _Packed(fingerprints, room)
    for one, packed in zip(seeds, held.seeds):
        one.packed = _pointer(packed)
    return _Ready(seeds, (policy.cos, policy.sin, *weights, held.seeds))


# ---- Forward and backward


@dataclass(frozen=True)
class Spans:
    """Rows of tokens that lie one after the other, with nothing between them.

    Row r [S, rows, 4] of a seed's tokens: (context_start, context_end, start, end). Its tokens see their row, causally,
    and all of its context: for completions the row of their prompt. Tokens of no row see nothing. position [S, N] is a
    token's place in its sequence.
    """

    rows: Tensor
    position: Tensor


def rows_of_equal_length(seeds: int, rows: int, tokens: int) -> Spans:
    """Rows of so many tokens each, none with a context."""
    ends = torch.arange(1, rows + 1) * tokens
    none = torch.zeros_like(ends)
    row = torch.stack((none, none, ends - tokens, ends), dim=1)
    return Spans(row.repeat(seeds, 1, 1), torch.arange(tokens).repeat(seeds, rows))


@dataclass(frozen=True)
class Layout:
    """The flat tokens [S, N] that a policy has to see for the laws of completions' tokens."""

    ids: Tensor
    spans: Spans
    target: Tensor  # what follows each and is asked for; -1 where nothing is
    place: Tensor  # where among its seed's R·C tokens of completions it is asked for; R·C where nowhere

    def put(self, x: Tensor, completions: Tensor) -> Tensor:
        """x [S, N, ...] -> [S, R, C, ...], of `completions` [S, R, C]; 0 where nothing was computed."""
        room = x.new_zeros((len(x), completions[0].numel() + 1, *x.shape[2:]))
        place = self.place.view(*self.place.shape, *[1] * (x.dim() - 2)).expand_as(x)
        return room.scatter(1, place, x)[:, :-1].unflatten(1, completions.shape[1:])


def laid_out(prompts: Tensor, length: Tensor, completions: Tensor, mask: Tensor) -> Layout:
    """Of completions [S, R, C], as far as `mask` [S, R, C] asks, after prompts [S, P, T] of length [S, P] (at least 2).
    A prompt is seen once but for its last token, which goes with each completion, whose first token it predicts."""
    given = [x.contiguous() for x in (prompts.long(), length.long(), completions.long(), mask.bool())]
    (s, p, t), (r, c) = prompts.shape, completions.shape[1:]
    if r % max(p, 1) or length.shape != (s, p) or mask.shape != completions.shape or len(completions) != s:
        raise ValueError(f"completions {[*completions.shape]}, mask {[*mask.shape]}, prompts {[*prompts.shape]}")
    ids, position, target, place = torch.zeros((4, s, p * t + r * c), dtype=torch.int64)
    target.fill_(-1)
    place.fill_(r * c)
    rows, n = torch.empty((s, p + r, 4), dtype=torch.int64), 0
    for i in range(s):
        of_prompts, of_length, of_completions, of_mask = (x[i] for x in given)
        filled = (ids[i], position[i], target[i], place[i], rows[i])
        n = max(n, _whole("lay_out", of_prompts, of_length, p, t, of_completions, of_mask, r, c, *filled))
    return Layout(ids[:, :n].contiguous(), Spans(rows, position[:, :n].contiguous()), target[:, :n], place[:, :n])


@dataclass(frozen=True)
class _Forward:
    """What a forward pass is of. `keep`: whether it leaves what the backward pass needs."""

    ready: _Ready
    ids: Tensor
    spans: Spans
    keep: bool

    def seeds(self) -> Iterator[tuple[int, Any, Any]]:
        """Each seed, the policy and the tokens as the C knows them."""
        n, r = self.ids.shape[1], self.spans.rows.shape[1]
        for i, one in enumerate(self.ready.seeds):
            given = (self.ids[i], self.spans.position[i], self.spans.rows[i])
            yield i, one, _Tokens(n, r, *map(_pointer, given))

    def store(self) -> Tensor:
        """Room for what it leaves, [S, bytes]."""
        room = _whole("store_size", self.ready.seeds[0], self.ids.shape[1], int(self.keep))
        return torch.empty((len(self.ids), room), dtype=torch.uint8)


def _forward(policy: "Transformer", weights: Sequence[Tensor], ids: Tensor, spans: Spans) -> _Forward:
    _check(policy, ids)
    keep = torch.is_grad_enabled() and any(x.requires_grad for x in weights)
    return _Forward(_ready(policy, weights), ids.long().contiguous(), spans, keep)


def _check(policy: "Transformer", ids: Tensor) -> None:
    if len(ids) != policy.seeds or not ids.is_cpu:
        raise ValueError(f"tokens [{len(ids)}, ...] on {ids.device} for {policy.seeds} policies on the CPU")


def _gradients(weights: Sequence[Tensor]) -> tuple[list[Tensor], Any]:
    """Room for the gradients of these weights, and that of a seed as the C knows it."""
    grads = [torch.empty_like(x) for x in weights]

    def of(seed: int) -> Any:
        embedding, head, gain, *layers = _of_seed(grads, seed)
        return _Gradients(embedding, head, gain, _addresses(layers))

    return grads, of


class _Hidden(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, made: _Forward, *weights: Tensor) -> Tensor:
        out, store = weights[0].new_empty((*made.ids.shape, weights[0].shape[-1])), made.store()
        for i, policy, tokens in made.seeds():
            _call("forward", policy, tokens, store[i], int(made.keep), out[i])
        ctx.made = made
        ctx.save_for_backward(store, *weights)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Any:
        (store, *weights), g = ctx.saved_tensors, g.contiguous()
        grads, of = _gradients(weights)
        for i, policy, tokens in ctx.made.seeds():
            _call("backward", policy, tokens, store[i], g[i], of(i))
        return None, grads[0], None, None, *grads[3:]


class _Logprobs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, made: _Forward, target: Tensor, temperature: float, *weights: Tensor) -> Tensor:
        out, store, cooled = weights[0].new_empty(target.shape), made.store(), ctypes.c_float(temperature)
        for i, policy, tokens in made.seeds():
            _call("score", policy, tokens, target[i], cooled, store[i], int(made.keep), out[i])
        ctx.given = made, target, cooled
        ctx.save_for_backward(store, *weights)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Any:
        (made, target, cooled), (store, *weights), g = ctx.given, ctx.saved_tensors, g.contiguous()
        grads, of = _gradients(weights)
        for i, policy, tokens in made.seeds():
            _call("score_grad", policy, tokens, target[i], cooled, store[i], g[i], of(i))
        return None, None, None, *grads


def hidden(policy: "Transformer", ids: Tensor, spans: Spans) -> Tensor:
    """Flat tokens ids [S, N] -> [S, N, width], normalised, before the head."""
    weights = _weights(policy)
    return cast(Tensor, _Hidden.apply(_forward(policy, weights, ids, spans), *weights))


def logprobs(policy: "Transformer", ids: Tensor, spans: Spans, target: Tensor, temperature: float) -> Tensor:
    """log p of what follows each of the flat tokens ids [S, N], target [S, N], at this temperature; 0, and nothing
    computed of the head, where a target is negative."""
    weights = _weights(policy)
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
    room, ready = uniforms.shape[-1], _ready(policy, _weights(policy))
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
        asked = _Request(
            _pointer(prompts[i]), _pointer(length[i]), *prompts.shape[1:], group_size, _pointer(uniforms[i]),
            _pointer(active[i]), room, max_tokens, -1 if thinking is None else thinking, stop, answer, temperature,
        )  # fmt: skip
        out = _Completions(*(_pointer(x[i]) for x in (ids, found, taken, drawn)))
        _call("sample", one, asked, out)
    return ids, found, taken, drawn
