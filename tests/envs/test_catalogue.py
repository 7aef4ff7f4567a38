"""The pages on tasks say what the code does."""

import json
import re
import subprocess
import sys
from pathlib import Path

import envs
from envs.catalogue import few_problems, overview, summary, tasks_page
from envs.registry import FAMILIES

DOCS = Path(__file__).parents[2] / "docs"

USE = """
import numpy as np, gymnasium, my_tasks, envs
from envs.splits import distinct_problems
from gymnasium.utils.env_checker import check_env
for task in envs.select(["doubling.*"]):
    for problem in distinct_problems(task, 10, "test", 20, 0):
        assert task.verify(problem, problem.answer) and not task.verify(problem, problem.answer + "x")
        assert len(problem.prompt) <= task.max_prompt and len(problem.answer) <= task.max_completion
    check_env(gymnasium.make(f"rl_scaling/{task.name}-v0").unwrapped, skip_render_check=True)
    print(task.name)
"""


def test_example_of_an_own_task_works_and_is_under_40_lines(tmp_path):
    code = re.search(r"```python\n(.*?)```", (DOCS / "tutorials/own-task.md").read_text(), re.DOTALL)[1]
    assert len(code.splitlines()) < 40
    (tmp_path / "my_tasks.py").write_text(code)
    paths = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(DOCS.parent)!r}]"
    result = subprocess.run([sys.executable, "-c", paths + USE], capture_output=True, text=True)
    assert (result.returncode, result.stdout.split()) == (0, ["doubling.symbolic", "doubling.worded"]), result.stderr


def test_page_of_tasks_is_what_the_code_and_the_measurements_give():
    """`python scripts/tasks.py page=docs/reference/tasks.md success=docs/reference/success` writes it."""
    files = sorted((DOCS / "reference/success").glob("*.json"))
    success = {file.stem: json.loads(file.read_text()) for file in files}
    assert (DOCS / "reference/tasks.md").read_text() == overview(success)


def test_page_of_tasks_names_every_family_or_the_range_it_lies_in():
    written = overview({})
    for tasks in FAMILIES.values():
        assert f"`{tasks[0].family}`" in written
        assert f"`{tasks[-1].family}`" in written


def test_catalogue_shows_every_context_with_examples():
    tasks = envs.select(["addition.*"])
    shown = tasks_page(tasks)
    assert all(f"| {task.name} | 1 | `" in shown for task in tasks)
    assert summary(tasks[0]) in shown


def test_difficulties_with_few_problems_are_named():
    assert few_problems(envs.get("addition.symbolic")) == {1: 15}
