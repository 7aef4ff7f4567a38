"""Names, patterns, and tasks of one's own."""

from dataclasses import replace

import gymnasium
import pytest

import envs


def test_unknown_name_gets_the_nearest_names():
    with pytest.raises(
        envs.UnknownTask, match=r"no task is called 'additon\.symbolic'; did you mean addition\.symbolic"
    ):
        envs.get("additon.symbolic")
    assert isinstance(envs.UnknownTask("x"), ValueError)


def test_selection_keeps_registry_order_without_repeats():
    names = [task.name for task in envs.select(["sorting.*", "addition.worded", "*.worded"])]
    assert names.count("addition.worded") == 1
    assert names == [name for name in envs.TASKS if name in names]
    assert "sorting.symbolic" in names
    assert "addition.symbolic" not in names


def test_pattern_without_match_is_an_error():
    with pytest.raises(envs.UnknownTask, match=r"no task is called '\*\.symbol'"):
        envs.select(["addition.symbolic", "*.symbol"])


def test_registered_task_is_a_gymnasium_environment():
    task = replace(envs.get("addition.symbolic"), name="mine.symbolic", family="mine")
    envs.register(task)
    try:
        assert envs.get("mine.symbolic") is task
        assert gymnasium.make("rl_scaling/mine.symbolic-v0").unwrapped.task is task
    finally:
        del envs.TASKS["mine.symbolic"]
        del gymnasium.registry["rl_scaling/mine.symbolic-v0"]
        del gymnasium.registry["rl_scaling/mine.symbolic-tokens-v0"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "registered already"),
        ({"name": "mine"}, "family.context"),
        ({"name": "mine.symbolic", "family": "mine", "difficulties": ()}, "no difficulties"),
    ],
)
def test_bad_registration_is_refused(changes, reason):
    with pytest.raises(ValueError, match=reason):
        envs.register(replace(envs.get("addition.symbolic"), **changes))
