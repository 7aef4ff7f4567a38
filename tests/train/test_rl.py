"""The update and the step: gradients that depend on the data alone, and runs that repeat to the bit."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from envs.vector import TextVectorEnv
from harness.core.seeding import keys
from harness.core.types import Rewards
from harness.policy.backends.eager import EagerBackend
from harness.run.job import backend_of
from harness.run.mixture import training_mixture
from harness.train.algorithms import ALGORITHMS
from harness.train.batch import score_rollouts, training_batches
from harness.train.critic import add_critic
from harness.train.optim import clip_gradients
from harness.train.rl import rl_step
from harness.train.update import update
from tests.toys import tiny, toy_state
from tests.train.toy_rollouts import played, rewards_of, toy_problems

GROUPS, G = 6, 4


def reward_table(groups=GROUPS, seed=0):
    """Groups of four with 0 to 2 right; the first group has zero advantage, and holds an unscorable row."""
    table = np.random.default_rng(seed).permuted(np.tile([1.0, 0.0, 0.0, 1.0], (groups, 1)), axis=1)
    table[0] = [0.0, np.nan, 0.0, 0.0]
    table[1:, 2] = 0.0
    return torch.from_numpy(table)


def batches(state, rewards=None, keep_zero=False, dtype=torch.float64, order=None, step=0, settings=()):
    """The update's batches of toy rollouts, problems in the given order."""
    config = tiny(*settings)
    problems = toy_problems(GROUPS)
    rollouts, _ = played(state, problems)
    rewards = rewards or rewards_of(reward_table().repeat(len(state.seeds), 1))
    if order is not None:
        rows = (torch.tensor(order)[:, None] * G + torch.tensor([2, 0, 3, 1])).flatten()
        fields = ("ids", "loss_mask", "sampler_logprobs", "turn", "length", "prompt_length", "stop_reason")
        rollouts = replace(rollouts, **{name: getattr(rollouts, name)[rows] for name in fields})
        rewards = Rewards(rewards.base[rows], rewards.outcome[rows])
    rollouts = replace(rollouts, sampler_logprobs=rollouts.sampler_logprobs.to(dtype))
    scored = score_rollouts(ALGORITHMS[config.algo.name].advantage, rewards, None, rollouts, config.algo, None)
    scored = replace(scored, advantages=scored.advantages.to(dtype), keep=scored.keep | keep_zero)
    return list(training_batches(scored, config.algo, config.optim, 4, keys("minibatch", state.seeds, step)))


def gradients(batch, *settings):
    """Of one update in float64, before clipping, by parameter."""
    config = tiny("optim.grad_clip=1e9", *settings)
    state = toy_state(0, optim=config.optim)
    state.backend = EagerBackend()  # the others compute in float32
    state.policy.double()
    update(state, batch, config)
    return [w.grad.clone() for w in state.policy.parameters()]


def assert_same(a, b):
    for x, y in zip(a, b, strict=True):
        assert x.abs().max() > 1e-3  # something to compare
        torch.testing.assert_close(x, y, rtol=1e-9, atol=1e-6)


def test_padding_does_not_change_the_gradient():
    (batch,) = batches(toy_state(0))
    wide = {}
    for name in ("completions", "mask", "sampler_logprobs", "advantages", "prompts"):
        wide[name] = torch.nn.functional.pad(getattr(batch, name), (0, 5))
    wide["completions"][..., -5:] = 99  # ids never say what is padding
    assert_same(gradients(replace(batch, **wide)), gradients(batch))


def trained(keep_zero, rewards, steps=3):
    """Weights after a step with signal, to start Adam's momentum, then `steps` of the given rewards."""
    config = tiny("optim.weight_decay=0.1", "schedule.warmup=0")
    state = toy_state(0, optim=config.optim)
    (first,) = batches(state, dtype=torch.float32)
    update(state, first, config)
    for _ in range(steps):
        (batch,) = batches(state, rewards, keep_zero=keep_zero, dtype=torch.float32)
        update(state, batch, config)
    return batch, [w.detach().clone() for w in state.policy.parameters()]


@pytest.mark.parametrize("case", ["some", "all", "all unscorable"])
def test_leaving_out_zero_advantage_groups_equals_masking_them(case):
    """Also when nothing is left: momentum and weight decay go on as masking would have it."""
    constant = torch.full((GROUPS, G), 1.0 if case == "all" else torch.nan)
    rewards = rewards_of(reward_table() if case == "some" else constant)
    (dropped, a), (masked, b) = trained(False, rewards), trained(True, rewards)
    assert dropped.prompts.shape[1] == (GROUPS - 1 if case == "some" else 0)
    assert masked.prompts.shape[1] == GROUPS
    assert torch.equal(dropped.loss_tokens, masked.loss_tokens)
    for x, y in zip(a, b):
        torch.testing.assert_close(x, y, rtol=0, atol=2e-6)


def test_zero_advantage_groups_left_out_still_count_in_the_denominator():
    state = toy_state(0)
    (batch,) = batches(state)
    rollouts, _ = played(state, toy_problems(GROUPS))
    scorable = ~reward_table().flatten().isnan()
    assert batch.loss_tokens.tolist() == [rollouts.loss_mask[scorable].sum().item()]


def test_a_step_without_any_scorable_row_gives_no_nan_and_no_gradient():
    nothing = rewards_of(torch.full((GROUPS, G), torch.nan))
    (batch,) = batches(toy_state(0), nothing)
    assert batch.loss_tokens.tolist() == [0]
    assert all((g == 0).all() for g in gradients(batch))


def test_the_sampled_stop_token_takes_gradient():
    """Its logit moves up where the completion that it ended was good."""
    state = toy_state(0)
    with torch.no_grad():
        state.policy.head[:, :, 2] += 0.6  # EOS, often
    (batch,) = batches(state)
    stops = (batch.completions == 2) & batch.mask
    assert stops.any()
    only = replace(batch, mask=stops, advantages=torch.ones_like(batch.advantages))
    config = tiny("optim.grad_clip=1e9")
    update(state, replace(only, advantages=only.advantages.float()), config)
    assert state.policy.head.grad.abs().max() > 0


@pytest.mark.parametrize("minibatches", [1, 2, 4, 6])
def test_minibatches_are_as_many_as_configured_and_hold_every_group_once(minibatches):
    """Four do not divide the six groups."""
    parts = batches(toy_state(0), keep_zero=True, settings=["rl.problems=6", f"optim.minibatches={minibatches}"])
    assert len(parts) == minibatches
    prompts = [tuple(row) for part in parts for row in part.prompts[0, :, :5].tolist()]
    assert len(prompts) == len(set(prompts)) == GROUPS
    (whole,) = batches(toy_state(0), keep_zero=True)
    assert sum(part.loss_tokens.item() for part in parts) == whole.loss_tokens.item()


def test_minibatches_are_shuffled_by_key():
    state = toy_state(0)

    def order(step, epoch=0):
        parts = batches(state, keep_zero=True, step=step, settings=["optim.minibatches=3", "optim.epochs=2"])
        return [row[:5] for part in parts[3 * epoch : 3 * epoch + 3] for row in part.prompts[0].tolist()]

    assert order(0) == order(0)
    assert order(0) != order(1)
    assert order(0) != order(0, epoch=1)
    assert sorted(order(0)) == sorted(order(0, epoch=1))


AGGREGATIONS = ["token", "sample", "prompt", "constant"]


@pytest.mark.parametrize("denominator", ["all", "kept"])
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_each_aggregation_is_the_mean_that_is_named(aggregation, denominator):
    """Against plain loops over rows: a token's share of the loss, whatever was left out or padded."""
    settings = [f"algo.aggregation={aggregation}", f"algo.denominator={denominator}"]
    (batch,) = batches(toy_state(0), keep_zero=True, settings=settings)
    length, r = batch.mask[0].sum(1).tolist(), reward_table().flatten()
    signal = [g for g in range(GROUPS) if len({x for x in r.view(GROUPS, G)[g].tolist() if x == x}) > 1]
    groups = range(GROUPS) if denominator == "all" else signal
    rows = [i for i in range(GROUPS * G) if r[i] == r[i] and i // G in groups]
    for i in rows:
        of_group = sum(length[j] for j in rows if j // G == i // G)
        share = {
            "token": 1 / sum(length[j] for j in rows),
            "sample": 1 / len(rows) / length[i],
            "prompt": 1 / len(groups) / of_group,
            "constant": 1 / len(rows) / 4,
        }[aggregation]
        assert (batch.weight[0, i] / batch.denominator[0]).item() == pytest.approx(share, rel=1e-6)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("micro_batch", [1, 2, 5])
def test_no_gradient_depends_on_microbatches_or_on_the_order_of_rows(aggregation, micro_batch):
    settings = [f"algo.aggregation={aggregation}"]
    (batch,), (other,) = (batches(toy_state(0), order=order, settings=settings) for order in (None, [3, 0, 5, 1, 4, 2]))
    assert not torch.equal(batch.prompts, other.prompts)
    assert_same(gradients(batch, f"optim.micro_batch={micro_batch}", *settings), gradients(batch, *settings))
    assert_same(gradients(other, *settings), gradients(batch, *settings))


# ---- whole steps


def steps(config, n, *seeds, backend=None):
    """State, weights by seed and reports after n RL steps."""
    state = toy_state(*seeds, optim=config.optim)
    state.backend = backend or backend_of(config)
    state.reference = copy.deepcopy(state.policy) if config.algo.kl != "none" else None
    add_critic(state, config.algo, config.optim)
    mixture = training_mixture(config)
    env = TextVectorEnv(len(seeds) * config.rl.problems * config.rl.group_size, mixture.tasks[0])
    reports = [rl_step(config, state, env, mixture) for _ in range(n)]
    weights = [[w[s].detach().clone() for w in state.policy.parameters()] for s in range(len(seeds))]
    return state, weights, reports


def test_the_ratio_of_the_first_update_is_one():
    """Temperature, dropout or another code path would show here."""
    config = tiny("sampling.temperature=0.7")
    _, _, (report,) = steps(config, 1, 0)
    assert report.metrics["sampler_policy_kl"].item() < 1e-9
    assert report.metrics["ratio_clipped"].item() == 0
    assert report.metrics["grad_norm"].item() > 0


OPTIONS = [
    *((f"reward={name}", "optim.weight_decay=0.1") for name in ("true_reward", "shuffled_within_group")),
    *((f"reward={name}", "optim.minibatches=2") for name in ("random_reward", "length_reward")),
    ("algo=dapo", "optim.epochs=2", "optim.minibatches=2", "optim.micro_batch=1"),
    ("algo=gspo", "rl.off_policy_steps=2"),
    ("algo=reinforce_pp", "algo.kl=k1", "algo.kl_coefficient=0.1"),
    ("algo.kl=k3", "algo.kl_coefficient=0.1", "algo.entropy_bonus=0.01", "reward.length_penalty=0.2"),
    ("algo=sft", "rl.group_size=1"),
    ("algo=ppo", "optim.minibatches=2"),
    ("tasks.retire_at=0.25", "tasks.difficulties=[1]", "rl.problems=16"),
]


@pytest.mark.parametrize("settings", OPTIONS, ids=" ".join)
def test_stacked_seeds_train_as_separate_runs_do(settings):
    """Unequal numbers of zero-advantage groups included."""
    config = tiny(*settings)
    _, stacked, reports = steps(config, 3, 4, 9, 2)
    for s, seed in enumerate((4, 9, 2)):
        _, (alone,), own = steps(config, 3, seed)
        for together, report in zip(reports, own):
            for name, value in report.metrics.items():
                torch.testing.assert_close(together.metrics[name][s], value[0], rtol=1e-4, atol=1e-5, equal_nan=True)
            a, b = together.rollouts, report.rollouts
            assert torch.equal(a.by_seed(a.ids)[s][:, : b.ids.shape[1]], b.ids)
        for x, y in zip(stacked[s], alone):
            torch.testing.assert_close(x, y, rtol=0, atol=1e-4)


def test_spent_counts_completions_tokens_and_both_kinds_of_flops():
    config = tiny()
    state, _, (report,) = steps(config, 1, 0)
    rollouts = report.rollouts
    n = sum(w.numel() for w in state.policy.parameters()) - state.policy.embedding.numel()
    spent = state.spent[0]
    assert (spent.step, spent.completions, spent.tokens) == (1, 16, rollouts.length.sum().item())
    assert spent.flops_convention == 8 * n * spent.tokens
    assert 2 * n * spent.tokens < spent.flops
    assert set(report.seconds) >= {"rollout", "update"}


def test_metrics_are_those_of_the_rollouts():
    config = tiny("rl.problems=8")
    _, _, (report,) = steps(config, 1, 0)
    rollouts, results, rewards = report.rollouts, report.results, report.rewards
    metrics = {name: value.item() for name, value in report.metrics.items()}
    assert metrics["accuracy"] == pytest.approx((results.correctness == 1).float().mean().item())
    assert metrics["reward_mean"] == pytest.approx(rewards.outcome.mean().item())
    assert metrics["truncated"] == pytest.approx((rollouts.stop_reason == 1).float().mean().item())
    assert metrics["completion_length_mean"] == pytest.approx(rollouts.loss_mask.sum(1).float().mean().item())
    groups = results.correctness.view(8, 4)
    assert metrics["zero_advantage_groups"] == (groups == groups[:, :1]).all(1).float().mean().item()
    drawn = rollouts.sampler_logprobs[rollouts.loss_mask]
    assert metrics["entropy"] == pytest.approx(-drawn.mean().item(), rel=1e-5)
    assert metrics["lr"] == pytest.approx(1e-2 / 5)  # the first of four warm-up steps


def test_a_step_reports_the_same_metrics_with_and_without_signal():
    """Else a row of metrics.jsonl would lack columns now and then."""
    loud = steps(tiny(), 1, 0)[2][0]
    quiet = steps(tiny("reward=format_reward", "sampling.temperature=1e-4", "rl.problems=1"), 1, 0)[2][0]
    assert quiet.metrics["zero_advantage_groups"].item() == 1
    assert set(quiet.metrics) == set(loud.metrics)


def test_clipping_bounds_each_seeds_norm_and_leaves_small_gradients_alone():
    state = toy_state(0, 1)
    for weight in state.policy.parameters():
        weight.grad = torch.zeros_like(weight)
    state.policy.head.grad[0], state.policy.head.grad[1] = 3.0, 1e-3
    norms = clip_gradients(state.policy, 1.0)
    assert norms.tolist() == pytest.approx([3.0 * (16 * 112) ** 0.5, 1e-3 * (16 * 112) ** 0.5], rel=1e-5)
    assert state.policy.head.grad[0].norm().item() == pytest.approx(1.0, rel=1e-5)
    assert (state.policy.head.grad[1] == 1e-3).all()
