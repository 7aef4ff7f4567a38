"""Checks of tasks: roles, weights, phases, corpus, difficulties, and whether everything fits into the context."""

import fnmatch
import functools

import numpy as np

from envs.base import Task
from envs.mixture import Mixture
from envs.pool import PoolTooLarge, draw_pool
from envs.registry import get
from harness.config.roles import phases_of
from harness.config.schema import Config
from harness.core.errors import UserError

MOST_DRAWN = 4_000  # problems, to check a configuration
POOL_FIX = "lower it, add tasks or difficulties, or set it to null"


def check_roles(verified: tuple[Task, ...], unverified: tuple[Task, ...]) -> None:
    if not verified:
        raise UserError("tasks.verified is empty", "RL needs at least one task to reward", "name one")
    both = sorted({t.name for t in verified} & {t.name for t in unverified})
    if both:
        raise UserError(
            f"tasks.verified and tasks.unverified both hold {', '.join(both)}",
            "an unverified task is one that training never rewards",
            "name each task in one of the two",
        )
    hidden = [task.name for task in verified if not task.has_verifier]
    if hidden:
        raise UserError(
            f"tasks.verified holds {', '.join(hidden)}",
            "these have no verifier, only a grader that training must never see",
            "move them to tasks.unverified",
        )


def check_weights(config: Config) -> None:
    entries, weights = len(config.tasks.verified), len(config.tasks.weights)
    if weights not in (0, entries):
        raise UserError(
            f"tasks.weights has {weights} entries",
            f"tasks.verified has {entries}, each of which needs its own",
            "name as many, or none",
        )


def check_phases(config: Config) -> None:
    """Of tasks.sequence."""
    verified = config.tasks.verified
    if not config.tasks.sequence:
        return
    if len(verified) < 2:
        raise UserError(
            f"tasks.sequence=true with tasks.verified={list(verified)}",
            "each entry is a phase, and one phase is no sequence",
            "name at least two entries, or set tasks.sequence=false",
        )
    idle = [entry for entry, names in zip(verified, phases_of(verified)) if not names]
    if idle:
        raise UserError(
            f"tasks.sequence=true with {', '.join(idle)} in tasks.verified",
            "all its tasks belong to entries before it, so its phase would have none",
            "leave it out, or put it first",
        )
    if config.rl.steps < len(verified):
        raise UserError(
            f"tasks.sequence=true with rl.steps={config.rl.steps}",
            f"tasks.verified has {len(verified)} entries, each a phase of at least one step",
            f"set rl.steps={len(verified)} or more",
        )


def check_corpus(config: Config, corpus: tuple[Task, ...]) -> None:
    contexts = sorted({task.context for task in corpus})
    unknown = [name for name, weight in config.base.contexts.items() if weight > 0 and name not in contexts]
    if unknown:
        raise UserError(
            f"base.contexts names {', '.join(unknown)}",
            "none of base.tasks has that context, so nothing of it would be in the corpus",
            f"choose from {', '.join(contexts)}",
        )
    idle = [entry for entry in config.base.task_options if not fnmatch.filter([task.name for task in corpus], entry)]
    if idle:
        raise UserError(
            f"base.task_options names {', '.join(idle)}",
            "none of base.tasks matches it, so it would change nothing",
            "name tasks or patterns of base.tasks",
        )
    weights = [config.base.options(task.name).weight * config.base.contexts.get(task.context, 0) for task in corpus]
    used = tuple(task for task, weight in zip(corpus, weights) if weight > 0)
    check_difficulties("base.difficulties", used, config.base.difficulties)
    if config.has_scratchpad and not any(task.has_scratchpad for task in used):
        raise UserError(
            f"base.scratchpad_share={config.base.scratchpad_share}",
            "none of base.tasks has worked steps that a scratchpad could hold",
            "add a task that has, or set base.scratchpad_share=0",
        )


def check_synthetic(config: Config, corpus: tuple[Task, ...]) -> None:
    """Checks of documents that an earlier base writes."""
    synthetic = config.base.synthetic
    hidden = [task.name for task in corpus if not task.has_verifier]
    if hidden and synthetic is not None and synthetic.filter == "verifier":
        raise UserError(
            f"base.synthetic.filter=verifier with {', '.join(hidden)} in base.tasks",
            "these have no verifier, only a grader that training must never see",
            "leave them out of base.tasks, or set base.synthetic.filter=none",
        )


def check_difficulties(group: str, tasks: tuple[Task, ...], difficulties: tuple[int, ...]) -> None:
    try:
        Mixture(tasks, difficulties=difficulties).cells()
    except ValueError as error:
        raise UserError(f"{group}={list(difficulties)}: {error}") from None


def check_held_out(config: Config, verified: tuple[Task, ...]) -> None:
    held_out, trained = config.tasks.held_out_difficulties, config.tasks.difficulties
    if held_out and (not trained or set(held_out) & set(trained)):
        raise UserError(
            f"tasks.held_out_difficulties={list(held_out)} with tasks.difficulties={list(trained) or '[] (all)'}",
            "these are to be evaluated and never trained",
            "name in tasks.difficulties those that are trained, and others in tasks.held_out_difficulties",
        )
    if held_out:
        check_difficulties("tasks.held_out_difficulties", verified, held_out)


def check_pool(config: Config, verified: tuple[Task, ...]) -> None:
    """Of pools that are drawn in a fraction of a second; larger ones are checked where they are drawn, before RL."""
    size = config.tasks.distinct_problems
    if size is not None and size <= MOST_DRAWN:
        _check_pool_size(Mixture(verified, difficulties=config.tasks.difficulties), size)


@functools.cache
def _check_pool_size(mixture: Mixture, size: int) -> None:
    try:
        draw_pool(mixture, size, 0.0, np.random.default_rng(0))
    except PoolTooLarge as error:
        raise UserError(f"tasks.distinct_problems={size}", str(error), POOL_FIX) from None


def check_context(config: Config, tasks: tuple[Task, ...], corpus: tuple[Task, ...]) -> None:
    """One length budget serves all tasks of a rollout: the longest completion of any of them."""
    tokens = max(config.sampling.max_new_tokens or 0, *(task.max_completion + 1 for task in tasks))
    if config.has_scratchpad:
        tokens += max(config.sampling.thinking, *config.evaluation.thinking) + 1
    needs = {}
    for task in tasks:
        prompt, _ = task.max_lengths(_shared(config.tasks.difficulties + config.tasks.held_out_difficulties, task))
        needs[f"{task.name}, with completions of up to {tokens},"] = _episode(task, prompt, tokens)
    written = [_written_tokens(config, task) for task in corpus]
    for task, tokens in zip(corpus, written):
        prompt, _ = task.max_lengths(_shared(config.base.difficulties, task))
        # An earlier base may write as much for each as for the longest.
        needs[f"a document of {task.name}"] = _episode(task, prompt, max(written) if config.base.synthetic else tokens)
    name, need = max(needs.items(), key=lambda item: item[1])
    if need > config.model.context:
        raise UserError(
            f"{name} may need {need} tokens",
            f"model.context is {config.model.context}",
            "raise model.context, choose lower difficulties, or leave the task out",
        )


def _written_tokens(config: Config, task: Task) -> int:
    """Of the longest completion of a turn in the corpus, its stop token included."""
    difficulties = _shared(config.base.difficulties, task)
    hardest = max(difficulties or task.difficulties)
    steps = longest_scratchpad(task.name, hardest) + 1 if config.has_scratchpad else 0
    return steps + task.max_lengths(difficulties)[1] + 1


@functools.cache
def longest_scratchpad(name: str, difficulty: int) -> int:
    """Characters, among 64 problems: no task states a bound."""
    task, rng = get(name), np.random.default_rng(0)
    return max(len(task.scratchpad(task.draw(rng, difficulty))) for _ in range(64))


def _episode(task: Task, prompt: int, tokens: int) -> int:
    """Tokens of the longest episode with so many characters of prompt and so many tokens of completion a turn."""
    return prompt + 2 + task.max_turns * tokens + (task.max_turns - 1) * (task.max_reply + 2)


def _shared(difficulties: tuple[int, ...], task: Task) -> list[int]:
    return [d for d in difficulties if d in task.difficulties]
