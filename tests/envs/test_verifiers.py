"""Where many answers are right, and where answers have a structure to get wrong."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import envs
from envs.arithmetic.expression import random_tree, read, render, steps, value, verify_countdown
from envs.base import Correctness, Problem
from envs.strings import balance, composition

RIGHT, WRONG = Correctness.CORRECT, Correctness.WRONG


@given(st.lists(st.integers(0, 99), min_size=1, max_size=12), st.integers(0, 2**32 - 1))
def test_rendered_expression_reads_back_as_its_value(leaves, seed):
    tree = random_tree(np.random.default_rng(seed), leaves)
    assert read(render(tree)) == (value(tree), leaves)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=8), st.integers(0, 2**32 - 1))
def test_python_agrees_with_the_value(leaves, seed):
    tree = random_tree(np.random.default_rng(seed), leaves)
    assert eval(render(tree)) == value(tree)
    assert all(eval(line.split("=")[0]) == int(line.split("=")[1]) for line in steps(tree))


NO_EXPRESSION = ["()", "1+", "-1", "2**3", "01+1", "1e3", "(1+2", "1+2)", "10000", "3(4)"]
NO_EXPRESSION += ["", "1 + 1", "1\n", "1" * 200, "((" * 45]


@pytest.mark.parametrize("text", NO_EXPRESSION)
def test_what_is_no_expression_is_refused(text):
    with pytest.raises(ValueError, match=r"not an expression|too long"):
        read(text)


COUNTS, COUNTS_NOT = ["3*8*1", "(3*8)*1", "1*8*3"], ["3*8", "24", "3*8*1*1", "3*8+1", "3*8*1=24", "4*6*1"]


@pytest.mark.parametrize("answer", COUNTS + COUNTS_NOT)
def test_countdown_takes_any_right_expression(answer):
    problem = Problem("countdown.symbolic", "1 3 8 -> 24:", "3*8*1", 3, "c", {"target": 24, "leaves": [1, 3, 8]})
    assert verify_countdown(problem, answer) == (RIGHT if answer in COUNTS else WRONG)


def test_half_of_the_bracket_strings_close():
    task = envs.get("balance.symbolic")
    rng = np.random.default_rng(0)
    problems = [task.draw(rng, 4) for _ in range(1000)]
    assert 0.45 < np.mean([p.answer == "yes" for p in problems]) < 0.55
    assert all(balance.balanced(p.data["text"]) == (p.answer == "yes") for p in problems)


def test_held_out_compositions_are_half_and_hold_every_function_in_both_places():
    for half in (False, True):
        pairs = [(a, b) for a in composition.NAMES for b in composition.NAMES if composition.held_out(a, b) == half]
        assert len(pairs) == 18
        assert {a for a, _ in pairs} == {b for _, b in pairs} == set(composition.NAMES)


@pytest.mark.parametrize(("name", "half"), [("composition.worded", False), ("composition_held_out.symbolic", True)])
def test_every_neighbouring_pair_of_a_chain_is_of_its_half(name, half):
    rng = np.random.default_rng(0)
    for difficulty in (1, 5, 10):
        chain = envs.get(name).draw(rng, difficulty).data["chain"]
        assert len(chain) == difficulty + 1
        assert {composition.held_out(a, b) for a, b in itertools.pairwise(chain)} == {half}


def test_functions_do_what_they_say():
    values = {name: composition.results(name, "dabc")[-1] for name in composition.NAMES}
    assert values == {"f": "cbad", "g": "abcd", "h": "abcd", "k": "cabd", "m": "ebcd", "n": "wzyx"}
    assert composition.results("fg", "dabc") == ["abcd", "dcba"]
