"""What is drawn, and that it can be told afterwards."""

import numpy as np
import pytest
import torch

from envs.mixture import Mixture
from envs.registry import select
from harness.run import training_mixture
from harness.seeding import Key
from harness.train.curriculum import FLOOR, MEMORY, draw, odds, remember, untried
from harness.types import Checked
from tests.toys import tiny
from tests.train.test_rl import steps
from tests.train.toy_rollouts import CORRECT, UNSCORABLE, WRONG

MIXTURE = Mixture(select(["addition.symbolic", "reversal.symbolic"]), difficulties=(1, 2, 3), difficulty_decay=0.5)
PLAIN = np.array([p for *_, p in MIXTURE.cells()])


def rng(step=0):
    return Key("problems", 0, step).generator()


def test_without_a_target_the_draws_are_those_of_the_mixture_and_so_they_are_on_target():
    for target in (None, 0.4):
        (chances,) = odds(MIXTURE, untried(MIXTURE, 1, target), target, 1)
        assert draw(MIXTURE, chances, 50, rng()) == MIXTURE.draw(50, rng())


def test_before_anything_was_drawn_a_target_changes_nothing():
    np.testing.assert_allclose(odds(MIXTURE, untried(MIXTURE, 2, 0.4), 0.4, 2), np.tile(PLAIN, (2, 1)))


def test_cells_on_target_are_drawn_more_and_none_is_forgotten():
    """A bump of width .2 around .5, by hand: success 0 and 1 are 2.5 widths away."""
    success = torch.tensor([[0.0, 0.5, 1.0, 0.5, 0.5, 0.5]], dtype=torch.float64)
    (chances,) = odds(MIXTURE, success, 0.5, 1)
    tilted = PLAIN * np.array([np.exp(-3.125), 1, np.exp(-3.125), 1, 1, 1])
    np.testing.assert_allclose(chances, 0.9 * tilted / tilted.sum() + 0.1 * PLAIN)
    assert chances.sum() == pytest.approx(1)
    assert (chances >= FLOOR * PLAIN).all()
    drawn = [(p.task, p.difficulty) for p in draw(MIXTURE, chances, 4000, rng())]
    for (task, difficulty, _), chance in zip(MIXTURE.cells(), chances):
        share = drawn.count((task.name, difficulty)) / 4000
        assert share == pytest.approx(chance, abs=4 * (chance / 4000) ** 0.5)


def test_success_is_remembered_group_by_group_and_seed_by_seed():
    problems = [select(["addition.symbolic"])[0].draw(rng(i), difficulty) for i, difficulty in enumerate((1, 1, 2, 1))]
    verdict = [[CORRECT, WRONG], [CORRECT, UNSCORABLE], [UNSCORABLE, UNSCORABLE], [WRONG, WRONG]]
    checked = Checked(torch.tensor(verdict).flatten(), torch.ones(8, dtype=torch.bool))
    found = remember(untried(MIXTURE, 2, 0.5), MIXTURE, problems, checked)
    first = 0.5 + (1 - MEMORY) * (1.0 - 0.5)  # .5 stays at .5, then one that is right
    np.testing.assert_allclose(found[:, :2], [[first, 0.5], [0.5 * MEMORY, 0.5]])
    assert (found[:, 2:] == 0.5).all()


def test_what_was_drawn_can_be_drawn_again_from_the_metrics():
    config = tiny("tasks.target_success=0.9", "rl.problems=8")
    _, _, reports = steps(config, 6, 0)
    mixture = training_mixture(config)
    names = [f"odds/{task.name}/{difficulty}" for task, difficulty, _ in mixture.cells()]
    for step, report in enumerate(reports):
        chances = np.array([report.metrics[name].item() for name in names])
        again = draw(mixture, chances, 8, rng(step))
        ids = report.sampled.rollouts.ids[:: config.rl.group_size, 1:3]
        assert [chr(row[0] - 17 + 32) for row in ids.tolist()] == [p.prompt[0] for p in again]
    assert not np.allclose(chances, [p for *_, p in mixture.cells()])


def test_weights_are_those_of_the_entries_of_verified():
    """The first entry that stands for a task gives it its weight."""
    settings = ("tasks.verified=[toy.worded,toy.*]", "tasks.unverified=[]", "tasks.weights=[3.0,1.0]")
    mixture = training_mixture(tiny(*settings))
    share = sum(p for task, _, p in mixture.cells() if task.name == "toy.worded")
    assert share == pytest.approx(0.75)
