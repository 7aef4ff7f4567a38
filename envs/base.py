"""What a task is made of: problem, correctness, reply, task. Everything in `envs` is built from these four."""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from typing import Any

import numpy as np


class Correctness(IntEnum):
    """Result of checking one episode. UNSCORABLE: the check itself failed; the row has no reward and no gradient."""

    WRONG = 0
    CORRECT = 1
    UNSCORABLE = 2


@dataclass(frozen=True)
class Problem:
    """One drawn task instance.

    `content` names what is asked, free of wording: problems of several tasks that ask the same thing share it, and
    with it the split they belong to. `data` is whatever the verifier needs beyond the answer; it is never shown.
    """

    task: str
    prompt: str
    answer: str
    difficulty: int
    content: str
    data: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def hash(self) -> int:
        """63-bit hash of the content, the same on every machine and in every process."""
        digest = hashlib.blake2b(self.content.encode(), digest_size=8).digest()
        return int.from_bytes(digest, "little") >> 1


@dataclass(frozen=True)
class Reply:
    """What the environment answers to a completion: text for the next turn, or the result that ends the episode."""

    text: str = ""
    correctness: Correctness | None = None


# Of tasks of one turn: to make one takes as long as to check an answer.
REPLY_BY_CORRECTNESS = {correctness: Reply(correctness=correctness) for correctness in Correctness}


def exact(problem: Problem, completion: str) -> Correctness:
    """CORRECT if the completion is the canonical answer, character for character."""
    return Correctness.CORRECT if completion == problem.answer else Correctness.WRONG


def unscorable(problem: Problem, completion: str) -> Correctness:
    """UNSCORABLE, always: the verifier of tasks that training must never be able to check."""
    return Correctness.UNSCORABLE


@dataclass(frozen=True)
class Task:
    """A generator of problems plus a verifier; belongs to a family and a context.

    `draw(rng, difficulty)` is a pure function of its arguments. `verify(problem, completion)` is total: it returns for
    any text, in time linear in its length. `answer_format` is a regular expression that every answer matches in full;
    it is what the format reward pays for. `guess_rate` is the success of the best answer that ignores the prompt,
    averaged over the difficulties, for chance correction. `bounds(difficulty)` is the length in characters of the
    longest prompt and answer; `max_prompt` and `max_completion` are its maxima. With `max_turns` > 1,
    `respond(problem, completions so far)` plays the environment's side, without state, in texts of at most `max_reply`
    characters. `worked(problem)` is a worked solution: lines that end in the answer, steps for a scratchpad, or, with
    several turns, the completions of a right episode. `setting` is what the run table's column of that name says.
    `corpus_answer(problem, rng)` is the answer in a pretraining document: without it the right one; where the corpus is
    wrong about facts, with shares that the task sets, a random one. Only pretraining calls it; `worked` then shows the
    steps to `Problem.answer`, right or wrong.
    """

    name: str
    family: str
    context: str
    draw: Callable[[np.random.Generator, int], Problem]
    difficulties: tuple[int, ...]
    difficulty_meaning: str
    max_prompt: int
    max_completion: int
    answer_format: str
    verify: Callable[[Problem, str], Correctness] = exact
    guess_rate: float = 0.0
    bounds: Callable[[int], tuple[int, int]] | None = None
    max_turns: int = 1
    max_reply: int = 0
    respond: Callable[[Problem, Sequence[str]], Reply] | None = None
    worked: Callable[[Problem], str] | None = None
    setting: str = ""
    corpus_answer: Callable[[Problem, np.random.Generator], str] | None = None

    @property
    def has_scratchpad(self) -> bool:
        """Whether the worked solution holds steps; with several turns it holds the completions of an episode."""
        return self.worked is not None and self.max_turns == 1

    def scratchpad(self, problem: Problem) -> str:
        """The steps of the worked solution, one a line, without the answer; "" where there are none."""
        if self.worked is None or self.max_turns > 1:
            return ""
        return self.worked(problem).removesuffix(problem.answer).removesuffix("\n")

    @property
    def has_verifier(self) -> bool:
        """Whether answers can be checked; where not, the task can only be unverified, and a grader scores it."""
        return self.verify is not unscorable

    @property
    def has_one_answer(self) -> bool:
        """Whether the canonical answer, character for character, is right and nothing else is, in one turn."""
        return self.verify is exact and self.respond is None and self.max_turns == 1

    def reply(self, problem: Problem, completions: Sequence[str]) -> Reply:
        """The environment's answer to the last of `completions`."""
        if self.respond is not None:
            return self.respond(problem, completions)
        return REPLY_BY_CORRECTNESS[self.verify(problem, completions[-1])]

    def max_lengths(self, difficulties: Sequence[int] = ()) -> tuple[int, int]:
        """Characters in the longest prompt and the longest answer at these difficulties (default: all)."""
        if self.bounds is None or not difficulties:
            return self.max_prompt, self.max_completion
        prompts, answers = zip(*map(self.bounds, difficulties))
        return max(prompts), max(answers)

    def well_formed(self, completion: str) -> bool:
        """Whether the completion has the form of an answer, right or wrong."""
        return self._form.fullmatch(completion) is not None

    @cached_property
    def _form(self) -> re.Pattern[str]:
        return re.compile(self.answer_format)
