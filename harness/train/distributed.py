"""One run on several devices: each rank plays its share of a step's problems and takes its share of every minibatch.

In between all ranks hold the whole batch, so rewards, advantages, silence, minibatches and denominators are computed
by each, alike, and by the code that serves one process. Gradients, and the sums that are told, are added over ranks.
Streams are named by the problem, so the tokens are those of one process; sums in another order differ by rounding.
"""

import os
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import pad

from envs.base import Problem
from envs.vector import TextVectorEnv
from harness.core.errors import UserError
from harness.core.seeding import Key
from harness.core.signals import Stopped
from harness.core.types import Checked, Rollouts, to_device
from harness.policy.tokenizer import PAD
from harness.policy.transformer import Transformer
from harness.train.helpers import Each, cut
from harness.train.rollout import Sampling, rollout

PATIENCE = timedelta(days=7)  # ranks wait while one evaluates or pretrains; torchrun ends them if it dies


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def ranks() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


@contextmanager
def connected() -> Generator[None]:
    """Joins the other processes that torchrun started, which says who and where by environment variables."""
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    # Objects, and the tensors of a run with device=cpu, go by gloo on a machine with GPUs too.
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)
    try:
        yield
    finally:
        dist.destroy_process_group()


def share(count: int) -> range:
    """This rank's part of `count` things: contiguous, sizes within one of each other."""
    return cut(count, ranks())[rank()]


def gathered(item: Any) -> list[Any]:
    """Every rank's item, in the order of ranks."""
    found: list[Any] = [None] * ranks()
    dist.all_gather_object(found, item)
    return found


def played(
    episodes: Callable[..., tuple[Rollouts, Checked]],
    policy: Transformer,
    env: TextVectorEnv,
    problems: Sequence[Problem],
    sampling: Sampling,
    keys: tuple[Key, ...],
    each: Each = map,
) -> tuple[Rollouts, Checked]:
    """The whole of `episodes(policy, env, problems, …)` on every rank, each having played its share. What is not
    sampled is made by all. Raises UserError if a rank would have nothing to play."""
    if ranks() == 1 or episodes is not rollout:
        return episodes(policy, env, problems, sampling, keys, each=each)
    count = len(problems) // len(keys)
    if count < ranks():
        raise UserError(f"rl.problems={count}", f"fewer than {ranks()} processes", "use fewer, or raise rl.problems")
    mine = share(count)
    part = [p for s in range(len(keys)) for p in problems[s * count + mine.start : s * count + mine.stop]]
    own = TextVectorEnv(len(part) * sampling.group_size, env.task)
    rollouts, checked = rollout(policy, own, part, sampling, keys, torch.arange(mine.start, mine.stop), each)
    cpu = torch.device("cpu")
    pieces = gathered((to_device(rollouts, cpu), to_device(checked, cpu)))
    device = rollouts.ids.device
    whole = joined([r for r, _ in pieces], len(keys), {"ids": PAD})
    whole = replace(
        whole,
        problem=torch.arange(len(problems)).repeat_interleave(sampling.group_size),
        seed_index=torch.arange(len(keys)).repeat_interleave(count * sampling.group_size),
    )
    return to_device(whole, device), to_device(joined([c for _, c in pieces], len(keys), {}), device)


def joined(pieces: Sequence[Any], seeds: int, padding: dict[str, int]) -> Any:
    """Dataclasses of tensors [S·n, …] or [S·n, T] as one, seed-major, right-padded to the longest T."""
    values = {}
    for f in fields(pieces[0]):
        parts = [getattr(piece, f.name) for piece in pieces]
        if not isinstance(parts[0], Tensor):
            continue
        if parts[0].dim() == 2:
            width = max(part.shape[1] for part in parts)
            parts = [pad(part, (0, width - part.shape[1]), value=padding.get(f.name, 0)) for part in parts]
        values[f.name] = torch.cat([part.unflatten(0, (seeds, -1)) for part in parts], dim=1).flatten(0, 1)
    return replace(pieces[0], **values)


@torch.no_grad()
def add_up(learners: nn.Module, totals: dict[str, Tensor]) -> dict[str, Tensor]:
    """Gradients (in place) and totals, summed over ranks: the same numbers on each."""
    if ranks() == 1:
        return totals
    grads = [w.grad for w in learners.parameters() if w.grad is not None]
    flat = torch.cat([g.flatten() for g in grads])
    dist.all_reduce(flat)
    for g, summed in zip(grads, flat.split([g.numel() for g in grads]), strict=True):
        g.copy_(summed.view_as(g))
    device = flat.device
    found: dict[str, Tensor] = {}
    for each in gathered({name: value.cpu() for name, value in totals.items()}):  # one without groups has fewer names
        for name, value in each.items():
            found[name] = found.get(name, 0) + value.to(device)
    return found


def agreed(stop: Callable[[], Stopped | None]) -> Callable[[], Stopped | None]:
    """A `stop` that all ranks call once a step: as soon as one was asked to stop, all do, after the same step."""
    if ranks() == 1:
        return stop

    def together() -> Stopped | None:
        mine = stop()
        asked = [signum for signum in gathered(mine.signum if mine else None) if signum is not None]
        return Stopped(asked[0]) if asked else None

    return together
