"""How often a base is right before any RL, by task and difficulty."""

from collections.abc import Callable
from typing import Any

from envs.base import Task
from harness.config.schema import Config
from harness.core.seeding import keys
from harness.evaluate import build_suite, evaluate, with_thinking_limits
from harness.run.job import from_bases, run_job
from harness.study.expand import base_jobs
from harness.train.pretrain import corpus_of
from harness.train.state import TrainState

Print = Callable[[str], None]


def measure_base_accuracy(config: Config, show: Print) -> dict[str, Any]:
    """Pretrains the base (once) and scores every task of its corpus: {"base": …, "tasks": {name: {difficulty: [correct,
    completions]}}}. Tasks are scored one by one: together, each would get the tokens of the longest answer."""
    base = config.base
    for job in (jobs := base_jobs(config, {})):
        run_job(
            job, lambda row: show(f"pretraining: step {row['step']:,} of {base.steps:,}") if "step" in row else None
        )
    state = from_bases(jobs[-1:])
    tasks = {}
    for task in corpus_of(base).tasks:
        tasks[task.name] = _cells(config, state, task)
        show(f"{task.name}: " + " ".join(f"{right / n:.2f}" for right, n in tasks[task.name].values()))
    return {"base": describe_base(config), "tasks": tasks}


def _cells(config: Config, state: TrainState, task: Task) -> dict[str, list[int]]:
    cells = build_suite([task], config.base.difficulties, config.evaluation)
    suite = with_thinking_limits(cells, config.evaluated_thinking[:1])
    (scores,) = evaluate(state.backend, state.policy, suite, config.evaluation, keys("evaluation", (config.seed,), 0))
    return {str(s.cell.difficulty): [int(s.correct.sum()), s.correct.size] for s in scores}


def describe_base(config: Config) -> str:
    """The base and the measure, in a sentence."""
    base, scored = config.base, config.evaluation
    return (
        f"{config.model.name} after {base.steps:,} steps of {base.documents} documents, difficulty d with weight "
        f"{base.difficulty_decay:g}^(d-1), {base.label_noise:.0%} of the answers wrong; {scored.problems} problems "
        f"of the {scored.split} split a cell where there are as many, {scored.samples} completions each at temperature "
        f"{scored.temperature:g}"
    )
