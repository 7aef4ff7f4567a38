"""How tokens look at each other. The transformer hands flat tokens to one of these and gets flat tokens back.

Each maps qkv [S, N, 3, heads, head width] of one layer to [S, N, width]. All use explicit products: for the short
sequences here they beat flash attention on a CPU.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Attention(Protocol):
    def __call__(self, qkv: Tensor, layer: int) -> Tensor: ...


@dataclass(frozen=True)
class Rotation:
    """RoPE tables for the tokens at hand, broadcastable to what they turn; the first half of sin is negated, so that a
    rotation is x·cos + roll(x)·sin in the half-split layout of Hugging Face's Llama and Qwen3."""

    cos: Tensor
    sin: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return torch.addcmul(x * self.cos, x.roll(x.shape[-1] // 2, -1), self.sin)


@dataclass
class Cache:
    """Static keys and values, [layers][S, R, heads, slots, head width], and which slots hold real tokens [S, R, slots].

    Prompts fill the first slots, right-padded; the token drawn at decode step t stands in slot prompt slots + t for
    every row, so that one slice is written. Positions are kept apart from slots, and hold no gap.
    """

    keys: list[Tensor]
    values: list[Tensor]
    valid: Tensor
    filled: int = 0

    @staticmethod
    def empty(layers: int, shape: tuple[int, int, int, int, int], like: Tensor) -> "Cache":
        """shape: (S, R, heads, slots, head width)."""
        keys, values = ([like.new_zeros(shape) for _ in range(layers)] for _ in range(2))
        s, r, _, slots, _ = shape
        return Cache(keys, values, torch.zeros((s, r, slots), dtype=torch.bool, device=like.device))

    def expand(self, group_size: int, slots: int) -> "Cache":
        """Each row repeated for the completions of its group, with room for `slots` tokens."""

        def grow(x: Tensor) -> Tensor:
            s, r, h, filled, d = x.shape
            out = x.new_zeros((s, r, group_size, h, slots, d))
            out[:, :, :, :, :filled] = x[:, :, None]
            return out.flatten(1, 2)

        more = self.valid.new_zeros((*self.valid.shape[:2], slots - self.valid.shape[2]))
        valid = torch.cat((self.valid, more), dim=2).repeat_interleave(group_size, dim=1)
        return Cache([grow(k) for k in self.keys], [grow(v) for v in self.values], valid, self.filled)


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


def _mix(scores: Tensor, v: Tensor) -> Tensor:
    return upcast(scores).softmax(-1).to(v.dtype) @ v


@dataclass(frozen=True)
class Rows:
    """R rows of T tokens each, causal; with a cache the T tokens come after those that it holds.

    bias [T, slots], or [S, R, T, slots] where rows differ; positions are in `rotation`, [..., T, head width].
    """

    rows: int
    rotation: Rotation
    bias: Tensor
    cache: Cache | None = None

    def __call__(self, qkv: Tensor, layer: int) -> Tensor:
        s, _, _, heads, d = qkv.shape
        qkv = qkv.view(s, self.rows, -1, 3, heads, d).permute(0, 1, 3, 4, 2, 5)  # [S, R, 3, heads, T, d]
        q, k = self.rotation(qkv[:, :, :2]).unbind(2)
        v = qkv[:, :, 2]
        if self.cache is not None:
            k, v = self._remember(k, v, layer)
        bias = self.bias
        if bias.dim() > 2:
            bias = bias[:, :, None].expand(-1, -1, heads, -1, -1).flatten(0, 2)
        mixed = _mix(_scores(q.flatten(0, 2), k.flatten(0, 2), bias), v.flatten(0, 2))
        return mixed.unflatten(0, (s, self.rows, heads)).transpose(2, 3).reshape(s, -1, heads * d)

    def _remember(self, k: Tensor, v: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        """Writes k and v to the cache's next slots and returns all that it holds."""
        cache = self.cache
        assert cache is not None
        stop = cache.filled + k.shape[-2]
        cache.keys[layer][..., cache.filled : stop, :] = k
        cache.values[layer][..., cache.filled : stop, :] = v
        return cache.keys[layer][..., :stop, :], cache.values[layer][..., :stop, :]


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
        both = upcast(torch.cat((to_prompt, to_self.view(-1, g * c, c)), dim=-1)).softmax(-1).to(pv.dtype)
        mixed = both[..., :t] @ pv + (both[..., t:].reshape(-1, c, c) @ cv.flatten(0, 1)).view(-1, g * c, d)
        mixed = mixed.view(s, p, h, g, c, d).permute(0, 1, 3, 4, 2, 5).reshape(s, p * g * c, h * d)
        return torch.cat((looked, mixed), dim=1)
