"""The problems that RL draws."""

from collections.abc import Sequence

from envs.base import Task
from envs.mixture import Mixture, distributed_weights
from envs.registry import select
from harness.config.schema import Config, TasksConfig


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
