"""Tasks whose answers can be checked, and some whose answers never are, as Gymnasium environments.

Importing this package registers every task under rl_scaling/NAME-v0.
"""

from envs.base import Correctness, Problem, Reply, Task
from envs.registry import TASKS, UnknownTask, get, register, register_environment, select

__all__ = ["TASKS", "Correctness", "Problem", "Reply", "Task", "UnknownTask", "get", "register", "select"]

for _task in TASKS.values():
    register_environment(_task)
