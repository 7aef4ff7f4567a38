"""One run, from its job to its scores: resumed where it stood, evaluated at its budgets, stopped in good order.

`run_job` is what every launcher calls. It brings a base or an RL run to the step asked for and writes nothing outside
the run's folder.
"""

import copy
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from envs.base import Task
from envs.mixture import Mixture
from envs.registry import select
from envs.vector import TextVectorEnv
from envs.weights import distributed_weights
from harness.config.identity import base_id, evaluation_id
from harness.config.parse import dump, parse
from harness.config.schema import Config, OptimConfig, TasksConfig
from harness.core.flops import Spent
from harness.core.seeding import keys
from harness.core.signals import deferred
from harness.launch.jobs import Job
from harness.launch.worker import job_from
from harness.policy.backends import native
from harness.policy.export import read_folder
from harness.policy.transformer import Transformer
from harness.run import diagnostics as alarms
from harness.run.callbacks import Loop, Report, axes, dumping, open_trackers
from harness.run.checkpoint import (
    load_checkpoint,
    load_weights,
    remove_unfinished,
    save_weights,
    saved_steps,
    step_folder,
)
from harness.run.evaluations import eval_metrics, role_accuracy, score_budget, suite_of
from harness.run.folder import Member, Stack, locked, recorded, run_folder, write_json
from harness.run.tracker import cut_back
from harness.train.critic import add_critic
from harness.train.distributed import agreed
from harness.train.optim import make_optimizer
from harness.train.pretrain import continue_pretraining, corpus_of, pretrain
from harness.train.reward_model import train_reward_model
from harness.train.rl import sampling_of, train_rl
from harness.train.state import TrainState


def device_of(config: Config) -> torch.device:
    """auto: CUDA where there is one."""
    if config.device != "auto":
        return torch.device(config.device)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def run_job(job: Job, report: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Brings the job's run to step `job.until`, scored at `job.budgets`; what is done already is not done again."""
    (folder,) = run_stack([job], lambda _, row: report(row))
    return {"step": job.until, "folder": folder}


def run_stack_job(job: Job, report: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """What the stacked launcher calls: a job whose `run` holds the jobs of a stack; rows name their member."""
    jobs = [job_from(fields) for fields in job.run["jobs"]]
    return {"folders": run_stack(jobs, lambda member, row: report(row | {"member": member.run_id}))}


def run_stack(jobs: Sequence[Job], report: Report) -> list[str]:
    """Runs that are alike but for their seeds in one model, each with the streams that it would have alone. Returns
    their folders."""
    with ExitStack() as stack:
        members = [_open(job, stack) for job in jobs]
        if device_of(members[0].config).type == "cpu":
            stack.enter_context(native.shared_by(jobs[0].threads * torch.get_num_threads()))
        if members[0].is_base:
            _pretrain(members, report)
        elif members[0].config.objective == "frozen":
            _hold(members, report)
        else:
            _rl(members, report)
        for member in members:
            member.folder.set_status("done", max(member.job.until, member.folder.status().get("step", 0)))
    return [str(member.folder.path) for member in members]


def _open(job: Job, stack: ExitStack) -> Member:
    config = parse(job.run)
    folder = run_folder(config.out, job.run_id)
    stack.enter_context(locked(folder))
    stack.enter_context(recorded(folder))
    remove_unfinished(folder.checkpoints)
    remove_unfinished(folder.budgets)
    folder.set_status("running", folder.status().get("step", 0))
    write_json(folder.path / "config.json", dump(config))
    return Member(job, config, folder)


def new_state(config: Config, optim: OptimConfig, seeds: tuple[int, ...]) -> TrainState:
    """Fresh policies and their optimizer."""
    policy = Transformer(config.model, len(seeds), config.precision).initialise(keys("init", seeds, 0))
    policy = policy.to(device_of(config))
    return TrainState(seeds, policy, make_optimizer(policy, optim))


def from_bases(members: Stack) -> TrainState:
    """Each member's pretrained base, where reference, reward model and critic begin too, and a fresh optimizer."""
    config = members[0].config
    state = new_state(config, config.optim, tuple(member.config.seed for member in members))
    bases = [run_folder(member.config.out, base_id(member.config)) for member in members]
    load_weights([(base.budgets, base.run_id) for base in bases], state.policy, config.base.steps)
    if config.algo.kl != "none":
        state.reference = copy.deepcopy(state.policy).requires_grad_(False)
    if config.reward.model is not None:
        state.reward_model = copy.deepcopy(state.policy).requires_grad_(False)
    if config.objective == "rl":
        add_critic(state, config.algo, config.optim)
    return state


def _usable_steps(member: Member) -> set[int]:
    """Checkpoints from which every budget that was not kept is still to come."""
    budgets = () if member.is_base else member.job.budgets
    missing = [b for b in budgets if not step_folder(member.folder.budgets, b).is_dir()]
    steps = saved_steps(member.folder.checkpoints)
    return {step for step in steps if step <= min(missing, default=step)}


def _resume(members: Stack, state: TrainState) -> None:
    """Loads the newest checkpoint that all can go on from; drops metrics after it, and later checkpoints, whose steps
    are run again: a kill on the way would otherwise resume past rows not yet written."""
    step = max(set.intersection(*(_usable_steps(member) for member in members)), default=-1)
    if step >= 0:
        load_checkpoint([(m.folder.checkpoints, m.folder.run_id) for m in members], state, step)
    for member in members:
        for later in saved_steps(member.folder.checkpoints):
            if later > step:
                shutil.rmtree(step_folder(member.folder.checkpoints, later))
        cut_back(member.folder.path, step)


def _pretrain(members: Stack, report: Report) -> None:
    """Bases, trained to their last step, whose weights are kept."""
    config = members[0].config
    state = new_state(config, config.base.optim, tuple(member.config.base.seed for member in members))
    if config.base.folder is not None:
        _import(config.base.folder, members, state)
        return
    _resume(members, state)
    with open_trackers(members) as trackers, deferred() as stop, dumping(members, state):
        loop = Loop(members, trackers, report, stop)
        until, corpus = members[0].job.until, corpus_of(config.base)
        after = lambda state, step: loop.after(state, step, lambda _: None)  # noqa: E731
        pretrain(config.base, state, corpus, until, after, members[0].job.threads)
    for i, member in enumerate(members):
        save_weights(member.folder.budgets, member.folder.run_id, state.policy, state.spent[i], i)


def _import(folder: str, members: Stack, state: TrainState) -> None:
    """An exported policy in the place of a pretrained base; what it had cost is not known to this run."""
    weights = read_folder(Path(folder), state.policy.state_dict(), members[0].config.model)
    state.policy.load_state_dict(weights)
    for member in members:
        save_weights(member.folder.budgets, member.folder.run_id, state.policy, Spent(step=member.job.until))


def training_mixture(config: Config) -> Mixture:
    """What RL draws: verified tasks alone, whatever else a study names."""
    roles, tasks = config.tasks, select(config.tasks.verified)
    return Mixture(tasks, _weights(roles, tasks), roles.difficulties, roles.difficulty_decay)


def _weights(roles: TasksConfig, tasks: Sequence[Task]) -> tuple[float, ...]:
    """Of each task: of the distribution, or of the first entry that stands for it; () where all are alike."""
    if roles.weight_distribution is not None:
        return distributed_weights(roles.weight_distribution.name, len(tasks), roles.weight_distribution.decades)
    weight: dict[str, float] = {}
    for entry, value in zip(roles.verified, roles.weights):
        for task in select([entry]):
            weight.setdefault(task.name, value)
    return tuple(weight[task.name] for task in tasks) if weight else ()


def _rl(members: Stack, report: Report) -> None:
    """RL from the bases, scored at each budget as it passes; budgets passed before are scored from their weights."""
    config, job = members[0].config, members[0].job
    state = from_bases(members)
    _resume(members, state)
    mixture = training_mixture(config)
    env = TextVectorEnv(len(members) * config.rl.problems * config.rl.group_size, mixture.tasks[0])
    suite = suite_of(config)
    with open_trackers(members) as trackers, deferred() as stop, dumping(members, state):
        loop = Loop(members, trackers, report, agreed(stop))

        def on_budget(state: TrainState) -> None:
            if state.step not in job.budgets:
                return
            for i, member in enumerate(members):
                save_weights(member.folder.budgets, member.folder.run_id, state.policy, state.spent[i], i)
            for i, rows in enumerate(score_budget(members, suite, state.policy, state.spent)):
                trackers[i].log(axes(state.spent[i]) | eval_metrics(rows))
                if state.step == 0:
                    loop.say(members[i], alarms.before_rl(role_accuracy(rows, {t.name for t in mixture.tasks})))

        if state.step == 0:
            if state.reward_model is not None:
                train_reward_model(config, state, env, mixture, sampling_of(config, mixture))
            on_budget(state)
        after = lambda state, step: loop.after(state, step, on_budget)  # noqa: E731
        if config.objective == "rl":
            train_rl(config, state, env, mixture, job.until, after, job.threads)
        else:
            continue_pretraining(config, state, corpus_of(config.base), mixture, job.until, after)
    for step in job.budgets:
        if not all(m.folder.evaluation(evaluation_id(m.config), step).is_file() for m in members):
            spent = load_weights([m.source for m in members], state.policy, step)
            score_budget(members, suite, state.policy, spent)


def _hold(members: Stack, report: Report) -> None:
    """The frozen arm: the base, scored afresh at each budget. Its spread is the noise of the measurement."""
    state, suite = from_bases(members), suite_of(members[0].config)
    for member in members:
        cut_back(member.folder.path, -1)  # before the tracker opens the file: it is replaced
    with open_trackers(members) as trackers, deferred() as stop:
        for step in members[0].job.budgets:
            spent = (Spent(step=step),) * len(members)
            scored = score_budget(members, suite, state.policy, spent)
            for member, tracker, rows in zip(members, trackers, scored):
                tracker.log(axes(spent[0]) | eval_metrics(rows))
                member.folder.set_status("running", step)
                report(member.job, {"step": step, "until": member.job.until})
            if stopped := stop():
                raise stopped
