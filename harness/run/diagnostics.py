"""Plain words when nothing can be learned: what is wrong, and what to try (pitfalls 12, 13, 29, 32)."""

from collections.abc import Mapping, Sequence

Row = Mapping[str, float]
WINDOW = 8  # steps in a row before an alarm is raised


def before_rl(accuracy: float) -> list[str]:
    """From the accuracy on verified tasks before RL."""
    if accuracy < 0.005:
        found = (
            f"The base solves {accuracy:.1%} of the verified tasks: almost every group will be all wrong, and silent. "
        )
        return [
            found + "Pretrain longer (base.steps), add easier difficulties (tasks.difficulties) or raise rl.group_size."
        ]
    if accuracy > 0.95:
        found = f"The base already solves {accuracy:.0%} of the verified tasks: nothing is left to gain. "
        return [found + "Add harder difficulties (tasks.difficulties)."]
    return []


def during_rl(recent: Sequence[Row]) -> list[str]:
    """From the last rows of metrics; nothing before WINDOW of them are there."""
    if len(recent) < WINDOW:
        return []
    rows = recent[-WINDOW:]
    always = lambda name, low: all(row[f"train/{name}"] >= low for row in rows)  # noqa: E731
    found = []
    if always("truncated", 1.0):
        found.append(
            "Every completion is cut off before its stop token, so no answer is ever complete. "
            "Raise sampling.max_new_tokens (null sizes it from the tasks)."
        )
    if always("no_signal_groups", 1.0):
        found.append(
            f"No group carried signal for {WINDOW} steps: all its completions were right, or all wrong, so nothing is "
            "learned. Change tasks.difficulties or raise rl.group_size."
        )
    elif all(row["train/grad_norm"] == 0 for row in rows):
        found.append("The gradient is exactly zero though groups differ: is optim.lr or the reward what you meant?")
    if all(row["train/entropy"] < 0.005 for row in rows):
        found.append(
            "The policy has lost its entropy: every sample is the same. Lower optim.lr or raise algo.clip_high."
        )
    if all(row.get("train/sampler_policy_kl", 0.0) > 0.1 for row in rows):
        found.append("Sampler and trainer drift apart (train/sampler_policy_kl > 0.1): the ratio is no longer near 1.")
    return found
