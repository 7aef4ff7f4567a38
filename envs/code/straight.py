"""Small programs on two variables, whose every state is known: what they print is asked, or whether a claim holds."""

from envs.arithmetic.expression import apply
from envs.base import Problem, unscorable
from envs.contexts import Content, Family
from envs.draw import Rng, integer, pick

ASSERTION_WORDS = (  # of the families that ask whether a program's last line holds
    "Does the assertion hold, yes or no?\n{text}",
    "{text}\nWill this run without error?",
    "Is the last line true?\n{text}",
)
LARGEST = 999
LONGEST_LINE = len("for i in range(4):a+=b")
State = dict[str, int]


def _line(rng: Rng, state: State) -> tuple[str, State]:
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


def program(rng: Rng, length: int) -> tuple[list[str], list[State]]:
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


def draw_output(rng: Rng, difficulty: int) -> Content:
    lines, states = program(rng, difficulty)
    name = pick(rng, "ab")
    text = "\n".join([*lines, f"print({name})"])
    return Content(f"output:{text}", str(states[-1][name]), {"text": text, "states": states})


OUTPUT = Family(
    "output",
    draw_output,
    symbolic="{text}\n",
    worded=(
        "What does this print?\n{text}",
        "Run this in your head:\n{text}",
        "{text}\nWhich number appears?",
        "Tell the output of\n{text}",
    ),
    widths=lambda d: {"text": longest(d) + len("print(a)"), "answer": 4},
    difficulty_meaning="statements after the two assignments",
    answer_format=r"0|-?[1-9][0-9]*",
    guess_rate=0.05,
    worked=worked,
).tasks


def draw_check(rng: Rng, difficulty: int) -> Content:
    lines, states = program(rng, difficulty)
    name, relation, answer = pick(rng, "ab"), pick(rng, ("==", "<", ">")), pick(rng, ("yes", "no"))
    value, gap = states[-1][name], integer(rng, 1, 6)
    if relation == "==":
        bound = value if answer == "yes" else value + pick(rng, (-gap, gap))
    else:
        above = (relation == "<") == (answer == "yes")
        # A failing strict comparison may fail by equality.
        bound = value + (gap if above else -gap) if answer == "yes" else value + (gap - 1 if above else 1 - gap)
    text = "\n".join([*lines, f"assert {name}{relation}{bound}"])
    return Content(f"check:{text}", answer, {"text": text, "states": states})


CHECK = Family(
    "check",
    draw_check,
    symbolic="{text}\npasses?",
    worded=ASSERTION_WORDS,
    widths=lambda d: {"text": longest(d) + len("assert a==-1004"), "answer": 3},
    difficulty_meaning="statements after the two assignments",
    answer_format=r"yes|no",
    guess_rate=0.515,
    worked=worked,
).tasks


def events(lines: list[str], states: list[State]) -> list[tuple[str, int]]:
    """(variable, value after it) of each line, in order."""
    first = [("a", states[0]["a"]), ("b", states[0]["b"])]
    targets = [line.split(":")[-1][0] for line in lines[2:]]
    return first + [(name, state[name]) for name, state in zip(targets, states[1:])]


def draw_comment(rng: Rng, difficulty: int) -> Content:
    lines, states = program(rng, difficulty)
    name = pick(rng, "ab")
    text = "\n".join([*lines, f"print({name})"])
    facts = events(lines, states)
    answer = "".join(f"{variable} is {value}. " for variable, value in facts) + f"prints {states[-1][name]}."
    return Content(f"output:{text}", answer, {"text": text, "events": facts, "printed": states[-1][name]})


COMMENT = Family(
    "comment",
    draw_comment,
    symbolic="{text}\ncomment:",
    worded=(
        "Say what each line does:\n{text}",
        "{text}\nComment this program.",
        "Explain the program\n{text}",
    ),
    widths=lambda d: {
        "text": longest(d) + len("print(a)"),
        "answer": len("a is -999. ") * (d + 2) + len("prints -999."),
    },
    difficulty_meaning="statements after the two assignments",
    answer_format=r"[ -~\n]+",
    verify=unscorable,
).tasks
