"""Packed weights: laid out for the C's matrix products, once per change of the weights."""

import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.policy.backends.native.calls import CPolicy, call, call_int, data_pointer, pointer_array
from harness.policy.transformer import Transformer

# A layer's weights, in the order of weights.h.
LAYER_WEIGHTS = ("attention_norm", "qkv", "attention_out", "mlp_norm", "gate_up", "down")


def policy_weights(policy: Transformer) -> list[Tensor]:
    """Embedding, head, final norm, then those of the layers."""
    layers = [getattr(block, name) for block in policy.blocks for name in LAYER_WEIGHTS]
    return [policy.embedding, policy.head, policy.final_norm, *layers]


def seed_pointers(tensors: Sequence[Tensor], seed: int) -> list[int]:
    """Addresses of x[seed] for each float32 tensor x [S, ...]."""
    return [data_pointer(x) + 4 * seed * x.stride(0) for x in tensors]


@dataclass(frozen=True)
class _Packed:
    """Packed weights [S, bytes], and what they were packed from. The sources are held: no other tensor can then come
    to lie at their addresses."""

    key: tuple[Any, ...]
    sources: list[Tensor]
    data: Tensor


_cache: "weakref.WeakKeyDictionary[Transformer, _Packed | None]" = weakref.WeakKeyDictionary()
_lock = threading.Lock()


@dataclass(frozen=True)
class PolicyHandle:
    """The C struct of each seed, and the tensors that it points to."""

    seeds: list[Any]
    tensors: tuple[Tensor, ...]


def policy_handle(policy: Transformer, weights: Sequence[Tensor]) -> PolicyHandle:
    """The policy for the C, with packed weights: packed anew if weights_version, a weight's storage or the precision
    has changed since the last call."""
    c, is_bf16 = policy.config, policy.precision == "bf16"
    sizes = (c.layers, c.width, c.heads, c.mlp, c.vocab, len(policy.cos), int(is_bf16))
    tables = data_pointer(policy.cos), data_pointer(policy.sin)
    seeds = []
    for seed in range(policy.seeds):
        embedding, head, final_norm, *layers = seed_pointers(weights, seed)
        seeds.append(CPolicy(*sizes, *tables, embedding, head, final_norm, pointer_array(layers), None))
    key = (is_bf16, policy.weights_version, *(x.data_ptr() for x in weights))
    with _lock:
        packed = _cache.get(policy)
        if packed is None or packed.key != key:
            packed = _cache[policy] = None  # frees the memory of the last ones for the new, but where a graph holds it
            packed = _cache[policy] = _Packed(key, [x.detach() for x in weights], _pack(seeds))
    for seed, data in zip(seeds, packed.data):
        seed.packed = data_pointer(data)
    return PolicyHandle(seeds, (policy.cos, policy.sin, *weights, packed.data))


def _pack(seeds: Sequence[Any]) -> Tensor:
    packed = torch.empty((len(seeds), call_int("packed_policy_bytes", seeds[0])), dtype=torch.uint8)
    for seed, out in zip(seeds, packed):
        call("pack_weights", seed, out)
    return packed
