"""Rollouts: prompts from the environment, completions from the policy, until every episode has ended."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from envs.base import Correctness, Problem
from envs.mixture import Mixture
from envs.registry import get
from envs.vector import TextVectorEnv
from harness.config.schema import Config
from harness.core.seeding import Key, uniforms
from harness.core.types import Rollouts, SampleRequest, StopReason, VerifierResults, tensors_of
from harness.policy.backends.backend import Backend
from harness.policy.backends.eager import pad_rows
from harness.policy.tokenizer import (
    ANSWER,
    PAD,
    answer_texts,
    encode_completion,
    encode_environment_reply,
    encode_prompt,
)
from harness.policy.transformer import Transformer

TURN_STRIDE = 1 << 16  # positions of one turn's uniforms


@dataclass(frozen=True)
class SamplingParams:
    """group_size G completions of each problem, of up to max_answer_tokens tokens a turn, the stop token included.
    thinking: tokens before the answer, after which ANSWER is forced; None for a policy without scratchpads.
    check_format: whether the verifier also reports if an answer is well-formed."""

    group_size: int
    max_answer_tokens: int
    temperature: float
    max_turns: int = 1
    thinking: int | None = None
    check_format: bool = True

    @property
    def max_new_tokens(self) -> int:
        """Tokens that a completion may take, scratchpad and forced ANSWER included."""
        return self.max_answer_tokens + (0 if self.thinking is None else self.thinking + 1)


def training_sampling(cfg: Config, mixture: Mixture) -> SamplingParams:
    """How training samples: the limit of an answer is the longest one's length, plus the stop token."""
    longest = max(task.max_lengths([difficulty])[1] for task, difficulty, _ in mixture.cells()) + 1
    return SamplingParams(
        cfg.rl.group_size,
        cfg.sampling.max_new_tokens or longest,
        cfg.sampling.temperature,
        max(task.max_turns for task in mixture.tasks),
        cfg.thinking,
        check_format=cfg.reward.name == "format_reward",
    )


def _begin(prompts: Tensor, length: Tensor, capacity: int, seeds: int, group_size: int) -> Rollouts:
    """Rows [B, capacity] that hold their prompts [B, T], right-padded, length [B]."""
    shape, device = (len(prompts), capacity), prompts.device
    return Rollouts(
        ids=pad(prompts, (0, capacity - prompts.shape[1]), value=PAD),
        loss_mask=torch.zeros(shape, dtype=torch.bool, device=device),
        sampler_logprobs=torch.zeros(shape, device=device),
        turn=torch.zeros(shape, dtype=torch.int64, device=device),
        length=length,
        prompt_length=length,
        stop_reason=torch.zeros_like(length),
        seeds=seeds,
        group_size=group_size,
    )


def _append(rollouts: Rollouts, count: Tensor, turn: int, **columns: Tensor) -> Rollouts:
    """Each row b with the first count[b] of `columns` [B, C] at its end; those that are not given stay 0 there."""
    source = torch.arange(rollouts.ids.shape[1], device=count.device) - rollouts.length[:, None]
    new = (source >= 0) & (source < count[:, None])
    longer: dict[str, Any] = {"turn": rollouts.turn.masked_fill(new, turn), "length": rollouts.length + count}
    for name, x in columns.items():
        longer[name] = getattr(rollouts, name).where(~new, x.gather(1, source.clamp(0, x.shape[1] - 1)))
    return replace(rollouts, **longer)


def _pad(rows: Sequence[np.ndarray], device: torch.device) -> tuple[Tensor, Tensor]:
    """Right-padded [len(rows), longest] and lengths."""
    ids, mask = pad_rows(rows)
    # non_blocking: a GPU may still be at work.
    return ids.to(device, non_blocking=True), mask.sum(1).to(device, non_blocking=True)


def _request(
    episodes: Rollouts, sampling: SamplingParams, keys: tuple[Key, ...], rows: Tensor, turn: int, active: Tensor
) -> SampleRequest:
    """One completion of every active row. In the first turn the rows of a group share a prompt. rows [B / S] name the
    streams of one seed's rows."""
    s, group, width = len(keys), sampling.group_size if turn == 0 else 1, int(episodes.length.max())
    # Each turn has positions of its own: a token's uniform must not depend on the token limit of earlier turns.
    positions = torch.arange(sampling.max_new_tokens, device=active.device) + turn * TURN_STRIDE
    return SampleRequest(
        prompts=episodes.ids[::group, :width].unflatten(0, (s, -1)),
        length=episodes.length[::group].unflatten(0, (s, -1)),
        uniforms=uniforms(keys, rows, positions),
        active=active.unflatten(0, (s, -1)),
        group_size=group,
        max_answer_tokens=sampling.max_answer_tokens,
        temperature=sampling.temperature,
        thinking=sampling.thinking,
    )


@torch.no_grad()
def rollout(
    backend: Backend,
    policy: Transformer,
    env: TextVectorEnv,
    problems: Sequence[Problem],
    sampling: SamplingParams,
    keys: tuple[Key, ...],
    stream_ids: Tensor | None = None,
) -> tuple[Rollouts, VerifierResults]:
    """Episodes of `problems` (S·P, seed-major), G of each; rows keep their order. `env` holds S·P·G of them.

    `stream_ids` [P] (below 2³² / G) name the problems' random streams, so that neither chunks nor order change a token;
    by default the index in the list.
    """
    s, g, device = len(keys), sampling.group_size, policy.embedding.device
    stream_ids = torch.arange(len(problems) // s) if stream_ids is None else stream_ids
    rows = (stream_ids[:, None] * g + torch.arange(g)).flatten().to(device, non_blocking=True)
    env.reset(options={"problems": [p for p in problems for _ in range(g)], "check_format": sampling.check_format})
    prompts = _pad([encode_prompt(problem.prompt) for problem in problems], device)
    prompt_ids, prompt_length = (x.repeat_interleave(g, dim=0) for x in prompts)
    one_turn = sampling.max_turns == 1
    capacity = prompt_ids.shape[1] + sampling.max_new_tokens if one_turn else policy.config.context
    episodes = _begin(prompt_ids, prompt_length, capacity, s, g)
    active = torch.ones(len(prompt_ids), dtype=torch.bool, device=device)
    overlong, stop_reason = torch.zeros_like(active), torch.zeros_like(prompt_length)
    for turn in range(sampling.max_turns):
        drawn = backend.sample(policy, _request(episodes, sampling, keys, rows, turn, active))
        ids, length = drawn.ids.flatten(0, 1), drawn.length.flatten()
        sampled, logprobs = drawn.sampled.flatten(0, 1), drawn.logprobs.flatten(0, 1)
        episodes = _append(episodes, length, turn, ids=ids, loss_mask=sampled, sampler_logprobs=logprobs)
        stop_reason = torch.where(active, drawn.stop_reason.flatten(), stop_reason)
        answers = answer_texts(ids.cpu().numpy(), length.cpu().numpy())
        texts, _, terminations, truncations, infos = env.step(answers)
        active = torch.from_numpy(~(terminations | truncations)).to(device) & ~overlong
        if turn + 1 == sampling.max_turns or not active.any():
            break
        replies, reply_length = _pad([encode_environment_reply(text) for text in texts], device)
        fits = episodes.length + reply_length + sampling.max_new_tokens <= capacity
        overlong |= active & ~fits
        active &= fits
        episodes = _append(episodes, reply_length * active, turn + 1, ids=replies)
    stop_reason = stop_reason.masked_fill(overlong, int(StopReason.LENGTH))
    used = int(episodes.length.max())
    columns: dict[str, Any] = {name: x[:, :used] for name, x in tensors_of(episodes).items() if x.dim() == 2}
    return replace(episodes, **columns, stop_reason=stop_reason), _results(infos, overlong)


def _results(infos: dict[str, np.ndarray], overlong: Tensor) -> VerifierResults:
    """A row without space for its next turn is wrong, whatever the environment makes of the turns it did not take."""
    correctness = torch.from_numpy(np.asarray(infos["correctness"], dtype=np.int64)).to(overlong.device)
    well_formed = torch.from_numpy(np.asarray(infos["well_formed"], dtype=bool)).to(overlong.device)
    return VerifierResults(correctness.masked_fill(overlong, int(Correctness.WRONG)), well_formed & ~overlong)


def gold_scratchpad(problem: Problem, thinking: int | None) -> str | None:
    """The scratchpad of the task's own solution, up to the thinking budget; None without scratchpads."""
    return None if thinking is None else get(problem.task).scratchpad(problem)[:thinking]


@torch.no_grad()
def gold_rollouts(
    backend: Backend,
    policy: Transformer,
    env: TextVectorEnv,
    problems: Sequence[Problem],
    sampling: SamplingParams,
    keys: tuple[Key, ...],
) -> tuple[Rollouts, VerifierResults]:
    """As `rollout`, but with the gold answer of each problem (S·P, seed-major), one a problem, after as much of its
    gold scratchpad as the thinking budget allows. Log-probabilities are the policy's, as if it had sampled them."""
    s, device = len(keys), policy.embedding.device
    env.reset(options={"problems": list(problems)})
    *_, infos = env.step([problem.answer for problem in problems])
    prompts = [encode_prompt(problem.prompt) for problem in problems]
    solutions = [encode_completion(p.answer, gold_scratchpad(p, sampling.thinking)) for p in problems]
    ids, length = _pad([np.concatenate(pair) for pair in zip(prompts, solutions)], device)
    prompt_length = torch.tensor([len(p) for p in prompts], device=device)
    position = torch.arange(ids.shape[1], device=device) - prompt_length[:, None]
    mask = (position >= 0) & (position < (length - prompt_length)[:, None])
    if sampling.thinking is not None:
        mask &= (position != sampling.thinking) | (ids != ANSWER)  # there the sampler would force it
    logprobs = backend.token_logprobs(policy, ids.unflatten(0, (s, -1)), sampling.temperature).flatten(0, 1)
    turn, stop_reason = torch.zeros_like(ids), torch.full_like(length, int(StopReason.STOP))
    rollouts = Rollouts(ids, mask, logprobs * mask, turn, length, prompt_length, stop_reason, s, 1)
    return rollouts, _results(infos, torch.zeros_like(length, dtype=torch.bool))
