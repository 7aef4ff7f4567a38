"""Small programs on two variables, whose every state is known: what they print is asked, or whether a claim holds."""

import numpy as np

from envs.arithmetic.expression import apply
from envs.base import Problem
from envs.draw import integer, pick

LARGEST = 999
LONGEST_LINE = len("for i in range(4):a+=b")
State = dict[str, int]


def _line(rng: np.random.Generator, state: State) -> tuple[str, State]:
    """A random statement and the state after it."""
    kind = rng.random()
    target, other = pick(rng, ("ab", "ba"))
    operator = pick(rng, "+-*")
    if kind < 0.6:
        source, operand = pick(rng, "ab"), integer(rng, 2, 10)
        text, result = f"{target}={source}{operator}{operand}", apply(operator, state[source], operand)
    elif kind < 0.8:
        text = f"if {target}<{other}:{target}={other}{operator}1"
        result = apply(operator, state[other], 1) if state[target] < state[other] else state[target]
    else:
        times = integer(rng, 2, 5)
        text, result = f"for i in range({times}):{target}+={other}", state[target] + times * state[other]
    return text, state | {target: result}


def program(rng: np.random.Generator, length: int) -> tuple[list[str], list[State]]:
    """Two assignments and `length` statements, with the state after each line but the first."""
    state = {name: integer(rng, 1, 10) for name in "ab"}
    lines, states = [f"a={state['a']}", f"b={state['b']}"], [state]
    while len(states) <= length:
        text, after = _line(rng, states[-1])
        if max(map(abs, after.values())) <= LARGEST:
            lines.append(text)
            states.append(after)
    return lines, states


def worked(problem: Problem) -> str:
    """The variables after each line."""
    return "\n".join([*(f"a={state['a']} b={state['b']}" for state in problem.data["states"]), problem.answer])


def longest(length: int) -> int:
    """Characters of the longest program of so many statements, line breaks included."""
    return len("a=1\nb=1\n") + length * (LONGEST_LINE + 1)
