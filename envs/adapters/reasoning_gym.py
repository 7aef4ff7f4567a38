"""Any data set of reasoning-gym (extra `tasks`) as a task, judged by its own scorer.

    envs.register(reasoning_gym_task("spell_backward"))        # -> rg_spell_backward.english

Scorers that give part marks count as wrong below full marks. They are foreign code: an error of theirs makes an answer
unscorable, and their time is bounded only through the length of the answers that reach them.
"""

from functools import partial
from typing import Any

import numpy as np

from envs.base import Correctness, Problem, Task
from envs.draw import integer
from envs.text_env import CHARSET

TRIED = 20
LIBRARY_ERRORS = (AssertionError, IndexError, RuntimeError, ValueError)  # how it rejects configurations and indices
SCORER_ERRORS = (ArithmeticError, AttributeError, LookupError, RecursionError, SyntaxError, TypeError, ValueError)


class Refused(ValueError):
    """A data set that cannot be a task, and why."""


def reasoning_gym_task(dataset: str, max_prompt: int = 200, max_completion: int = 60) -> Task:
    """The task rg_DATASET.english. Difficulty d is level d of the data set's curriculum; without one there is only 1.

    Raises Refused for an unknown data set, for one whose questions or answers are too long or not plain ASCII, and for
    one that does not give its own answer full marks. Raises ImportError with advice where the extra is missing.
    """
    levels = _levels(dataset)
    task = Task(
        name=f"rg_{dataset}.english",
        family=f"rg_{dataset}",
        context="english",
        draw=partial(_draw, dataset, levels, max_prompt, max_completion),
        difficulties=tuple(levels),
        difficulty_meaning="level of reasoning-gym's curriculum",
        max_prompt=max_prompt,
        max_completion=max_completion,
        answer_format=r"[ -~\n]+",
        verify=partial(_verify, levels, max_completion),
    )
    rng = np.random.default_rng(0)
    for difficulty in task.difficulties:
        for _ in range(TRIED):
            problem = task.draw(rng, difficulty)
            if task.verify(problem, problem.answer) != Correctness.CORRECT:
                raise Refused(
                    f"reasoning-gym's {dataset} does not accept its own answer to {problem.prompt!r}: refused"
                )
    return task


def _levels(dataset: str) -> dict[int, Any]:
    """A data set for each level that the library itself allows, from 1."""
    try:
        from reasoning_gym import factory
    except ImportError as error:
        raise ImportError("reasoning-gym is not installed: pip install -e '.[tasks]'") from error
    if dataset not in factory.DATASETS:
        raise Refused(f"reasoning-gym has no data set {dataset!r}: it has {', '.join(sorted(factory.DATASETS))}")
    made_of, default_config = factory.DATASETS[dataset]
    configs = [default_config]
    if factory.has_curriculum(dataset):
        count = max(len(attribute.levels) for attribute in factory.create_curriculum(dataset).attributes.values())
        configs = [partial(_config, dataset, level) for level in range(count)]
    levels = {}
    for difficulty, config in enumerate(configs, start=1):
        try:
            levels[difficulty] = made_of(config=config(seed=0))
        except LIBRARY_ERRORS:
            continue
    if not levels:
        raise Refused(f"reasoning-gym's {dataset} allows none of its own levels: refused")
    return levels


def _config(dataset: str, level: int, seed: int) -> Any:
    from reasoning_gym import factory

    curriculum = factory.create_curriculum(dataset)
    curriculum.set_global_level(level)
    return curriculum.generate_configuration({"seed": seed})


def _draw(
    dataset: str,
    levels: dict[int, Any],
    max_prompt: int,
    max_completion: int,
    rng: np.random.Generator,
    difficulty: int,
) -> Problem:
    for _ in range(100):
        # One seed and a random index: data sets of neighbouring seeds share all but one of their entries.
        try:
            entry = levels[difficulty][integer(rng, 0, 2**31)]
        except LIBRARY_ERRORS as error:
            raise Refused(f"reasoning-gym's {dataset} cannot make any entry that is asked of it: {error}") from error
        prompt, answer = entry["question"], str(entry["answer"])
        if len(prompt) <= max_prompt and 0 < len(answer) <= max_completion and set(prompt + answer) <= set(CHARSET):
            content = f"rg_{dataset}:{prompt}"
            return Problem(f"rg_{dataset}.english", prompt, answer, difficulty, content, {"entry": entry})
    raise Refused(
        f"reasoning-gym's {dataset} at level {difficulty}: 100 draws gave no ASCII question of up to {max_prompt} "
        f"characters with an answer of up to {max_completion}: raise the limits, or choose another data set"
    )


def _verify(levels: dict[int, Any], max_completion: int, problem: Problem, completion: str) -> Correctness:
    if not 0 < len(completion) <= max_completion:
        return Correctness.WRONG
    try:
        score = levels[problem.difficulty].score_answer(completion, problem.data["entry"])
    except SCORER_ERRORS:
        return Correctness.UNSCORABLE
    return Correctness.CORRECT if score == 1 else Correctness.WRONG
