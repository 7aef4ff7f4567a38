"""Attention. The transformer hands flat tokens to one of these and gets flat tokens back.

Each maps qkv [S, N, 3, heads, head width] of one layer to [S, N, width]. All use explicit products: for the short
sequences here they beat flash attention on a CPU.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

SIMD_WIDTH = 16  # float32 numbers in the widest register of a CPU
# Rows decoded in one product, and the most slots of their cache: beyond these too many slots belong to other rows.
MAX_SUBGROUP, MAX_SUBGROUP_SLOTS = 8, 512


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
class KVCache:
    """Keys and values of the tokens so far; static shapes, written in place.

    Rows are decoded in subgroups of g that share a prompt. layers: (keys, values), [n, T + slots·g, d] each, where
    n = S·subgroups·heads: the prompt once, then one slot a row for each further token. One product serves a subgroup,
    and `bias` [n, g, T + slots·g] masks padding and the tokens of its other rows: one product of g rows is far cheaper
    than g products of one. length [S, R] is the position of each row's next token; `used` counts the slots written.
    """

    layers: list[tuple[Tensor, Tensor]]
    bias: Tensor
    length: Tensor
    used: int

    @property
    def subgroup_size(self) -> int:
        return self.bias.shape[1]

    def select(self, subgroups: Tensor) -> "KVCache":
        """The cache of these subgroups alone, [S, selected]."""
        s, every = len(subgroups), self.length.shape[1] // self.subgroup_size
        heads = len(self.bias) // (s * every)
        at = subgroups + torch.arange(s, device=subgroups.device)[:, None] * every
        at = (at.flatten()[:, None] * heads + torch.arange(heads, device=at.device)).flatten()
        layers = [(k.index_select(0, at), v.index_select(0, at)) for k, v in self.layers]
        length = select_rows(self.length, subgroups, self.subgroup_size)
        return KVCache(layers, self.bias.index_select(0, at), length, self.used)

    def advance(self) -> None:
        """Counts the token that was just written."""
        self.length = self.length + 1
        self.used += self.subgroup_size


def select_rows(x: Tensor, subgroups: Tensor, size: int) -> Tensor:
    """Rows of these subgroups: x [S, R], subgroups [S, selected] -> [S, selected·size]."""
    return x.unflatten(1, (-1, size)).gather(1, subgroups[..., None].expand(-1, -1, size)).flatten(1)


def new_kv_cache(key_values: list[tuple[Tensor, Tensor]], length: Tensor, group_size: int, slots: int) -> KVCache:
    """A cache with `slots` free tokens for each of group_size rows a prompt. key_values: [layers] of the prompts' keys
    and values [S·P·heads, T, d]; length [S, P]."""
    s, p = length.shape
    t, d = key_values[0][0].shape[1:]
    most = max(1, min(MAX_SUBGROUP, MAX_SUBGROUP_SLOTS // slots))
    g = max(size for size in range(1, most + 1) if group_size % size == 0)
    total, copies = t + slots * g, group_size // g

    def with_slots(x: Tensor) -> Tensor:
        x = x.view(s, p, 1, -1, t, d).expand(-1, -1, copies, -1, -1, -1).flatten(0, 3)
        out = x.new_empty((len(x), total, d))
        out[:, :t] = x
        return out

    slot = torch.arange(total, device=length.device) - t
    own = (slot >= 0) & (slot % g == torch.arange(g, device=length.device)[:, None])
    seen = own | (slot < length[..., None, None] - t)  # [S, P, g, total]
    heads = len(key_values[0][0]) // (s * p)
    bias = mask_to_bias(seen, key_values[0][0].dtype)[:, :, None, None]
    bias = bias.expand(-1, -1, copies, heads, -1, -1).flatten(0, 3)
    layers = [(with_slots(k), with_slots(v)) for k, v in key_values]
    return KVCache(layers, bias, length.repeat_interleave(group_size, dim=1), t)


def mask_to_bias(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """The additive mask of attention: 0 where `mask` is True, -inf elsewhere."""
    return torch.zeros(mask.shape, device=mask.device, dtype=dtype).masked_fill_(~mask, float("-inf"))


def causal_mask(tokens: int, device: torch.device) -> Tensor:
    """[tokens, tokens] bool: each attends to itself and to what precedes it."""
    return torch.ones((tokens, tokens), dtype=torch.bool, device=device).tril_()


def _scores(q: Tensor, k: Tensor, bias: Tensor) -> Tensor:
    """q·k/√d + bias over flat batches: q [n, T, d], k [n, L, d], bias broadcastable to [n, T, L]."""
    return torch.baddbmm(bias, q, k.mT, alpha=q.shape[-1] ** -0.5)


def upcast(x: Tensor) -> Tensor:
    """At least float32, in which norms, softmax and logits are computed."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def attention_weights(scores: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    """Softmax over the last axis of scores that stand side by side, in float32, given as `dtype`.

    Rows are padded to SIMD_WIDTH with -inf: on a CPU PyTorch does not vectorise shorter ones, which is 10 times slower.
    """
    short = SIMD_WIDTH - sum(x.shape[-1] for x in scores)
    if short > 0:
        scores = (*scores, scores[0].new_full((1,), float("-inf")).expand(*scores[0].shape[:-1], short))
    whole = torch.cat(tuple(scores), dim=-1) if len(scores) > 1 else scores[0]
    return upcast(whole).softmax(-1).to(dtype)


def _attend(scores: Tensor, v: Tensor) -> Tensor:
    return attention_weights((scores,), v.dtype)[..., : v.shape[-2]] @ v


@dataclass(frozen=True)
class CausalRows:
    """R rows of T tokens each, right-padded, causal. `key_values`, if given, receives each layer's (k, v)."""

    rows: int
    rotation: Rotation  # [T, d]
    causal: Tensor  # [T, T]
    key_values: list[tuple[Tensor, Tensor]] | None = None

    def __call__(self, qkv: Tensor, layer: int) -> Tensor:
        s, _, _, h, d = qkv.shape
        qkv = qkv.view(s, self.rows, -1, 3, h, d).permute(0, 1, 3, 4, 2, 5)  # [S, R, 3, h, T, d]
        q, k = (x.flatten(0, 2) for x in self.rotation(qkv[:, :, :2]).unbind(2))
        v = qkv[:, :, 2].flatten(0, 2)
        if self.key_values is not None:
            self.key_values.append((k, v))
        mixed = _attend(_scores(q, k, self.causal), v)
        return mixed.unflatten(0, (s, self.rows, h)).transpose(2, 3).reshape(s, -1, h * d)


@dataclass(frozen=True)
class Decode:
    """One token of each row, which attends to its prompt and completion so far; writes its own key and value."""

    cache: KVCache
    rotation: Rotation  # [S, subgroups, 1, g, d]

    def __call__(self, qkv: Tensor, layer: int) -> Tensor:
        s, rows, _, h, d = qkv.shape
        keys, values = self.cache.layers[layer]
        n, g, start = len(keys), self.cache.subgroup_size, self.cache.used
        grouped = qkv.view(s, -1, g, 3, h, d).permute(3, 0, 1, 4, 2, 5).contiguous()  # [3, S, subgroups, h, g, d]
        q, k = (x.reshape(n, g, d) for x in self.rotation(grouped[:2]))
        keys[:, start : start + g], values[:, start : start + g] = k, grouped[2].view(n, g, d)
        end = start + g
        weights = attention_weights((_scores(q, keys[:, :end], self.cache.bias[..., :end]),), values.dtype)
        mixed = weights[..., :end] @ values[:, :end]
        return mixed.view(s, -1, h, g, d).transpose(2, 3).reshape(s, rows, h * d)


@dataclass(frozen=True)
class SharedPrompt:
    """P prompts of T tokens, each followed by G completions of C tokens; a prompt is computed once for its group.

    Flat order: all prompts, then all completions. A completion attends to the real tokens of its prompt (prompt_bias
    [S, P, T]) and to itself, causally.
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

        prompt_out = _attend(_scores(pq, pk, self.causal_prompt), pv)  # [S·P·h, T, d]
        prompt_out = prompt_out.unflatten(0, (s, p, h)).transpose(2, 3).reshape(s, p * t, h * d)
        prompt_bias = self.prompt_bias[:, :, None, None].expand(-1, -1, h, -1, -1).flatten(0, 2)  # [S·P·h, 1, T]
        prompt_scores = _scores(cq.flatten(1, 2), pk, prompt_bias)  # [S·P·h, G·C, T]
        self_scores = _scores(cq.flatten(0, 1), ck.flatten(0, 1), self.causal_completion)  # [S·P·h·G, C, C]
        both = attention_weights((prompt_scores, self_scores.view(-1, g * c, c)), pv.dtype)
        own = both[..., t : t + c].reshape(-1, c, c)
        mixed = both[..., :t] @ pv + (own @ cv.flatten(0, 1)).view(-1, g * c, d)
        mixed = mixed.view(s, p, h, g, c, d).permute(0, 1, 3, 4, 2, 5).reshape(s, p * g * c, h * d)
        return torch.cat((prompt_out, mixed), dim=1)


@dataclass(frozen=True)
class Packing:
    """Leaves out padding: of all `tokens` only those at the indices `at` [S, M] are computed."""

    at: Tensor
    tokens: int

    def gather(self, x: Tensor) -> Tensor:
        """x [S, tokens, ...] -> [S, M, ...]."""
        return x.flatten(0, 1).index_select(0, self._rows()).unflatten(0, self.at.shape)

    def scatter(self, x: Tensor) -> Tensor:
        """x [S, M, ...] -> [S, tokens, ...], 0 at the indices left out."""
        everywhere = x.new_zeros((len(x) * self.tokens, *x.shape[2:]))
        return everywhere.index_add(0, self._rows(), x.flatten(0, 1)).unflatten(0, (len(x), self.tokens))

    def _rows(self) -> Tensor:
        seeds = torch.arange(len(self.at), device=self.at.device)
        return (self.at + seeds[:, None] * self.tokens).flatten()


@dataclass(frozen=True)
class Packed:
    """`attention` over packed tokens; no token may attend to one that the packing leaves out."""

    attention: Attention
    packing: Packing

    def __call__(self, qkv: Tensor, layer: int) -> Tensor:
        return self.packing.gather(self.attention(self.packing.scatter(qkv), layer))
