"""What a launch would do: jobs, weights, tokens, FLOPs, time and disk, before any of it is spent."""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from rich.table import Table as RichTable
from torch.utils.benchmark import Timer

from envs.registry import select
from harness.analysis.data.options import default_options
from harness.analysis.stats.formatting import format_hours, format_power
from harness.analysis.verdict.power import Design, reachable_verdicts
from harness.config.roles import roles_of
from harness.config.schema import Config, LocalConfig, StackedConfig
from harness.core.seeding import keys
from harness.core.types import SampleRequest
from harness.evaluate import small_cells
from harness.launch.jobs import Job
from harness.launch.local import cores
from harness.policy.backends.backend import choose_backend
from harness.policy.transformer import Transformer, parameter_count
from harness.run.evaluations import evaluation_suite
from harness.run.job import backend_of, device_of
from harness.run.remaining import remaining_work
from harness.study.expand import Entry, ExpandedStudy, is_done
from harness.study.requirements import least_memory_gb, memory_here_gb
from harness.train.algorithms import flops_per_token
from harness.train.pretrain import corpus_of, document_shares, draw_documents

BYTES_PER_WEIGHT = 4
OVERHEAD_FACTOR = 1.7  # run time over that of model passes (quickstart): problems, verifying, files, other processes


@dataclass(frozen=True)
class Cost:
    """Of one job. Tokens are an upper bound: completions may stop early."""

    tokens: float
    flops: float
    evaluation_flops: float
    seconds: float
    bytes: float
    is_base: bool = False


@dataclass(frozen=True)
class Rates:
    """FLOP/s of a policy on one thread, or on the GPU: forward and backward over whole texts, and sampling token by
    token."""

    update: float
    sampling: float


def measured_rates(config: Config) -> Rates:
    """Of this policy here, from a probe of half a second."""

    def seconds(work: Callable[[], object]) -> float:
        return min(Timer("work()", globals={"work": work}, num_threads=1).blocked_autorange(min_run_time=0.25).times)

    policy = Transformer(config.model, 1, config.precision).initialise(keys("warmup", (0,), 0)).to(device_of(config))
    backend = backend_of(config)
    with device_of(config):
        texts, prompts = torch.zeros((1, 128, 24), dtype=torch.int64), torch.zeros((1, 16, 16), dtype=torch.int64)
        length, uniforms = torch.full((1, 16), 16), torch.full((1, 128, 8), 0.5)
        request = SampleRequest(prompts, length, uniforms, torch.ones((1, 128), dtype=torch.bool), 8, 8, 1.0)
    update = seconds(lambda: backend.token_logprobs(policy, texts, 1.0).sum().backward())
    sampling = seconds(lambda: backend.sample(policy, request))
    n, sampled = parameter_count(config.model, embedding=False), prompts.numel() + uniforms.numel()
    return Rates(6.0 * n * texts.numel() / update, 2.0 * n * sampled / sampling)


def cost(job: Job, rates: Rates) -> Cost:
    """What a job still takes, at these rates."""
    config, work = job.config, remaining_work(job)
    n, weights = parameter_count(config.model, embedding=False), parameter_count(config.model) * BYTES_PER_WEIGHT
    if job.is_base:
        tokens, synthetic = _document_tokens(config, work.steps), config.base.synthetic
        sampled = tokens * (1 - synthetic.original_share) if synthetic else 0.0  # more where a filter drops many
        seconds = OVERHEAD_FACTOR * n * (6 * tokens / rates.update + 2 * sampled / rates.sampling)
        return Cost(tokens, n * (6 * tokens + 2 * sampled), 0.0, seconds, 4 * weights, is_base=True)
    tasks = [*select(config.tasks.verified), *select(config.tasks.unverified)]
    prompt = 0.6 * sum(task.max_prompt for task in tasks) / len(tasks)
    answer = 0.6 * sum(task.max_completion for task in tasks) / len(tasks)
    cells = len(tasks) * len(config.tasks.difficulties or tasks[0].difficulties)
    budgets = len(work.evaluate)
    answered = budgets * cells * config.evaluation.problems * config.evaluation.samples
    thinking, g, k = config.thinking or 0, config.rl.group_size, config.evaluation.samples
    scored = answered * sum(prompt + answer + (budget or 0) for budget in config.evaluated_thinking)
    drawn = answered * sum(prompt / k + answer + (budget or 0) for budget in config.evaluated_thinking)
    if config.objective == "pretraining":
        tokens, per_token = _document_tokens(config, work.steps), 6.0
        updated = per_token * tokens
    else:
        rows, per_token = float(work.steps * config.rl.problems * g), flops_per_token(config)
        tokens = rows * (prompt + answer + thinking)
        computed = rows * (prompt / g + answer + thinking)  # a group has one prompt
        drawn, updated = drawn + computed, (per_token - 2) * computed
    seconds = OVERHEAD_FACTOR * n * (2 * drawn / rates.sampling + updated / rates.update)
    return Cost(tokens, per_token * n * tokens, 2 * n * scored, seconds, weights * (budgets + 6))


def _document_tokens(config: Config, steps: int) -> float:
    """Of so many steps of pretraining, from the lengths of a few documents."""
    corpus = corpus_of(config.base)
    shares = document_shares(config.base, corpus)
    shares["label_noise"] = 0.0
    some = draw_documents(corpus, 64, rng=np.random.default_rng(0), **shares)
    return steps * config.base.documents * sum(map(len, some)) / len(some)


def plan_table(jobs: Sequence[Job], pending: Sequence[Job], parallel: int, notes: Mapping[str, str]) -> RichTable:
    """The derived numbers that a launch starts with; notes: more rows, by name."""
    config = jobs[0].config
    rates = measured_rates(config)
    costs = [cost(job, rates) for job in pending]
    bases = [c.seconds for c in costs if c.is_base]
    runs = [c.seconds for c in costs if not c.is_base]
    # Bases come first, and seldom fill all processes. Runs in one stack share its cores.
    here_alone = isinstance(config.launcher, LocalConfig | StackedConfig) and device_of(config).type == "cpu"
    busy = min(parallel, cores()) if here_alone else parallel
    seconds = (max(bases, default=0) if len(bases) <= busy else sum(bases) / busy) + sum(runs) / busy
    need, here = max(least_memory_gb(job.config) for job in pending or jobs), memory_here_gb(config)
    where = "a thread" if device_of(config).type == "cpu" else "of the GPU"
    table = RichTable(show_header=False, box=None, padding=(0, 2))
    rows = {
        "jobs": f"{len(pending)} to do, {len(jobs) - len(pending)} done; {parallel} at once",
        "policy": f"{config.model.name}, {parameter_count(config.model):,} weights",
        "tokens": format_power(sum(c.tokens for c in costs)),
        "FLOPs": f"{format_power(sum(c.flops for c in costs))} training, "
        f"{format_power(sum(c.evaluation_flops for c in costs))} evaluation",
        "time": f"about {format_hours(seconds / 3600)}, at {rates.update / 1e9:.0f} GFLOP/s {where} (measured now)",
        "memory": f"at least {format_gb(need)} a job" + (f", of {here:,.1f} GB free here" if here else ""),
        "disk": f"about {sum(c.bytes for c in costs) / 1e6:.0f} MB in {os.path.abspath(config.out)}",
    }
    rows |= notes
    backend, reason = choose_backend(config.backend, config.model, config.precision, device_of(config))
    rows["backend"] = f"{backend.name}: {reason}"
    if few := few_problems(config):
        rows["few problems"] = few
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def format_gb(gb: float) -> str:
    """Gigabytes, or megabytes where they are fewer than one: 2.4 GB, 7 MB."""
    return f"{gb:,.1f} GB" if gb >= 1 else f"{max(1, gb * 1e3):.0f} MB"


def few_problems(config: Config, most: int = 4) -> str:
    """Which tasks and difficulties have fewer held-out problems than asked; "" if none has."""
    small = small_cells(evaluation_suite(config), config.evaluation.problems)
    named = list(dict.fromkeys(f"{cell.task} {cell.difficulty}: {len(cell.problems)}" for cell in small))
    more = f" and {len(named) - most} more" if len(named) > most else ""
    return f"{', '.join(named[:most])}{more} (of {config.evaluation.problems} asked)" if named else ""


def plan_notes(study: ExpandedStudy) -> dict[str, str]:
    """The plan's rows on a study, by name."""
    notes = {"verdicts": verdict_note(study), "reused": reuse_notice(study)}
    return {name: text for name, text in notes.items() if text}


def reuse_notice(study: ExpandedStudy) -> str:
    """How many runs are taken from the folder that the study reuses; "" if it reuses none."""
    taken = sum(is_done(job, study.cached) and not is_done(job, study.own) for job in study.jobs)
    return f"{taken} runs taken from {study.reuse}" if study.reuse else ""


def verdict_note(study: ExpandedStudy) -> str:
    """Which verdicts the first arm that trains can reach by its size, in lines; "" where no arm trains."""
    trained = [entry for entry in study.entries if entry.config.objective != "frozen"]
    alike = [entry for entry in trained if (entry.arm, entry.overrides) == (trained[0].arm, trained[0].overrides)]
    if not alike:
        return ""
    return "\n".join(reachable_verdicts(design_of(alike), default_options(**study.config.analysis)))


def design_of(entries: Sequence[Entry]) -> Design:
    """Of runs that differ in seeds alone. Decades are of steps, which cost about the same each."""
    config = entries[0].config
    above = [step for step in config.budget_steps() if step > 0]
    window = [step for step in above if step >= 2 * config.trained_schedule.warmup]
    window = window if len(window) > 1 else above  # as tables.warmup_x does
    role_and_task = roles_of(config)
    completions = {"verified": 0, "unverified": 0}
    for cell in evaluation_suite(config):
        role, _ = role_and_task(cell.task, cell.difficulty)
        completions[role] += len(cell.problems) * config.evaluation.samples
    return Design(
        replicates=len(entries),
        bases=len({entry.replicate[0] for entry in entries}),
        budgets=len(window),
        decades=math.log10(window[-1] / window[0]),
        completions={role: count for role, count in completions.items() if count},
    )
