"""One run on several devices: each rank samples a shard of a step's problems and takes a shard of every minibatch.

In between all ranks hold the whole batch, so rewards, advantages, minibatches and denominators are computed by each,
alike, by the code of a single process. Gradients and metrics are summed over ranks. Random streams are keyed by the
problem, so the tokens are those of one process; sums in another order differ by rounding.
"""

import os
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
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
from harness.core.types import Rollouts, VerifierResults, tensors_of, to_device
from harness.policy.backends.backend import Backend
from harness.policy.backends.eager import even_slices
from harness.policy.transformer import Transformer
from harness.train.rollout import SamplingParams, rollout

TIMEOUT = timedelta(days=7)  # ranks wait while one evaluates or pretrains; torchrun ends them if it dies


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


@contextmanager
def process_group() -> Generator[None]:
    """Within it this process is in a group with the others that torchrun started, by its environment variables."""
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    # gloo is for objects, and for the tensors of a run with device=cpu, on a machine with GPUs too.
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=TIMEOUT)
    try:
        yield
    finally:
        dist.destroy_process_group()


def shard(count: int) -> slice:
    """This rank's part of `count` items: contiguous, sizes within one of each other."""
    return even_slices(count, world_size())[rank()]


def all_gather(item: Any) -> list[Any]:
    """Every rank's item, in the order of ranks."""
    items: list[Any] = [None] * world_size()
    dist.all_gather_object(items, item)
    return items


def sharded_rollout(
    episodes: Callable[..., tuple[Rollouts, VerifierResults]],
    backend: Backend,
    policy: Transformer,
    env: TextVectorEnv,
    problems: Sequence[Problem],
    sampling: SamplingParams,
    keys: tuple[Key, ...],
) -> tuple[Rollouts, VerifierResults]:
    """`episodes(backend, policy, env, problems, sampling, keys)`, whole on every rank, of which each samples a shard.
    Episodes that are not sampled are computed by all. Raises UserError if a rank would have no problem."""
    if world_size() == 1 or episodes is not rollout:
        return episodes(backend, policy, env, problems, sampling, keys)
    count, g = len(problems) // len(keys), sampling.group_size
    if count < world_size():
        reason = f"fewer than {world_size()} processes"
        raise UserError(f"rl.problems={count}", reason, "use fewer, or raise rl.problems")
    own = shard(count)
    part = [p for s in range(len(keys)) for p in problems[s * count + own.start : s * count + own.stop]]
    stream_ids, own_env = torch.arange(own.start, own.stop), TextVectorEnv(len(part) * g, env.task)
    rollouts, results = rollout(backend, policy, own_env, part, sampling, keys, stream_ids)
    cpu, device = torch.device("cpu"), rollouts.ids.device
    shards = all_gather((to_device(rollouts, cpu), to_device(results, cpu)))
    whole, verified = (to_device(concatenate(parts, len(keys)), device) for parts in zip(*shards))
    return whole, verified


def concatenate(shards: Sequence[Any], seeds: int) -> Any:
    """Dataclasses of tensors [S·n, …] or [S·n, T] as one, seed-major, right-padded with 0 to the longest T."""
    values = {}
    for name, first in tensors_of(shards[0]).items():
        parts = [getattr(one, name) for one in shards]
        if first.dim() == 2:
            width = max(part.shape[1] for part in parts)
            parts = [pad(part, (0, width - part.shape[1])) for part in parts]
        values[name] = torch.cat([part.unflatten(0, (seeds, -1)) for part in parts], dim=1).flatten(0, 1)
    return replace(shards[0], **values)


@torch.no_grad()
def all_reduce(learners: nn.Module, metrics: dict[str, Tensor]) -> dict[str, Tensor]:
    """Sums gradients (in place) and metrics over ranks: the same numbers on each."""
    if world_size() == 1:
        return metrics
    grads = [w.grad for w in learners.parameters() if w.grad is not None]
    flat = torch.cat([g.flatten() for g in grads])
    dist.all_reduce(flat)
    for g, summed in zip(grads, flat.split([g.numel() for g in grads]), strict=True):
        g.copy_(summed.view_as(g))
    device = flat.device
    total: dict[str, Tensor] = {}
    for own in all_gather({name: value.cpu() for name, value in metrics.items()}):  # without groups there are fewer
        for name, value in own.items():
            total[name] = total.get(name, 0) + value.to(device)
    return total


def synchronised_stop(stop: Callable[[], Stopped | None]) -> Callable[[], Stopped | None]:
    """A `stop` that all ranks call once a step: once one has received a signal, all stop after the same step."""
    if world_size() == 1:
        return stop

    def of_any_rank() -> Stopped | None:
        own = stop()
        received = [signum for signum in all_gather(own.signum if own else None) if signum is not None]
        return Stopped(received[0]) if received else None

    return of_any_rank
