"""One content generator, a task for each context: what is asked is drawn first, then how it is worded."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import partial
from typing import Any

import numpy as np

from envs.base import Correctness, Problem, Reply, Task, exact
from envs.draw import pick


@dataclass(frozen=True)
class Content:
    """What a problem asks, free of wording. `slots` fill the prompt templates and reach verifiers as `Problem.data`."""

    key: str
    answer: str
    slots: Mapping[str, Any] = field(default_factory=dict)


DrawContent = Callable[[np.random.Generator, int], Content]


def _draw(name: str, content_of: DrawContent, templates: Sequence[str], rng: np.random.Generator, d: int) -> Problem:
    content = content_of(rng, d)
    template = templates[0] if len(templates) == 1 else pick(rng, templates)
    return Problem(name, template.format_map(content.slots), content.answer, d, content.key, content.slots)


def _bounds(templates: Sequence[str], widths: Callable[[int], Mapping[str, int]], d: int) -> tuple[int, int]:
    widest = {slot: "x" * width for slot, width in widths(d).items()}
    return max(len(template.format_map(widest)) for template in templates), len(widest["answer"])


@dataclass(frozen=True)
class Family:
    """One content in two contexts: the tasks `name.symbolic` and `name.worded`, with the same contents and so the same
    splits.

    `symbolic` and `worded` are templates over the slots of `draw`'s contents. `widths(difficulty)` is the greatest
    length of each slot that they name, and of the answer. A `setting` such as "examples=8" tells variants of a
    context apart; its value joins the name: `name.symbolic_8`. The rest is as in Task.
    """

    name: str
    draw: DrawContent
    _: KW_ONLY
    symbolic: str
    worded: Sequence[str]
    widths: Callable[[int], Mapping[str, int]]
    difficulty_meaning: str
    answer_format: str
    verify: Callable[[Problem, str], Correctness] = exact
    guess_rate: float = 0.0
    worked: Callable[[Problem], str] | None = None
    difficulties: Sequence[int] = range(1, 11)
    respond: Callable[[Problem, Sequence[str]], Reply] | None = None
    max_turns: int = 1
    max_reply: int = 0
    setting: str = ""
    corpus_answer: Callable[[Problem, np.random.Generator], str] | None = None

    @property
    def tasks(self) -> tuple[Task, ...]:
        return self._task("symbolic", (self.symbolic,)), self._task("worded", tuple(self.worded))

    def _task(self, context: str, templates: Sequence[str]) -> Task:
        variant = f"_{self.setting.split('=')[1]}" if self.setting else ""
        name, bounds = f"{self.name}.{context}{variant}", partial(_bounds, templates, self.widths)
        prompt, answer = (max(lengths) for lengths in zip(*map(bounds, self.difficulties)))
        return Task(
            name=name,
            family=self.name,
            context=context + variant,
            draw=partial(_draw, name, self.draw, templates),
            difficulties=tuple(self.difficulties),
            difficulty_meaning=self.difficulty_meaning,
            max_prompt=prompt,
            max_completion=answer,
            answer_format=self.answer_format,
            verify=self.verify,
            guess_rate=self.guess_rate,
            bounds=bounds,
            worked=self.worked,
            respond=self.respond,
            max_turns=self.max_turns,
            max_reply=self.max_reply,
            setting=self.setting,
            corpus_answer=self.corpus_answer,
        )
