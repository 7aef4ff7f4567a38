"""Weights as policy.c reads them: laid out for its products once for as long as they stay as they are."""

import ctypes
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from harness.policy.backends.native.calls import Policy, call, pointer, whole

if TYPE_CHECKING:
    from harness.policy.transformer import Transformer

# A layer's weights, in the order of policy.c.
GIVEN = ("attention_norm", "qkv", "attention_out", "mlp_norm", "gate_up", "down")


def weights_of(policy: "Transformer") -> list[Tensor]:
    """Embedding, head, the gain of its rows, then those of the layers, as given."""
    layers = [getattr(block, name) for block in policy.blocks for name in GIVEN]
    return [policy.embedding, policy.head, policy.final_norm, *layers]


def of_seed(tensors: Sequence[Tensor], seed: int) -> list[int]:
    """Where this seed's part [...] of each [S, ...] begins, all float32."""
    return [pointer(x) + 4 * seed * x.stride(0) for x in tensors]


def addresses(pointers: Sequence[int]) -> Any:
    return (ctypes.c_void_p * len(pointers))(*pointers)


@dataclass(frozen=True)
class _Packed:
    """Weights laid out for products [S, bytes], and what they were made of."""

    fingerprints: list[int]
    seeds: Tensor


_packed: "weakref.WeakKeyDictionary[Transformer, _Packed]" = weakref.WeakKeyDictionary()
_packing = threading.Lock()


@dataclass(frozen=True)
class Ready:
    """Each seed of a policy as the C knows it, and what must live as long as that is asked for."""

    seeds: list[Any]
    held: tuple[Any, ...]


def ready_for(policy: "Transformer", weights: Sequence[Tensor]) -> Ready:
    """With its weights laid out, once for as long as they stay as they are. That is told by their numbers: a fused
    optimizer does not tell PyTorch that it has changed them."""
    c, low = policy.config, int(policy.precision == "bf16")
    sizes = (c.layers, c.width, c.heads, c.mlp, c.vocab, len(policy.cos), low)
    seeds = []
    for seed in range(policy.seeds):
        embedding, head, gain, *layers = of_seed(weights, seed)
        tables = pointer(policy.cos), pointer(policy.sin)
        seeds.append(Policy(*sizes, *tables, embedding, head, gain, addresses(layers), None))
    with _packing:
        fingerprints = [whole("fingerprint", one) for one in seeds]
        held = _packed.get(policy)
        if held is None or held.fingerprints != fingerprints:
            room = torch.empty((len(seeds), whole("packed_size", seeds[0])), dtype=torch.uint8)
            for one, to in zip(seeds, room):
                call("pack_weights", one, to)
            held = _packed[policy] = _Packed(fingerprints, room)
    for one, packed in zip(seeds, held.seeds):
        one.packed = pointer(packed)
    return Ready(seeds, (policy.cos, policy.sin, *weights, held.seeds))
