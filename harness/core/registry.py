"""What checks need of algorithms and rewards, so that a configuration is checked without training code.

`register_algorithm` (harness/train/algorithms.py) and `register_reward` (harness/train/rewards.py) add entries of their
own; the built-in ones stand here. A module named in `imports=` registers before the configuration is checked.
"""

from dataclasses import dataclass
from typing import Any, Literal

Scale = Literal["none", "group", "batch"]


@dataclass(frozen=True)
class AlgorithmTraits:
    """baseline: what rewards are compared with; a "group" baseline needs a group_size above 1. needs_critic: a critic
    is trained (algo.critic). samples: completions come from the policy; False: they are the tasks' own answers.
    scales: values of algo.scale that are defined for its advantages."""

    baseline: Literal["group", "batch", "critic", "none"] = "group"
    needs_critic: bool = False
    samples: bool = True
    scales: tuple[Scale, ...] = ("none", "group", "batch")


@dataclass(frozen=True)
class RewardTraits:
    """needs_model: a reward model is trained (reward.model). needs_scratchpad: it scores the steps in a scratchpad."""

    needs_model: bool = False
    needs_scratchpad: bool = False


_NO_BASELINE = AlgorithmTraits(baseline="none", scales=("none",))
ALGORITHM_TRAITS: dict[str, AlgorithmTraits] = {
    "reinforce": _NO_BASELINE,
    "reinforce_pp": AlgorithmTraits(baseline="batch", scales=("none", "batch")),
    **dict.fromkeys(("rloo", "grpo", "dr_grpo", "dapo", "cispo", "gspo"), AlgorithmTraits()),
    "ppo": AlgorithmTraits(baseline="critic", needs_critic=True, scales=("none", "batch")),
    "expert_iteration": _NO_BASELINE,
    "sft": AlgorithmTraits(baseline="none", samples=False, scales=("none",)),
}
REWARD_TRAITS: dict[str, RewardTraits] = {
    **dict.fromkeys(("true_reward", "random_reward", "shuffled_within_group"), RewardTraits()),
    **dict.fromkeys(("format_reward", "length_reward"), RewardTraits()),
    "learned_reward": RewardTraits(needs_model=True),
    "process_reward": RewardTraits(needs_scratchpad=True),
}


def register(table: dict[str, Any], name: str, item: Any, traits: AlgorithmTraits | RewardTraits) -> None:
    """Adds an algorithm or a reward to its table, and its traits to theirs: algo.name=`name` or reward.name=`name` is
    then valid. Repeating it changes nothing; raises ValueError where something else has the name."""
    known: dict[str, Any] = ALGORITHM_TRAITS if isinstance(traits, AlgorithmTraits) else REWARD_TRAITS
    if table.get(name, item) != item or known.get(name, traits) != traits:
        kind = "algorithm" if known is ALGORITHM_TRAITS else "reward"
        raise ValueError(f"{kind} {name!r} is registered already, with another function or traits: choose another name")
    table[name], known[name] = item, traits
