"""Combinations that cannot work, found before any compute is spent, each with its reason and a fix."""

from collections.abc import Iterable
from pathlib import Path

from envs.base import Task
from envs.registry import UnknownTask, select
from harness.config import task_checks
from harness.config.conflicts import check_conflicts
from harness.config.identity import origin_of
from harness.config.run_names import BASE_ARM
from harness.config.schema import Config, StudyConfig
from harness.core.errors import UserError, nearest
from harness.core.registry import ALGORITHM_TRAITS, REWARD_TRAITS, AlgorithmTraits


def check(config: Config) -> None:
    """Raises UserError for the first combination that cannot work. Modules named in config.imports must be imported."""
    _check_sizes(config)
    _check_budgets(config)
    check_conflicts(config)
    try:
        verified, unverified = select(config.tasks.verified), select(config.tasks.unverified)
        corpus = select(config.base.tasks)
    except UnknownTask as error:
        raise UserError(str(error)) from None
    task_checks.check_weights(config)
    task_checks.check_phases(config)
    _check_thinking(config)
    _check_algorithm(config, verified)
    _check_reward(config)
    task_checks.check_roles(verified, unverified)
    task_checks.check_corpus(config, corpus)
    task_checks.check_synthetic(config, corpus)
    task_checks.check_difficulties("tasks.difficulties", verified, config.tasks.difficulties)
    task_checks.check_held_out(config, verified)
    task_checks.check_pool(config, verified)
    if config.base.folder is not None:
        origin_of(Path(config.base.folder), config.model)
    task_checks.check_context(config, (*verified, *unverified), corpus)
    _check_device(config)


def check_study(study: StudyConfig) -> None:
    """Raises UserError for a study without runs, and for an arm that sets what the study sets for every arm."""
    for name in ("arms", "seeds", "base_seeds"):
        if not getattr(study, name):
            raise UserError(f"study.{name} is empty", "the study has no run", f"name at least one in study.{name}")
    if BASE_ARM in study.arms:
        fix = f"give the arm another name than {BASE_ARM}"
        raise UserError(f"study.arms.{BASE_ARM}", "this is what the runs of pretrained bases are labelled", fix)
    owners = {"seed": "study.seeds", "base.seed": "study.base_seeds"}
    for arm in study.arms:
        for override in (text for variant in study.variants(arm) for text in variant):
            key = override.split("=")[0].strip().lstrip("+~")
            if key in owners:
                raise UserError(
                    f"study.arms.{arm} holds {override}",
                    f"every arm runs with the seeds of {owners[key]}, which would replace it",
                    f"take it out of the arm, and set {owners[key]}",
                )


def _check_sizes(config: Config) -> None:
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


def _check_budgets(config: Config) -> None:
    if config.budgets == "log2":
        return
    given = f"budgets={list(config.budgets)}".replace(" ", "")
    if any(budget < 0 for budget in config.budgets):
        raise UserError(given, "a budget is a number of steps, and 0 is the policy before training", "give 0 or more")
    late = [budget for budget in config.budgets if budget > config.steps]
    if late:
        name = "base.steps" if config.objective == "pretraining" else "rl.steps"
        raise UserError(
            f"{given} with {name}={config.steps}",
            f"the run ends before {', '.join(map(str, late))}, so it would not be evaluated there",
            f"set {name}={max(late)}, or leave out the budgets above {config.steps}",
        )


def _check_device(config: Config) -> None:
    """Only where jobs run on this machine: a cluster's nodes may have what the machine that submits lacks."""
    if config.device != "cuda" or config.launcher.name not in ("local", "stacked"):
        return
    import torch  # here, since it takes seconds

    if not torch.cuda.is_available():
        raise UserError(
            "device=cuda",
            "PyTorch sees no CUDA device on this machine",
            "set device=auto or device=cpu, or use machines that have one: launcher=ray or launcher=submitit",
        )


def _unknown(key: str, name: str, known: Iterable[str], register: str) -> UserError:
    near = nearest(name, known)
    meant = f"did you mean {' or '.join(near)}? " if near else ""
    own = f"A module of your own that calls {register} must be named in imports=[…]"
    return UserError(f"{key}={name}", "it is not registered", f"{meant}There are: {', '.join(sorted(known))}.\n  {own}")


def _check_trained(group: str, name: str, what: str, is_needed: bool, section: str, settings: object) -> None:
    """A model that is trained beside the policy has a section of settings, and no section is there without one."""
    if is_needed != (settings is not None):
        reason = f"it trains a {what}, which has no settings" if is_needed else f"it trains no {what}"
        thing = f"{group}.name={name} with {group}.{section}={settings}"
        raise UserError(thing, reason, f"choose it as a whole: {group}={name}")


def _check_algorithm(config: Config, verified: tuple[Task, ...]) -> None:
    algo, traits = config.algo, ALGORITHM_TRAITS.get(config.algo.name)
    if traits is None:
        raise _unknown("algo.name", algo.name, ALGORITHM_TRAITS, "register_algorithm")
    if config.rl.group_size == 1 and traits.baseline == "group":
        raise UserError(
            f"rl.group_size=1 with algo={algo.name}",
            "its baseline is the mean of a group, so one completion alone never carries signal",
            "set rl.group_size to 8 or 16",
        )
    _check_trained("algo", algo.name, "critic", traits.needs_critic, "critic", algo.critic)
    if not traits.samples:
        _check_gold_answers(config, verified)
    _check_scale_and_kl(config, traits)


def _check_scale_and_kl(config: Config, traits: AlgorithmTraits) -> None:
    algo = config.algo
    if algo.scale not in traits.scales:
        raise UserError(
            f"algo.scale={algo.scale} with algo={algo.name}",
            "its advantages are not centred on a group, so there is no such deviation to divide by",
            f"set algo.scale to {' or '.join(traits.scales)}",
        )
    if (algo.kl == "none") != (algo.kl_coefficient == 0):
        raise UserError(
            f"algo.kl={algo.kl} with algo.kl_coefficient={algo.kl_coefficient}",
            "a KL needs both its form and a coefficient above 0",
            "set both, such as algo.kl=k1 algo.kl_coefficient=1e-3, or neither (none and 0)",
        )


def _check_gold_answers(config: Config, verified: tuple[Task, ...]) -> None:
    algo = config.algo.name
    if config.rl.group_size != 1:
        raise UserError(
            f"algo={algo} with rl.group_size={config.rl.group_size}",
            "every completion of a problem would be the same: its one canonical answer",
            f"set rl.group_size=1, and rl.problems={config.rl.problems * config.rl.group_size} for as many answers",
        )
    several = [task.name for task in verified if task.max_turns > 1]
    if several:
        raise UserError(
            f"algo={algo} with {', '.join(several)}",
            "an episode of several turns has no one canonical answer",
            "leave these tasks out of tasks.verified",
        )


def _check_reward(config: Config) -> None:
    reward, traits = config.reward, REWARD_TRAITS.get(config.reward.name)
    if traits is None:
        raise _unknown("reward.name", reward.name, REWARD_TRAITS, "register_reward")
    _check_trained("reward", reward.name, "reward model", traits.needs_model, "model", reward.model)
    if reward.model and config.rl.group_size % 2:
        raise UserError(
            f"reward={reward.name} with rl.group_size={config.rl.group_size}",
            "preferences are between two completions of one problem",
            "make rl.group_size even",
        )
    if traits.needs_scratchpad and not config.thinking:
        raise UserError(
            f"reward={reward.name} with sampling.thinking=0",
            "it pays for steps, and no tokens are left to write any",
            "set base.scratchpad_share=0.5 and sampling.thinking to the length of the steps, such as 64",
        )


def _check_thinking(config: Config) -> None:
    budgets = {"sampling.thinking": [config.sampling.thinking], "evaluation.thinking": list(config.evaluation.thinking)}
    for name, values in budgets.items():
        if any(values) and not config.has_scratchpad:
            raise UserError(
                f"{name}={values if len(values) > 1 else values[0]} with base.scratchpad_share=0",
                "a base whose documents show no steps has learned neither to write any nor where an answer begins",
                "pretrain one that has, with base.scratchpad_share=0.5",
            )
    if len(set(config.evaluation.thinking)) < len(config.evaluation.thinking):
        raise UserError(
            f"evaluation.thinking={list(config.evaluation.thinking)}", "a budget stands twice", "name each once"
        )
