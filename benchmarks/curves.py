"""Learning curves beside TRL's: the same base, tasks, batch and optimizer, each side with luck of its own.

Accuracy is that of the completions trained on: every problem is new when it is drawn, so none was learned by heart.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.ours import composed
from benchmarks.peer import grpo_trainer, require_trl
from envs.base import Correctness, Problem
from envs.registry import get
from envs.vector import TextVectorEnv
from harness.analysis.stats.intervals import estimate
from harness.config.identity import base_id
from harness.config.parse import dump
from harness.config.schema import Config
from harness.core.seeding import Key
from harness.launch.jobs import Job
from harness.run.folder import Member, run_folder
from harness.run.job import from_bases, run_job, training_mixture
from harness.train.rl import rl_step
from harness.train.rollout import training_sampling

SEEDS = 5
SETTINGS = (
    "model=micro",
    "algo=grpo",
    "tasks.verified=[reversal.symbolic,sorting.symbolic]",
    "tasks.unverified=[]",
    "tasks.difficulties=[1,2,3,4,5]",
    "rl.steps=96",
    "rl.group_size=8",
    "optim.lr=1e-4",
    "tracker=none",
    "device=cpu",
)
SIDES = ("ours", "TRL")
SHARE = 4  # the first and the last quarter of the steps are compared


def measure(progress: Callable[[str], None], settings: Sequence[str] = SETTINGS, seeds: int = SEEDS) -> dict[str, Any]:
    """Accuracy of each step, {side: [seeds][steps]}. Raises UserError without the extra `bench`."""
    require_trl()
    with tempfile.TemporaryDirectory() as out:
        config = replace(composed(settings), out=out)
        progress("curves: the base")
        run_job(Job(base_id(config), dump(config), config.base.steps, threads=torch.get_num_threads()), lambda _: None)
        found: dict[str, list[list[float]]] = {side: [] for side in SIDES}
        for seed in range(seeds):
            member = _member(replace(config, seed=seed))
            found["ours"].append(_ours(member))
            found["TRL"].append(_peers(member))
            progress(f"seed {seed}: " + ", ".join(f"{side} {_quarters(found[side][-1])}" for side in SIDES))
    return {"settings": list(settings), "problems": config.rl.problems, "accuracy": found}


def _quarters(curve: Sequence[float]) -> str:
    part = len(curve) // SHARE
    return f"{np.mean(curve[:part]):.3f} to {np.mean(curve[-part:]):.3f}"


def _member(config: Config) -> Member:
    job = Job("curve", dump(config), config.rl.steps)
    return Member(job, config, run_folder(config.out, job.run_id))


def _ours(member: Member) -> list[float]:
    config, state, mixture = member.config, from_bases([member]), training_mixture(member.config)
    env = TextVectorEnv(config.rl.problems * config.rl.group_size, mixture.tasks[0])
    reports = (rl_step(config, state, env, mixture) for _ in range(config.rl.steps))
    return [float(report.metrics["accuracy"][0]) for report in reports]


def _peers(member: Member) -> list[float]:
    config, mixture = member.config, training_mixture(member.config)
    policy, count = from_bases([member]).policy, config.rl.steps * config.rl.problems
    problems = mixture.draw(count, Key("problems", config.seed).generator())
    scores: list[float] = []

    def reward(completions: list[str], index: list[int], **_: Any) -> list[float]:
        told = [_right(problems[i], completion) for i, completion in zip(index, completions)]
        scores.extend(told)
        return told

    with tempfile.TemporaryDirectory() as out:
        data = {"prompt": [p.prompt for p in problems], "index": list(range(count))}
        longest = training_sampling(config, mixture).max_answer_tokens
        more = {"bf16": False, "max_completion_length": longest, "max_steps": config.rl.steps, "seed": config.seed}
        grpo_trainer(policy, config, data, reward, Path(out), (), **more).train()
    return np.reshape(scores, (config.rl.steps, -1)).mean(1).tolist()


def _right(problem: Problem, completion: str) -> float:
    return float(get(problem.task).verify(problem, completion) is Correctness.CORRECT)


def section(measured: dict[str, Any]) -> str:
    """The Markdown of this part."""
    curves = {side: np.array(measured["accuracy"][side]) for side in SIDES}
    seeds, steps = curves["ours"].shape
    part = steps // SHARE
    lines = [
        "## What the two learn",
        "",
        f"Accuracy of the completions trained on, fp32, {steps} steps of {measured['problems']} problems x 8, means",
        f"over {seeds} seeds with 95% intervals: `{' '.join(measured['settings'])}`.",
        "",
        f"| | first {part} steps | last {part} steps | gain |",
        "|---|---|---|---|",
    ]
    for side in SIDES:
        first, last = curves[side][:, :part].mean(1), curves[side][:, -part:].mean(1)
        lines.append(f"| {side} | {_told(first)} | {_told(last)} | {_told(last - first)} |")
    apart = curves["ours"] - curves["TRL"]
    first, last = apart[:, :part].mean(1), apart[:, -part:].mean(1)
    lines.append(f"| apart | {_told(first)} | {_told(last)} | {_told(last - first)} |")
    return "\n".join(lines)


def _told(values: np.ndarray) -> str:
    found = estimate(values)
    low, high = found.interval()
    return f"{found.mean:.3f} ({low:.3f} to {high:.3f})"
