"""The algorithm table. An algorithm is where its episodes come from, an advantage and a loss; its numbers (scale,
clipping, aggregation, KL) are the configuration's, configs/algo/<name>.yaml, which cites the paper and the equation."""

from collections.abc import Callable
from dataclasses import dataclass

from harness.config.schema import Config
from harness.core.types import Checked, Rollouts
from harness.train import advantages, losses
from harness.train.rollout import demonstrate, rollout


@dataclass(frozen=True)
class Algorithm:
    """`episodes` is called as `rollout` is; `sampled` says whether it pays for sampling."""

    advantage: advantages.Advantage
    loss: losses.Loss
    episodes: Callable[..., tuple[Rollouts, Checked]] = rollout

    @property
    def sampled(self) -> bool:
        return self.episodes is rollout


ALGORITHMS: dict[str, Algorithm] = {
    "reinforce": Algorithm(advantages.to_go, losses.clipped_policy_gradient),
    "reinforce_pp": Algorithm(advantages.batch_mean, losses.clipped_policy_gradient),
    "rloo": Algorithm(advantages.leave_one_out, losses.clipped_policy_gradient),
    "grpo": Algorithm(advantages.group_mean, losses.clipped_policy_gradient),
    "dr_grpo": Algorithm(advantages.group_mean, losses.clipped_policy_gradient),
    "dapo": Algorithm(advantages.group_mean, losses.clipped_policy_gradient),
    "cispo": Algorithm(advantages.group_mean, losses.clipped_importance_weights),
    "gspo": Algorithm(advantages.group_mean, losses.sequence_policy_gradient),
    "ppo": Algorithm(advantages.beyond_expected, losses.clipped_policy_gradient),
    "expert_iteration": Algorithm(advantages.to_go, losses.likelihood),
    "sft": Algorithm(advantages.to_go, losses.likelihood, demonstrate),
}


def flops_per_token(config: Config) -> int:
    """By the field's convention, in units of weights x tokens: 2 to sample, 6 for each epoch of updates, 2 for a pass
    of the reference, 2 for one of a reward model, whose training before RL is not counted; a critic, which has as many
    weights as the policy, looks and is updated too."""
    sampling = 2 if ALGORITHMS[config.algo.name].sampled else 0
    critic = config.algo.critic is not None
    looking = (config.algo.kl != "none") + (config.reward.model is not None) + critic
    return sampling + 6 * config.optim.epochs * (1 + critic) + 2 * looking
