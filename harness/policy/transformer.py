"""A decoder-only transformer that holds S independent policies of one shape; S is 1 unless seeds are stacked.

Every weight has a leading [S], every product is a batched one, so a stacked policy is the same code as a single one
and each of its members computes what it would compute alone. RMSNorm (arXiv 1910.07467), RoPE (arXiv 2104.09864),
SwiGLU (arXiv 2002.05202), optional QK-norm (arXiv 2302.05442); logits are always float32.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.config import ModelConfig
from harness.seeding import Key, torch_generator


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
    def empty(config: ModelConfig, seeds: int, rows: int, slots: int, like: Tensor) -> "Cache":
        shape = (seeds, rows, config.heads, slots, config.head_width)
        new = lambda: [torch.zeros(shape, dtype=like.dtype, device=like.device) for _ in range(config.layers)]  # noqa: E731
        return Cache(new(), new(), torch.zeros((seeds, rows, slots), dtype=torch.bool, device=like.device))

    def expand(self, group_size: int, slots: int) -> "Cache":
        """Each row repeated for the completions of its group, with room for `slots` tokens."""

        def grow(x: Tensor) -> Tensor:
            s, r, h, filled, d = x.shape
            out = x.new_zeros((s, r, group_size, h, slots, d))
            out[:, :, :, :, :filled] = x[:, :, None]
            return out.flatten(1, 2)

        valid = F.pad(self.valid, (0, slots - self.valid.shape[-1])).repeat_interleave(group_size, dim=1)
        return Cache([grow(k) for k in self.keys], [grow(v) for v in self.values], valid, self.filled)


class _Normalise(torch.autograd.Function):
    """x / rms(x) over the last axis; the gain is folded into the product that follows. By hand, because the composite
    that autograd would record costs three times as many passes over memory."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # ty: ignore[incompatible-method-override]
        inverse = torch.linalg.vecdot(x, x)[..., None].div_(x.shape[-1]).add_(1e-6).rsqrt_()
        y = x * inverse
        ctx.save_for_backward(y, inverse)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:  # ty: ignore[incompatible-method-override]
        y, inverse = ctx.saved_tensors
        slope = torch.linalg.vecdot(g, y)[..., None].div_(y.shape[-1])
        return torch.addcmul(g, y, slope, value=-1).mul_(inverse)


def _normalise(x: Tensor) -> Tensor:
    return _Normalise.apply(x.float()).to(x.dtype)


@dataclass(frozen=True)
class Rotation:
    """RoPE tables for the tokens at hand, broadcastable to [S, R, 2, heads, T, head width]; the first half of sin is
    negated, so that a rotation is x·cos + roll(x)·sin in the half-split layout of Hugging Face's Llama and Qwen3."""

    cos: Tensor
    sin: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return torch.addcmul(x * self.cos, x.roll(x.shape[-1] // 2, -1), self.sin)


def _attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """softmax(q·k/√d + bias)·v, [S, R, heads, T, head width], with explicit products: for the short sequences here they
    beat flash attention on a CPU. bias [T, slots] or [S, R, 1, T, slots], 0 or -inf."""
    shape = (*q.shape[:-1], k.shape[-2])
    flat = lambda x: x.flatten(0, 2)  # noqa: E731
    bias = bias if bias.dim() == 2 else flat(bias.expand(shape))
    scores = torch.baddbmm(bias, flat(q), flat(k).mT, alpha=q.shape[-1] ** -0.5)
    return (scores.softmax(-1, dtype=torch.float32).to(v.dtype) @ flat(v)).unflatten(0, q.shape[:3])


class Block(nn.Module):
    """Attention and SwiGLU, each after a norm, each added to the stream."""

    def __init__(self, config: ModelConfig, seeds: int):
        super().__init__()
        self.config = config
        w, m, d = config.width, config.mlp, config.head_width
        self.attention_norm = nn.Parameter(torch.ones(seeds, 1, w))
        self.qkv = nn.Parameter(torch.empty(seeds, w, 3 * w))
        self.attention_out = nn.Parameter(torch.empty(seeds, w, w))
        self.mlp_norm = nn.Parameter(torch.ones(seeds, 1, w))
        self.gate_up = nn.Parameter(torch.empty(seeds, w, 2 * m))
        self.down = nn.Parameter(torch.empty(seeds, m, w))
        if config.qk_norm:
            self.qk_norm = nn.Parameter(torch.ones(seeds, 1, 2, 1, 1, d))

    def forward(
        self, x: Tensor, rows: int, rotation: Rotation, bias: Tensor, cache: Cache | None, layer: int
    ) -> Tensor:
        """x [S, rows·T, width] -> the same shape."""
        qkv = _normalise(x) @ (self.attention_norm.mT * self.qkv)
        shape = (qkv.shape[0], rows, -1, 3, self.config.heads, self.config.head_width)
        qkv = qkv.view(shape).permute(0, 1, 3, 4, 2, 5)  # [S, rows, 3, heads, T, head width]
        qk, v = qkv[:, :, :2], qkv[:, :, 2]
        if self.config.qk_norm:
            qk = _normalise(qk) * self.qk_norm
        q, k = rotation(qk).unbind(2)
        if cache is not None:
            start, stop = cache.filled, cache.filled + k.shape[-2]
            cache.keys[layer][..., start:stop, :] = k
            cache.values[layer][..., start:stop, :] = v
            k, v = cache.keys[layer][..., :stop, :], cache.values[layer][..., :stop, :]
        x = x + _attend(q, k, v, bias).transpose(2, 3).reshape(x.shape) @ self.attention_out
        gate, up = (_normalise(x) @ (self.mlp_norm.mT * self.gate_up)).chunk(2, dim=-1)
        return x + (F.silu(gate) * up) @ self.down


class Transformer(nn.Module):
    """S policies. Parameters are drawn from one key per seed: member s equals a single policy of that seed."""

    def __init__(self, config: ModelConfig, seeds: int = 1):
        super().__init__()
        self.config, self.seeds = config, seeds
        self.embedding = nn.Parameter(torch.empty(seeds, config.vocab, config.width))
        self.blocks = nn.ModuleList(Block(config, seeds) for _ in range(config.layers))
        self.final_norm = nn.Parameter(torch.ones(seeds, 1, config.width))
        self.head = nn.Parameter(torch.empty(seeds, config.width, config.vocab))
        angle = torch.arange(config.context)[:, None] * config.rope_base ** (
            -torch.arange(0, config.head_width, 2) / config.head_width
        )
        self.cos: Tensor
        self.sin: Tensor
        self.register_buffer("cos", angle.cos().repeat(1, 2), persistent=False)
        self.register_buffer("sin", torch.cat((-angle.sin(), angle.sin()), dim=1), persistent=False)

    @torch.no_grad()
    def initialise(self, keys: Sequence[Key]) -> "Transformer":
        """Normal weights of standard deviation init_std; those that write to the stream divide it by sqrt(2·layers)."""
        for s, key in enumerate(keys):
            generator = torch_generator(key)
            for name, weight in self.named_parameters():
                if name.endswith("norm"):
                    continue
                scale = (2 * self.config.layers) ** -0.5 if name.endswith(("attention_out", "down")) else 1.0
                weight[s].copy_(torch.randn(weight.shape[1:], generator=generator) * self.config.init_std * scale)
        return self

    def rotation(self, positions: Tensor) -> Rotation:
        """positions [T] or [S, R, T]."""
        tables = (self.cos[positions], self.sin[positions])
        return Rotation(*(x.unsqueeze(-3).unsqueeze(-3) for x in tables))

    def hidden(self, ids: Tensor, positions: Tensor | None = None, cache: Cache | None = None) -> Tensor:
        """ids [S, R, T] -> [S, R, T, width], normalised, before the head.

        Without a cache: causal over right-padded rows whose positions are 0 … T-1. With one: the T tokens are appended
        at the cache's next slots (its `valid` must already mark those that are real), at the given positions [S, R, T].
        """
        s, r, t = ids.shape
        offset = torch.arange(s, device=ids.device)[:, None, None] * self.config.vocab
        x = F.embedding(ids + offset, self.embedding.flatten(0, 1)).view(s, r * t, -1)
        if positions is None:
            positions = torch.arange(t, device=ids.device)
        start = cache.filled if cache is not None else 0
        slots = torch.arange(start + t, device=ids.device)
        mask = slots[None, :] <= slots[start:, None]  # [T, slots]
        if cache is not None and start > 0:
            mask = mask & cache.valid[:, :, None, None, : start + t]
        bias = torch.zeros(mask.shape, device=ids.device, dtype=x.dtype).masked_fill_(~mask, float("-inf"))
        rotation = self.rotation(positions)
        for layer, block in enumerate(self.blocks):
            x = block(x, r, rotation, bias, cache, layer)
        if cache is not None:
            cache.filled = start + t
        return _normalise(x).view(s, r, t, -1)

    def logits(self, hidden: Tensor) -> Tensor:
        """[S, ..., width] -> float32 [S, ..., vocab]; the final norm's gain is folded in."""
        flat = hidden.flatten(1, -2).float()
        with torch.autocast(hidden.device.type, enabled=False):
            return (flat @ (self.final_norm.mT * self.head).float()).view(*hidden.shape[:-1], self.config.vocab)

    def forward(self, ids: Tensor) -> Tensor:
        """ids [S, R, T] -> float32 logits [S, R, T, vocab]."""
        return self.logits(self.hidden(ids))


def parameter_count(config: ModelConfig, embedding: bool = True) -> int:
    """Parameters of one policy; without the input embedding for FLOP counts (Kaplan et al., arXiv 2001.08361)."""
    w = config.width
    layer = 4 * w * w + 3 * w * config.mlp + 2 * w + (2 * config.head_width if config.qk_norm else 0)
    return config.layers * layer + w + w * config.vocab * (2 if embedding else 1)
