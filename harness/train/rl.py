"""The RL step, straight down the page.

Sample G completions of each problem, check them, turn verdicts into advantages, take a gradient step. Against the
algorithms as published there is no KL to a reference unless asked for, no critic, and one epoch a step: the policy that
is updated is the one that sampled, so the first update is REINFORCE with the chosen baseline.
"""

import torch
from torch import Tensor

from envs.base import Verdict
from envs.mixture import Mixture
from envs.vector import TextVectorEnv
from harness.config import Config
from harness.policy.score import score_completions
from harness.policy.transformer import parameter_count
from harness.seeding import keys
from harness.train.advantages import ADVANTAGES, silent_groups
from harness.train.batch import training_batches
from harness.train.losses import LOSS_METRICS, LOSSES, LossInputs
from harness.train.optim import clip_gradients, learning_rate_factor, zero_gradients
from harness.train.rewards import REWARDS
from harness.train.rollouts import Sampling, rollout
from harness.train.state import OnStep, Sampled, StepReport, Stopwatch, TrainState, check_finite
from harness.types import Batch, Checked, Credit, RewardInputs, Rollouts, StopReason


def sampling_of(cfg: Config, mixture: Mixture) -> Sampling:
    """How training samples: the length budget is that of the longest answer, plus the stop token."""
    longest = max(task.max_completion for task in mixture.tasks) + 1
    turns = max(task.max_turns for task in mixture.tasks)
    return Sampling(cfg.rl.group_size, cfg.sampling.max_tokens or longest, cfg.sampling.temperature, turns)


def update(state: TrainState, batch: Batch, cfg: Config, lr: float) -> dict[str, Tensor]:
    """One optimizer step on a minibatch; gradients add up over micro-batches under one denominator."""
    zero_gradients(state.policy)
    denominator = batch.loss_tokens.clamp(min=1)
    groups = batch.prompts.shape[1]
    totals = {name: torch.zeros_like(denominator, dtype=torch.float32) for name in ("loss", *LOSS_METRICS)}
    size = cfg.optim.micro_batch or max(groups, 1)
    for start in range(0, groups, size):
        part = batch.groups(start, start + size)
        logprobs = score_completions(
            state.policy, part.prompts, part.prompt_length, part.completions, cfg.sampling.temperature
        )
        inputs = LossInputs(logprobs, part.sampler_logprobs, part.advantages, part.loss_mask)
        loss_sum, metrics = LOSSES[cfg.algo.name](inputs, cfg.algo)
        (loss_sum / denominator).sum().backward()
        for name, value in {"loss": loss_sum.detach(), **metrics}.items():
            totals[name] = totals[name] + value / denominator
    check_finite(state, totals)
    totals["grad_norm"] = clip_gradients(state.policy, cfg.optim.grad_clip)
    for group in state.optimizer.param_groups:
        group["lr"] = lr
    state.optimizer.step()
    return totals


def rl_step(cfg: Config, state: TrainState, env: TextVectorEnv, mixture: Mixture) -> StepReport:
    """Rollouts, rewards, advantages, update."""
    step, watch = state.step, Stopwatch()
    lr = cfg.optim.lr * learning_rate_factor(cfg.schedule, step, cfg.rl.steps)

    with watch("rollout"):
        problems = [
            p for key in keys("problems", state.seeds, step) for p in mixture.draw(cfg.rl.problems, key.generator())
        ]
        rollouts, checked = rollout(
            state.policy, env, problems, sampling_of(cfg, mixture), keys("sampling", state.seeds, step)
        )
    with watch("update"):
        credit = REWARDS[cfg.reward.name](RewardInputs(rollouts, checked, problems, keys("reward", state.seeds, step)))
        advantages = ADVANTAGES[cfg.algo.name](credit, None, rollouts, cfg.algo)
        trained, totals = torch.zeros(len(state.seeds), dtype=torch.int64, device=credit.base.device), {}
        shuffle = keys("minibatch", state.seeds, step)
        for batch in training_batches(rollouts, advantages, credit, cfg.optim.minibatches, shuffle):
            metrics = update(state, batch, cfg, lr)
            totals = {k: totals.get(k, 0) + v / cfg.optim.minibatches for k, v in metrics.items()}
            trained = trained + batch.computed

    seconds = sum(watch.seconds.values())
    n, s = parameter_count(state.policy.config, embedding=False), len(state.seeds)
    tokens = rollouts.length.view(s, -1).sum(1)
    state.spent = tuple(
        spent.rl_step(n, rollouts.rows // s, seen, updated, seconds / s)
        for spent, seen, updated in zip(state.spent, tokens.tolist(), trained.tolist())
    )
    totals |= step_metrics(rollouts, checked, credit) | {"lr": torch.full((s,), lr)}
    return StepReport(step, totals, watch.seconds, Sampled(rollouts, checked, credit))


def step_metrics(rollouts: Rollouts, checked: Checked, credit: Credit) -> dict[str, Tensor]:
    """What happened in a step, [S] each. Entropy is estimated by the mean of -log p over drawn tokens."""
    by_seed = lambda x: x.float().unflatten(0, (rollouts.seeds, -1)).flatten(1)  # noqa: E731
    drawn = rollouts.loss_mask.sum(1)
    return {
        "reward_mean": by_seed(credit.outcome).nanmean(1),
        "accuracy": by_seed(checked.verdict == int(Verdict.CORRECT)).mean(1),
        "unscorable": by_seed(checked.verdict == int(Verdict.UNSCORABLE)).mean(1),
        "no_signal_groups": silent_groups(credit, rollouts).float().mean(1),
        "completion_length_mean": by_seed(drawn).mean(1),
        "truncated": by_seed(rollouts.stop_reason == int(StopReason.LENGTH)).mean(1),
        "entropy": -by_seed(rollouts.sampler_logprobs.sum(1)).sum(1) / by_seed(drawn).sum(1).clamp(min=1),
    }


def train_rl(
    cfg: Config,
    state: TrainState,
    env: TextVectorEnv,
    mixture: Mixture,
    until: int,
    on_step: OnStep,
) -> None:
    """Steps from where `state` stands to `until`, telling `on_step` after each."""
    while state.step < until:
        on_step(state, rl_step(cfg, state, env, mixture))
