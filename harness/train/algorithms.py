"""The algorithm table. An algorithm is a source of episodes, an advantage and a loss; its numbers (scale, clipping,
aggregation, KL) are the configuration's, configs/algo/<name>.yaml, which cites the paper and the equation."""

from collections.abc import Callable
from dataclasses import dataclass

from harness.config.schema import Config
from harness.core.registry import ALGORITHM_TRAITS, AlgorithmTraits, register
from harness.core.types import Rollouts, VerifierResults
from harness.train import advantages, losses
from harness.train.rollout import gold_rollouts, rollout


@dataclass(frozen=True)
class Algorithm:
    """`episodes` is called as `rollout` is."""

    advantage: advantages.Advantage
    loss: losses.Loss
    episodes: Callable[..., tuple[Rollouts, VerifierResults]] = rollout


ALGORITHMS: dict[str, Algorithm] = {
    "reinforce": Algorithm(advantages.reward_to_go, losses.clipped_policy_gradient),
    "reinforce_pp": Algorithm(advantages.batch_mean, losses.clipped_policy_gradient),
    "rloo": Algorithm(advantages.leave_one_out, losses.clipped_policy_gradient),
    "grpo": Algorithm(advantages.group_mean, losses.clipped_policy_gradient),
    "dr_grpo": Algorithm(advantages.group_mean, losses.clipped_policy_gradient),
    "dapo": Algorithm(advantages.group_mean, losses.clipped_policy_gradient),
    "cispo": Algorithm(advantages.group_mean, losses.clipped_importance_weights),
    "gspo": Algorithm(advantages.group_mean, losses.sequence_policy_gradient),
    "ppo": Algorithm(advantages.gae_advantage, losses.clipped_policy_gradient),
    "expert_iteration": Algorithm(advantages.reward_to_go, losses.likelihood),
    "sft": Algorithm(advantages.reward_to_go, losses.likelihood, gold_rollouts),
}


def register_algorithm(name: str, algorithm: Algorithm, traits: AlgorithmTraits) -> None:
    """Makes algo.name=<name> valid (docs/tutorials/own-reward.md). `traits` are what a configuration is checked by.
    Raises ValueError for a name that is taken."""
    register(ALGORITHMS, name, algorithm, traits)


def flops_per_token(config: Config) -> int:
    """By the field's convention, in units of weights x tokens: 2 to sample, 6 for each epoch of updates, 2 for a pass
    of the reference, 2 for one of a reward model, whose training before RL is not counted; a critic, which has as many
    weights as the policy, has a forward pass and an update too."""
    sampling = 2 if ALGORITHM_TRAITS[config.algo.name].samples else 0
    critic = config.algo.critic is not None
    forward_passes = (config.algo.kl != "none") + (config.reward.model is not None) + critic
    return sampling + 6 * config.optim.epochs * (1 + critic) + 2 * forward_passes
