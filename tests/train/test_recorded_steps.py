"""Steps recorded for a GPU train as the eager ones do (rehearsed on a CPU)."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from harness.policy.backends.cuda_graphs import CudaGraphsBackend
from harness.policy.backends.eager import EagerBackend
from harness.train.pretrain import corpus_of, pretrain_step
from harness.train.update import gradients
from tests.policy.rehearsal import Watched, new_recorder
from tests.toys import tiny, toy_state
from tests.train.test_pretrain import base_state
from tests.train.test_rl import OPTIONS, batches, steps


@pytest.mark.parametrize("settings", OPTIONS, ids=" ".join)
@pytest.mark.parametrize("seeds", [(4,), (4, 9)], ids=["alone", "stacked"])
def test_recorded_steps_train_as_the_eager_ones(settings, seeds):
    config, recorder = tiny(*settings), new_recorder()
    state, eager, reports = steps(config, 5, *seeds, backend=EagerBackend())
    other, recorded, others = steps(config, 5, *seeds, backend=CudaGraphsBackend(record=recorder))
    assert recorder.replayed > 3
    # Sampling, which sft does without, and the update, unless each step keeps another number of groups.
    assert recorder.made >= (1 if settings[0].startswith(("reward=", "algo=sft")) else 2)
    for one, two in zip(eager, recorded):
        for x, y in zip(one, two):
            torch.testing.assert_close(x, y, rtol=0, atol=1e-4)
    for a, b in zip(reports, others):
        assert a.metrics.keys() == b.metrics.keys()
        for name, value in a.metrics.items():
            torch.testing.assert_close(b.metrics[name], value, rtol=1e-3, atol=1e-4, equal_nan=True)
    assert [s.tokens for s in state.spent] == [s.tokens for s in other.spent]
    assert [s.flops_convention for s in state.spent] == [s.flops_convention for s in other.spent]


@pytest.mark.parametrize("settings", [(), ("algo.entropy_bonus=0.01",)], ids=["rloo", "entropy bonus"])
def test_a_replayed_gradient_call_reads_no_number(settings):
    config, recorder = tiny(*settings), new_recorder()
    backend = CudaGraphsBackend(record=recorder)
    state = replace(toy_state(0), backend=backend)
    weights = list(state.policy.parameters())
    (batch,) = batches(state, keep_zero=True, dtype=torch.float32)
    (part,) = backend.microbatches(state.policy, batch, 0)
    call = partial(backend.gradients, state.policy, "update", partial(gradients, state, config, weights), part)
    eager_metrics, eager_gradients = call()
    call()
    with Watched() as watched:
        metrics, replayed = call()
    assert (recorder.made, recorder.replayed) == (1, 2)
    assert watched.looks == 0
    torch.testing.assert_close(metrics, eager_metrics)
    torch.testing.assert_close(replayed, eager_gradients)


def test_recorded_pretraining_learns_what_the_eager_one_does():
    base, recorder = tiny("base.documents=10").base, new_recorder()
    mixture, ends = corpus_of(base), []
    for backend in (EagerBackend(), CudaGraphsBackend(record=recorder)):
        state = replace(base_state(base, 3, 8), backend=backend)
        reports = [pretrain_step(base, state, mixture) for _ in range(4)]
        ends.append((reports, list(state.policy.parameters())))
    assert recorder.replayed >= 1
    for (a, b), (x, y) in zip(zip(ends[0][0], ends[1][0]), zip(ends[0][1], ends[1][1])):
        torch.testing.assert_close(a.metrics["loss"], b.metrics["loss"], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(x, y, rtol=0, atol=1e-3)
