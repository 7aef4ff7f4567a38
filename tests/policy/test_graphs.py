"""What is recorded for a GPU computes what the plain path does, and passes where a CUDA graph would."""

import gc
import weakref

import pytest
import torch

from harness.config.schema import ModelConfig
from harness.core.seeding import Key, uniforms
from harness.policy.backends import cuda_graphs as graphs
from harness.policy.backends import native
from harness.policy.sampler import sample
from harness.policy.tokenizer import ANSWER, EOS
from tests.simulated_cuda_graphs import Watched, rehearsed
from tests.toys import tiny, toy_state

PROMPTS = torch.tensor([[1, 40, 50, 60, 3], [1, 70, 3, 0, 0], [1, 30, 31, 3, 0]])
LENGTHS = torch.tensor([5, 3, 4])


@pytest.fixture
def plain():
    with native.disabled():
        yield


def drawn(policy, step=0, thinking=None, max_tokens=6, temperature=1.0):
    s, room = policy.seeds, max_tokens + (0 if thinking is None else thinking + 1)
    u = uniforms([Key("sampling", i, step) for i in range(s)], torch.arange(12), torch.arange(room))
    each = lambda x: x.expand(s, *x.shape)  # noqa: E731
    return sample(policy, each(PROMPTS), each(LENGTHS), 4, max_tokens, temperature, u, thinking=thinking)


@pytest.mark.parametrize("seeds", [(0,), (3, 5)])
@pytest.mark.parametrize("thinking", [None, 3])
def test_recorded_sampling_draws_what_the_plain_path_draws_whatever_became_of_the_weights(seeds, thinking, plain):
    policy, other = toy_state(*seeds).policy, toy_state(*seeds).policy
    lengths = set()
    with rehearsed() as recorder:
        for step in range(4):
            for one in (policy, other):
                with torch.no_grad():
                    one.head[:, :, [EOS, ANSWER]] += 0.6  # so that rows are of all lengths
            a = drawn(policy, step, thinking)
            with native.disabled(), pytest.MonkeyPatch.context() as patched:
                patched.delitem(graphs.RECORDERS, "cpu")
                b = drawn(other, step, thinking)
            lengths |= set(b.length.flatten().tolist())
            for name, x in vars(b).items():
                torch.testing.assert_close(getattr(a, name), x, rtol=1e-5, atol=1e-5)
        assert len(lengths) > 3
        assert (recorder.made, recorder.replayed) == (1, 3)  # the first time runs as it is


def test_other_shapes_and_settings_are_recorded_apart(plain):
    policy = toy_state(0).policy
    with rehearsed() as recorder:
        for _ in range(3):
            assert drawn(policy).ids.shape[-1] == 6
            assert drawn(policy, thinking=0).ids.shape[-1] == 7
            assert drawn(policy, thinking=2).ids.shape[-1] == 9
    assert (recorder.made, recorder.replayed) == (3, 6)


SETTINGS = [(None, 9, 1.0), (2, 6, 1.0), (3, 5, 1.0), (None, 9, 2.0)]


def test_settings_that_give_the_same_shapes_are_recorded_apart(plain):
    policy = toy_state(0).policy
    expected = [drawn(policy, 0, *settings) for settings in SETTINGS]
    with rehearsed() as recorder:
        for _ in range(3):
            for settings, one in zip(SETTINGS, expected):
                assert torch.equal(drawn(policy, 0, *settings).ids, one.ids)
        given = {"x": torch.arange(3.0)}
        for _ in range(3):
            assert graphs.recorded(policy, "one", lambda x: x + 1, given)[0] == 1
            assert graphs.recorded(policy, "two", lambda x: x + 2, given)[0] == 2
    assert recorder.made == len(SETTINGS) + 2


def test_what_a_recording_found_is_not_overwritten_by_the_next(plain):
    policy = toy_state(0).policy
    with rehearsed():
        outs = [drawn(policy, step) for step in range(4)]
        again = [drawn(policy, step) for step in range(4)]
    assert not torch.equal(outs[2].ids, outs[3].ids)
    assert all(torch.equal(a.ids, b.ids) for a, b in zip(outs, again))


def test_a_look_at_a_number_is_refused_and_work_goes_on_unrecorded(plain, monkeypatch):
    monkeypatch.setattr(graphs, "_refused", False)
    policy, given = toy_state(0).policy, {"x": torch.arange(3.0)}
    looks = lambda x: x * int(x.max())  # noqa: E731
    with rehearsed():
        assert graphs.serves(policy)
        assert torch.equal(graphs.recorded(policy, "looks", looks, given), given["x"] * 2)
        with pytest.warns(RuntimeWarning, match="no CUDA graphs, steps are slower: operation not permitted"):
            found = graphs.recorded(policy, "looks", looks, given)
        assert torch.equal(found, given["x"] * 2)
        assert not graphs.serves(policy)
        assert torch.equal(graphs.recorded(policy, "looks", looks, given), given["x"] * 2)


def test_a_recording_goes_with_its_policy(plain):
    policy = toy_state(0).policy
    gone = weakref.ref(policy)
    graphs.recorded(policy, "once", lambda x: x + 1, {"x": torch.ones(1)})
    assert policy in graphs._recordings
    del policy
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize(("layers", "width", "small"), [(4, 128, True), (12, 768, False)])
def test_only_small_policies_are_recorded(layers, width, small):
    sizes = tiny("model=mini", f"model.layers={layers}", f"model.width={width}", f"model.mlp={3 * width}").model
    policy = toy_state(0).policy
    policy.config = sizes
    assert isinstance(sizes, ModelConfig)
    with rehearsed():
        assert graphs.serves(policy) == small
    assert not graphs.serves(policy)  # on a CPU


def test_long_completions_leave_when_they_have_ended(plain, monkeypatch):
    monkeypatch.setattr(graphs, "LONGEST", 5)
    with rehearsed() as recorder:
        for _ in range(3):
            drawn(toy_state(0).policy)
    assert recorder.made == 0


def test_replays_are_few_starts_and_no_looks(plain):
    policy = toy_state(0).policy
    with Watched() as one_by_one:
        drawn(policy)
    with rehearsed():
        drawn(policy), drawn(policy)
        with Watched() as replayed:
            drawn(policy)
    assert one_by_one.looks >= 5
    assert replayed.looks == 0
    assert replayed.started < one_by_one.started / 5
