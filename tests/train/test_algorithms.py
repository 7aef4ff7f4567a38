"""Every algorithm and every option inside the whole step."""

import copy

import pytest
import torch

from envs.vector import TextVectorEnv
from harness.core.seeding import keys
from harness.policy.logprobs import token_logprobs
from harness.run.mixture import training_mixture
from harness.train.algorithms import ALGORITHMS, flops_per_token
from harness.train.rl import rl_step
from harness.train.rollout import SamplingParams, rollout
from tests.toys import tiny, toy_state
from tests.train.test_rl import steps
from tests.train.toy_rollouts import toy_problems

LOUD = ("rl.problems=16", "rl.group_size=8", "optim.lr=2e-2", "schedule.warmup=0")


def metric(reports, name):
    return [report.metrics[name].item() for report in reports]


def accuracy(state):
    env = TextVectorEnv(128, toy_problems(1)[0].task)
    streams = keys("evaluation", (0,), 0)
    _, results = rollout(state.backend, state.policy, env, toy_problems(32), SamplingParams(4, 4, 1.0), streams)
    return (results.correctness == 1).float().mean().item()


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_learns_the_toy_task(name):
    sizes = ("rl.problems=128", "rl.group_size=1") if name == "sft" else ()
    state, _, reports = steps(tiny(f"algo={name}", *LOUD, *sizes), 12, 0)
    assert accuracy(state) > accuracy(toy_state(0)) + 0.2
    assert all(torch.isfinite(value).all() for report in reports for value in report.metrics.values())


def test_the_policy_that_samples_is_so_many_updates_behind():
    """Its log-probs are those of the weights of two steps before, and the ratio is then not 1."""
    config = tiny("rl.off_policy_steps=2", "schedule.warmup=0")
    state = toy_state(0, optim=config.optim)
    mixture = training_mixture(config)
    env = TextVectorEnv(16, mixture.tasks[0])
    history, reports = [], []
    for _ in range(5):
        history.append(copy.deepcopy(state.policy))
        reports.append(rl_step(config, state, env, mixture))
    for step, report in enumerate(reports):
        rollouts = report.rollouts
        stale = token_logprobs(history[max(step - 2, 0)], rollouts.ids[None], 1.0)[0] * rollouts.loss_mask
        torch.testing.assert_close(rollouts.sampler_logprobs, stale, rtol=0, atol=1e-5)
    drift = metric(reports, "sampler_policy_kl")
    assert drift[0] < 1e-9 < 1e-4 < min(drift[1:])
    assert len(state.past_weights) == 3


def test_epochs_go_over_the_same_rollouts_again():
    again, _, (report,) = steps(tiny("optim.epochs=3", "schedule.warmup=0"), 1, 0)
    once, _, (single,) = steps(tiny("schedule.warmup=0"), 1, 0)
    assert report.metrics["sampler_policy_kl"].item() > 1e-5
    assert torch.equal(report.rollouts.ids, single.rollouts.ids)
    n = once.spent[0].flops_convention / once.spent[0].tokens / 8

    def trained(spent):
        return spent.flops - 2 * n * spent.tokens

    assert trained(again.spent[0]) == pytest.approx(3 * trained(once.spent[0]))


@pytest.mark.parametrize(
    ("settings", "passes"),
    [((), 8), (("algo.kl=k3", "algo.kl_coefficient=0.1"), 10), (("optim.epochs=2",), 14),
     (("algo=sft", "rl.group_size=1"), 6), (("algo=ppo",), 16), (("algo=ppo", "optim.epochs=2"), 28)],
)  # fmt: skip
def test_flops_of_a_token_follow_the_convention(settings, passes):
    config = tiny(*settings)
    assert flops_per_token(config) == passes
    state, _, _ = steps(config, 1, 0)
    n = sum(w.numel() for w in state.policy.parameters()) - state.policy.embedding.numel()
    assert state.spent[0].flops_convention == passes * n * state.spent[0].tokens


@pytest.mark.parametrize("option", ["k1", "k2", "k3", "entropy"])
def test_kl_and_entropy_act_on_zero_advantage_groups(option):
    """Under the format reward a policy that draws one token is never well formed: every group has zero advantage."""
    quiet = ("reward=format_reward", "sampling.max_new_tokens=1", "sampling.temperature=1.1", "rl.problems=2")
    acting = ("algo.entropy_bonus=0.5",) if option == "entropy" else (f"algo.kl={option}", "algo.kl_coefficient=0.5")
    for more, moves in (((), False), (acting, True)):
        config = tiny(*quiet, *more)
        state = toy_state(0, optim=config.optim)
        state.reference = toy_state(1).policy if "kl" in " ".join(more) else None
        mixture = training_mixture(config)
        report = rl_step(config, state, TextVectorEnv(8, mixture.tasks[0]), mixture)
        assert (report.metrics["grad_norm"].item() > 1e-3) == moves
        assert report.metrics["zero_advantage_groups"].item() == 1


@pytest.mark.parametrize("form", ["k1", "k2", "k3"])
def test_a_kl_holds_the_policy_near_the_base(form):
    far, near = (
        metric(steps(tiny(*LOUD, f"algo.kl={form}", f"algo.kl_coefficient={c}"), 12, 0)[2], "ref_kl")[-1]
        for c in (1e-9, 1.0)
    )
    assert near < far / 3


def test_a_truncation_penalty_falls_on_truncated_completions_alone():
    _, _, (report,) = steps(tiny("reward.truncation_penalty=0.5"), 1, 0)
    rewards, cut = report.rewards, report.rollouts.stop_reason == 1
    assert cut.any()
    torch.testing.assert_close(rewards.base - rewards.outcome, cut * 0.5)
