"""Keyed randomness: what a draw is for decides it, and nothing else."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from harness.core import seeding
from harness.core.seeding import PURPOSES, Key, keys, torch_generator, uniforms
from tests.policy.rehearsal import uniforms_by_pytorch

KEY = Key("sampling", 3, 7)


def grid(key, rows, positions):
    return uniforms((key,), torch.as_tensor(rows), torch.as_tensor(positions))[0]


def test_uniforms_are_uniform():
    u = grid(KEY, range(2000), range(50)).flatten().double().numpy()
    assert stats.kstest(u, "uniform").pvalue > 0.01
    assert np.histogram(u, 256, (0, 1))[0].std() < 1.3 * np.sqrt(len(u) / 256)


def test_neighbouring_rows_positions_steps_and_seeds_are_uncorrelated():
    u = grid(KEY, range(400), range(400)).double()
    others = [u.roll(1, 0), u.roll(1, 1), u.T]
    others += [grid(Key("sampling", 3, 8), range(400), range(400)), grid(Key("sampling", 4, 7), range(400), range(400))]
    for other in others:
        correlation = np.corrcoef(u.flatten(), other.double().flatten())[0, 1]
        assert abs(correlation) < 4 / 400  # four standard errors


@pytest.mark.parametrize("word", [0, 2**32 - 1])
def test_no_uniform_is_zero_or_one(word, monkeypatch):
    """The inverse CDF needs the open interval: 0 would draw id 0 whatever its probability."""
    monkeypatch.setattr(seeding, "_mix", lambda x: np.full_like(x, word))
    assert 0 < grid(KEY, [0], [0]).item() < 1


@given(
    rows=st.lists(st.integers(0, 2**31), min_size=1, max_size=8), positions=st.lists(st.integers(0, 4096), min_size=1)
)
def test_a_uniform_depends_on_its_row_and_position_alone(rows, positions):
    whole = grid(KEY, rows, positions)
    for i, row in enumerate(rows):
        assert torch.equal(grid(KEY, [row], positions)[0], whole[i])
    assert torch.equal(grid(KEY, rows, positions[::-1]), whole.flip(1))


WORDS = st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=6)


@given(seeds=st.lists(st.integers(0, 2**32), min_size=1, max_size=3), rows=WORDS, positions=WORDS)
def test_a_gpu_draws_what_a_cpu_draws(seeds, rows, positions):
    """By PyTorch's operations, on int64 tensors, what numpy makes of unsigned arrays."""
    asked = keys("sampling", seeds, 5), torch.tensor(rows), torch.tensor(positions)
    here = uniforms(*asked)
    with uniforms_by_pytorch():
        assert torch.equal(uniforms(*asked), here)


def test_streams_differ_between_purposes_seeds_and_steps():
    streams = [Key(purpose, seed, step) for purpose in PURPOSES for seed in (0, 1) for step in (0, 1)]
    assert len({key.words() for key in streams}) == len(streams)
    assert len({key.generator().random() for key in streams}) == len(streams)
    assert len({torch.rand((), generator=torch_generator(key)).item() for key in streams}) == len(streams)


def test_streams_are_those_of_every_earlier_version():
    """A purpose's place is part of every stream: a new one goes to the end, and SCHEMA_VERSION guards the hash."""
    assert PURPOSES[:6] == ("init", "documents", "problems", "sampling", "evaluation", "reward")
    first = grid(Key("sampling", 0, 0), [0, 1], [0, 1]).flatten().tolist()
    assert first == pytest.approx([0.7549695, 0.6953909, 0.4833135, 0.4955298], abs=1e-6)


def test_keys_gives_one_key_a_seed():
    assert keys("init", (4, 2), 9) == (Key("init", 4, 9), Key("init", 2, 9))
