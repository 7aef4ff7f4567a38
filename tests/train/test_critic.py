"""The critic: values and their targets by hand, and what it changes in a step and what it leaves alone."""

import copy
import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from harness.config.schema import CriticConfig
from harness.policy.backends.eager import EagerBackend
from harness.train.advantages import gae, token_returns
from harness.train.algorithms import ALGORITHMS
from harness.train.batch import ScoredRollouts, training_batches
from harness.train.critic import add_critic, critic_loss, token_values, value_loss, value_metrics
from harness.train.update import update
from tests.toys import algo, tiny, toy_state
from tests.train.test_rl import GROUPS, assert_same, reward_table, steps
from tests.train.toy_rollouts import hand_made, played, rewards_of, toy_problems, zero_advantage

NAN = float("nan")
HALF = CriticConfig(discount=0.5, gae_lambda=0.5, lr_factor=1.0, value_clip=None)
PLAIN = CriticConfig(discount=1.0, gae_lambda=1.0, lr_factor=1.0, value_clip=None)

# Two completions of three tokens (after one of the prompt), rewards 1 and 0.
VALUES = torch.tensor([[0.0, 0.5, 0.2, 0.4], [0.0, 0.0, 1.0, 0.5]])
# From the last token on, with discount ½ and discount·lambda ¼:
#   1 - .4 = .6;   ½·.4 - .2 + ¼·.6 = .15;     ½·.2 - .5 + ¼·.15 = -.3625
#   0 - .5 = -.5;  ½·.5 - 1 - ¼·.5 = -.875;    ½·1 - 0 - ¼·.875 = .28125
SURPRISES = torch.tensor([[0.0, -0.3625, 0.15, 0.6], [0.0, 0.28125, -0.875, -0.5]])


def two_by_three():
    return hand_made([[1, 0]]).rollouts, rewards_of([[1.0, 0.0]])


def ppo(critic=PLAIN, **changes):
    return replace(algo("ppo", **changes), critic=critic)


def test_two_completions_of_three_tokens_by_hand():
    rollouts, rewards = two_by_three()
    torch.testing.assert_close(gae(rewards, VALUES, rollouts, HALF), SURPRISES)
    returns = token_returns(rewards, VALUES, rollouts, ppo(HALF))
    torch.testing.assert_close(returns, SURPRISES + VALUES)


def test_advantages_are_surprises_standardised_over_the_steps_tokens():
    rollouts, rewards = two_by_three()
    drawn = SURPRISES[:, 1:]
    centred = ALGORITHMS["ppo"].advantage(rewards, VALUES, rollouts, ppo(HALF, scale="none"))[:, 1:]
    torch.testing.assert_close(centred, drawn - drawn.mean())
    scaled = ALGORITHMS["ppo"].advantage(rewards, VALUES, rollouts, ppo(HALF, scale="batch"))[:, 1:]
    torch.testing.assert_close(scaled, (drawn - drawn.mean()) / drawn.std(correction=0))


def test_a_critic_that_expects_nothing_undiscounted_is_reinforce_pp():
    """Costs of single tokens and an unscorable row included."""
    rollouts = hand_made([[1, 0, 2], [0, 1, 1]]).rollouts
    token = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)) * rollouts.loss_mask
    rewards = replace(rewards_of([[1.0, 0.0, NAN], [0.0, 1.0, 1.0]]), token=token)
    expected = ALGORITHMS["reinforce_pp"].advantage(rewards, None, rollouts, algo("reinforce_pp"))
    expected = torch.where(rewards.outcome.isnan()[:, None], 0.0, expected)
    torch.testing.assert_close(ALGORITHMS["ppo"].advantage(rewards, torch.zeros(6, 4), rollouts, ppo()), expected)


def test_text_of_the_environment_takes_no_time_and_what_it_earns_counts_for_the_token_before():
    rollouts, rewards = two_by_three()

    def longer(x, fill):
        return torch.cat((x[:, :2], torch.full_like(x[:, :2], fill), x[:, 2:]), dim=1)

    between = replace(rollouts, loss_mask=longer(rollouts.loss_mask, False), ids=longer(rollouts.ids, 0))
    found = gae(rewards, longer(VALUES, 7.0), between, HALF)
    torch.testing.assert_close(found, longer(SURPRISES, 0.0))
    token = torch.zeros(2, 6)
    token[0, 2] = 3.0
    paid = gae(replace(rewards, token=token), longer(VALUES, 7.0), between, HALF)
    torch.testing.assert_close(paid - found, torch.tensor([[0.0, 3.0, 0, 0, 0, 0], [0.0] * 6]))


def test_an_unscorable_row_gets_nothing_and_moves_nothing_but_a_value_that_is_nan_shows():
    rollouts = hand_made([[1, 0, 2]]).rollouts
    values = torch.cat((VALUES, torch.ones(1, 4)))
    found = gae(rewards_of([[1.0, 0.0, NAN]]), values, rollouts, HALF)
    torch.testing.assert_close(found, torch.cat((SURPRISES, torch.zeros(1, 4))))
    values[0, 2] = NAN
    assert gae(rewards_of([[1.0, 0.0, NAN]]), values, rollouts, HALF)[0, 1].isnan()


def test_advantages_do_not_reduce_over_seeds():
    rollouts, rewards = hand_made([[1, 0], [0, 0]], seeds=2).rollouts, rewards_of([[1.0, 0.0], [5.0, 0.0]])
    together = ALGORITHMS["ppo"].advantage(rewards, VALUES.repeat(2, 1), rollouts, ppo(HALF))
    alone = ALGORITHMS["ppo"].advantage(rewards_of([[1.0, 0.0]]), VALUES, two_by_three()[0], ppo(HALF))
    torch.testing.assert_close(together[:2], alone)


def value_inputs() -> Any:
    """Values, what they were and what they should be, [1, 2, 3], and mask and weight of a batch."""
    values = torch.tensor([[[0.5, 0.9, 0.2], [0.0, 0.4, 1.0]]]).requires_grad_()
    old = torch.tensor([[[0.5, 0.4, 0.6], [0.0, 0.1, 1.0]]])
    returns = torch.tensor([[[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]])
    mask = torch.tensor([[[True, True, True], [True, True, False]]])
    return values, old, returns, SimpleNamespace(mask=mask, weight=torch.tensor([[1.0, 0.5]]))


def test_the_value_loss_by_hand():
    """Halved squares: (.25 + .01 + .64)/2 and, at half the weight, (0 + .16)/2."""
    given = value_inputs()
    loss, metrics = value_loss(*given, None)
    assert loss.item() == pytest.approx(0.45 + 0.5 * 0.08)
    assert metrics["value_loss"].item() == pytest.approx(0.45 + 0.08)
    loss.sum().backward()
    expected = torch.tensor([[[-0.5, -0.1, -0.8], [0.0, 0.2, 0.0]]])
    torch.testing.assert_close(given[0].grad, expected)


def test_the_clipped_value_loss_by_hand():
    """Held within .2 of .4 and .6, the second and third values of the good row are .6 and .4; that of the bad row .3.
    The larger square counts: .16 of .01 and .16, .64 of .64 and .36, .16 of .16 and .09. Where the held one counts,
    nothing pulls any more."""
    given = value_inputs()
    loss, _ = value_loss(*given, 0.2)
    assert loss.item() == pytest.approx(0.5 * (0.25 + 0.16 + 0.64) + 0.5 * 0.5 * 0.16)
    loss.sum().backward()
    torch.testing.assert_close(given[0].grad, torch.tensor([[[-0.5, 0.0, -0.8], [0.0, 0.2, 0.0]]]))


@pytest.mark.parametrize("poison", [NAN, math.inf])
@pytest.mark.parametrize("clip", [None, 0.2])
def test_what_stands_at_masked_places_never_counts(poison, clip):
    values, old, returns, part = value_inputs()
    poisoned = (x.masked_fill(~part.mask, poison) for x in (old, returns))
    clean, dirty = value_loss(values, old, returns, part, clip), value_loss(values, *poisoned, part, clip)
    assert torch.equal(clean[0], dirty[0])


# ---- inside the step


def scored_batch(seeds=(0,), *settings, dtype=torch.float64):
    """The whole of a toy step as one minibatch, with values and returns at random; and the state that played it."""
    config = tiny("algo=ppo", *settings)
    state = toy_state(*seeds, optim=config.optim)
    add_critic(state, config.algo, config.optim)
    rollouts, _ = played(state, toy_problems(GROUPS))
    rewards = rewards_of(reward_table().repeat(len(seeds), 1))
    random = torch.randn(2, *rollouts.ids.shape, generator=torch.Generator().manual_seed(0), dtype=dtype)
    rollouts = replace(rollouts, sampler_logprobs=rollouts.sampler_logprobs.to(dtype))
    advantages = ALGORITHMS["ppo"].advantage(rewards, random[0].float(), rollouts, config.algo).to(dtype)
    keep = torch.ones(len(seeds), GROUPS, dtype=torch.bool)
    scored = ScoredRollouts(rollouts, advantages, ~rewards.outcome.isnan(), ~keep, keep, None, *random)
    (batch,) = training_batches(scored, config.algo, config.optim, 4, ())
    return batch, config, state


def critic_gradients(batch, *settings):
    """Of one update in float64, of a critic whose head is not zero, so that all its weights have one."""
    config = tiny("algo=ppo", "optim.grad_clip=1e9", *settings)
    state = toy_state(0, optim=config.optim)
    state.backend = EagerBackend()  # the others compute in float32
    add_critic(state, config.algo, config.optim)
    state.critic.head.data.copy_(state.policy.head.data)
    state.learners.double()
    update(state, batch, config)
    return [w.grad.clone() for w in state.critic.parameters()]


@pytest.mark.parametrize("micro_batch", [1, 2, 5])
def test_microbatching_does_not_change_the_critics_gradient(micro_batch):
    batch, _, _ = scored_batch()
    assert_same(critic_gradients(batch, f"optim.micro_batch={micro_batch}"), critic_gradients(batch))


def test_padding_does_not_change_the_critics_gradient():
    batch, _, _ = scored_batch()
    names = ("completions", "mask", "sampler_logprobs", "advantages", "prompts", "values", "returns")
    wide = {name: torch.nn.functional.pad(getattr(batch, name), (0, 5)) for name in names}
    assert_same(critic_gradients(replace(batch, **wide)), critic_gradients(batch))


def test_policy_and_critic_do_not_touch():
    """Neither's gradient changes with what the other is to learn."""
    batch, config, state = scored_batch(dtype=torch.float32)
    other = {
        "policy": replace(batch, returns=batch.returns + 1),
        "critic": replace(batch, advantages=batch.advantages * 2),
    }
    for name, changed in other.items():
        a, b = copy.deepcopy(state), copy.deepcopy(state)
        update(a, batch, config)
        update(b, changed, config)
        pairs = zip(a.learners[name].parameters(), b.learners[name].parameters(), strict=True)
        assert all(torch.equal(x.grad, y.grad) for x, y in pairs)


def test_at_first_nothing_is_expected_and_values_in_the_update_are_those_of_the_rollouts():
    """The values of the rows as they were played are those of the update, where prompts are shared: with each its own
    return, the loss is 0."""
    batch, config, state = scored_batch(dtype=torch.float32)
    rollouts, _ = played(state, toy_problems(GROUPS))
    assert (token_values(state, rollouts) == 0).all()
    state.critic.head.data.copy_(state.policy.head.data)
    values = token_values(state, rollouts)
    assert values.abs().max() > 0.1
    assert (values[~rollouts.loss_mask] == 0).all()
    every, keep = torch.ones(rollouts.rows, dtype=torch.bool), torch.ones(1, GROUPS, dtype=torch.bool)
    scored = ScoredRollouts(rollouts, values, every, ~keep, keep, None, values, values)
    (batch,) = training_batches(scored, config.algo, config.optim, 4, ())
    loss, metrics = critic_loss(state, batch, config.algo)
    assert loss.item() < 1e-9
    off = replace(batch, returns=batch.returns + 1)
    assert critic_loss(state, off, config.algo)[1]["value_loss"].item() == pytest.approx(
        0.5 * batch.mask.sum().item(), rel=1e-5
    )
    assert set(metrics) == {"value_loss"}


def test_the_critic_learns_at_its_own_rate_by_the_policys_optimizer():
    config = tiny("algo=ppo", "algo.critic.lr_factor=3.0", "optim.weight_decay=0.1", "model.base_width=8")
    state = toy_state(0, optim=config.optim, model=config.model)
    add_critic(state, config.algo, config.optim)
    rate = {id(w): group["lr_factor"] for group in state.optimizer.param_groups for w in group["params"]}
    decay = {id(w): group["weight_decay"] for group in state.optimizer.param_groups for w in group["params"]}
    for a, b in zip(state.policy.parameters(), state.critic.parameters(), strict=True):
        assert rate[id(b)] == 3 * rate[id(a)]
        assert decay[id(a)] == decay[id(b)]


def test_each_is_clipped_by_its_own_norm():
    batch, config, state = scored_batch((0,), "optim.grad_clip=10.0", dtype=torch.float32)
    metrics = update(state, replace(batch, returns=batch.returns * 1e6), config)

    def norm(model):
        return sum(w.grad.square().sum() for w in model.parameters()).sqrt().item()

    assert norm(state.critic) == pytest.approx(config.optim.grad_clip, rel=1e-4)
    assert metrics["grad_norm"].item() == pytest.approx(norm(state.policy), rel=1e-4)
    assert norm(state.policy) < 9


def test_no_group_is_left_out():
    """The first two groups are all wrong and all right: without a critic neither would take part under rloo."""
    config = tiny("algo=ppo")
    rollouts, rewards = hand_made([[0, 0], [1, 1], [1, 0]]).rollouts, rewards_of([[0.0, 0.0], [1.0, 1.0], [1.0, 0.0]])
    assert zero_advantage("ppo", rewards, rollouts, 0.3 * rollouts.loss_mask) == [[False] * 3]
    assert config.algo.needs_all_groups
    quiet = ("reward=format_reward", "sampling.max_new_tokens=1", "sampling.temperature=1.1", "rl.problems=2")
    state, _, (report,) = steps(tiny("algo=ppo", *quiet), 1, 0)
    assert report.metrics["zero_advantage_groups"].item() == 1
    n = sum(w.numel() for w in state.policy.parameters()) - state.policy.embedding.numel()
    rollouts, spent = report.rollouts, state.spent[0]
    updated = rollouts.prompt_length[:: config.rl.group_size].sum().item() + rollouts.loss_mask.sum().item()
    assert spent.flops == n * (2 * 2 * spent.tokens + 2 * 6 * updated)  # policy and critic each look, and are updated


def test_explained_variance_by_hand():
    """Values that are right: 1; the same everywhere: 0; those of the other row: worse than none."""
    rollouts = hand_made([[1, 0]], tokens=2).rollouts
    returns = torch.tensor([[9.0, 1.0], [9.0, 0.0]])
    every, zero = torch.ones(2, dtype=torch.bool), torch.zeros(1, 1, dtype=torch.bool)
    scored = ScoredRollouts(rollouts, returns, every, zero, ~zero)
    assert value_metrics(scored) == {}

    def explained(values):
        metrics = value_metrics(replace(scored, values=torch.tensor(values), returns=returns))
        return metrics["explained_variance"].item()

    assert explained([[5.0, 1.0], [7.0, 0.0]]) == 1
    assert explained([[5.0, 0.2], [7.0, 0.2]]) == pytest.approx(0)
    assert explained([[5.0, 0.0], [7.0, 1.0]]) == pytest.approx(-3)


def test_the_critic_comes_to_expect_what_it_is_shown():
    """Returns at random, one for each drawn token, by heart."""
    batch, config, state = scored_batch(
        (0,), "optim.lr=3e-3", "schedule.warmup=0", "optim.grad_clip=10.0", dtype=torch.float32
    )
    losses = [update(state, batch, config)["value_loss"].item() for _ in range(80)]
    assert losses[-1] < losses[0] / 4


def test_an_algorithm_without_a_critic_has_no_metrics_of_one():
    _, _, (report,) = steps(tiny(), 1, 0)
    assert not {"value_loss", "explained_variance"} & set(report.metrics)
