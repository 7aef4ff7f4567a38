"""One run, from its job to its scores: resumed where it stood, evaluated at its budgets, stopped in good order.

`run_job` is what every launcher calls. It brings a base or an RL run to the step asked for and writes nothing outside
the run's folder.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import Any

import torch

from envs.mixture import Mixture
from envs.registry import select
from envs.vector import TextVectorEnv
from harness import alarms
from harness.checkpoint import (
    load_checkpoint,
    load_weights,
    save_checkpoint,
    save_weights,
    saved_steps,
    step_folder,
)
from harness.config import BaseConfig, Config, OptimConfig, base_id, dump, evaluation_id, parse
from harness.evaluate import Cell, build_suite, evaluate, problem_rows, score_row
from harness.flops import Spent
from harness.launch.jobs import Job
from harness.policy.transformer import Transformer
from harness.runs import RunFolder, beat, locked, read_json, recorded, run_folder, write_json
from harness.seeding import Key, keys
from harness.stopping import deferred
from harness.tracker import Tracker, cut_back, open_tracker
from harness.train.optim import make_optimizer
from harness.train.pretrain import corpus_of, pretrain
from harness.train.rl import train_rl
from harness.train.state import StepReport, TrainState

Report = Callable[[dict[str, Any]], None]
SECONDS_BETWEEN_REPORTS = 0.5


def device_of(config: Config) -> torch.device:
    """auto: CUDA where there is one."""
    if config.device != "auto":
        return torch.device(config.device)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def run_job(job: Job, report: Report) -> dict[str, Any]:
    """Brings the job's run to step `job.until`, scored at `job.budgets`; what is done already is not done again."""
    config = parse(job.run)
    folder = run_folder(config.out, job.run_id)
    folder.path.mkdir(parents=True, exist_ok=True)
    with locked(folder), recorded(folder):
        write_json(folder.path / "config.json", dump(config))
        if job.run_id == base_id(config):
            _pretrain(job, config, folder, report)
        elif config.objective == "frozen":
            _hold(job, config, folder, report)
        else:
            _rl(job, config, folder, report)
        folder.set_status("done", job.until)
    return {"step": job.until, "folder": str(folder.path)}


def new_state(config: Config, optim: OptimConfig, seed: int) -> TrainState:
    """A fresh policy and its optimizer."""
    policy = Transformer(config.model, precision=config.precision).initialise(keys("init", (seed,), 0))
    policy = policy.to(device_of(config))
    return TrainState((seed,), policy, make_optimizer(policy, optim))


def load_base(config: Config, policy: Transformer) -> None:
    """Fills `policy` with the pretrained base."""
    base = run_folder(config.out, base_id(config))
    load_weights(base.budgets, base.run_id, policy, config.base.steps)


def _resume(folder: RunFolder, state: TrainState, must_pass: Iterable[int] = ()) -> None:
    """Loads the newest checkpoint from which every step of `must_pass` is still to come; drops metrics after it, and
    later checkpoints, whose steps are run again: a kill on the way would otherwise resume past rows not yet written."""
    missing = [b for b in must_pass if not step_folder(folder.budgets, b).is_dir()]
    usable = [step for step in saved_steps(folder.checkpoints) if step <= min(missing, default=step)]
    if usable:
        load_checkpoint(folder.checkpoints, folder.run_id, state, usable[-1])
    for step in saved_steps(folder.checkpoints)[len(usable) :]:
        shutil.rmtree(step_folder(folder.checkpoints, step))
    cut_back(folder.path, state.spent.step if usable else -1)


class _Loop:
    """What happens after each step: a row of metrics, the budget's evaluation, a checkpoint, a word to the parent."""

    def __init__(self, job: Job, config: Config, folder: RunFolder, tracker: Tracker, report: Report, stop: Callable):
        self.job, self.config, self.folder = job, config, folder
        self.tracker, self.report, self.stop = tracker, report, stop
        self.saved = self.reported = monotonic()
        self.recent: list[dict[str, float]] = []
        self.said: set[str] = set()

    def after(self, state: TrainState, step: StepReport, on_budget: Callable[[TrainState], None]) -> None:
        row = metrics_row(state.spent, step)
        self.tracker.log(row)
        on_budget(state)
        stopped, now = self.stop(), monotonic()
        if stopped or state.spent.step >= self.job.until or now - self.saved >= self.config.save.seconds:
            save_checkpoint(self.folder.checkpoints, self.folder.run_id, state, self.config.save.keep)
            self.folder.set_status("running", state.spent.step)
            beat(self.folder)
            self.saved = now
        if now - self.reported >= SECONDS_BETWEEN_REPORTS or state.spent.step >= self.job.until:
            self.reported = now
            self.report({"step": state.spent.step, "until": self.job.until, **row})
        self.alarm(row)
        if stopped:
            raise stopped

    def alarm(self, row: dict[str, float]) -> None:
        self.recent = [*self.recent, row][-alarms.WINDOW :]
        if "train/no_signal_groups" in row:
            self.say(alarms.during_rl(self.recent))

    def say(self, messages: Iterable[str]) -> None:
        """Each message once a run."""
        for message in messages:
            if message not in self.said:
                self.said.add(message)
                self.report({"alarm": message})


def metrics_row(spent: Spent, step: StepReport) -> dict[str, float]:
    """The row of metrics.jsonl for one step of a single run."""
    axes = {f"compute/{name}": value for name, value in asdict(spent).items()}
    values = {name: float(value[0]) for name, value in step.metrics.items()}
    row = axes | {("optim/lr" if name == "lr" else f"train/{name}"): value for name, value in values.items()}
    row |= {f"time/{name}": value for name, value in step.seconds.items()}
    if step.sampled is not None:
        seconds = sum(step.seconds.values())
        row["perf/tokens_per_s"] = float(step.sampled.rollouts.length.sum()) / seconds
        row["perf/completions_per_s"] = step.sampled.rollouts.rows / seconds
    return row


def _pretrain(job: Job, config: Config, folder: RunFolder, report: Report) -> None:
    """The base: trained to its last step, whose weights are kept."""
    base: BaseConfig = config.base
    state = new_state(config, base.optim, base.seed)
    _resume(folder, state)
    with open_run(job, config, folder) as tracker, deferred() as stop:
        loop = _Loop(job, config, folder, tracker, report, stop)
        pretrain(base, state, corpus_of(base), job.until, lambda s, step: loop.after(s, step, lambda _: None))
    save_weights(folder.budgets, folder.run_id, state.policy, state.spent)


def open_run(job: Job, config: Config, folder: RunFolder):
    return open_tracker(config.tracker, folder.path, folder.run_id, dump(config), job.labels)


def _rl(job: Job, config: Config, folder: RunFolder, report: Report) -> None:
    """RL from the base, scored at each budget as it passes; budgets passed before are scored from their weights."""
    state = new_state(config, config.optim, config.seed)
    load_base(config, state.policy)
    _resume(folder, state, job.budgets)
    tasks = select(config.tasks.verified)
    mixture = Mixture(
        tuple(tasks), difficulties=config.tasks.difficulties, difficulty_decay=config.tasks.difficulty_decay
    )
    env = TextVectorEnv(config.rl.problems * config.rl.group_size, tasks[0])
    suite = suite_of(config)
    with open_run(job, config, folder) as tracker, deferred() as stop:
        loop = _Loop(job, config, folder, tracker, report, stop)

        def on_budget(state: TrainState) -> None:
            if state.spent.step in job.budgets:
                save_weights(folder.budgets, folder.run_id, state.policy, state.spent)
                scores = score_budget(config, folder, suite, state.policy, state.spent)
                tracker.log({f"compute/{k}": v for k, v in asdict(state.spent).items()} | eval_metrics(scores))
                if state.spent.step == 0:
                    loop.say(alarms.before_rl(role_accuracy(scores, {t.name for t in tasks})))

        if state.spent.step == 0:
            on_budget(state)
        train_rl(config, state, env, mixture, job.until, lambda s, step: loop.after(s, step, on_budget))
    for step in job.budgets:
        if not folder.evaluation(evaluation_id(config), step).is_file():
            spent = load_weights(folder.budgets, folder.run_id, state.policy, step)
            score_budget(config, folder, suite, state.policy, spent)


def _hold(job: Job, config: Config, folder: RunFolder, report: Report) -> None:
    """The frozen arm: the base, scored afresh at each budget. Its spread is the noise of the measurement."""
    state = new_state(config, config.optim, config.seed)
    load_base(config, state.policy)
    suite = suite_of(config)
    cut_back(folder.path, -1)  # before the tracker opens the file: it is replaced
    with open_run(job, config, folder) as tracker, deferred() as stop:
        for step in job.budgets:
            spent = Spent(step=step)
            scores = score_budget(config, folder, suite, state.policy, spent)
            tracker.log({f"compute/{k}": v for k, v in asdict(spent).items()} | eval_metrics(scores))
            folder.set_status("running", step)
            report({"step": step, "until": job.until})
            if stopped := stop():
                raise stopped


def suite_of(config: Config) -> tuple[Cell, ...]:
    tasks = (*select(config.tasks.verified), *select(config.tasks.unverified))
    return build_suite(tasks, config.tasks.difficulties, config.evaluation)


def score_budget(
    config: Config, folder: RunFolder, suite: tuple[Cell, ...], policy: Transformer, spent: Spent
) -> list[dict[str, Any]]:
    """Rows of the run table at this budget; from the file if the evaluation was made before."""
    path = folder.evaluation(evaluation_id(config), spent.step)
    known = read_json(path)
    if known is not None:
        return known["rows"]
    scores = evaluate(policy, suite, config.evaluation, Key("evaluation", config.seed, spent.step))
    rows = [score_row(score, config.evaluation.ks) for score in scores]
    problems = [row for score in scores for row in problem_rows(score)]
    samples = [
        {"task": s.cell.task, "difficulty": s.cell.difficulty, "prompt": s.cell.problems[0].prompt,
         "answer": s.cell.problems[0].answer, "completions": list(s.answers[0])}
        for s in scores
    ]  # fmt: skip
    write_lines(folder.path / "samples" / f"step-{spent.step:08d}.jsonl", samples)
    write_json(path, {"spent": asdict(spent), "rows": rows, "problems": problems})
    return rows


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text("".join(json.dumps(row) + "\n" for row in rows))
    beside.replace(path)


def eval_metrics(rows: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """eval/{task}/{mean@1, pass@k, majority@k}: means over a task's difficulties, each counting the same."""
    by_task: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_task.setdefault(row["task"], []).append(row)
    out = {}
    for task, cells in by_task.items():
        out[f"eval/{task}/mean@1"] = sum(r["n_correct"] / (r["n_problems"] * r["k"]) for r in cells) / len(cells)
        for column in cells[0]:
            if column.startswith(("pass_at_", "majority_at_")):
                name = column.replace("_at_", "@")
                out[f"eval/{task}/{name}"] = sum(r[column] for r in cells) / len(cells)
    return out


def role_accuracy(rows: Iterable[Mapping[str, Any]], tasks: set[str]) -> float:
    """mean@1 over the given tasks, each counting the same."""
    values = [v for name, v in eval_metrics(rows).items() if name.endswith("/mean@1") and name.split("/")[1] in tasks]
    return sum(values) / len(values)
