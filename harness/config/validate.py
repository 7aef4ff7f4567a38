"""Combinations that cannot work, found before any compute is spent, each with its reason and a way out."""

import functools
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from envs.base import Task
from envs.mixture import Mixture
from envs.registry import UnknownTask, get, select
from harness.core.errors import UserError

if TYPE_CHECKING:
    from harness.config.schema import Config


def check(config: "Config") -> None:
    """Raises UserError for the first combination that cannot work."""
    _check_sizes(config)
    try:
        verified, unverified = select(config.tasks.verified), select(config.tasks.unverified)
        corpus = select(config.base.tasks)
    except UnknownTask as error:
        raise UserError(str(error)) from None
    _check_curriculum(config)
    _check_thinking(config)
    _check_algorithm(config, verified)
    _check_roles(verified, unverified)
    _check_corpus(config, corpus)
    _check_difficulties("tasks.difficulties", verified, config.tasks.difficulties)
    _check_longer(config, verified)
    if config.base.folder is not None:
        from harness.policy.export import origin_of

        origin_of(Path(config.base.folder), config.model)
    _check_context(config, (*verified, *unverified), corpus)


def _check_sizes(config: "Config") -> None:
    model = config.model
    if model.width % model.heads or model.head_width % 2:
        raise UserError(
            f"model.width={model.width}, model.heads={model.heads}",
            "each head needs the same, even number of dimensions (RoPE turns them in pairs)",
            f"make model.width a multiple of {2 * model.heads}",
        )
    if config.optim.minibatches > config.rl.problems:
        raise UserError(
            f"optim.minibatches={config.optim.minibatches}",
            f"minibatches are made of whole groups, and a step has {config.rl.problems}",
            "lower it, or raise rl.problems",
        )
    for k in config.evaluation.ks:
        if k > config.evaluation.samples:
            raise UserError(
                f"evaluation.ks holds {k}",
                f"pass@k needs at least k samples of a problem, and evaluation.samples={config.evaluation.samples}",
                "raise evaluation.samples or drop that k",
            )


# Algorithms without a baseline, and those whose baseline is not the group's.
_NO_BASELINE = ("reinforce", "expert_iteration", "sft")
_NO_GROUP = (*_NO_BASELINE, "reinforce_pp", "ppo")


def _check_algorithm(config: "Config", verified: tuple[Task, ...]) -> None:
    algo = config.algo
    if config.rl.group_size == 1 and algo.name not in _NO_GROUP:
        raise UserError(
            f"rl.group_size=1 with algo={algo.name}",
            "its baseline is the mean of a group, so one completion alone never carries signal",
            "set rl.group_size to 8 or 16",
        )
    if (algo.name == "ppo") != (algo.critic is not None):
        raise UserError(
            f"algo.name={algo.name} with algo.critic={algo.critic}",
            "ppo, and no other algorithm, has a critic to train",
            "choose it as a whole: algo=ppo",
        )
    if (config.reward.name == "learned_reward") != (config.reward.learned is not None):
        raise UserError(
            f"reward.name={config.reward.name} with reward.learned={config.reward.learned}",
            "learned_reward, and no other reward, has a model to train",
            "choose it as a whole: reward=learned_reward",
        )
    if config.reward.learned and config.rl.group_size % 2:
        raise UserError(
            f"reward=learned_reward with rl.group_size={config.rl.group_size}",
            "preferences are between two completions of one problem",
            "make rl.group_size even",
        )
    if algo.name == "sft":
        _check_demonstrations(config, verified)
    scales = ("none",) if algo.name in _NO_BASELINE else ("none", "batch") if algo.name in _NO_GROUP else ()
    if scales and algo.scale not in scales:
        raise UserError(
            f"algo.scale={algo.scale} with algo={algo.name}",
            "its advantages are not centred on a group, so there is no such deviation to divide by",
            f"set algo.scale to {' or '.join(scales)}",
        )
    if (algo.kl == "none") != (algo.kl_coefficient == 0):
        raise UserError(
            f"algo.kl={algo.kl} with algo.kl_coefficient={algo.kl_coefficient}",
            "a KL needs both its form and a coefficient above 0",
            "set both, such as algo.kl=k1 algo.kl_coefficient=1e-3, or neither (none and 0)",
        )


def _check_curriculum(config: "Config") -> None:
    entries, weights = len(config.tasks.verified), len(config.tasks.weights)
    if weights not in (0, entries):
        raise UserError(
            f"tasks.weights has {weights} entries",
            f"tasks.verified has {entries}, each of which needs its own",
            "name as many, or none",
        )
    for name in ("target_success", "retire_at"):
        if getattr(config.tasks, name) is not None and config.objective == "continued_pretraining":
            raise UserError(
                f"tasks.{name} with objective=continued_pretraining",
                "what RL would have drawn depends on its successes, so its cost cannot be matched without it",
                f"set tasks.{name}=null for this arm",
            )


def _check_thinking(config: "Config") -> None:
    budgets = {"sampling.thinking": [config.sampling.thinking], "evaluation.thinking": list(config.evaluation.thinking)}
    for name, asked in budgets.items():
        if any(asked) and not config.thinks:
            raise UserError(
                f"{name}={asked if len(asked) > 1 else asked[0]} with base.worked=0",
                "a base whose documents show no steps has nothing to think with, and never saw where an answer begins",
                "pretrain one that has, with base.worked=0.5",
            )
    if config.reward.name == "process_reward" and not config.thinking:
        raise UserError(
            "reward=process_reward with sampling.thinking=0",
            "it pays for steps, and there is no room to write any",
            "set base.worked=0.5 and sampling.thinking to the length of the steps, such as 64",
        )
    if len(set(config.evaluation.thinking)) < len(config.evaluation.thinking):
        raise UserError(
            f"evaluation.thinking={list(config.evaluation.thinking)}", "a budget stands twice", "name each once"
        )


def _check_demonstrations(config: "Config", verified: tuple[Task, ...]) -> None:
    if config.rl.group_size != 1:
        raise UserError(
            f"algo=sft with rl.group_size={config.rl.group_size}",
            "every completion of a problem would be the same: its one canonical answer",
            f"set rl.group_size=1, and rl.problems={config.rl.problems * config.rl.group_size} for as many answers",
        )
    several = [task.name for task in verified if task.max_turns > 1]
    if several:
        raise UserError(
            f"algo=sft with {', '.join(several)}",
            "an episode of several turns has no one canonical answer",
            "leave these tasks out of tasks.verified",
        )


def _check_roles(verified: tuple[Task, ...], unverified: tuple[Task, ...]) -> None:
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


def _check_corpus(config: "Config", corpus: tuple[Task, ...]) -> None:
    contexts = sorted({task.context for task in corpus})
    unknown = [name for name, weight in config.base.contexts.items() if weight > 0 and name not in contexts]
    if unknown:
        raise UserError(
            f"base.contexts names {', '.join(unknown)}",
            "none of base.tasks has that context, so nothing of it would be in the corpus",
            f"choose from {', '.join(contexts)}",
        )
    used = tuple(task for task in corpus if config.base.contexts.get(task.context, 0) > 0)
    _check_difficulties("base.difficulties", used, config.base.difficulties)
    if config.thinks and not any(task.has_scratchpad for task in used):
        raise UserError(
            f"base.worked={config.base.worked}",
            "none of base.tasks has worked steps that a scratchpad could hold",
            "add a task that has, or set base.worked=0",
        )


def _check_difficulties(group: str, tasks: tuple[Task, ...], difficulties: tuple[int, ...]) -> None:
    try:
        Mixture(tasks, difficulties=difficulties).cells()
    except ValueError as error:
        raise UserError(f"{group}={list(difficulties)}: {error}") from None


def _check_longer(config: "Config", verified: tuple[Task, ...]) -> None:
    longer, trained = config.tasks.longer, config.tasks.difficulties
    if longer and (not trained or set(longer) & set(trained)):
        raise UserError(
            f"tasks.longer={list(longer)} with tasks.difficulties={list(trained) or '[] (all)'}",
            "these are to be evaluated and never trained",
            "name in tasks.difficulties those that are trained, and others in tasks.longer",
        )
    if longer:
        _check_difficulties("tasks.longer", verified, longer)


def _check_context(config: "Config", tasks: tuple[Task, ...], corpus: tuple[Task, ...]) -> None:
    """One length budget serves all tasks of a rollout: the longest completion of any of them."""
    tokens = max(config.sampling.max_tokens or 0, *(task.max_completion + 1 for task in tasks))
    if config.thinks:
        tokens += max(config.sampling.thinking, *config.evaluation.thinking) + 1
    needs = {}
    for task in tasks:
        prompt, _ = task.longest(_shared(config.tasks.difficulties + config.tasks.longer, task))
        needs[f"{task.name}, with completions of up to {tokens},"] = _episode(task, prompt, tokens)
    for task in corpus:
        difficulties = _shared(config.base.difficulties, task)
        prompt, answer = task.longest(difficulties)
        thought = _longest_scratchpad(task.name, max(difficulties or task.difficulties)) + 1 if config.thinks else 0
        needs[f"a document of {task.name}"] = _episode(task, prompt, thought + answer + 1)
    name, need = max(needs.items(), key=lambda item: item[1])
    if need > config.model.context:
        raise UserError(
            f"{name} may need {need} tokens",
            f"model.context is {config.model.context}",
            "raise model.context, ask for lower difficulties, or leave the task out",
        )


@functools.cache
def _longest_scratchpad(name: str, difficulty: int) -> int:
    """Characters, among 64 problems: no task states a bound."""
    task, rng = get(name), np.random.default_rng(0)
    return max(len(task.scratchpad(task.draw(rng, difficulty))) for _ in range(64))


def _episode(task: Task, prompt: int, tokens: int) -> int:
    """Tokens of the longest episode with so many characters of prompt and so many tokens of completion a turn."""
    return prompt + 2 + task.max_turns * tokens + (task.max_turns - 1) * (task.max_reply + 2)


def _shared(difficulties: tuple[int, ...], task: Task) -> list[int]:
    return [d for d in difficulties if d in task.difficulties]
