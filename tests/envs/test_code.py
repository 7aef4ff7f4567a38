"""Code tasks agree with the interpreter that judges them, and cannot be cheated through it."""

import numpy as np
import pytest

import envs
from envs.base import Correctness, Problem
from envs.code import formula, function, sandbox
from envs.code.sandbox import Ending, Outcome, Sandbox, shared

PROBLEM = Problem("expression.symbolic", "", "2*x+1", 2, "c", {"tests": {x: 2 * x + 1 for x in (1, 2, 3, 0, 9)}})


def problems(name: str, n: int = 30):
    task = envs.get(name)
    return [task.draw(np.random.default_rng((n, d, i)), d) for d in task.difficulties for i in range(n)]


def test_predicted_output_is_what_the_program_prints():
    for problem in problems("output.symbolic"):
        assert shared().run(problem.data["text"]).output == problem.answer + "\n"


def test_assertion_holds_exactly_where_the_answer_is_yes():
    found = problems("check.symbolic")
    for problem in found:
        ending = shared().run(problem.data["text"]).ending
        assert ending is (Ending.VALUE if problem.answer == "yes" else Ending.ERROR)
    for relation in ("==", "<", ">"):
        answers = [p.answer for p in found if relation in p.data["text"].split("assert")[1]]
        assert 0.35 < np.mean([answer == "yes" for answer in answers]) < 0.65


def test_formula_to_mend_fails_the_tests_that_are_shown():
    for problem in problems("repair.symbolic", 5):
        assert formula.verify(problem, problem.data["wrong"]) == Correctness.WRONG


@pytest.mark.parametrize("answer", ["2*x+1", "1+x+x", "x - -x + 1", "int(2*x)+1", "sum([x, x, 1])", "x*2|1", "2*x+1#"])
def test_any_expression_with_the_right_values_is_correct(answer):
    assert formula.verify(PROBLEM, answer) == Correctness.CORRECT


@pytest.mark.parametrize(
    "answer",
    [
        "2*x",
        "2.0*x+1",
        "str(2*x+1)",
        "2*x+1\n",
        " 2*x+1",
        "2*x+1)\ndef f(x):\n return (1",
        "{1: 3, 2: 5, 3: 7}[x]",
        "open('/etc/passwd')",
        "[f(x) for x in (1,)]",
        "f(x)",
        "x if x else f(x)",
        "2*y+1",
        "(2*x+1",
        "9**9**9",
        "2*x+" + "1" * 60,
        "2*x+\uff11",
    ],
)
def test_wrong_type_wrong_form_and_tricks_are_wrong(answer):
    assert formula.verify(PROBLEM, answer) == Correctness.WRONG


REVERSE = Problem("function.symbolic", "", "", 1, "c", {"tests": {"abc": "cba", "dd": "dd", "xyz": "zyx"}})


@pytest.mark.parametrize(
    ("answer", "correctness"),
    [
        ("s=s[::-1]", Correctness.CORRECT),
        ("t=''\nfor c in s:\n t=c+t\nreturn t", Correctness.CORRECT),
        ("return ''.join(reversed(s))", Correctness.CORRECT),
        ("return list(reversed(s))", Correctness.WRONG),
        ("s=s[::-1]\ns=s[::-1]", Correctness.WRONG),
        ("return tests[s]", Correctness.WRONG),
        ("while True: pass", Correctness.WRONG),
        ("s=s[::-1]\n", Correctness.WRONG),
        ("return s\n\ndef f(s): return s[::-1]", Correctness.WRONG),
        ("", Correctness.WRONG),
    ],
)
def test_function_is_judged_by_what_it_returns(answer, correctness):
    assert function.verify(REVERSE, answer) == correctness


def test_lost_worker_makes_the_answer_unscorable(monkeypatch):
    monkeypatch.setattr(Sandbox, "run", lambda self, program: Outcome(Ending.LOST))
    assert formula.verify(PROBLEM, "2*x+1") == Correctness.UNSCORABLE


def test_endless_expression_is_wrong_not_unscorable():
    assert formula.verify(PROBLEM, "[x for _ in iter(int,1)]") == Correctness.WRONG
    assert formula.verify(PROBLEM, "sum(range(10**12))") == Correctness.WRONG


def test_one_sandbox_serves_the_process():
    assert sandbox.shared() is sandbox.shared()
