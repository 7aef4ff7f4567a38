"""Verifier results -> rewards. A reward is one function of RewardInputs, chosen by `reward.name`.

The arms of a study differ here and nowhere else: the same problems, the same sampling streams, another reward.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from envs.base import Correctness, Problem
from envs.registry import get
from harness.config.schema import AlgoConfig, Config, RewardConfig
from harness.core.registry import RewardTraits, register
from harness.core.seeding import Key, uniforms
from harness.core.types import RewardInputs, Rewards, Rollouts, StopReason, VerifierResults
from harness.policy.tokenizer import ANSWER, encode
from harness.train.reward_model import predicted_reward
from harness.train.state import TrainState


def correctness(inputs: RewardInputs) -> Tensor:
    """[B]: 1 correct, 0 wrong, NaN unscorable."""
    reward = (inputs.results.correctness == int(Correctness.CORRECT)).float()
    return reward.masked_fill(~inputs.results.scorable, float("nan"))


def _row_uniforms(rollouts: Rollouts, keys: Sequence[Key]) -> Tensor:
    """One uniform a row, [B], from each seed's own key."""
    rows = torch.arange(rollouts.rows // rollouts.seeds, device=rollouts.ids.device)
    zero = torch.zeros(1, dtype=torch.int64, device=rollouts.ids.device)
    return uniforms(keys, rows, zero).flatten()


def _scored(reward: Tensor, inputs: RewardInputs) -> Rewards:
    """This reward of each row, [B], but for those that are unscorable."""
    reward = reward.masked_fill(~inputs.results.scorable, float("nan"))
    return Rewards(base=reward, outcome=reward)


def true_reward(inputs: RewardInputs) -> Rewards:
    """1 where the verifier accepts the answer."""
    return _scored(correctness(inputs), inputs)


def random_reward(inputs: RewardInputs) -> Rewards:
    """Bernoulli, its mean matched to the seed's true reward of this step (arXiv 2506.10947)."""
    truth, drawn = map(inputs.rollouts.by_seed, (correctness(inputs), _row_uniforms(inputs.rollouts, inputs.keys)))
    return _scored((drawn < truth.nanmean(1, keepdim=True)).float().flatten(), inputs)


def shuffled_within_group(inputs: RewardInputs) -> Rewards:
    """The true rewards of each group dealt to its completions at random: the same groups carry signal, with the same
    advantage sizes, but unrelated to correctness. An unscorable row stays unscorable."""
    truth = inputs.rollouts.grouped(correctness(inputs))  # [S, P, G]
    rank = inputs.rollouts.grouped(_row_uniforms(inputs.rollouts, inputs.keys))
    missing = truth.isnan()
    # Unscorable rows sort last on both sides, so scorable rewards go to scorable rows only.
    source = torch.argsort(missing.to(rank.dtype), dim=-1, stable=True)
    target = torch.argsort(torch.where(missing, 2.0, rank), dim=-1)
    return _scored(torch.empty_like(truth).scatter_(-1, target, truth.gather(-1, source)).flatten(), inputs)


def format_reward(inputs: RewardInputs) -> Rewards:
    """1 for a well-formed answer, correct or not."""
    return _scored(inputs.results.well_formed.float(), inputs)


def length_reward(inputs: RewardInputs) -> Rewards:
    """1 for a completion whose text is as long as a correct one of its group, whatever it contains: the part of the
    true reward that depends on length alone. A group without a correct one gets 0."""
    rollouts = inputs.rollouts
    # The stop token is no text: a truncated completion has as much text with one token less.
    length = rollouts.loss_mask.sum(1) - (rollouts.stop_reason == int(StopReason.STOP)).long()
    length, correct = rollouts.grouped(length), rollouts.grouped(inputs.results.correctness == int(Correctness.CORRECT))
    same_length = length[..., :, None] == length[..., None, :]
    return _scored((same_length & correct[..., None, :]).any(-1).float().flatten(), inputs)


def learned_reward(inputs: RewardInputs) -> Rewards:
    """The output of a model of preferences (harness/train/reward_model.py)."""
    assert inputs.predicted_reward is not None
    return _scored(inputs.predicted_reward, inputs)


def _characters(ids: Iterable[int]) -> str:
    """One character an id, special ids too, so that indices into the text are indices into the row."""
    return "".join(map(chr, ids))


LINE_BREAK = _characters(encode("\n"))
# A line's reward is a multiple of 1 / RESOLUTION: sums are then the same in any order, and completions with the same
# lines have exactly equal rewards, as a zero-advantage group needs.
RESOLUTION = 2**20


def line_rewards(rollouts: Rollouts, problems: Sequence[Problem], thinking: int | None) -> Tensor | None:
    """[B, T]: the rewards of the lines of each scratchpad; None for a policy without scratchpads.

    A line is correct if the gold scratchpad has the same one at that place: each of its n lines is worth 1/n, at the
    line's last token, so that a line cannot be rewarded twice and all of them are worth 1. Where many ways lead to the
    answer (countdown, say) only the task's own counts. A row without ANSWER has no scratchpad; nor has a task of
    several turns.
    """
    if thinking is None:
        return None
    gold = [_characters(encode(get(p.task).scratchpad(p))).split(LINE_BREAK) for p in problems]
    rewards = np.zeros(rollouts.ids.shape, dtype=np.float32)
    extents = zip(rollouts.prompt_length.tolist(), rollouts.length.tolist())
    for i, (row, ids, (start, end)) in enumerate(zip(rewards, rollouts.ids.tolist(), extents)):
        expected_lines = gold[i // rollouts.group_size]
        scratchpad, has_answer, _ = _characters(ids[start:end]).partition(chr(ANSWER))
        for line, expected in zip(scratchpad.split(LINE_BREAK) if has_answer else (), expected_lines):
            if line and line == expected:
                row[start + len(line) - 1] = round(RESOLUTION / len(expected_lines)) / RESOLUTION
            start += len(line) + 1
    return torch.from_numpy(rewards).to(rollouts.ids.device)


def process_reward(inputs: RewardInputs) -> Rewards:
    """The true reward, and as much again for the correct lines of a scratchpad, each where it ends; after process
    supervision (arXiv 2211.14275, 2305.20050), with the gold scratchpad in the place of a judge."""
    assert inputs.line_rewards is not None
    reward = correctness(inputs)
    return Rewards(base=reward + inputs.line_rewards.sum(1), outcome=reward, token=inputs.line_rewards)


def shape_rewards(rewards: Rewards, rollouts: Rollouts, config: RewardConfig, max_tokens: int) -> Rewards:
    """The outcome minus its length and truncation penalties; `base`, which decides on zero-advantage groups, stays."""
    if not config.length_penalty and not config.truncation_penalty:
        return rewards
    length = rollouts.loss_mask.sum(1) / max_tokens
    cut = (rollouts.stop_reason == int(StopReason.LENGTH)).float()
    penalty = config.length_penalty * length + config.truncation_penalty * cut
    return replace(rewards, outcome=rewards.outcome - penalty)


def kl_in_reward(rewards: Rewards, rollouts: Rollouts, ref_logprobs: Tensor | None, config: AlgoConfig) -> Rewards:
    """With kl=k1 each token pays kl_coefficient x (log sampler - log reference): its expectation is the KL of the
    sampling distribution from the reference, and as a reward it has the right gradient (arXiv 2402.14740, eq. 2)."""
    if config.kl != "k1" or ref_logprobs is None:
        return rewards
    k1 = torch.where(rollouts.loss_mask, rollouts.sampler_logprobs - ref_logprobs, 0.0)
    return replace(rewards, token=(0.0 if rewards.token is None else rewards.token) - config.kl_coefficient * k1)


REWARDS: dict[str, Callable[[RewardInputs], Rewards]] = {
    "true_reward": true_reward,
    "random_reward": random_reward,
    "shuffled_within_group": shuffled_within_group,
    "format_reward": format_reward,
    "length_reward": length_reward,
    "learned_reward": learned_reward,
    "process_reward": process_reward,
}


def register_reward(name: str, reward: Callable[[RewardInputs], Rewards], traits: RewardTraits) -> None:
    """Makes reward.name=<name> valid (docs/tutorials/own-reward.md). `traits` are what a configuration is checked by.
    Raises ValueError for a name that is taken."""
    register(REWARDS, name, reward, traits)


def reward_inputs(
    state: TrainState, rollouts: Rollouts, results: VerifierResults, problems: Sequence[Problem], thinking: int | None
) -> RewardInputs:
    """What the rewards of this step are computed from."""
    lines, predicted = line_rewards(rollouts, problems, thinking), predicted_reward(state, rollouts)
    return RewardInputs(rollouts, results, problems, state.keys("reward"), predicted, lines)


def compute_rewards(inputs: RewardInputs, ref_logprobs: Tensor | None, cfg: Config, max_tokens: int) -> Rewards:
    """The configured reward, its shaping, and the KL in the reward."""
    rewards = REWARDS[cfg.reward.name](inputs)
    rewards = shape_rewards(rewards, inputs.rollouts, cfg.reward, max_tokens)
    return kl_in_reward(rewards, inputs.rollouts, ref_logprobs, cfg.algo)
