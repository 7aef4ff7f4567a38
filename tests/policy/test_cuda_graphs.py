"""Recordings: of which work, what they must notice, and what they must not overwrite (rehearsed on a CPU)."""

import gc
import weakref

import pytest
import torch

from harness.core.seeding import keys
from harness.policy.backends import cuda_graphs
from harness.policy.backends.cuda_graphs import CudaGraphsBackend
from harness.policy.backends.eager import EagerBackend
from tests.policy.rehearsal import Watched, new_recorder
from tests.policy.test_backends import Inputs
from tests.policy.test_sampler import LENGTHS, PROMPTS, drawn, request_of, uniforms_of
from tests.toys import toy_state


def plus_one(inputs):
    return (inputs.x + 1,)


def plus_two(inputs):
    return (inputs.x + 2,)


def times_maximum(inputs):
    """Reads a number, which a capture refuses."""
    return (inputs.x * int(inputs.x.max()),)


@pytest.fixture
def recorder():
    return new_recorder()


@pytest.fixture
def backend(recorder):
    return CudaGraphsBackend(record=recorder)


def sampled(backend, policy, thinking=None, max_tokens=6, temperature=1.0, step=0):
    tokens = max_tokens + (0 if thinking is None else thinking + 1)
    u = uniforms_of(*keys("sampling", (0,), step), 12, tokens)[None]
    request = request_of(PROMPTS[None], LENGTHS[None], u, 4, max_tokens, temperature, thinking)
    return backend.sample(policy, request)


def test_the_first_call_runs_eagerly_the_second_is_recorded_and_the_next_are_replayed(backend, recorder):
    policy, counts = toy_state(0).policy, []
    for step in range(4):
        sampled(backend, policy, step=step)
        counts.append((recorder.made, recorder.replayed))
    assert counts == [(0, 0), (1, 1), (1, 2), (1, 3)]


def test_other_shapes_are_recorded_apart(backend, recorder):
    policy = toy_state(0).policy
    for _ in range(3):
        assert sampled(backend, policy).ids.shape[-1] == 6
        assert sampled(backend, policy, thinking=0).ids.shape[-1] == 7
        assert sampled(backend, policy, thinking=2).ids.shape[-1] == 9
    assert (recorder.made, recorder.replayed) == (3, 6)


SETTINGS = [(None, 9, 1.0), (2, 6, 1.0), (3, 5, 1.0), (None, 9, 2.0)]


def test_settings_and_functions_that_give_the_same_shapes_are_recorded_apart(backend, recorder):
    policy = toy_state(0).policy
    expected = [sampled(CudaGraphsBackend(), policy, *settings) for settings in SETTINGS]  # eagerly: the first calls
    inputs = Inputs(torch.arange(3.0))
    for _ in range(3):
        for settings, one in zip(SETTINGS, expected):
            assert torch.equal(sampled(backend, policy, *settings).ids, one.ids)
        assert backend.gradients(policy, "one", plus_one, inputs)[0][0] == 1
        assert backend.gradients(policy, "two", plus_two, inputs)[0][0] == 2
    assert recorder.made == len(SETTINGS) + 2


def test_outputs_are_not_overwritten_by_the_next_replay(backend):
    policy = toy_state(0).policy
    first = [sampled(backend, policy, step=step) for step in range(4)]
    again = [sampled(backend, policy, step=step) for step in range(4)]
    assert not torch.equal(first[2].ids, first[3].ids)
    assert all(torch.equal(a.ids, b.ids) for a, b in zip(first, again))


def test_a_refused_capture_gives_a_warning_and_everything_runs_eagerly_from_then_on(backend, recorder):
    policy, inputs = toy_state(0).policy, Inputs(torch.arange(3.0))
    expected = inputs.x * 2
    assert torch.equal(backend.gradients(policy, "reads", times_maximum, inputs)[0], expected)
    with pytest.warns(RuntimeWarning, match="no CUDA graphs, steps are slower: operation not permitted"):
        (refused,) = backend.gradients(policy, "reads", times_maximum, inputs)
    assert torch.equal(refused, expected)
    assert torch.equal(backend.gradients(policy, "reads", times_maximum, inputs)[0], expected)
    for _ in range(3):
        assert torch.equal(backend.gradients(policy, "one", plus_one, inputs)[0], inputs.x + 1)
    assert (recorder.made, recorder.replayed) == (1, 0)


def test_a_recording_goes_with_its_policy(backend):
    policy = toy_state(0).policy
    reference = weakref.ref(policy)
    backend.gradients(policy, "once", plus_one, Inputs(torch.ones(1)))
    assert policy in backend._recordings
    del policy
    gc.collect()
    assert reference() is None
    assert not backend._recordings


def test_long_completions_are_not_recorded(backend, recorder, monkeypatch):
    """Too many rows have ended before the last has."""
    monkeypatch.setattr(cuda_graphs, "MAX_NEW_TOKENS", 5)
    policy = toy_state(0).policy
    for _ in range(3):
        sampled(backend, policy)
    assert recorder.made == 0


def test_no_more_than_so_many_recordings_are_kept(backend, recorder, monkeypatch):
    monkeypatch.setattr(cuda_graphs, "MAX_RECORDINGS", 2)
    policy = toy_state(0).policy
    for _ in range(3):
        for width in (1, 2, 3):
            assert len(backend.gradients(policy, "one", plus_one, Inputs(torch.zeros(width)))[0]) == width
    assert recorder.made == 2


def test_a_replayed_sampling_call_starts_few_operations_and_reads_no_number(backend):
    policy = toy_state(0).policy
    with Watched() as eagerly:
        drawn(policy, backend=EagerBackend())
    sampled(backend, policy), sampled(backend, policy)
    with Watched() as replayed:
        sampled(backend, policy)
    assert eagerly.looks >= 5
    assert replayed.looks == 0
    assert replayed.started < eagerly.started / 5
