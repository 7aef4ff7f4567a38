"""What a launch needs of this machine, checked before anything is spent: a folder to write to, memory, and a precision
that pays."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from harness.config.schema import Config
from harness.core.errors import UserError
from harness.launch.jobs import Job
from harness.launch.launch import max_parallel_jobs
from harness.launch.local import free_memory_gb
from harness.policy.transformer import parameter_count
from harness.run.job import device_of

BYTES = 4  # of a number; weights and what the optimizer keeps are fp32 whatever the precision
MEASURED_BF16 = "1.6 to 3.7 times slower than in fp32, measured on an AMD EPYC with AVX-512"
LEARNER_COPIES = 4  # weights, gradients and Adam's two moments


def require_writable(out: str | Path) -> None:
    """Raises UserError unless files can be made in `out`, or in the nearest folder above it that is there. Leaves
    nothing behind."""
    out = Path(out).absolute()
    nearest = next(folder for folder in (out, *out.parents) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise UserError(
            f"out={out}", f"no file can be made in {nearest} ({error.strerror})", "choose another folder: out=…"
        ) from None


def least_memory_gb(config: Config) -> float:
    """Of one run, or one stack of runs: weights, gradients and optimizer alone, without activations."""
    learners = 1 + (config.algo.critic is not None)
    frozen = (config.algo.kl != "none") + (config.reward.model is not None)
    lagging = config.rl.off_policy_steps + 2 if config.rl.off_policy_steps else 0
    seeds = config.launcher.seeds if config.launcher.name == "stacked" else 1
    copies = seeds * (LEARNER_COPIES * learners + frozen + lagging)
    return BYTES * copies * parameter_count(config.model) / 2**30


def memory_here_gb(config: Config) -> float | None:
    """Memory of the device that jobs compute on; None where they run on other machines than this one."""
    if config.launcher.name not in ("local", "stacked"):
        return None
    if device_of(config).type == "cuda":
        return torch.cuda.mem_get_info()[1] / 2**30
    return free_memory_gb()


def require_memory(jobs: Sequence[Job]) -> None:
    """Raises UserError where the largest policy among `jobs`, as often as it would run at once, does not fit into this
    machine's memory."""
    largest = max((job.config for job in jobs), key=least_memory_gb)
    need, here = least_memory_gb(largest), memory_here_gb(largest)
    at_once = max_parallel_jobs(largest.launcher, len(jobs))
    if here is None or need * at_once <= here:
        return
    fits = int(here / need)
    stack = "a stack" if largest.launcher.name == "stacked" else "a run"
    smaller = "choose a smaller policy (model.width, model.layers)"
    if largest.launcher.name == "stacked" and largest.launcher.seeds > 1:
        smaller = f"lower launcher.seeds, or {smaller}"
    raise UserError(
        f"model={largest.model.name} with {at_once} jobs at once",
        f"weights, gradients and optimizer of {stack} alone take {need:,.1f} GB, and {here:,.1f} GB are free",
        f"set launcher.jobs={fits}" if fits else f"{smaller}, or run on larger machines (launcher=ray or submitit)",
    )


def has_amx() -> bool:
    """Whether this CPU multiplies bfloat16 by tiles, as Intel's do from Sapphire Rapids on."""
    return bool(torch.cpu.get_capabilities().get("amx_bf16", False))


def require_fast_precision(jobs: Sequence[Job]) -> None:
    """Raises UserError where a job of `jobs` would compute in bf16 on this machine's CPU and it has no AMX, unless the
    job names its backend."""
    for config in (job.config for job in jobs):
        is_here = config.launcher.name in ("local", "stacked")
        if config.precision != "bf16" or config.backend != "auto" or not is_here:
            continue
        if device_of(config).type == "cpu" and not has_amx():
            raise UserError(
                "precision=bf16 on a CPU without AMX",
                f"only AMX makes products of bfloat16 quicker; without it a step is {MEASURED_BF16}",
                "set precision=fp32, or backend=eager to compute in bf16 all the same",
            )
