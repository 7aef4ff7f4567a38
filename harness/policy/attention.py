"""How tokens look at each other. The transformer hands flat tokens to one of these and gets flat tokens back.

Each maps qkv [S, N, 3, heads, head width] of one layer to [S, N, width]. All use explicit products: for the short
sequences here they beat flash attention on a CPU.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

WIDE = 16  # float32 numbers in the widest register of a CPU


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
    """Keys and values of P prompts, and of their G completions each up to `slots` tokens; static, written in place.

    A prompt's stand once for its group. prompt: [layers] of (k, v) [S·P·heads, T, d]; completion: [layers] of k
    [S·P·heads, G, slots, d] and v [S·P·heads, G, d, slots], as products with one token read them fastest. prompt_bias
    [S·P·heads, 1, T] hides padding; length [S, P·G] is the position of each row's next token; filled counts the
    completion tokens so far.
    """

    prompt: list[tuple[Tensor, Tensor]]
    completion: list[tuple[Tensor, Tensor]]
    prompt_bias: Tensor
    length: Tensor
    filled: int = 0

    def keep(self, prompts: Tensor, group_size: int) -> "Cache":
        """What is held of these prompts, [S, P'], and of their completions."""
        s, every = len(prompts), self.length.shape[1] // group_size
        heads = len(self.prompt_bias) // (s * every)
        at = prompts + torch.arange(s, device=prompts.device)[:, None] * every
        at = (at.flatten()[:, None] * heads + torch.arange(heads, device=at.device)).flatten()
        chosen = lambda pairs: [tuple(x.index_select(0, at) for x in pair) for pair in pairs]  # noqa: E731
        length = of_groups(self.length, prompts, group_size)
        return Cache(chosen(self.prompt), chosen(self.completion), self.prompt_bias[at], length, self.filled)


def of_groups(x: Tensor, prompts: Tensor, group_size: int) -> Tensor:
    """Rows of these prompts' groups: x [S, P·G], prompts [S, P'] -> [S, P'·G]."""
    return x.unflatten(1, (-1, group_size)).gather(1, prompts[..., None].expand(-1, -1, group_size)).flatten(1)


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
    rotation: Rotation  # [S, R, 1, 1, d]

    def __call__(self, qkv: Tensor, layer: int) -> Tensor:
        s, rows, _, h, d = qkv.shape
        prompt_k, prompt_v = self.cache.prompt[layer]
        k, v = self.cache.completion[layer]
        n, g = k.shape[:2]  # n = S·P·heads
        qk = self.rotation(qkv[:, :, :2])
        by_group = lambda x: x.unflatten(1, (-1, g)).transpose(2, 3).reshape(n, g, d)  # noqa: E731
        q, now = by_group(qk[:, :, 0]), self.cache.filled
        k[:, :, now], v[..., now] = by_group(qk[:, :, 1]), by_group(qkv[:, :, 2])
        k, v = k[:, :, : now + 1].flatten(0, 1), v[..., : now + 1].flatten(0, 1).mT  # [n·G, now + 1, d]
        q = q.to(k.dtype)
        to_self = (q.reshape(n * g, 1, d) @ k.mT).view(n, g, -1) * d**-0.5
        both = weights_of((_scores(q, prompt_k, self.cache.prompt_bias), to_self), v.dtype)
        t = prompt_k.shape[1]
        own = both[..., t : t + now + 1].reshape(n * g, 1, -1)
        mixed = both[..., :t] @ prompt_v + (own @ v).view(n, g, d)
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
class Packed:
    """The attention given, for tokens that stand at the places `at` [S, M] among all `tokens` that it lays out, so that
    nothing else is computed of the places left out, which nothing may look at."""

    attention: Attention
    at: Tensor
    tokens: int

    def __call__(self, qkv: Tensor, layer: int) -> Tensor:
        return self.take(self.attention(self.put(qkv), layer))

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
