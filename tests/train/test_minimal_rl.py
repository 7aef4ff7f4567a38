"""The example that newcomers read first computes what the harness computes."""

import pytest
import torch

from envs.mixture import Mixture
from envs.registry import select
from envs.vector import TextVectorEnv
from examples import minimal_rl
from harness.core.seeding import Key
from harness.policy.backends.eager import EagerBackend
from harness.train.rl import rl_step
from tests.toys import tiny, toy_state


@pytest.mark.parametrize("algorithm", ["grpo", "rloo"])
def test_the_minimal_example_has_the_weights_of_rl_step_after_five_steps(algorithm):
    config = tiny(f"algo={algorithm}", "schedule.warmup=0", "optim.lr=3e-3")
    state, mixture = toy_state(0, optim=config.optim), Mixture(select(config.tasks.verified), difficulties=(1, 2))
    state.backend, policy = EagerBackend(), toy_state(0).policy
    optimizer = torch.optim.AdamW(
        policy.parameters(),
        config.optim.lr,
        (config.optim.beta1, config.optim.beta2),
        config.optim.eps,
        weight_decay=0.0,
    )
    env, before = TextVectorEnv(16, mixture.tasks[0]), [w.detach().clone() for w in policy.parameters()]
    for step in range(5):
        report = rl_step(config, state, env, mixture)
        reward = minimal_rl.rl_step(policy, optimizer, mixture, Key("sampling", 0, step), algorithm=algorithm)
        assert reward == pytest.approx(report.metrics["reward_mean"].item())
    for ours, theirs in zip(policy.parameters(), state.policy.parameters()):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    assert max((a - b).abs().max().item() for a, b in zip(policy.parameters(), before)) > 1e-3
