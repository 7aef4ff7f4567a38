"""The tasks of this project alone: the registry may also hold what other tests registered, in any order."""

from envs.registry import FAMILIES

OWN = [task for tasks in FAMILIES.values() for task in tasks]
