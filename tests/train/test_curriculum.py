"""Which problems a step draws, and that its draws can be repeated afterwards."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from envs.mixture import Mixture
from envs.registry import select
from harness.config.roles import phases_of
from harness.core.errors import UserError
from harness.core.seeding import Key
from harness.core.types import VerifierResults
from harness.policy.tokenizer import decode
from harness.run.mixture import training_mixture
from harness.train.curriculum import (
    DECAY,
    MIN_SHARE,
    add_solved,
    draw,
    draw_problems,
    problem_id,
    sampling_probabilities,
    update_success_rates,
)
from tests.toys import tiny, toy_state
from tests.train.test_rl import steps
from tests.train.toy_rollouts import CORRECT, UNSCORABLE, WRONG

MIXTURE = Mixture(select(["addition.symbolic", "reversal.symbolic"]), difficulties=(1, 2, 3), difficulty_decay=0.5)
PLAIN = np.array([p for *_, p in MIXTURE.cells()])


def rng(step=0):
    return Key("problems", 0, step).generator()


def on_target(seeds=1):
    """The success of every cell, [S, cells], at a target of .4."""
    return torch.full((seeds, len(PLAIN)), 0.4, dtype=torch.float64)


def test_without_a_target_the_draws_are_those_of_the_mixture_and_so_they_are_on_target():
    for probabilities in (None, *sampling_probabilities(MIXTURE, on_target(), 0.4)):
        assert draw(MIXTURE, probabilities, {}, 50, rng()) == MIXTURE.draw(50, rng())


def test_before_anything_was_drawn_a_target_changes_nothing():
    config, state = tiny("tasks.target_success=0.4"), toy_state(0, 1)
    mixture = training_mixture(config)
    _, probabilities = draw_problems(config, state, mixture)
    np.testing.assert_allclose(probabilities, np.tile([p for *_, p in mixture.cells()], (2, 1)))


def test_cells_on_target_are_drawn_more_and_none_is_forgotten():
    """A bump of width .2 around .5, by hand: success 0 and 1 are 2.5 widths away."""
    success = torch.tensor([[0.0, 0.5, 1.0, 0.5, 0.5, 0.5]], dtype=torch.float64)
    (probabilities,) = sampling_probabilities(MIXTURE, success, 0.5)
    tilted = PLAIN * np.array([np.exp(-3.125), 1, np.exp(-3.125), 1, 1, 1])
    np.testing.assert_allclose(probabilities, 0.9 * tilted / tilted.sum() + 0.1 * PLAIN)
    assert probabilities.sum() == pytest.approx(1)
    assert (probabilities >= MIN_SHARE * PLAIN).all()
    drawn = [(p.task, p.difficulty) for p in draw(MIXTURE, probabilities, {}, 4000, rng())]
    for (task, difficulty, _), probability in zip(MIXTURE.cells(), probabilities):
        share = drawn.count((task.name, difficulty)) / 4000
        assert share == pytest.approx(probability, abs=4 * (probability / 4000) ** 0.5)


def test_success_is_remembered_group_by_group_and_seed_by_seed():
    problems = [select(["addition.symbolic"])[0].draw(rng(i), difficulty) for i, difficulty in enumerate((1, 1, 2, 1))]
    correctness = [[CORRECT, WRONG], [CORRECT, UNSCORABLE], [UNSCORABLE, UNSCORABLE], [WRONG, WRONG]]
    results = VerifierResults(torch.tensor(correctness).flatten(), torch.ones(8, dtype=torch.bool))
    found = update_success_rates(torch.full_like(on_target(2), 0.5), MIXTURE, problems, results)
    first = 0.5 + (1 - DECAY) * (1.0 - 0.5)  # .5 stays at .5, then one that is right
    np.testing.assert_allclose(found[:, :2], [[first, 0.5], [0.5 * DECAY, 0.5]])
    assert (found[:, 2:] == 0.5).all()


def test_what_was_drawn_can_be_drawn_again_from_the_metrics():
    config = tiny("tasks.target_success=0.9", "rl.problems=8")
    _, _, reports = steps(config, 6, 0)
    mixture = training_mixture(config)
    names = [f"sampling_probability/{task.name}/{difficulty}" for task, difficulty, _ in mixture.cells()]
    for step, report in enumerate(reports):
        probabilities = np.array([report.metrics[name].item() for name in names])
        again = draw(mixture, probabilities, {}, 8, rng(step))
        ids = report.rollouts.ids[:: config.rl.group_size, 1:3]
        assert [chr(row[0] - 17 + 32) for row in ids.tolist()] == [p.prompt[0] for p in again]
    assert not np.allclose(probabilities, [p for *_, p in mixture.cells()])


# ---- problems that are not drawn again


def drawn(problems):
    return {problem_id(problem) for problem in problems}


@pytest.mark.parametrize("probabilities", [None, PLAIN])
def test_a_solved_problem_is_never_drawn_while_there_are_others(probabilities):
    """Half of what 50 draws find is solved; what is not keeps its place."""
    before = draw(MIXTURE, probabilities, {}, 50, rng())
    gone = dict.fromkeys(sorted(drawn(before))[::2], 0)
    after = draw(MIXTURE, probabilities, gone, 50, rng())
    assert len(after) == 50
    assert not drawn(after) & set(gone)
    assert [b for a, b in zip(before, after) if problem_id(a) not in gone] == [
        a for a in before if problem_id(a) not in gone
    ]
    assert draw(MIXTURE, probabilities, gone, 50, rng()) == after


def test_where_nothing_else_is_left_solved_problems_are_drawn_again():
    mixture = Mixture(select(["toy.symbolic"]), difficulties=(1,))
    everything = dict.fromkeys(drawn(mixture.draw(3000, rng(9))), 0)
    assert draw(mixture, None, everything, 20, rng()) == draw(mixture, None, everything, 20, rng())
    assert len(draw(mixture, None, everything, 20, rng())) == 20


def test_a_problem_is_solved_at_its_pass_rate_in_its_seed_alone_and_once():
    """Shares ½ and, of two that can be scored, 1; then none that can be scored, and ¾."""
    problems = [select(["addition.symbolic"])[0].draw(rng(i), 3) for i in range(4)]
    correctness = [[CORRECT, WRONG, CORRECT, WRONG], [CORRECT, UNSCORABLE, CORRECT, UNSCORABLE]]
    correctness += [[UNSCORABLE] * 4, [CORRECT, CORRECT, CORRECT, WRONG]]
    results = VerifierResults(torch.tensor(correctness).flatten(), torch.ones(16, dtype=torch.bool))
    a, b, c, d = map(problem_id, problems)
    assert add_solved([{}, {}], problems, results, 0.51, 7) == ({b: 7}, {d: 7})
    assert add_solved([{}, {c: 1}], problems, results, 0.5, 7) == ({a: 7, b: 7}, {c: 1, d: 7})
    assert add_solved([{a: 3}, {}], problems, results, 0.5, 7) == ({a: 3, b: 7}, {d: 7})
    assert add_solved([{c: 1}, {}], problems, results, None, 7) == ({c: 1}, {})


def test_the_draws_of_every_step_can_be_drawn_again_from_what_is_solved_at_the_end():
    """Of the 180 problems or so, some are met again."""
    config = tiny("tasks.retire_at=0.5", "tasks.difficulties=[1]", "rl.problems=16")
    state, _, reports = steps(config, 8, 0)
    (solved,), mixture = state.solved, training_mixture(config)
    met = set()
    for step, report in enumerate(reports):
        gone = {name: when for name, when in solved.items() if when < step}
        again = draw(mixture, None, gone, 16, rng(step))
        ids = report.rollouts.ids[:: config.rl.group_size, 1:3].tolist()
        assert [decode(row) for row in ids] == [problem.prompt[:2] for problem in again]
        assert not drawn(again) & set(gone)
        met |= drawn(mixture.draw(16, rng(step))) & set(gone)
        count = sum(when <= step for when in solved.values())
        assert report.metrics["solved_problems"].item() == count
    assert len(met) > 5  # the plain mixture would have met these again
    assert len(solved) > 30


def test_weights_are_those_of_the_entries_of_verified():
    """The first entry that stands for a task gives it its weight."""
    settings = ("tasks.verified=[toy.worded,toy.*]", "tasks.unverified=[]", "tasks.weights=[3.0,1.0]")
    mixture = training_mixture(tiny(*settings))
    share = sum(p for task, _, p in mixture.cells() if task.name == "toy.worded")
    assert share == pytest.approx(0.75)


# ---- a bound on distinct problems


def test_every_problem_of_a_run_comes_from_the_pool_of_its_seed():
    """Stacked or alone, and from any step on: a resumed run draws what it would have."""
    config, (a, b) = tiny("tasks.distinct_problems=10", "rl.problems=8"), (3, 4)
    mixture, drawn = training_mixture(config), {}
    stacked, alone = toy_state(a, b), toy_state(b)
    for step in range(20):
        problems, _ = draw_problems(config, stacked, mixture)
        drawn[step] = problems[8:]
        assert len(problems) == 16
        assert set(map(problem_id, problems[:8])) <= set(map(problem_id, stacked.pools[0].problems))
        stacked.spent = tuple(replace(spent, step=step + 1) for spent in stacked.spent)
    alone.spent = (replace(alone.spent[0], step=12),)
    assert draw_problems(config, alone, mixture)[0] == drawn[12]
    met = {problem_id(problem) for problems in drawn.values() for problem in problems}
    assert met == {problem_id(problem) for problem in stacked.pools[1].problems}
    assert len(met) == 10
    assert stacked.pools[0].problems != stacked.pools[1].problems


def test_a_pool_that_the_tasks_cannot_fill_is_an_error_with_a_fix():
    config = tiny("tasks.distinct_problems=8", "tasks.difficulties=[1]")
    config = replace(config, tasks=replace(config.tasks, distinct_problems=20_000))  # too large to check beforehand
    with pytest.raises(UserError, match="20000: these tasks and difficulties have about 1"):
        draw_problems(config, toy_state(0), training_mixture(config))


# ---- one phase after the other

NAMES = ("toy.symbolic", "reversal.symbolic", "addition.symbolic")


def sequence(*more):
    """Three phases: steps 0 and 1, 2 and 3, 4 to 6."""
    verified = f"tasks.verified=[{','.join(NAMES)}]"
    return tiny("tasks.sequence=true", verified, "rl.steps=7", "tasks.difficulties=[2]", *more)


def shares_of_tasks(config, step):
    """What a step draws of each task, over 200 seeds."""
    state = toy_state(*range(200))
    state.spent = tuple(replace(spent, step=step) for spent in state.spent)
    problems, _ = draw_problems(config, state, training_mixture(config))
    names = [problem.task for problem in problems]
    return [names.count(name) / len(names) for name in NAMES]


def test_phases_follow_one_another_at_their_steps():
    config = sequence()
    phases = [shares_of_tasks(config, step).index(1.0) for step in range(7)]
    assert phases == [0, 0, 1, 1, 2, 2, 2]


def test_a_share_of_the_draws_is_of_the_phases_before_all_alike():
    """All within 4.5 standard deviations of the binomial distribution, of 1,600 draws."""
    config = sequence("tasks.replay=0.4", "rl.problems=8")
    expected = {1: (1, 0, 0), 2: (0.4, 0.6, 0), 6: (0.2, 0.2, 0.6)}
    for step, shares in expected.items():
        for drawn, share in zip(shares_of_tasks(config, step), shares):
            assert drawn == pytest.approx(share, abs=4.5 * (share * (1 - share) / 1600) ** 0.5)


def test_a_phase_is_all_tasks_of_its_entry_but_those_of_an_entry_before():
    assert phases_of(["toy.worded", "toy.*", "revers*.symbolic"]) == (
        ("toy.worded",),
        ("toy.symbolic",),
        ("reversal.symbolic",),
    )


def test_every_step_of_a_sequence_has_its_probabilities_among_the_metrics():
    config = sequence("tasks.replay=0.5")
    _, _, reports = steps(config, 7, 0)
    found = [[report.metrics[f"sampling_probability/{name}/2"].item() for name in NAMES] for report in reports]
    assert found == [[1, 0, 0]] * 2 + [[0.5, 0.5, 0]] * 2 + [[0.25, 0.25, 0.5]] * 3
