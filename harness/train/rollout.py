"""Plays episodes: prompts from the environment, completions from the policy, until every episode has ended."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from envs.base import Problem, Verdict
from envs.registry import get
from envs.vector import TextVectorEnv
from harness.core.seeding import Key, uniforms
from harness.core.types import Checked, Rollouts, StopReason
from harness.policy.backends import cuda_graphs as graphs
from harness.policy.logprobs import score
from harness.policy.sampler import Completions, sample
from harness.policy.tokenizer import (
    ANSWER,
    EOS,
    PAD,
    answer_texts,
    encode,
    encode_completion,
    encode_prompt,
    encode_reply,
)
from harness.policy.transformer import Transformer
from harness.train.helpers import Each, parts_of

TURN_STRIDE = 1 << 16
ROWS_OF_A_PART = 128  # at least, where sampling is shared out
WIDTHS_ALIKE = 8  # tokens by which the widths of what is seen differ where shapes are to be fixed


@dataclass(frozen=True)
class Sampling:
    """group_size G completions of each problem; max_tokens an answer, the stop token included; up to max_turns turns.
    thinking: tokens before the answer, after which ANSWER is forced; None for a policy that does not think. form:
    whether it is asked of a wrong answer if it is well-formed."""

    group_size: int
    max_tokens: int
    temperature: float
    max_turns: int = 1
    thinking: int | None = None
    form: bool = True

    @property
    def room(self) -> int:
        """Tokens that a completion may take, a forced ANSWER included."""
        return self.max_tokens + (0 if self.thinking is None else self.thinking + 1)


@dataclass
class _Tape:
    """The episodes so far, [B, capacity], right-padded."""

    ids: Tensor
    loss_mask: Tensor
    logprobs: Tensor
    turn: Tensor
    length: Tensor

    def append(
        self, ids: Tensor, count: Tensor, turn: int, drawn: Tensor | None = None, logprobs: Tensor | None = None
    ) -> None:
        """The first count[b] of ids[b] [B, C]; a policy's come with which it drew, and their logprobs."""
        source = torch.arange(self.ids.shape[1], device=ids.device) - self.length[:, None]
        mine = (source >= 0) & (source < count[:, None])
        source = source.clamp(0, ids.shape[1] - 1)
        self.ids = self.ids.where(~mine, ids.gather(1, source))
        self.turn = self.turn.masked_fill(mine, turn)
        if drawn is not None and logprobs is not None:
            self.loss_mask = self.loss_mask.where(~mine, drawn.gather(1, source))
            self.logprobs = self.logprobs.where(~mine, logprobs.gather(1, source))
        self.length = self.length + count


def _pad(rows: Sequence[np.ndarray], device: torch.device, width: int = 1) -> tuple[Tensor, Tensor]:
    """Right-padded [len(rows), longest, at least `width`] and lengths."""
    length = np.fromiter((len(r) for r in rows), dtype=np.int64, count=len(rows))
    out = np.full((len(rows), max(int(length.max(initial=0)), width)), PAD, dtype=np.int64)
    for i, row in enumerate(rows):
        out[i, : len(row)] = row
    # A GPU need not have finished what it is at.
    return torch.from_numpy(out).to(device, non_blocking=True), torch.from_numpy(length).to(device, non_blocking=True)


def _sample_turn(
    policy: Transformer,
    tape: _Tape,
    width: int,
    sampling: Sampling,
    keys: tuple[Key, ...],
    rows: Tensor,
    turn: int,
    active: Tensor,
    each: Each,
) -> Completions:
    """One completion of every active row, of a tape filled up to `width`. The first turn shares its prompt within the
    group. rows [B / S] name the streams of one seed's rows."""
    s, group = len(keys), sampling.group_size if turn == 0 else 1
    device = tape.ids.device
    prompts = tape.ids[::group, :width].unflatten(0, (s, -1))
    length = tape.length[::group].unflatten(0, (s, -1))
    # A stride of its own for each turn: what a token is drawn from must not depend on the limit of the turns before.
    positions = torch.arange(sampling.room, device=device) + turn * TURN_STRIDE
    u = uniforms(keys, rows, positions)
    return sample_in_parts(policy, prompts, length, group, sampling, u, active.unflatten(0, (s, -1)), each)


def sample_in_parts(
    policy: Transformer,
    prompts: Tensor,
    length: Tensor,
    group: int,
    sampling: Sampling,
    uniforms: Tensor,
    active: Tensor,
    each: Each,
) -> Completions:
    """`sample`, its prompts shared out by `each`."""

    def of_part(part: range) -> Completions:
        some, rows = slice(part.start, part.stop), slice(part.start * group, part.stop * group)
        settings = (group, sampling.max_tokens, sampling.temperature, uniforms[:, rows], active[:, rows])
        return sample(policy, prompts[:, some], length[:, some], *settings, sampling.thinking)

    count, width = prompts.shape[1:]
    tokens, rows_at_once = count * (width + group * sampling.room), count * group // ROWS_OF_A_PART
    found = list(each(of_part, parts_of(count, tokens, rows_at_once, policy)))
    if len(found) == 1:
        return found[0]
    return Completions(*(torch.cat(parts, dim=1) for parts in zip(*(vars(part).values() for part in found))))


@torch.no_grad()
def rollout(
    policy: Transformer,
    env: TextVectorEnv,
    problems: Sequence[Problem],
    sampling: Sampling,
    keys: tuple[Key, ...],
    identities: Tensor | None = None,
    each: Each = map,
) -> tuple[Rollouts, Checked]:
    """Episodes of `problems` (S·P, seed-major), G of each. `env` holds S·P·G of them.

    `identities` [P] (below 2³² / G) name the problems' streams, so that neither pieces nor order matter; by default
    the index in the list. Rows keep the order of `problems`. `each` shares parts of the sampling out. Where each
    problem has one right answer, its ids are compared where the completions are, without the environment.
    """
    s, g, device, fixed = len(keys), sampling.group_size, policy.embedding.device, graphs.serves(policy)
    answers = _only_answers(problems, sampling, device)
    if answers is None:
        env.reset(options={"problems": [problem for problem in problems for _ in range(g)], "form": sampling.form})
    prompts = [encode_prompt(problem.prompt) for problem in problems]
    longest = max(map(len, prompts))
    wide = lambda tokens, most: graphs.width_of(tokens, most, WIDTHS_ALIKE) if fixed else tokens  # noqa: E731
    width = wide(longest, max(longest, policy.config.context - sampling.room))
    prompt_ids, prompt_length = _pad(prompts, device, width)
    prompt_ids, prompt_length = (x.repeat_interleave(g, dim=0) for x in (prompt_ids, prompt_length))
    b = len(prompt_ids)
    if identities is None:
        identities = torch.arange(len(problems) // s)
    rows = (identities[:, None] * g + torch.arange(g)).flatten().to(device, non_blocking=True)
    capacity = width + sampling.room if sampling.max_turns == 1 else policy.config.context
    tape = _Tape(
        ids=torch.nn.functional.pad(prompt_ids, (0, capacity - width), value=PAD),
        loss_mask=torch.zeros((b, capacity), dtype=torch.bool, device=device),
        logprobs=torch.zeros((b, capacity), device=device),
        turn=torch.zeros((b, capacity), dtype=torch.int64, device=device),
        length=prompt_length,
    )
    active = torch.ones(b, dtype=torch.bool, device=device)
    out_of_room = torch.zeros(b, dtype=torch.bool, device=device)
    stop_reason = torch.zeros(b, dtype=torch.int64, device=device)
    for turn in range(sampling.max_turns):
        filled = width if turn == 0 else wide(int(tape.length.max()), capacity)
        drawn = _sample_turn(policy, tape, filled, sampling, keys, rows, turn, active, each)
        count = drawn.length.flatten()
        tape.append(drawn.ids.flatten(0, 1), count, turn, drawn.drawn.flatten(0, 1), drawn.logprobs.flatten(0, 1))
        stop_reason = torch.where(active, drawn.stop_reason.flatten(), stop_reason)
        if answers is not None:
            right = said(*answers, drawn.ids.flatten(0, 1), count)
            break
        completions = answer_texts(drawn.ids.flatten(0, 1).cpu().numpy(), count.cpu().numpy())
        texts, _, terminations, truncations, infos = env.step(completions)
        active = torch.from_numpy(~(terminations | truncations)).to(device) & ~out_of_room
        if turn + 1 == sampling.max_turns or not active.any():
            break
        replies, reply_length = _pad([encode_reply(text) for text in texts], device)
        fits = tape.length + reply_length + sampling.room <= capacity
        out_of_room |= active & ~fits
        active &= fits
        tape.append(replies, reply_length * active, turn + 1)
    used = capacity if fixed and sampling.max_turns == 1 else int(tape.length.max())
    rollouts = Rollouts(
        ids=tape.ids[:, :used],
        loss_mask=tape.loss_mask[:, :used],
        sampler_logprobs=tape.logprobs[:, :used],
        turn=tape.turn[:, :used],
        length=tape.length,
        prompt_length=prompt_length,
        stop_reason=stop_reason.masked_fill(out_of_room, int(StopReason.LENGTH)),
        problem=torch.arange(len(problems), device=device).repeat_interleave(g),
        seed_index=torch.arange(s, device=device).repeat_interleave(b // s),
        seeds=s,
        group_size=g,
    )
    if answers is not None:
        return rollouts, Checked(right.long() * int(Verdict.CORRECT), right)
    # A row without room for its next turn is wrong, whatever the environment makes of the turns that it did not play.
    verdict = torch.from_numpy(np.asarray(infos["verdict"], dtype=np.int64)).to(device)
    well_formed = torch.from_numpy(np.asarray(infos["well_formed"], dtype=bool)).to(device)
    checked = Checked(verdict.masked_fill(out_of_room, int(Verdict.WRONG)), well_formed & ~out_of_room)
    return rollouts, checked


def _only_answers(
    problems: Sequence[Problem], sampling: Sampling, device: torch.device
) -> tuple[Tensor, Tensor] | None:
    """ids [B, longest] and lengths [B] of what alone is right; None where it takes more than their comparison."""
    if sampling.form or not all(get(p.task).has_one_answer for p in problems):
        return None
    ids, length = _pad([encode(problem.answer) for problem in problems], device)
    return ids.repeat_interleave(sampling.group_size, dim=0), length.repeat_interleave(sampling.group_size)


def said(answers: Tensor, answer_length: Tensor, ids: Tensor, length: Tensor) -> Tensor:
    """[B] bool: whether a completion, the first length[b] of ids [B, C], says this answer, a prefix of answers [B, A],
    after its last ANSWER, if it has one, and nothing more, closed by a stop token or cut off behind it."""
    place = torch.arange(ids.shape[1], device=ids.device)
    last = ids.gather(1, (length - 1).clamp(min=0)[:, None])[:, 0]
    end = length - ((length > 0) & (last == EOS)).long()
    start = torch.where((ids == ANSWER) & (place < end[:, None]), place + 1, 0).amax(1)
    width = min(ids.shape[1], answers.shape[1])
    text = ids.gather(1, (start[:, None] + place[:width]).clamp(max=ids.shape[1] - 1))
    differs = (text != answers[:, :width]) & (place[:width] < (end - start)[:, None])
    return (end - start == answer_length) & ~differs.any(1)


def thought(problem: Problem, thinking: int | None) -> str | None:
    """The scratchpad of the task's own solution, as far as the budget goes; None where nothing thinks."""
    return None if thinking is None else get(problem.task).scratchpad(problem)[:thinking]


@torch.no_grad()
def demonstrate(
    policy: Transformer,
    env: TextVectorEnv,
    problems: Sequence[Problem],
    sampling: Sampling,
    keys: tuple[Key, ...],
    each: Each = map,
) -> tuple[Rollouts, Checked]:
    """Instead of completions, the canonical answer of each problem (S·P, seed-major), one a problem, after as much of
    its steps as the thinking budget allows. They are scored as if the policy had drawn them, so that all that is told
    of rollouts can be told of them."""
    s, b, device = len(keys), len(problems), policy.embedding.device
    env.reset(options={"problems": list(problems)})
    _, _, _, _, infos = env.step([problem.answer for problem in problems])
    prompts = [encode_prompt(problem.prompt) for problem in problems]
    solutions = [encode_completion(problem.answer, thought(problem, sampling.thinking)) for problem in problems]
    ids, length = _pad([np.concatenate(pair) for pair in zip(prompts, solutions)], device)
    prompt_length = torch.tensor([len(p) for p in prompts], device=device)
    place = torch.arange(ids.shape[1], device=device) - prompt_length[:, None]
    mask = (place >= 0) & (place < (length - prompt_length)[:, None])
    if sampling.thinking is not None:
        mask &= (place != sampling.thinking) | (ids != ANSWER)  # there the sampler would force it
    logprobs = score(policy, ids.unflatten(0, (s, -1)), sampling.temperature).flatten(0, 1)
    rollouts = Rollouts(
        ids=ids,
        loss_mask=mask,
        sampler_logprobs=logprobs * mask,
        turn=torch.zeros_like(ids),
        length=length,
        prompt_length=prompt_length,
        stop_reason=torch.full((b,), int(StopReason.STOP), device=device),
        problem=torch.arange(b, device=device),
        seed_index=torch.arange(s, device=device).repeat_interleave(b // s),
        seeds=s,
        group_size=1,
    )
    verdict, form = (torch.from_numpy(np.asarray(infos[name])).to(device) for name in ("verdict", "well_formed"))
    return rollouts, Checked(verdict.long(), form.bool())
