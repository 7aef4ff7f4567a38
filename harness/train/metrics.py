"""Metrics and spending of a finished RL step."""

from collections.abc import Sequence

import torch
from torch import Tensor

from envs.base import Correctness
from harness.config.schema import Config
from harness.core.flops import Spent
from harness.core.types import Batch, RewardInputs, Rewards, Rollouts, StopReason
from harness.policy.transformer import parameter_count
from harness.train.advantages import total_reward
from harness.train.algorithms import flops_per_token
from harness.train.state import TrainState


def mean_metrics(updates: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of each metric over a step's updates, of which there is at least one."""
    return {name: torch.stack([update[name] for update in updates]).mean(0) for name in updates[0]}


def spent_after(
    cfg: Config, state: TrainState, rollouts: Rollouts, batches: Sequence[Batch], seconds: float
) -> tuple[Spent, ...]:
    """The spending of each seed, this step included, with updates on `batches`."""
    n, s = parameter_count(state.policy.config, embedding=False), len(state.seeds)
    update_tokens = torch.stack([batch.update_tokens for batch in batches]).sum(0)
    sampled, updated = torch.stack(
        (rollouts.by_seed(rollouts.length).sum(1), update_tokens * len(state.learners))
    ).tolist()
    passes = 1 + sum(model is not None for model in (state.reference, state.reward_model, state.critic))
    return tuple(
        spent.after_rl_step(n, rollouts.rows // s, t, t * passes, u, flops_per_token(cfg), seconds / s)
        for spent, t, u in zip(state.spent, sampled, updated)
    )


def rollout_metrics(inputs: RewardInputs, rewards: Rewards, zero_advantage: Tensor) -> dict[str, Tensor]:
    """Metrics of a step's rollouts, [S] each; zero_advantage [S, P]. Entropy is estimated by the mean of -log p of the
    tokens drawn."""
    rollouts, results = inputs.rollouts, inputs.results
    new_tokens = rollouts.loss_mask.sum(1)

    def mean(x: Tensor) -> Tensor:
        return rollouts.by_seed(x.float()).mean(1)

    logprobs, drawn = (rollouts.by_seed(x.float()).sum(1) for x in (rollouts.sampler_logprobs.sum(1), new_tokens))
    metrics = {
        "reward_mean": rollouts.by_seed(total_reward(rewards)).nanmean(1),
        "accuracy": mean(results.correctness == int(Correctness.CORRECT)),
        "unscorable": mean(results.correctness == int(Correctness.UNSCORABLE)),
        "zero_advantage_groups": zero_advantage.float().mean(1),
        "completion_length_mean": mean(new_tokens),
        "truncated": mean(rollouts.stop_reason == int(StopReason.LENGTH)),
        "entropy": -logprobs / drawn.clamp(min=1),
    }
    if inputs.line_rewards is not None:  # the share of the gold scratchpads' lines that the completions have
        metrics["scratchpad_lines_correct"] = mean(inputs.line_rewards.sum(1))
    return metrics
