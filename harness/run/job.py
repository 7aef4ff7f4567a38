"""One run, from its job to its scores: resumed where it stood, evaluated at its budgets, stopped in good order.

`run_job`, which every launcher calls, brings a base or a run to the step asked for and writes only into the run's
folder. What a run has is never shortened, replaced or relabelled: a job that asks for less only adds scores.
"""

import copy
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch

from envs.vector import TextVectorEnv
from harness.config.identity import base_id, evaluation_id
from harness.config.parse import dump
from harness.config.schema import Config, OptimConfig
from harness.core.errors import attempt_all
from harness.core.files import is_intact, write_hashed_json
from harness.core.flops import Spent
from harness.core.groups import grouped
from harness.core.seeding import keys
from harness.core.signals import defer_signals
from harness.launch.jobs import Job
from harness.launch.worker import job_from
from harness.policy.backends.backend import Backend, choose_backend
from harness.policy.export import read_folder
from harness.policy.transformer import Transformer
from harness.run import diagnostics
from harness.run.callbacks import ReportRow, StepCallbacks, compute_metrics, dump_on_nonfinite, open_trackers
from harness.run.checkpoint import load_checkpoint, load_weights, save_weights, step_folder
from harness.run.early_end import EarlyEnd, early_end, never
from harness.run.evaluations import VERIFIED_ACCURACY, budget_metrics, evaluate_budget, evaluation_suite
from harness.run.folder import folder_of, record_outcome, run_folder
from harness.run.lock import hold_lock
from harness.run.mixture import training_mixture
from harness.run.remaining import RemainingWork, remaining_work
from harness.run.teacher import load_teacher
from harness.run.tracker import STEP, check_metrics, cut_back, metrics_record, read_metrics
from harness.train.critic import add_critic
from harness.train.distributed import synchronised_stop
from harness.train.optim import make_optimizer
from harness.train.pretrain import continued_step, corpus_of, pretrain_step
from harness.train.reward_model import train_reward_model
from harness.train.rl import rl_step
from harness.train.rollout import training_sampling
from harness.train.state import TrainState


def device_of(config: Config) -> torch.device:
    """auto: CUDA where there is one."""
    if config.device != "auto":
        return torch.device(config.device)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def backend_of(config: Config) -> Backend:
    """Raises UserError if the policy cannot run on the backend configured."""
    return choose_backend(config.backend, config.model, config.precision, device_of(config))[0]


def run_job(job: Job, report: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Brings the job's run to step `job.until`, scored at `job.budgets`; what is done already is not done again. Of a
    job whose `run` holds the jobs of a stack, these; rows then name their member."""
    if "jobs" in job.run:
        jobs = [job_from(fields) for fields in job.run["jobs"]]
        return {"folders": run_stack(jobs, lambda member, row: report(row | {"member": member.run_id}))}
    return {"step": job.until, "folder": run_stack([job], lambda _, row: report(row))[0]}


def run_stack(jobs: Sequence[Job], report: ReportRow) -> list[str]:
    """Runs that are alike but for their seeds, each with the streams that it would have alone, in one model; those that
    lag are a stack of their own. One by one, to the bits of plain runs, if the backend does not batch seeds."""
    if len(jobs) > 1 and not backend_of(jobs[0].config).batches_seeds:
        return [folder for one in attempt_all(lambda job: run_stack([job], report), jobs) for folder in one]
    with ExitStack() as stack:
        for job in jobs:
            _open(job, stack)
        stack.enter_context(backend_of(jobs[0].config).num_threads(jobs[0].threads))
        for work, group in grouped(jobs, remaining_work).items():
            _run_members(group, work, report)
        folders = [folder_of(job) for job in jobs]
        for job, folder in zip(jobs, folders):
            step = folder.within_end(max(job.until, folder.status().get("step", 0)))
            folder.set_status("done", step, metrics=metrics_record(folder.path))
    return [str(folder.path) for folder in folders]


def _run_members(members: Sequence[Job], work: RemainingWork, report: ReportRow) -> None:
    for member in members:  # a job that trains nothing leaves the configuration of the one that did
        path = folder_of(member).path / "config.json"
        if work.start < work.until or not is_intact(path):
            write_hashed_json(path, dump(member.config))
    if members[0].is_base:
        if work.base_weights:
            _pretrain(members, work, report)
    elif members[0].config.objective == "frozen":
        _evaluate_frozen(members, report)
    else:
        _train_and_evaluate(members, work, report)


def _open(job: Job, stack: ExitStack) -> None:
    folder = folder_of(job)
    stack.enter_context(hold_lock(folder))
    stack.enter_context(record_outcome(folder))
    folder.remove_unfinished()
    check_metrics(folder.path, folder.status())
    folder.set_reached(0)
    folder.add_labels(job.labels)


def new_state(config: Config, optim: OptimConfig, seeds: tuple[int, ...]) -> TrainState:
    """Fresh policies and their optimizer."""
    policy = Transformer(config.model, len(seeds), config.precision).initialise(
        keys("init", seeds, config.base.generation)
    )
    policy = policy.to(device_of(config))
    return TrainState(seeds, policy, make_optimizer(policy, optim), backend_of(config))


def from_bases(members: Sequence[Job]) -> TrainState:
    """Each member's pretrained base, where reference, reward model and critic begin too, and a fresh optimizer."""
    config = members[0].config
    state = new_state(config, config.optim, tuple(member.config.seed for member in members))
    bases = [run_folder(member.config.out, base_id(member.config)) for member in members]
    load_weights([base.budgets for base in bases], state.policy, config.base.steps)
    if config.algo.kl != "none":
        state.reference = copy.deepcopy(state.policy).requires_grad_(False)
    if config.reward.model is not None:
        state.reward_model = copy.deepcopy(state.policy).requires_grad_(False)
    if config.objective == "rl":
        add_critic(state, config.algo, config.optim)
    return state


def first_state(members: Sequence[Job]) -> TrainState:
    """Where the members' training begins: at their bases or, of runs that are pretrained, at initialisation."""
    if members[0].config.objective == "pretraining":
        return _pretraining_state(members)
    return from_bases(members)


def _pretraining_state(members: Sequence[Job]) -> TrainState:
    config = members[0].config
    return new_state(config, config.base.optim, tuple(member.config.base.seed for member in members))


def _resume(members: Sequence[Job], state: TrainState, start: int) -> None:
    """Loads the checkpoint of step `start` (0: none) and drops the rows of metrics after it, which a process that was
    killed had written; their steps are trained again."""
    if start > 0:
        load_checkpoint([folder_of(m).checkpoints for m in members], state, start)
    for member in members:
        cut_back(folder_of(member).path, start if start > 0 else -1)


def _pretrain(members: Sequence[Job], work: RemainingWork, report: ReportRow) -> None:
    """Bases, trained to their last step, whose weights are kept."""
    config = members[0].config
    state = _pretraining_state(members)
    if config.base.folder is not None:
        _import(config.base.folder, members, state)
        return
    _resume(members, state, work.start)
    with open_trackers(members, report) as trackers, defer_signals() as stop, dump_on_nonfinite(members, state):
        callbacks = StepCallbacks(members, work.until, report, stop, trackers)
        corpus, teacher = corpus_of(config.base), load_teacher(members, state)
        while state.step < work.until:
            callbacks.after_step(state, pretrain_step(config.base, state, corpus, teacher), lambda _: None)
    for i, member in enumerate(members):
        last = [row["train/loss"] for row in read_metrics(folder_of(member).path)[-20:]]
        about = {"loss": sum(last) / len(last)} if last else {}
        save_weights(folder_of(member).budgets, state.policy, state.spent[i], i, about)


def _import(folder: str, members: Sequence[Job], state: TrainState) -> None:
    """An exported policy in the place of a pretrained base; what it had cost is not known to this run."""
    weights = read_folder(Path(folder), state.policy.state_dict(), members[0].config.model)
    state.policy.load_state_dict(weights)
    for member in members:
        save_weights(folder_of(member).budgets, state.policy, Spent(step=member.until))


def _train_and_evaluate(members: Sequence[Job], work: RemainingWork, report: ReportRow) -> None:
    """Training as the objective has it, scored at each budget as it passes; budgets passed before are scored from their
    weights, or by a replay of the steps before them where no weights were kept."""
    if work.missing_weights:
        _retrain_for_weights(members, work, report)
    if work.start < work.until:
        state = first_state(members)
        _resume(members, state, work.start)
        budgets = [step for step in members[0].budgets if step > work.start or work.start == 0]
        with open_trackers(members, report) as trackers, defer_signals() as stop, dump_on_nonfinite(members, state):
            callbacks = StepCallbacks(members, work.until, report, synchronised_stop(stop), trackers)
            _train(callbacks, state, budgets, early_end(members[0].config))
    _evaluate_kept_weights(members)


def _retrain_for_weights(members: Sequence[Job], work: RemainingWork, report: ReportRow) -> None:
    """Trains again, beside the run, for weights at budgets that it passed without keeping them. Of the run's own files
    only weights and scores at these budgets are written."""
    state, start = first_state(members), work.retrain_from
    if start > 0:
        both = [(f.checkpoints, f.replay) for f in map(folder_of, members)]  # its own, or of an interrupted replay
        kept = [own if step_folder(own, start).is_dir() else replay for own, replay in both]
        load_checkpoint(kept, state, start)
    with defer_signals() as stop, dump_on_nonfinite(members, state):
        callbacks = StepCallbacks(members, max(work.missing_weights), report, synchronised_stop(stop))
        _train(callbacks, state, work.missing_weights, never)
    for member in members:
        shutil.rmtree(folder_of(member).replay, ignore_errors=True)


def _train(callbacks: StepCallbacks, state: TrainState, budgets: Sequence[int], ends: EarlyEnd) -> None:
    """Training to the callbacks' last step, or to where the run ends; keeps weights and scores at each of `budgets`,
    and there."""
    members, until = callbacks.members, callbacks.until
    config = members[0].config
    mixture, suite = training_mixture(config), evaluation_suite(config)
    env = TextVectorEnv(len(members) * config.rl.problems * config.rl.group_size, mixture.tasks[0])

    def keep(state: TrainState) -> None:
        for i, member in enumerate(members):
            save_weights(folder_of(member).budgets, state.policy, state.spent[i], i)
        scores = evaluate_budget(members, suite, state, state.spent)
        metrics = [budget_metrics(m.config, folder_of(m), rows) for m, rows in zip(members, scores)]
        callbacks.log([compute_metrics(spent) | own for spent, own in zip(state.spent, metrics)])
        if state.step == 0 and config.objective != "pretraining":
            for member, own in zip(members, metrics):
                callbacks.warn(member, diagnostics.before_rl(own[VERIFIED_ACCURACY]))

    def on_budget(state: TrainState) -> None:
        if state.step in budgets:
            keep(state)

    if state.step == 0 and state.reward_model is not None:
        train_reward_model(config, state, env, mixture, training_sampling(config, mixture))
    on_budget(state)
    step = {
        "rl": lambda: partial(rl_step, config, state, env, mixture),
        "continued_pretraining": lambda: partial(continued_step, config, state, corpus_of(config.base), mixture),
        "pretraining": lambda: partial(pretrain_step, config.base, state, corpus_of(config.base)),
    }[config.objective]()
    while state.step < until and not (reason := ends(state)):
        callbacks.after_step(state, step(), on_budget)
    if state.step < until:
        if not _are_scored(members, state.step):
            keep(state)
        callbacks.end_run(state, reason)


def _are_scored(members: Sequence[Job], step: int) -> bool:
    return all(is_intact(folder_of(m).evaluation(evaluation_id(m.config), step)) for m in members)


def _evaluate_kept_weights(members: Sequence[Job]) -> None:
    """Scores at budgets that still have none, from the weights kept there."""
    config, end = members[0].config, folder_of(members[0]).within_end(members[0].until)
    missing = [step for step in members[0].budgets if step <= end and not _are_scored(members, step)]
    if not missing:
        return
    state = new_state(config, config.optim, tuple(member.config.seed for member in members))
    suite = evaluation_suite(config)
    for step in missing:
        spent = load_weights([folder_of(member).budgets for member in members], state.policy, step)
        evaluate_budget(members, suite, state, spent)


def _evaluate_frozen(members: Sequence[Job], report: ReportRow) -> None:
    """The frozen arm: the base, scored afresh at each budget. Its spread is the noise of the measurement. Budgets that
    have a row of metrics keep it."""
    state, suite, budgets = from_bases(members), evaluation_suite(members[0].config), members[0].budgets
    logged = [{row[STEP] for row in read_metrics(folder_of(member).path)} for member in members]
    is_new = any(set(budgets) - steps for steps in logged)
    with open_trackers(members, report) if is_new else nullcontext([]) as trackers, defer_signals() as stop:
        for step in budgets:
            spent = (Spent(step=step),) * len(members)
            scores = evaluate_budget(members, suite, state, spent)
            for i, (member, tracker) in enumerate(zip(members, trackers)):
                if step not in logged[i]:
                    metrics = budget_metrics(member.config, folder_of(member), scores[i])
                    tracker.log(compute_metrics(spent[i]) | metrics)
            for member in members:
                folder_of(member).set_reached(step)
                report(member, {"step": step, "until": member.until})
            if stopped := stop():
                raise stopped
