"""Initial success: how often a base is right, task by task and difficulty by difficulty, before any RL."""

from collections.abc import Callable
from typing import Any

from envs.base import Task
from harness.config.identity import base_id
from harness.config.parse import dump
from harness.config.schema import Config
from harness.core.seeding import keys
from harness.evaluate import at_budgets, build_suite, evaluate
from harness.launch.jobs import Job
from harness.policy.transformer import Transformer
from harness.run.folder import Member, run_folder
from harness.run.run import from_bases, run_job
from harness.train.pretrain import corpus_of

Say = Callable[[str], None]


def initial_success(config: Config, say: Say) -> dict[str, Any]:
    """Pretrains the base (once) and scores every task of its corpus: {"base": …, "tasks": {name: {difficulty: [correct,
    completions]}}}. Tasks are scored one by one: together, each would get the room that the longest answer needs."""
    base = config.base
    job = Job(base_id(config), dump(config), base.steps, labels={"arm": "base"})
    run_job(job, lambda row: say(f"pretraining: step {row['step']:,} of {base.steps:,}") if "step" in row else None)
    state = from_bases([Member(job, config, run_folder(config.out, job.run_id))])
    tasks = {}
    for task in corpus_of(base).tasks:
        tasks[task.name] = _cells(config, state.policy, task)
        say(f"{task.name}: " + " ".join(f"{right / n:.2f}" for right, n in tasks[task.name].values()))
    return {"base": described(config), "tasks": tasks}


def _cells(config: Config, policy: Transformer, task: Task) -> dict[str, list[int]]:
    cells = build_suite([task], config.base.difficulties, config.evaluation)
    suite = at_budgets(cells, config.evaluated_thinking[:1])
    (scores,) = evaluate(policy, suite, config.evaluation, keys("evaluation", (config.seed,), 0))
    return {str(s.cell.difficulty): [int(s.correct.sum()), s.correct.size] for s in scores}


def described(config: Config) -> str:
    """The base and the measure, in a sentence."""
    base, scored = config.base, config.evaluation
    return (
        f"{config.model.name} after {base.steps:,} steps of {base.documents} documents, difficulty d with weight "
        f"{base.difficulty_decay:g}^(d-1), {base.label_noise:.0%} of the answers wrong; {scored.problems} problems "
        f"of the {scored.split} split a cell where there are as many, {scored.samples} completions each at temperature "
        f"{scored.temperature:g}"
    )
