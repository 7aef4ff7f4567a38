"""Unverified means it by construction: training neither draws an unverified task nor asks a hidden grader."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import envs.graders
from envs.mixture import Mixture
from envs.registry import TASKS, select
from envs.splits import SPLITS, has_problems
from harness.config.parse import parse
from harness.core.seeding import Key
from harness.evaluate import build_suite
from harness.run import job as run_module
from harness.run.mixture import training_mixture
from tests.toys import container, tiny, train

FREE_FORM = [f"{family}.symbolic" for family in envs.graders.GRADERS]
SETTINGS = (f"tasks.unverified=[{','.join(FREE_FORM)}]", "model.context=512", "tasks.difficulties=[1]")


class Asked(Exception):
    """A grader was asked."""


def raising(problem, completion):
    raise Asked(problem.task)


@pytest.fixture
def raising_graders(monkeypatch):
    """Every grader raises as soon as it is asked."""
    monkeypatch.setattr(envs.graders, "GRADERS", dict.fromkeys(envs.graders.GRADERS, raising))


def verified_suite(config):
    """An evaluation that is limited to the verified tasks."""
    return build_suite(select(config.tasks.verified), config.tasks.difficulties, config.evaluation)


def test_rl_completes_with_every_grader_raising(raising_graders, monkeypatch, tmp_path):
    """Base and RL, unverified free-form tasks named, evaluated on the verified tasks alone."""
    monkeypatch.setattr(run_module, "evaluation_suite", verified_suite)
    folder = train(tiny(*SETTINGS, out=tmp_path))
    assert len((folder / "metrics.jsonl").read_text().splitlines()) >= 4
    assert '"state": "done"' in (folder / "status.json").read_text()


def test_the_raising_graders_are_those_that_an_evaluation_asks(raising_graders, tmp_path):
    """So that the test above can fail: with the unverified tasks in the evaluation, the same run ends in a grader."""
    with pytest.raises(Asked, match=r"(explain|describe|comment)\.symbolic"):
        train(tiny(*SETTINGS, out=tmp_path))


def test_an_rl_run_draws_verified_tasks_alone(monkeypatch, tmp_path):
    drawn, draw = set(), Mixture.draw

    def noted(mixture, n, rng, split="train"):
        problems = draw(mixture, n, rng, split)
        drawn.update(problem.task for problem in problems)
        return problems

    config = tiny("base.contexts.worded=0", out=tmp_path)
    monkeypatch.setattr(Mixture, "draw", noted)
    train(config)
    assert drawn == {"toy.symbolic"}


# Without the tasks that other tests register: they have few difficulties.
def full(task):
    """Whether each difficulty has problems in each split."""
    return all(has_problems(task, d, split) for d in task.difficulties for split in SPLITS)


SINGLE_TURN = sorted(
    n for n, task in TASKS.items() if task.max_turns == 1 and len(task.difficulties) == 10 and full(task)
)
VERIFIABLE = [name for name in SINGLE_TURN if TASKS[name].has_verifier]


@settings(max_examples=25, deadline=None)
@given(data=st.data(), difficulties=st.sets(st.integers(1, 10), min_size=1))
def test_the_training_mixture_is_the_verified_tasks_of_any_configuration(data, difficulties):
    verified = data.draw(st.lists(st.sampled_from(VERIFIABLE), min_size=1, max_size=4, unique=True))
    others = sorted(set(SINGLE_TURN) - set(verified))
    unverified = data.draw(st.lists(st.sampled_from(others), max_size=4, unique=True))
    roles = {"verified": verified, "unverified": unverified, "difficulties": sorted(difficulties)}
    written = container("model.context=512")
    mixture = training_mixture(parse({**written, "tasks": {**written["tasks"], **roles}}))
    assert {task.name for task in mixture.tasks} == set(verified)
    problems = mixture.draw(16, Key("problems", 0).generator())
    assert {problem.task for problem in problems} <= set(verified)
    assert {problem.difficulty for problem in problems} <= difficulties
