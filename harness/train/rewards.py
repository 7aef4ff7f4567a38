"""Verdict -> credit. A reward is one callable of RewardInputs, chosen by `reward.name`.

The arms of a study differ here and nowhere else: the same problems, the same sampling streams, another judge.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from envs.base import Verdict
from harness.config.schema import AlgoConfig, RewardConfig
from harness.core.seeding import Key, uniforms
from harness.core.types import Credit, RewardInputs, Rollouts, StopReason, scorable


def correctness(inputs: RewardInputs) -> Tensor:
    """[B]: 1 correct, 0 wrong, NaN unscorable."""
    reward = (inputs.checked.verdict == int(Verdict.CORRECT)).float()
    return reward.masked_fill(~scorable(inputs.checked), float("nan"))


def _row_uniforms(rollouts: Rollouts, keys: Sequence[Key]) -> Tensor:
    """One uniform a row, [B], from each seed's own key."""
    rows = torch.arange(rollouts.rows // rollouts.seeds, device=rollouts.ids.device)
    zero = torch.zeros(1, dtype=torch.int64, device=rollouts.ids.device)
    return uniforms(keys, rows, zero).flatten()


def true_reward(inputs: RewardInputs) -> Credit:
    """The verifier's word."""
    reward = correctness(inputs)
    return Credit(base=reward, outcome=reward)


def random_reward(inputs: RewardInputs) -> Credit:
    """Bernoulli, its mean matched to the seed's true reward of this step (arXiv 2506.10947)."""
    truth = correctness(inputs)
    mean = truth.unflatten(0, (inputs.rollouts.seeds, -1)).nanmean(dim=1)[inputs.rollouts.seed_index]
    reward = (_row_uniforms(inputs.rollouts, inputs.keys) < mean).float().masked_fill(truth.isnan(), float("nan"))
    return Credit(base=reward, outcome=reward)


def shuffled_within_group(inputs: RewardInputs) -> Credit:
    """The true rewards of each group dealt to its completions at random: the same groups carry signal, with the same
    advantage sizes, and nothing is taught. An unscorable row stays unscorable."""
    truth = inputs.rollouts.grouped(correctness(inputs))  # [S, P, G]
    rank = inputs.rollouts.grouped(_row_uniforms(inputs.rollouts, inputs.keys))
    missing = truth.isnan()
    # Unscorable rows sort last on both sides, so scorable rewards go to scorable rows only.
    source = torch.argsort(missing.to(rank.dtype), dim=-1, stable=True)
    target = torch.argsort(torch.where(missing, 2.0, rank), dim=-1)
    reward = torch.empty_like(truth).scatter_(-1, target, truth.gather(-1, source)).flatten()
    return Credit(base=reward, outcome=reward)


def format_reward(inputs: RewardInputs) -> Credit:
    """1 for anything of an answer's form, right or wrong."""
    reward = inputs.checked.well_formed.float().masked_fill(~scorable(inputs.checked), float("nan"))
    return Credit(base=reward, outcome=reward)


def length_reward(inputs: RewardInputs) -> Credit:
    """1 for a completion whose text is as long as that of a right one of its group, whatever it says: what the true
    reward says of length alone. A group without a right one stays silent."""
    rollouts = inputs.rollouts
    # The stop token is no text: a completion that was cut off says as much with one token less.
    length = rollouts.loss_mask.sum(1) - (rollouts.stop_reason == int(StopReason.STOP)).long()
    length, right = rollouts.grouped(length), rollouts.grouped(inputs.checked.verdict == int(Verdict.CORRECT))
    as_one_right = ((length[..., :, None] == length[..., None, :]) & right[..., None, :]).any(-1).flatten()
    reward = as_one_right.float().masked_fill(~scorable(inputs.checked), float("nan"))
    return Credit(base=reward, outcome=reward)


def learned_reward(inputs: RewardInputs) -> Credit:
    """The score of a model of preferences (harness/train/reward_model.py)."""
    assert inputs.scores is not None
    reward = inputs.scores.masked_fill(~scorable(inputs.checked), float("nan"))
    return Credit(base=reward, outcome=reward)


def process_reward(inputs: RewardInputs) -> Credit:
    """The verifier's word, and as much again for the steps, each where it was taken (process_reward.py); after
    process supervision (arXiv 2211.14275, 2305.20050), with the worked solution in the place of a judge."""
    assert inputs.steps is not None
    reward = correctness(inputs)
    return Credit(base=reward + inputs.steps.sum(1), outcome=reward, token=inputs.steps)


def shaped(credit: Credit, rollouts: Rollouts, config: RewardConfig, max_tokens: int) -> Credit:
    """The outcome less its length and truncation penalties; `base`, which decides on silence, stays."""
    if not config.length_penalty and not config.truncation_penalty:
        return credit
    length = rollouts.loss_mask.sum(1) / max_tokens
    cut = (rollouts.stop_reason == int(StopReason.LENGTH)).float()
    penalty = config.length_penalty * length + config.truncation_penalty * cut
    return replace(credit, outcome=credit.outcome - penalty)


def kl_in_reward(credit: Credit, rollouts: Rollouts, ref_logprobs: Tensor | None, config: AlgoConfig) -> Credit:
    """With kl=k1 each token pays kl_coefficient x (log sampler - log reference): its expectation is the KL of the law
    that drew the token from the reference, and as a reward it has the right gradient (arXiv 2402.14740, eq. 2)."""
    if config.kl != "k1" or ref_logprobs is None:
        return credit
    k1 = torch.where(rollouts.loss_mask, rollouts.sampler_logprobs - ref_logprobs, 0.0)
    return replace(credit, token=(0.0 if credit.token is None else credit.token) - config.kl_coefficient * k1)


REWARDS: dict[str, Callable[[RewardInputs], Credit]] = {
    "true_reward": true_reward,
    "random_reward": random_reward,
    "shuffled_within_group": shuffled_within_group,
    "format_reward": format_reward,
    "length_reward": length_reward,
    "learned_reward": learned_reward,
    "process_reward": process_reward,
}
