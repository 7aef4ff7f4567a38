"""Keyed, stateless randomness: a draw depends on what it is for, never on what was drawn before it.

So batching, compaction, stacking, several devices and resume change no token.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

# Never renumber: the position of a purpose is part of every stream.
PURPOSES = (
    "init",
    "documents",
    "problems",
    "sampling",
    "evaluation",
    "reward",
    "minibatch",
    "suite",
    "warmup",
    "continued",
    "preference_problems",
    "preference_sampling",
    "preference_labels",
    "generation",
    "problem_pool",
    "synthetic_problems",
    "synthetic_sampling",
    "synthetic_filter",
    "held_out_documents",
)
_MASK = 0xFFFFFFFF


@dataclass(frozen=True)
class Key:
    """Names one stream of randomness."""

    purpose: str
    seed: int
    step: int = 0

    def _sequence(self) -> np.random.SeedSequence:
        return np.random.SeedSequence(self.seed, spawn_key=(PURPOSES.index(self.purpose), self.step))

    def generator(self) -> np.random.Generator:
        """A fresh numpy generator at the start of this stream."""
        return np.random.default_rng(self._sequence())

    def words(self) -> tuple[int, int, int]:
        """Three 32-bit words for the device hash."""
        a, b, c = self._sequence().generate_state(3)
        return int(a), int(b), int(c)


def keys(purpose: str, seeds: Sequence[int], step: int) -> tuple[Key, ...]:
    """One key per stacked seed."""
    return tuple(Key(purpose, seed, step) for seed in seeds)


# 32-bit integers: uint32 arrays, which wrap by themselves, or int64 tensors, of whose products, which wrap too, the
# mask keeps the exact low bits.
Bits = Any


def _by_numpy(rows: Tensor) -> bool:
    """A few thousand numbers take PyTorch longer to begin than numpy to end."""
    return rows.is_cpu


def _mix(x: Bits) -> Bits:
    """A bijection of 32-bit integers that flips every output bit half of the time (the constants of C. Wellons'
    lowbias32)."""
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & _MASK
    x = ((x ^ (x >> 15)) * 0x846CA68B) & _MASK
    return x ^ (x >> 16)


def _hashed(words: Bits, rows: Bits, positions: Bits) -> Bits:
    """words [3, S, 1], rows [R], positions [C] -> [S, R, C]."""
    a, b, c = words
    row_hash = _mix((rows ^ a) & _MASK)[..., None]
    position_hash = _mix((positions * 0x9E3779B9 + b) & _MASK)[:, None]
    x = _mix((row_hash * 0x85EBCA6B + position_hash) & _MASK)
    return _mix(x ^ c[..., None] ^ row_hash)


def uniforms(keys: Sequence[Key], rows: Tensor, positions: Tensor) -> Tensor:
    """Uniforms in (0, 1), float32, [len(keys), len(rows), len(positions)], the same on CPU and GPU.

    Element (s, i, j) depends only on keys[s], rows[i] and positions[j]. 23 bits, so that the midpoint of every cell is
    a float32 and none rounds to 1: events rarer than 1.2e-7 are never drawn.
    """
    words = np.array([key.words() for key in keys]).T[..., None]
    if _by_numpy(rows):
        given = (words, rows.numpy(), positions.numpy())
        x = torch.from_numpy((_hashed(*(part.astype(np.uint32) for part in given)) >> 9).view(np.int32))
    else:
        given = torch.from_numpy(words).to(rows.device, non_blocking=True), rows.long(), positions.long()
        x = _hashed(*given) >> 9
    return (x.float() + 0.5) * 2.0**-23


def torch_generator(key: Key) -> torch.Generator:
    """A CPU generator for weight initialisation."""
    a, b, _ = key.words()
    return torch.Generator().manual_seed((a << 31) ^ b)
