"""Graders on answers written by hand: good, bad, padded; and that training cannot reach them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import envs
from envs.base import Correctness, Problem
from envs.graders import GRADERS, grade

UNVERIFIED = [task for task in envs.TASKS.values() if not task.has_verifier]
EXPLAIN = Problem("explain.worded", "", "", 2, "c", {"a": 47, "b": 85, "digits": 2})
DESCRIBE = Problem("describe.worded", "", "", 3, "c", {"numbers": [3, 12, 7, 7]})
COMMENT = Problem("comment.worded", "", "", 1, "c", {"events": [("a", 3), ("b", 5), ("b", 6)], "printed": 6})

GOOD = [
    (EXPLAIN, "7+5+0=12, 4+8+1=13, 132"),
    (EXPLAIN, "40+80=120. 7+5=12. 120+12=132"),
    (EXPLAIN, "47+80=127\n127+5=132\n132"),
    (EXPLAIN, "7 + 5 = 12; 40 + 80 = 120; 120 + 12 = 132."),
    (DESCRIBE, "4 numbers. smallest 3. largest 12. unsorted."),
    (DESCRIBE, "There are 4 numbers. The smallest is 3. The largest is 12. The sum is 29. It is not sorted."),
    (COMMENT, "a is 3. b is 5. b is 6. prints 6."),
    (COMMENT, "# a starts at 3\n# b starts at 5\n# b becomes 6\n# it prints 6"),
]
BAD = [
    (EXPLAIN, "7+5=13, 4+8+1=13, 132"),
    (EXPLAIN, "7+5+0=12, 4+8+1=13, 133"),
    (EXPLAIN, "132"),
    (EXPLAIN, "47+85=132"),
    (EXPLAIN, "47+85=132, 132"),
    (EXPLAIN, "7+5+0=12, 4+8+1=13"),
    (EXPLAIN, "2+3=5, 4+4=8, 132"),
    (DESCRIBE, "4 numbers. smallest 3. largest 12. sorted."),
    (DESCRIBE, "4 numbers. smallest 3. largest 12."),
    (DESCRIBE, "5 numbers. smallest 4. largest 11. sorted."),
    (DESCRIBE, "3 12 7 7"),
    (COMMENT, "a is 3. b is 5. b is 7. prints 7."),
    (COMMENT, "b is 6. b is 5. a is 3. prints 6."),
    (COMMENT, "a is 3. b is 5."),
    (COMMENT, "It is a program."),
]
PADDED = [
    (EXPLAIN, "4+7=11, 8+5=13, 7+5+0=12, 4+8+1=13, 132"),
    (EXPLAIN, "7+5+0=12, 7+5+0=12, 4+8+1=13, 132"),
    (EXPLAIN, "0+0=0, 0+1=1, 1+1=2, 2+2=4, 7+5+0=12, 4+8+1=13, 132"),
    (EXPLAIN, "adding is fun, 7+5+0=12, 4+8+1=13, 132"),
    (DESCRIBE, "4 numbers. 4 numbers. smallest 3. largest 12. unsorted."),
    (DESCRIBE, "what a nice list. 4 numbers. smallest 3. largest 12. unsorted."),
    (DESCRIBE, "4 numbers. smallest 3. largest 12. unsorted. sorted."),
    (COMMENT, "a is 3. a is 3. b is 5. b is 6. prints 6."),
    (COMMENT, "a is 3. b is 5. b is 6. prints 6. well done."),
    (COMMENT, "".join(f"b is {i}. " for i in range(99)) + "a is 3. b is 5. b is 6. prints 6."),
]


@pytest.mark.parametrize(("problem", "answer"), GOOD)
def test_good_answer_has_full_score(problem, answer):
    assert grade(problem, answer) == 1


@pytest.mark.parametrize(("problem", "answer"), BAD)
def test_bad_answer_scores_at_most_three_quarters(problem, answer):
    assert grade(problem, answer) <= 0.75


@pytest.mark.parametrize(("problem", "answer"), PADDED)
def test_padding_lowers_the_score(problem, answer):
    assert grade(problem, answer) < 1


@pytest.mark.parametrize("task", UNVERIFIED, ids=lambda task: task.name)
def test_reference_answer_has_full_score_and_other_problems_answers_have_not(task):
    rng = np.random.default_rng(0)
    for difficulty in task.difficulties:
        problems = [task.draw(rng, difficulty) for _ in range(20)]
        for problem, other in zip(problems, problems[1:] + problems[:1]):
            assert grade(problem, problem.answer) == 1
            assert (
                problem.content == other.content or problem.answer == other.answer or grade(problem, other.answer) < 1
            )


@pytest.mark.parametrize("task", UNVERIFIED, ids=lambda task: task.name)
def test_training_sees_unscorable_only(task):
    problem = task.draw(np.random.default_rng(0), 3)
    assert {task.verify(problem, answer) for answer in (problem.answer, "", "x")} == {Correctness.UNSCORABLE}
    assert task.family in GRADERS


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=200) | st.text(alphabet="ab is0123456789+=,.;\n", max_size=200))
def test_any_text_gets_a_score_between_zero_and_one(text):
    for problem in (EXPLAIN, DESCRIBE, COMMENT):
        for completion in (text, text * 1000):
            assert 0 <= grade(problem, completion) <= 1


def test_problem_without_grader_is_named():
    with pytest.raises(KeyError, match=r"no grader for 'addition\.symbolic'"):
        grade(Problem("addition.symbolic", "", "", 1, "c"), "1")
