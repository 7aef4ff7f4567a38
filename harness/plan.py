"""What a launch would do: jobs, weights, tokens, FLOPs, time and disk, before any of it is spent."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.table import Table as RichTable

from harness.config import Config, parse
from harness.identity import base_id, evaluation_id
from harness.launch.jobs import Job
from harness.runs import run_folder

BYTES_PER_WEIGHT = 4
# FLOP/s while sampling one token at a time, as a share of those of an update: measured .2 to .5 at nano and micro.
SAMPLING_SHARE = 0.3


@dataclass(frozen=True)
class Cost:
    """Of one job. Tokens are an upper bound: completions may stop early."""

    tokens: float
    flops: float
    evaluation_flops: float
    seconds: float
    bytes: float
    is_base: bool = False


def measured_rate(config: Config) -> float:
    """FLOP/s of this policy's forward and backward pass on one thread here, from a probe of a quarter second."""
    import torch

    from harness.policy.score import score
    from harness.policy.transformer import Transformer, parameter_count
    from harness.seeding import keys

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    policy = Transformer(config.model, 1, config.precision).initialise(keys("warmup", (0,), 0))
    ids = torch.zeros((1, 128, 24), dtype=torch.int64)
    score(policy, ids, 1.0)  # the first time on a machine compiles
    best, start = float("inf"), time.perf_counter()
    while time.perf_counter() - start < 0.25:
        before = time.perf_counter()
        score(policy, ids, 1.0).sum().backward()
        best = min(best, time.perf_counter() - before)
    torch.set_num_threads(threads)
    return 6.0 * parameter_count(config.model, embedding=False) * ids.numel() / best


def reached(job: Job) -> int:
    """The step from which the job's run goes on."""
    from harness.checkpoint import saved_steps

    folder = run_folder(job.run["out"], job.run_id)
    return min(job.until, max([folder.status().get("step", 0), *saved_steps(folder.checkpoints)]))


def cost(job: Job, rate: float) -> Cost:
    """What a job still takes, at `rate` FLOP/s."""
    from envs.registry import select
    from harness.policy.transformer import parameter_count
    from harness.train.algorithms import flops_per_token
    from harness.train.pretrain import corpus_of, draw_documents

    config = parse(job.run)
    n, weights = parameter_count(config.model, embedding=False), parameter_count(config.model) * BYTES_PER_WEIGHT
    if job.run_id == base_id(config):
        some = draw_documents(corpus_of(config.base), 64, 0.0, np.random.default_rng(0), config.base.worked)
        tokens = (job.until - reached(job)) * config.base.documents * sum(map(len, some)) / len(some)
        return Cost(tokens, 6 * n * tokens, 0.0, 6 * n * tokens / rate, 4 * weights, is_base=True)
    tasks = [*select(config.tasks.verified), *select(config.tasks.unverified)]
    length = sum(t.max_prompt + t.max_completion for t in tasks) / len(tasks) * 0.6
    cells = len(tasks) * len(config.tasks.difficulties or tasks[0].difficulties)
    folder, which = run_folder(config.out, job.run_id), evaluation_id(config)
    budgets = sum(not folder.evaluation(which, budget).is_file() for budget in job.budgets)
    answered = budgets * cells * config.evaluation.problems * config.evaluation.samples
    scored = answered * sum(length + (budget or 0) for budget in config.evaluated_thinking)
    length += config.thinking or 0
    trained = config.objective != "frozen"
    tokens = float(trained * (job.until - reached(job)) * config.rl.problems * config.rl.group_size * length)
    per_token = flops_per_token(config)
    seconds = (tokens * n * (2 / SAMPLING_SHARE + per_token - 2) + scored * n * 2 / SAMPLING_SHARE) / rate
    return Cost(tokens, per_token * n * tokens, 2 * n * scored, seconds, weights * (budgets + 6))


def plan_table(jobs: Sequence[Job], to_do: Sequence[Job], parallel: int) -> RichTable:
    """The derived numbers that a launch starts with."""
    from harness.policy.native import refused
    from harness.policy.transformer import parameter_count
    from harness.run import device_of

    config = parse(jobs[0].run)
    rate = measured_rate(config)
    costs = [cost(job, rate) for job in to_do]
    bases = [c.seconds for c in costs if c.is_base]
    runs = [c.seconds for c in costs if not c.is_base]
    # Bases come first, and seldom fill all processes.
    seconds = (max(bases, default=0) if len(bases) <= parallel else sum(bases) / parallel) + sum(runs) / parallel
    table = RichTable(show_header=False, box=None, padding=(0, 2))
    rows = {
        "jobs": f"{len(to_do)} to do, {len(jobs) - len(to_do)} done; {parallel} at once",
        "policy": f"{config.model.name}, {parameter_count(config.model):,} weights",
        "tokens": f"{sum(c.tokens for c in costs):.2g}",
        "FLOPs": f"{sum(c.flops for c in costs):.2g} training, {sum(c.evaluation_flops for c in costs):.2g} evaluation",
        "time": f"about {seconds / 60:.1f} min, at {rate / 1e9:.0f} GFLOP/s a thread (measured now)",
        "disk": f"about {sum(c.bytes for c in costs) / 1e6:.0f} MB in {os.path.abspath(config.out)}",
    }
    if device_of(config).type == "cpu" and (reason := refused(config.model, config.precision)):
        rows["slower"] = f"PyTorch alone: {reason}; with compiled C steps take less than half of the time"
    if few := few_problems(config):
        rows["few problems"] = few
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def few_problems(config: Config, most: int = 4) -> str:
    """Which tasks and difficulties have fewer held-out problems than asked; "" if none has."""
    from harness.evaluate import small_cells
    from harness.scores import suite_of

    small = small_cells(suite_of(config), config.evaluation.problems)
    named = list(dict.fromkeys(f"{cell.task} {cell.difficulty}: {len(cell.problems)}" for cell in small))
    more = f" and {len(named) - most} more" if len(named) > most else ""
    return f"{', '.join(named[:most])}{more} (of {config.evaluation.problems} asked)" if named else ""
