"""One content generator, a task for each context: what is asked is drawn first, then how it is worded."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from envs.base import Problem, Task
from envs.draw import Rng, pick


@dataclass(frozen=True)
class Content:
    """What a problem asks, free of wording. `slots` fill the prompt templates and reach verifiers as `Problem.data`."""

    key: str
    answer: str
    slots: Mapping[str, Any] = field(default_factory=dict)


DrawContent = Callable[[Rng, int], Content]


def _draw(name: str, content_of: DrawContent, templates: Sequence[str], rng: Rng, d: int) -> Problem:
    content = content_of(rng, d)
    template = templates[0] if len(templates) == 1 else pick(rng, templates)
    return Problem(name, template.format_map(content.slots), content.answer, d, content.key, content.slots)


def _bounds(templates: Sequence[str], widths: Callable[[int], Mapping[str, int]], d: int) -> tuple[int, int]:
    widest = {slot: "x" * width for slot, width in widths(d).items()}
    return max(len(template.format_map(widest)) for template in templates), len(widest["answer"])


class Family:
    """One content in two contexts: `tasks`, which are `name.symbolic` and `name.worded`, with the same contents and so
    the same splits.

    `symbolic` and `worded` are templates over the slots of `draw`'s contents. `widths(difficulty)` is the greatest
    length of each slot that they name, and of the answer. A `setting` such as "examples=8" tells variants of a
    context apart; its value joins the name: `name.symbolic_8`. The rest is as in Task.
    """

    def __init__(
        self,
        name: str,
        draw: DrawContent,
        *,
        symbolic: str,
        worded: Sequence[str],
        widths: Callable[[int], Mapping[str, int]],
        difficulties: Sequence[int] = range(1, 11),
        setting: str = "",
        **rest: Any,
    ):
        variant = f"_{setting.split('=')[1]}" if setting else ""

        def task(context: str, templates: Sequence[str]) -> Task:
            bounds = partial(_bounds, templates, widths)
            prompt, answer = (max(lengths) for lengths in zip(*map(bounds, difficulties)))
            return Task(
                name=f"{name}.{context}",
                family=name,
                context=context,
                draw=partial(_draw, f"{name}.{context}", draw, templates),
                difficulties=tuple(difficulties),
                max_prompt=prompt,
                max_completion=answer,
                bounds=bounds,
                setting=setting,
                **rest,
            )

        self.tasks = task(f"symbolic{variant}", (symbolic,)), task(f"worded{variant}", tuple(worded))
