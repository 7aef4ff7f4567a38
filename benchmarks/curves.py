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

from benchmarks.ours import composed, stepper
from benchmarks.peer import grpo_trainer, require_trl
from benchmarks.timing import markdown, table
from envs.base import Correctness, Problem
from envs.registry import get
from harness.analysis.stats.intervals import estimate
from harness.config.identity import base_id
from harness.config.parse import dump
from harness.config.schema import Config
from harness.core.seeding import Key
from harness.launch.jobs import Job
from harness.run.job import from_bases, run_job, training_mixture
from harness.train.rollout import training_sampling
from harness.train.state import TrainState

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
            own = replace(config, seed=seed)
            found["ours"].append(_ours(own))
            found["TRL"].append(_peers(own))
            progress(f"seed {seed}: " + ", ".join(f"{side} {np.mean(found[side][-1]):.3f}" for side in SIDES))
    return {"settings": list(settings), "problems": config.rl.problems, "accuracy": found}


def _at_base(config: Config) -> TrainState:
    job = Job("curve", dump(config), config.rl.steps)
    return from_bases([job])


def _ours(config: Config) -> list[float]:
    one = stepper(config, state=_at_base(config))
    return [float(one.step().metrics["accuracy"][0]) for _ in range(config.rl.steps)]


def _peers(config: Config) -> list[float]:
    mixture, count = training_mixture(config), config.rl.steps * config.rl.problems
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
        grpo_trainer(_at_base(config).policy, config, data, reward, Path(out), (), **more).train()
    return np.reshape(scores, (config.rl.steps, -1)).mean(1).tolist()


def _right(problem: Problem, completion: str) -> float:
    return float(get(problem.task).verify(problem, completion) is Correctness.CORRECT)


def section(measured: dict[str, Any]) -> str:
    """The Markdown of this part."""
    curves = {side: np.array(measured["accuracy"][side]) for side in SIDES}
    seeds, steps = curves["ours"].shape
    part, rows = steps // SHARE, []
    for label, curve in (curves | {"apart": curves["ours"] - curves["TRL"]}).items():
        first, last = curve[:, :part].mean(1), curve[:, -part:].mean(1)
        rows.append([label, _told(first), _told(last), _told(last - first)])
    text = (
        f"Accuracy of the completions trained on, fp32, {steps} steps of {measured['problems']} problems x 8, means "
        f"over {seeds} seeds with 95% intervals: `{' '.join(measured['settings'])}`."
    )
    columns = ("", f"first {part} steps", f"last {part} steps", "gain")
    return markdown("## What the two learn", text, table(columns, rows))


def _told(values: np.ndarray) -> str:
    found = estimate(values)
    low, high = found.interval()
    return f"{found.mean:.3f} ({low:.3f} to {high:.3f})"
