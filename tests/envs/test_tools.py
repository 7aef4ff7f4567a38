"""Episodes of several turns, and the examples axis of in-context tasks."""

import numpy as np
import pytest

import envs
from envs.base import Correctness
from envs.splits import distinct_problems
from envs.text_env import TextEnv


def start(name: str, difficulty: int = 3) -> TextEnv:
    environment = TextEnv(name, difficulty)
    environment.reset(seed=0)
    return environment


@pytest.mark.parametrize(
    ("call", "reply"),
    [
        ("?12*34", "408"),
        ("?12--3", "15"),
        ("?99999*99999", "9999800001"),
        ("?-99999*99999", "-9999800001"),
        ("?", "error"),
        ("?1+2+3", "error"),
        ("?123456+1", "error"),
        ("?12 * 34", "error"),
        ("?" + "9" * 100_000, "error"),
    ],
)
def test_calculator_takes_one_operation_and_calls_all_else_an_error(call, reply):
    text, reward, terminated, truncated, info = start("calculator.symbolic").step(call)
    assert (text, reward, terminated, truncated, info["correctness"]) == (reply, 0.0, False, False, None)


UNKNOWN = [
    ("store.worded", "none"),
    ("spreadsheet.symbolic", "empty"),
    ("translate.symbolic", "none"),
    ("spell.worded", "none"),
]


@pytest.mark.parametrize(("name", "empty"), UNKNOWN)
def test_unknown_key_is_told_and_the_episode_goes_on(name, empty):
    assert start(name).step("?Q9")[:3] == (empty, 0.0, False)


def test_calling_for_ever_ends_wrong_when_the_turns_are_spent():
    environment = start("store.symbolic")
    for _ in range(environment.task.max_turns - 1):
        assert not environment.step("?a")[3]
    *_, terminated, truncated, info = environment.step("?a")
    assert (terminated, truncated, info["correctness"]) == (False, True, Correctness.WRONG)


def test_guesses_are_told_higher_or_lower_until_they_are_spent():
    environment = start("guess_number.symbolic")
    low, high, number = (environment.problem.data[name] for name in ("low", "high", "number"))
    if number != low:
        assert environment.step(str(low))[:3] == ("higher", 0.0, False)
    environment.reset(options={"problem": environment.problem})
    checks = [environment.step(str(high + 1 + i))[4]["correctness"] for i in range(4)]
    assert checks == [None, None, None, Correctness.WRONG]


def test_replies_are_a_function_of_problem_and_completions_alone():
    task = envs.get("spreadsheet.symbolic")
    problem = task.draw(np.random.default_rng(0), 5)
    turns = task.worked(problem).split("\n")
    forwards = [task.reply(problem, turns[: i + 1]) for i in range(len(turns))]
    backwards = [task.reply(problem, turns[: i + 1]) for i in reversed(range(len(turns)))]
    assert forwards == backwards[::-1]


@pytest.mark.parametrize("family", ["regression", "induction", "ring", "ring_shuffled"])
def test_more_examples_extend_fewer_for_the_same_rule_and_query(family):
    few = distinct_problems(envs.get(f"{family}.symbolic_2"), 4, "test", 20, 0)
    many = distinct_problems(envs.get(f"{family}.symbolic_8"), 4, "test", 20, 0)
    for short, long in zip(few, many):
        assert (short.content, short.answer) == (long.content, long.answer)
        assert long.prompt.startswith(short.data["pairs"] + " ")
    assert envs.get(f"{family}.symbolic_8").setting == "examples=8"


def test_two_examples_determine_the_line():
    task = envs.get("regression.symbolic_2")
    for problem in distinct_problems(task, 5, "test", 50, 0):
        (x1, y1), (x2, y2) = (map(int, pair.split(">")) for pair in problem.data["pairs"].split())
        slope = (y2 - y1) // (x2 - x1)
        assert problem.answer == str(y1 + slope * (problem.data["query"] - x1))


@pytest.mark.parametrize("name", ["store.symbolic", "spell.symbolic", "translate.symbolic"])
def test_what_the_tool_replies_to_the_calls_gives_the_answer(name):
    """The last reply is the key at the end of the hops, or the replies together are the word."""
    for problem in distinct_problems(envs.get(name), 4, "test", 20, 0):
        calls = envs.get(name).worked(problem).split("\n")[:-1]
        replies = [envs.get(name).reply(problem, calls[: i + 1]).text for i in range(len(calls))]
        assert problem.answer in (replies[-1], "".join(replies))


def test_the_answer_follows_from_eight_examples_of_a_ring_and_not_from_those_of_another():
    def right(name):
        """Share of problems whose answer the examples lead to, one letter after another."""
        found = []
        for problem in distinct_problems(envs.get(name), 3, "test", 200, 0):
            after, letter = dict(problem.data["pairs"].split()), problem.data["start"]
            for _ in problem.data["places"]:
                letter = after[letter]
            found.append(letter == problem.answer)
        return np.mean(found)

    assert right("ring.symbolic_8") == 1
    assert right("ring_shuffled.symbolic_8") == pytest.approx(1 / 7, abs=0.08)
