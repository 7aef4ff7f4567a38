"""Checks of how RL draws problems: weights, curriculum, pool and sequence."""

from harness.config.roles import phases_of
from harness.config.schema import Config
from harness.core.errors import UserError


def check_weights(config: Config) -> None:
    entries, weights = len(config.tasks.verified), len(config.tasks.weights)
    if weights not in (0, entries):
        raise UserError(
            f"tasks.weights has {weights} entries",
            f"tasks.verified has {entries}, each of which needs its own",
            "name as many, or none",
        )
    if weights and config.tasks.weight_distribution is not None:
        raise UserError(
            "tasks.weights with tasks.weight_distribution",
            "both give the weights of the tasks",
            "set tasks.weights=[] or tasks.weight_distribution=null",
        )


def check_curriculum(config: Config) -> None:
    for name in ("target_success", "retire_at"):
        if getattr(config.tasks, name) is not None and config.objective == "continued_pretraining":
            raise UserError(
                f"tasks.{name} with objective=continued_pretraining",
                "what RL would have drawn depends on its successes, so its cost cannot be matched without it",
                f"set tasks.{name}=null for this arm",
            )


def check_pool(config: Config) -> None:
    tasks = config.tasks
    if tasks.distinct_problems is None:
        if tasks.pool_exponent:
            raise UserError(
                f"tasks.pool_exponent={tasks.pool_exponent} with tasks.distinct_problems=null",
                "it weights the problems of a pool, and there is none",
                "set tasks.distinct_problems to the size of the pool, or tasks.pool_exponent=0",
            )
        return
    reasons = {
        "target_success": "a pool's tasks and difficulties are drawn with fixed probabilities",
        "retire_at": "a pool is fixed, and none of its problems leaves it",
    }
    for name, reason in reasons.items():
        if getattr(tasks, name) is not None:
            raise UserError(
                f"tasks.distinct_problems={tasks.distinct_problems} with tasks.{name}",
                reason,
                f"set tasks.{name}=null or tasks.distinct_problems=null",
            )


def check_sequence(config: Config) -> None:
    tasks = config.tasks
    if not tasks.sequence:
        if tasks.replay:
            raise UserError(
                f"tasks.replay={tasks.replay} with tasks.sequence=false",
                "it is the share of earlier phases, and there are none",
                "set tasks.sequence=true or tasks.replay=0",
            )
        return
    reasons = {
        "weights": "the entries are trained one after the other, each for as many steps",
        "weight_distribution": "the entries are trained one after the other, each for as many steps",
        "target_success": "a sequence gives the tasks of each step, whatever the policy's success",
        "distinct_problems": "a pool may hold no problem of a phase",
    }
    for name, reason in reasons.items():
        if getattr(tasks, name) not in ((), None):
            off = "[]" if name == "weights" else "null"
            fix = f"set tasks.{name}={off} or tasks.sequence=false"
            raise UserError(f"tasks.sequence=true with tasks.{name}", reason, fix)
    _check_phases(config)


def _check_phases(config: Config) -> None:
    verified, phases = config.tasks.verified, phases_of(config.tasks.verified)
    if len(verified) < 2:
        raise UserError(
            f"tasks.sequence=true with tasks.verified={list(verified)}",
            "each entry is a phase, and one phase is no sequence",
            "name at least two entries, or set tasks.sequence=false",
        )
    idle = [entry for entry, names in zip(verified, phases) if not names]
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
