"""Episodes of several turns: a completion that starts with ? calls the tool, any other is the answer."""

from collections.abc import Callable, Sequence

from envs.base import Problem, Reply, exact

CALL = "?"


def answer_or_call(tool: Callable[[Problem, str], str]) -> Callable[[Problem, Sequence[str]], Reply]:
    """The `respond` of a task whose tool answers a call's text, without the mark, with a text."""

    def respond(problem: Problem, completions: Sequence[str]) -> Reply:
        last = completions[-1]
        if last.startswith(CALL):
            return Reply(tool(problem, last.removeprefix(CALL)))
        return Reply(correctness=exact(problem, last))

    return respond


def table(slot: str, missing: str = "none") -> Callable[[Problem, str], str]:
    """A tool that looks the call up in the mapping of that slot; what it lacks is `missing`."""
    return lambda problem, call: problem.data[slot].get(call, missing)
