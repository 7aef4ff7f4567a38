"""A decoder-only transformer that holds S independent policies of one shape; S is 1 unless seeds are stacked.

Every weight has a leading [S], every product is a batched one, so a stacked policy is the same code as a single one
and each of its members computes what it would compute alone. RMSNorm (arXiv 1910.07467), LayerNorm without a bias, or
none; before each part (arXiv 2002.04745) or after it (arXiv 1706.03762); RoPE (arXiv 2104.09864), SwiGLU
(arXiv 2002.05202), optional QK-norm (arXiv 2302.05442) and muP (arXiv 2203.03466); logits are always float32.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.config.schema import ModelConfig
from harness.core.seeding import Key, torch_generator
from harness.policy.attention import (
    Attention,
    CausalRows,
    Decode,
    KVCache,
    Rotation,
    causal_mask,
    mask_to_bias,
    new_kv_cache,
    upcast,
)


class _Normalise(torch.autograd.Function):
    """x / rms(x) over the last axis; the gain is folded into the product that follows. By hand, because the composite
    that autograd would record costs three times as many passes over memory."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        inverse = torch.linalg.vecdot(x, x)[..., None].div_(x.shape[-1]).add_(1e-6).rsqrt_()
        y = x * inverse
        ctx.save_for_backward(y, inverse)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:  # ty: ignore[incompatible-method-override]
        y, inverse = ctx.saved_tensors
        slope = torch.linalg.vecdot(g, y)[..., None].div_(y.shape[-1])
        return torch.addcmul(g, y, slope, value=-1).mul_(inverse)


def _normalise(x: Tensor, dtype: torch.dtype) -> Tensor:
    return _Normalise.apply(upcast(x)).to(dtype)


def _centre_and_normalise(x: Tensor, dtype: torch.dtype) -> Tensor:
    return _normalise(x - x.mean(-1, keepdim=True), dtype)


def _swiglu(gate_up: Tensor) -> Tensor:
    gate, up = gate_up.chunk(2, dim=-1)
    return F.silu(gate) * up


# Without the gain, which is folded into the product that follows.
NORMS: dict[str, Callable[[Tensor, torch.dtype], Tensor]] = {"rmsnorm": _normalise, "layernorm": _centre_and_normalise}


class Weights(NamedTuple):
    """Matrices of a block: norm gains folded in, in the dtype of the products."""

    qkv: Tensor
    attention_out: Tensor
    gate_up: Tensor
    down: Tensor


class Block(nn.Module):
    """Attention and SwiGLU, each added to the residual stream, which is normalised before it is read (pre) or after it
    is written to (post)."""

    def __init__(self, config: ModelConfig, seeds: int):
        super().__init__()
        self.config = config
        w, m, d = config.width, config.mlp, config.head_width
        if config.norm != "none":
            self.attention_norm = nn.Parameter(torch.ones(seeds, 1, w))
            self.mlp_norm = nn.Parameter(torch.ones(seeds, 1, w))
        self.qkv = nn.Parameter(torch.empty(seeds, w, 3 * w))
        self.attention_out = nn.Parameter(torch.empty(seeds, w, w))
        self.gate_up = nn.Parameter(torch.empty(seeds, w, 2 * m))
        self.down = nn.Parameter(torch.empty(seeds, m, w))
        if config.qk_norm:
            self.qk_norm = nn.Parameter(torch.ones(seeds, 1, 2, 1, d))

    def weights(self, dtype: torch.dtype) -> Weights:
        """The weights that `forward` takes; compute them once for a loop that changes none, such as decoding."""
        qkv = self.attention_norm.mT * self.qkv if self._is_pre_norm else self.qkv
        gate_up = self.mlp_norm.mT * self.gate_up if self._is_pre_norm else self.gate_up
        return Weights(qkv.to(dtype), self.attention_out.to(dtype), gate_up.to(dtype), self.down.to(dtype))

    def forward(self, x: Tensor, attention: Attention, layer: int, weights: Weights) -> Tensor:
        """x [S, N, width] -> the same shape."""
        qkv = self._input_product(x, weights.qkv)
        qkv = qkv.view(*x.shape[:2], 3, self.config.heads, self.config.head_width)
        if self.config.qk_norm:
            qkv = torch.cat((_normalise(qkv[:, :, :2], self.qk_norm.dtype) * self.qk_norm, qkv[:, :, 2:]), dim=2)
        mixed = attention(qkv, layer).to(weights.attention_out.dtype)
        x = self._residual_add(x, mixed, weights.attention_out, "attention_norm")
        return self._residual_add(x, _swiglu(self._input_product(x, weights.gate_up)), weights.down, "mlp_norm")

    @property
    def _is_pre_norm(self) -> bool:
        return self.config.norm != "none" and self.config.norm_position == "pre"

    def _input_product(self, x: Tensor, weight: Tensor) -> Tensor:
        seen = NORMS[self.config.norm](x, weight.dtype) if self._is_pre_norm else x.to(weight.dtype)
        return seen @ weight

    def _residual_add(self, x: Tensor, part: Tensor, weight: Tensor, gain: str) -> Tensor:
        x = torch.baddbmm(x, part, weight) if part.dtype == x.dtype else x + part @ weight
        if self.config.norm == "none" or self.config.norm_position == "pre":
            return x
        return NORMS[self.config.norm](x, x.dtype) * getattr(self, gain)


class Transformer(nn.Module):
    """S policies. Parameters are drawn from one key per seed: member s equals a single policy of that seed.

    With precision bf16 the products of the blocks run in bfloat16; weights, the stream, norms, softmax and logits stay
    float32.
    """

    def __init__(self, config: ModelConfig, seeds: int = 1, precision: str = "fp32"):
        super().__init__()
        self.config, self.seeds, self.precision = config, seeds, precision
        self.embedding = nn.Parameter(torch.empty(seeds, config.vocab, config.width))
        self.blocks = nn.ModuleList(Block(config, seeds) for _ in range(config.layers))
        if config.has_final_norm:
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
        """Normal weights of standard deviation init_std; those that write to the stream divide it by sqrt(2·layers),
        and muP scales it with the width (arXiv 2203.03466, table 8)."""
        wider = self.config.width_multiplier
        for s, key in enumerate(keys):
            generator = torch_generator(key)
            for name, weight in self.named_parameters():
                if name.endswith("norm"):
                    continue
                scale = (2 * self.config.layers) ** -0.5 if name.endswith(("attention_out", "down")) else 1.0
                scale *= {"embedding": 1.0, "head": 1 / wider}.get(name, wider**-0.5)
                weight[s].copy_(torch.randn(weight.shape[1:], generator=generator) * self.config.init_std * scale)
        return self

    @property
    def weights_version(self) -> int:
        """Grows whenever a weight changes: backends hold copies of the weights in layouts of their own."""
        return sum(weight._version for weight in self.parameters())

    def lr_factor(self, name: str) -> float:
        """Factor on a parameter's learning rate under Adam: muP's 1/width for all that is summed over the width."""
        return 1.0 if name == "embedding" or name.endswith("norm") else 1 / self.config.width_multiplier

    def rotation(self, positions: Tensor) -> Rotation:
        """Tables of these positions, [*positions.shape, head width]."""
        return Rotation(self.cos[positions], self.sin[positions])

    @property
    def product_dtype(self) -> torch.dtype:
        """What the products of the blocks compute in."""
        return torch.bfloat16 if self.precision == "bf16" else self.embedding.dtype

    @property
    def attention_dtype(self) -> torch.dtype:
        """What attention computes in: on a CPU its tiny products are slower in bfloat16 than in float32."""
        return self.product_dtype if self.embedding.is_cuda else self.embedding.dtype

    def weights(self) -> list[Weights]:
        """Of all blocks."""
        return [cast(Block, block).weights(self.product_dtype) for block in self.blocks]

    def flat_hidden(self, ids: Tensor, attention: Attention, weights: list[Weights] | None = None) -> Tensor:
        """Flat tokens [S, N] -> [S, N, width], normalised, before the head. `weights`: those of a loop without
        updates."""
        offset = torch.arange(self.seeds, device=ids.device)[:, None] * self.config.vocab
        x = F.embedding(ids + offset, self.embedding.flatten(0, 1))

        def attend(qkv: Tensor, layer: int) -> Tensor:
            return attention(qkv.to(self.attention_dtype), layer)

        for layer, (block, block_weights) in enumerate(zip(self.blocks, weights or self.weights())):
            x = block(x, attend, layer, block_weights)
        return NORMS[self.config.norm](x, x.dtype) if self.config.has_final_norm else x

    def hidden(self, ids: Tensor, key_values: list[Any] | None = None, weights: list[Weights] | None = None) -> Tensor:
        """Right-padded rows ids [S, R, T], causal -> [S, R, T, width], normalised, before the head. `key_values`, if
        given, receives the keys and values of each layer. Raises IndexError for rows longer than the context."""
        _, rows, tokens = ids.shape
        if tokens > self.config.context:
            raise IndexError(f"rows of {tokens} tokens in a context of {self.config.context}")
        bias = mask_to_bias(causal_mask(tokens, ids.device), self.attention_dtype)
        attention = CausalRows(rows, self.rotation(torch.arange(tokens, device=ids.device)), bias, key_values)
        return self.flat_hidden(ids.flatten(1), attention, weights).unflatten(1, (rows, tokens))

    def prefill(
        self, prompts: Tensor, length: Tensor, group_size: int, slots: int, weights: list[Weights] | None = None
    ) -> tuple[Tensor, KVCache]:
        """The hidden state at each prompt's last token, [S, P, width], and a cache with `slots` free tokens for each of
        its `group_size` completions. prompts [S, P, T] right-padded, length [S, P]."""
        key_values: list[Any] = []
        hidden = self.hidden(prompts, key_values, weights)
        last = hidden.gather(2, (length - 1)[..., None, None].expand(-1, -1, 1, hidden.shape[-1]))[:, :, 0]
        return last, new_kv_cache(key_values, length, group_size, slots)

    def decode(self, ids: Tensor, cache: KVCache, weights: list[Weights] | None = None) -> Tensor:
        """The next token of each row, ids [S, R] -> hidden state [S, R, width]; the cache grows by it."""
        # Rows that have ended may stand beyond the context while others go on.
        positions = cache.length.clamp(max=self.config.context - 1).unflatten(1, (-1, 1, cache.subgroup_size))
        hidden = self.flat_hidden(ids, Decode(cache, self.rotation(positions)), weights)
        cache.advance()
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        """[S, ..., width] -> float32 [S, ..., vocab]; the final norm's gain is folded in."""
        head = self.final_norm.mT * self.head if self.config.has_final_norm else self.head
        return (hidden.flatten(1, -2) @ head).view(*hidden.shape[:-1], self.config.vocab)

    def forward(self, ids: Tensor) -> Tensor:
        """ids [S, R, T] -> float32 logits [S, R, T, vocab]."""
        return self.logits(self.hidden(ids))


def parameter_count(config: ModelConfig, embedding: bool = True) -> int:
    """Parameters of one policy; without the input embedding for FLOP counts (Kaplan et al., arXiv 2001.08361)."""
    w = config.width
    gains = 2 * w * (config.norm != "none") + 2 * config.head_width * config.qk_norm
    layer = 4 * w * w + 3 * w * config.mlp + gains
    return config.layers * layer + w * config.has_final_norm + w * config.vocab * (2 if embedding else 1)
