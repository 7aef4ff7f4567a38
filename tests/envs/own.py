"""The tasks of this project alone: the registry may also hold what other tests registered, in any order."""

from envs.registry import MODULES

OWN = [task for module in MODULES for task in module.TASKS]
