"""Alarms: what prevents learning, or what was lost, and what to change. Keyed by name: each is printed once a run."""

import math
from collections.abc import Mapping, Sequence

Row = Mapping[str, float]
Alarms = dict[str, str]
WINDOW = 8  # steps in a row before an alarm is raised that needs several
SOLVED = 0.95  # accuracy from which on nothing is left to gain
COLLAPSE_PROBLEMS = 32  # whose accuracy is compared with that before: several steps of fewer problems
NO_ENTROPY = 0.005


def before_rl(accuracy: float) -> Alarms:
    """From the accuracy on verified tasks before RL."""
    if accuracy < 0.005:
        return {
            "unsolved": f"The base solves {accuracy:.1%} of the verified tasks: almost every group will be all wrong, "
            "and without signal. Pretrain longer (base.steps), add easier difficulties (tasks.difficulties) or raise "
            "rl.group_size."
        }
    if accuracy > SOLVED:
        return {
            "solved": f"The base already solves {accuracy:.0%} of the verified tasks: nothing is left to gain. "
            "Add harder difficulties (tasks.difficulties)."
        }
    return {}


def during_rl(recent: Sequence[Row], problems: int) -> Alarms:
    """From the last rows of metrics, of steps with so many `problems`. A collapse is seen in as many steps as have
    COLLAPSE_PROBLEMS, at most half of WINDOW; the others need WINDOW of them."""
    return _collapse(recent, problems) | (_dead_end(recent[-WINDOW:]) if len(recent) >= WINDOW else {})


def _collapse(recent: Sequence[Row], problems: int) -> Alarms:
    """Accuracy that falls to less than a quarter, by more than chance does where all completions of a problem are
    alike: three standard deviations of a mean over the problems."""
    steps = min(math.ceil(COLLAPSE_PROBLEMS / problems), WINDOW // 2)
    before, last = recent[-WINDOW - 1 : -steps], recent[-steps:]
    if not before:
        return {}
    was, now = (sum(row["train/accuracy"] for row in rows) / len(rows) for rows in (before, last))
    rate = last[-1]["optim/lr"]
    if now > was / 4 or was - now <= 3 * math.sqrt(was * (1 - was) / (steps * problems)):
        return {}
    return {
        "collapse": f"Training accuracy fell from {was:.2f} to {now:.2f} at step {last[0]['compute/step']:.0f}: an "
        f"update was too large. Unless it recovers, stop this run and lower optim.lr (it is {rate:g}; try {rate / 4:g})"
        ", or raise schedule.warmup if it came in the first steps."
    }


def _dead_end(rows: Sequence[Row]) -> Alarms:
    solved = all(row["train/accuracy"] > SOLVED for row in rows)
    found = {}
    if all(row["train/truncated"] >= 1 for row in rows):
        found["truncated"] = (
            "Every completion is cut off before its stop token, so no answer is ever complete. "
            "Raise sampling.max_new_tokens (null sizes it from the tasks)."
        )
    silent = all(row["train/zero_advantage_groups"] >= 1 for row in rows)
    if not solved and all(row["train/entropy"] < NO_ENTROPY for row in rows):
        found["no signal"] = (
            "The policy has lost its entropy: every sample is the same, and groups of equal ones carry no signal. "
            "Lower optim.lr or raise algo.clip_high."
        )
    elif silent:
        alike = "all its completions were right" if solved else "all its completions got equal rewards"
        found["no signal"] = f"No group carried signal for {WINDOW} steps: {alike}, so nothing is learned. " + (
            "Add harder difficulties (tasks.difficulties), or stop here."
            if solved
            else "Change tasks.difficulties or raise rl.group_size."
        )
    if not silent and all(row["train/grad_norm"] == 0 for row in rows):
        found["no gradient"] = (
            "The gradient is exactly zero though groups differ: check that optim.lr is above 0 and "
            "that reward.name is the one intended."
        )
    if all(row.get("train/sampler_policy_kl", 0.0) > 0.1 for row in rows):
        found["drift"] = (
            "Sampler and trainer drift apart (train/sampler_policy_kl > 0.1): the ratio is no longer near 1."
        )
    return found
