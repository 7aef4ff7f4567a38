"""Code tasks agree with the interpreter that judges them, and cannot be cheated through it; programs of traces."""

import numpy as np
import pytest

import envs
from envs.base import Correctness, Problem
from envs.code import formula, function, sandbox
from envs.code.sandbox import Ending, Outcome, Sandbox, shared
from envs.code.trace import content_key, program
from envs.graders import grade

PROBLEM = Problem("expression.symbolic", "", "2*x+1", 2, "c", {"tests": {x: 2 * x + 1 for x in (1, 2, 3, 0, 9)}})


def problems(name: str, n: int = 30):
    task = envs.get(name)
    return [task.draw(np.random.default_rng((n, d, i)), d) for d in task.difficulties for i in range(n)]


@pytest.mark.parametrize("name", ["output", "trace", "trace_digit", "trace_register"])
def test_predicted_output_is_what_the_program_prints(name):
    for problem in problems(f"{name}.symbolic", 10):
        outcome = shared().run(problem.data["text"])
        assert (outcome.ending, outcome.output) == (Ending.VALUE, problem.answer + "\n")


@pytest.mark.parametrize("name", ["check", "trace_check"])
def test_assertion_holds_exactly_where_the_answer_is_yes(name):
    for problem in problems(f"{name}.symbolic", 10):
        ending = shared().run(problem.data["text"]).ending
        assert ending is (Ending.VALUE if problem.answer == "yes" else Ending.ERROR)


def test_half_of_the_assertions_of_each_relation_hold():
    found = problems("check.symbolic")
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


def test_sandbox_has_the_register_after_each_line():
    for problem in problems("trace.symbolic", 3):
        lines = problem.data["text"].split("\n")
        for i, (register, value) in enumerate(problem.data["values"], start=1):
            assert shared().run("\n".join([*lines[:i], register])).value == value


def test_exactly_the_faulty_line_has_a_false_comment():
    for problem in problems("trace_fault.symbolic", 5):
        lines = problem.data["text"].split("\n")
        false = []
        for i, line in enumerate(lines, start=1):
            register, claimed = line[0], int(line.split("#")[1])
            if shared().run("\n".join([*lines[:i], register])).value != claimed:
                false.append(str(i))
        assert false == [problem.answer]


def test_values_are_digits_and_registers_are_set_before_use():
    rng = np.random.default_rng(0)
    for length in range(1, 13):
        for _ in range(50):
            lines, values = program(rng, length)
            assert len(lines) == len(values) == length
            assert all(0 <= value <= 9 for _, value in values)
            assert all(len(line) in (3, 5) for line in lines)


@pytest.mark.parametrize(("name", "allowed"), [("trace_digit", "123456789"), ("trace_register", "abc")])
def test_operations_of_a_variant_are_its_own(name, allowed):
    lines = [line for p in problems(f"{name}.symbolic", 30) for line in p.data["text"].split("\n")[:-1]]
    lines = [line for line in lines if len(line) > len("a=1")]
    own = sum(line[-1] in allowed for line in lines) / len(lines)
    assert own == 1 if name == "trace_digit" else own > 0.8


def test_tasks_on_the_same_program_share_its_content_and_so_its_split():
    names = ("trace.symbolic", "trace_check.worded", "trace_fault.symbolic", "trace_comment.worded")
    assert {problem.content.split(":")[0] for name in names for problem in problems(name, 1)} == {"trace"}
    assert content_key(["a=1", "b=a+2"]) == "trace:a=1;b=a+2"


def test_comment_that_names_a_wrong_value_is_not_fully_scored():
    problem = problems("trace_comment.symbolic", 1)[3]
    assert grade(problem, problem.answer) == 1
    register, value = problem.data["events"][1]
    wrong = problem.answer.replace(f"{register} is {value}.", f"{register} is {(value + 1) % 10}.", 1)
    assert grade(problem, wrong) < 1
