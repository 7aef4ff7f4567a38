"""Straight programs: the sandbox agrees with what the tasks say of them."""

import numpy as np
import pytest

import envs
from envs.code import trace
from envs.code.sandbox import Ending, Sandbox
from envs.code.trace import program
from envs.graders import grade
from envs.splits import split_of


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox() as pool:
        yield pool


def problems(name: str, per_difficulty: int = 10):
    task, rng = envs.get(name), np.random.default_rng(0)
    return [task.draw(rng, d) for d in task.difficulties for _ in range(per_difficulty)]


@pytest.mark.parametrize("name", ["trace.symbolic", "trace_digit.symbolic", "trace_register.symbolic"])
def test_sandbox_prints_the_answer(sandbox, name):
    for problem in problems(name):
        outcome = sandbox.run(problem.data["text"])
        assert (outcome.ending, outcome.output) == (Ending.VALUE, problem.answer + "\n")


def test_assertion_holds_in_the_sandbox_exactly_where_the_answer_is_yes(sandbox):
    for problem in problems("trace_check.symbolic"):
        ending = sandbox.run(problem.data["text"]).ending
        assert ending is (Ending.VALUE if problem.answer == "yes" else Ending.ERROR)


def test_sandbox_has_the_register_after_each_line(sandbox):
    for problem in problems("trace.symbolic", 3):
        lines = problem.data["text"].split("\n")
        for i, (register, value) in enumerate(problem.data["values"], start=1):
            assert sandbox.run("\n".join([*lines[:i], register])).value == value


def test_exactly_the_faulty_line_has_a_false_comment(sandbox):
    for problem in problems("trace_fault.symbolic", 5):
        lines = problem.data["text"].split("\n")
        false = []
        for i, line in enumerate(lines, start=1):
            register, claimed = line[0], int(line.split("#")[1])
            if sandbox.run("\n".join([*lines[:i], register])).value != claimed:
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


def test_tasks_on_the_same_program_are_in_the_same_split():
    where: dict[str, set[str]] = {}
    for name in ("trace.symbolic", "trace_check.worded", "trace_fault.symbolic", "trace_comment.worded"):
        for problem in problems(name, 40):
            where.setdefault(problem.content, set()).add(split_of(problem))
    assert all(len(splits) == 1 for splits in where.values())
    assert trace.content_key(["a=1", "b=a+2"]) == "trace:a=1;b=a+2"


def test_comment_that_names_a_wrong_value_is_not_fully_scored():
    problem = problems("trace_comment.symbolic", 1)[3]
    assert grade(problem, problem.answer).score == 1
    register, value = problem.data["events"][1]
    wrong = problem.answer.replace(f"{register} is {value}.", f"{register} is {(value + 1) % 10}.", 1)
    assert grade(problem, wrong).score < 1
