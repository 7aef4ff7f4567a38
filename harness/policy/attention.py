"""How tokens look at each other. The transformer hands flat tokens to one of these and gets flat tokens back.

Each maps qkv [S, N, 3, heads, head width] of one layer to [S, N, width]. All use explicit products: for the short
sequences here they beat flash attention on a CPU.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

WIDE = 16  # float32 numbers in the widest register of a CPU
# Rows that are asked together while decoding, and tokens of theirs: of more, too many are each other's.
BUNDLE, BUNDLE_PLACES = 8, 512


class Attention(Protocol):
    def __call__(self, qkv: Tensor, layer: int) -> Tensor: ...


@dataclass(frozen=True)
class Rotation:
    """RoPE tables for the tokens at hand, broadcastable to what they turn; the first half of sin is negated, so that a
    rotation is x·cos + roll(x)·sin in the half-split layout of Hugging Face's Llama and Qwen3."""

    cos: Tensor
    sin: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return torch.addcmul(x * self.cos, x.roll(x.shape[-1] // 2, -1), self.sin).to(x.dtype)


@dataclass
class Cache:
    """Keys and values of what rows have seen; static, written in place.

    Rows come in bundles of g that have a prompt in common. layers: (keys, values), [n, T + slots·g, d] each, where
    n = S·bundles·heads: the prompt once, then a place a row for each further token. A bundle is asked as a whole, and
    `bias` [n, g, T + slots·g] hides padding and the tokens of its other rows: one product of g rows is far cheaper than
    g products of one. length [S, R] is the position of each row's next token; filled counts the places written.
    """

    layers: list[tuple[Tensor, Tensor]]
    bias: Tensor
    length: Tensor
    filled: int

    @property
    def bundle(self) -> int:
        return self.bias.shape[1]

    def keep(self, bundles: Tensor) -> "Cache":
        """What is held of these bundles, [S, kept]."""
        s, every = len(bundles), self.length.shape[1] // self.bundle
        heads = len(self.bias) // (s * every)
        at = bundles + torch.arange(s, device=bundles.device)[:, None] * every
        at = (at.flatten()[:, None] * heads + torch.arange(heads, device=at.device)).flatten()
        layers = [(k.index_select(0, at), v.index_select(0, at)) for k, v in self.layers]
        return Cache(layers, self.bias.index_select(0, at), of_bundles(self.length, bundles, self.bundle), self.filled)

    def looking(self, rotation: Callable[[Tensor], Rotation]) -> "Decode":
        """The attention of the next token."""
        return Decode(self, rotation(self.length.unflatten(1, (-1, 1, self.bundle))))

    def grow(self) -> None:
        """By the token that was just seen."""
        self.length = self.length + 1
        self.filled += self.bundle


def of_bundles(x: Tensor, bundles: Tensor, size: int) -> Tensor:
    """Rows of these bundles: x [S, R], bundles [S, kept] -> [S, kept·size]."""
    return x.unflatten(1, (-1, size)).gather(1, bundles[..., None].expand(-1, -1, size)).flatten(1)


def new_cache(kept: list[tuple[Tensor, Tensor]], length: Tensor, group_size: int, slots: int) -> Cache:
    """Room for `slots` tokens of each of group_size rows a prompt. kept: [layers] of the prompts' keys and values
    [S·P·heads, T, d]; length [S, P]."""
    s, p = length.shape
    t, d = kept[0][0].shape[1:]
    most = max(1, min(BUNDLE, BUNDLE_PLACES // slots))
    g = max(size for size in range(1, most + 1) if group_size % size == 0)
    places, times = t + slots * g, group_size // g

    def roomy(x: Tensor) -> Tensor:
        x = x.view(s, p, 1, -1, t, d).expand(-1, -1, times, -1, -1, -1).flatten(0, 3)
        out = x.new_empty((len(x), places, d))
        out[:, :t] = x
        return out

    slot = torch.arange(places, device=length.device) - t
    own = (slot >= 0) & (slot % g == torch.arange(g, device=length.device)[:, None])
    seen = own | (slot < length[..., None, None] - t)  # [S, P, g, places]
    heads = len(kept[0][0]) // (s * p)
    bias = bias_of(seen, kept[0][0].dtype)[:, :, None, None].expand(-1, -1, times, heads, -1, -1).flatten(0, 3)
    layers = [(roomy(k), roomy(v)) for k, v in kept]
    return Cache(layers, bias, length.repeat_interleave(group_size, dim=1), t)


def bias_of(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where `mask` allows a look, -inf elsewhere."""
    return torch.zeros(mask.shape, device=mask.device, dtype=dtype).masked_fill_(~mask, float("-inf"))


def causal(tokens: int, device: torch.device) -> Tensor:
    """[tokens, tokens] bool: each sees itself and what came before."""
    return torch.ones((tokens, tokens), dtype=torch.bool, device=device).tril_()


def _scores(q: Tensor, k: Tensor, bias: Tensor) -> Tensor:
    """q·k/√d + bias over flat batches: q [n, T, d], k [n, L, d], bias broadcastable to [n, T, L]."""
    return torch.baddbmm(bias, q, k.mT, alpha=q.shape[-1] ** -0.5)


def upcast(x: Tensor) -> Tensor:
    """At least float32: what norms, softmax and logits are computed in."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def weights_of(scores: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    """Softmax over the last axis of scores that stand side by side, in float32, given as `dtype`.

    Rows are filled up to WIDE with -inf: PyTorch takes shorter ones number by number on a CPU, ten times as slowly.
    """
    short = WIDE - sum(x.shape[-1] for x in scores)
    if short > 0:
        scores = (*scores, scores[0].new_full((1,), float("-inf")).expand(*scores[0].shape[:-1], short))
    whole = torch.cat(tuple(scores), dim=-1) if len(scores) > 1 else scores[0]
    return upcast(whole).softmax(-1).to(dtype)


def _mix(scores: Tensor, v: Tensor) -> Tensor:
    return weights_of((scores,), v.dtype)[..., : v.shape[-2]] @ v


@dataclass(frozen=True)
class Rows:
    """R rows of T tokens each, right-padded, causal. `kept`, if given, receives each layer's (k, v)."""

    rows: int
    rotation: Rotation  # [T, d]
    causal: Tensor  # [T, T]
    kept: list[tuple[Tensor, Tensor]] | None = None

    def __call__(self, qkv: Tensor, layer: int) -> Tensor:
        s, _, _, h, d = qkv.shape
        qkv = qkv.view(s, self.rows, -1, 3, h, d).permute(0, 1, 3, 4, 2, 5)  # [S, R, 3, h, T, d]
        q, k = (x.flatten(0, 2) for x in self.rotation(qkv[:, :, :2]).unbind(2))
        v = qkv[:, :, 2].flatten(0, 2)
        if self.kept is not None:
            self.kept.append((k, v))
        mixed = _mix(_scores(q, k, self.causal), v)
        return mixed.unflatten(0, (s, self.rows, h)).transpose(2, 3).reshape(s, -1, h * d)


@dataclass(frozen=True)
class Decode:
    """One token of each row, which sees its prompt and the completion so far; writes its own key and value."""

    cache: Cache
    rotation: Rotation  # [S, bundles, 1, g, d]

    def __call__(self, qkv: Tensor, layer: int) -> Tensor:
        s, rows, _, h, d = qkv.shape
        keys, values = self.cache.layers[layer]
        n, g, start = len(keys), self.cache.bundle, self.cache.filled
        bundled = qkv.view(s, -1, g, 3, h, d).permute(3, 0, 1, 4, 2, 5).contiguous()  # [3, S, bundles, h, g, d]
        q, k = (x.reshape(n, g, d) for x in self.rotation(bundled[:2]))
        keys[:, start : start + g], values[:, start : start + g] = k, bundled[2].view(n, g, d)
        end = start + g
        weights = weights_of((_scores(q, keys[:, :end], self.cache.bias[..., :end]),), values.dtype)
        mixed = weights[..., :end] @ values[:, :end]
        return mixed.view(s, -1, h, g, d).transpose(2, 3).reshape(s, rows, h * d)


@dataclass(frozen=True)
class SharedPrompt:
    """P prompts of T tokens, each followed by G completions of C tokens; a prompt is computed once for its group.

    Flat order: all prompts, then all completions. A completion sees the real tokens of its prompt (prompt_bias
    [S, P, T]) and itself, causally.
    """

    prompts: int
    group_size: int
    prompt_rotation: Rotation  # [T, d]
    completion_rotation: Rotation  # [S, P, 1, 1, 1, C, d]
    prompt_bias: Tensor
    causal_prompt: Tensor  # [T, T]
    causal_completion: Tensor  # [C, C]

    def __call__(self, qkv: Tensor, layer: int) -> Tensor:
        s, _, _, h, d = qkv.shape
        p, g, t, c = self.prompts, self.group_size, len(self.causal_prompt), len(self.causal_completion)
        prompt, completion = qkv[:, : p * t], qkv[:, p * t :]
        prompt = prompt.unflatten(1, (p, t)).permute(0, 1, 3, 4, 2, 5)  # [S, P, 3, h, T, d]
        completion = completion.unflatten(1, (p, g, c)).permute(0, 1, 4, 5, 2, 3, 6)  # [S, P, 3, h, G, C, d]
        pq, pk = (x.flatten(0, 2) for x in self.prompt_rotation(prompt[:, :, :2]).unbind(2))
        cq, ck = (x.flatten(0, 2) for x in self.completion_rotation(completion[:, :, :2]).unbind(2))
        pv, cv = prompt[:, :, 2].flatten(0, 2), completion[:, :, 2].flatten(0, 2)

        looked = _mix(_scores(pq, pk, self.causal_prompt), pv)  # [S·P·h, T, d]
        looked = looked.unflatten(0, (s, p, h)).transpose(2, 3).reshape(s, p * t, h * d)
        prompt_bias = self.prompt_bias[:, :, None, None].expand(-1, -1, h, -1, -1).flatten(0, 2)  # [S·P·h, 1, T]
        to_prompt = _scores(cq.flatten(1, 2), pk, prompt_bias)  # [S·P·h, G·C, T]
        to_self = _scores(cq.flatten(0, 1), ck.flatten(0, 1), self.causal_completion)  # [S·P·h·G, C, C]
        both = weights_of((to_prompt, to_self.view(-1, g * c, c)), pv.dtype)
        own = both[..., t : t + c].reshape(-1, c, c)
        mixed = both[..., :t] @ pv + (own @ cv.flatten(0, 1)).view(-1, g * c, d)
        mixed = mixed.view(s, p, h, g, c, d).permute(0, 1, 3, 4, 2, 5).reshape(s, p * g * c, h * d)
        return torch.cat((looked, mixed), dim=1)


@dataclass(frozen=True)
class Packing:
    """Some of all `tokens`, those at the places `at` [S, M]: nothing else is computed of the places left out."""

    at: Tensor
    tokens: int

    def take(self, x: Tensor) -> Tensor:
        """x [S, tokens, ...] -> [S, M, ...]."""
        return x.flatten(0, 1).index_select(0, self._rows()).unflatten(0, self.at.shape)

    def put(self, x: Tensor) -> Tensor:
        """x [S, M, ...] -> [S, tokens, ...], 0 at the places left out."""
        everywhere = x.new_zeros((len(x) * self.tokens, *x.shape[2:]))
        return everywhere.index_add(0, self._rows(), x.flatten(0, 1)).unflatten(0, (len(x), self.tokens))

    def _rows(self) -> Tensor:
        seeds = torch.arange(len(self.at), device=self.at.device)
        return (self.at + seeds[:, None] * self.tokens).flatten()


@dataclass(frozen=True)
class Packed:
    """The attention given, for the tokens of a packing among all that it lays out; nothing may look at those left
    out."""

    attention: Attention
    packing: Packing

    def __call__(self, qkv: Tensor, layer: int) -> Tensor:
        return self.packing.take(self.attention(self.packing.put(qkv), layer))
