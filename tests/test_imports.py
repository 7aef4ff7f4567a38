"""Imports run one way: scripts -> harness -> envs, and the learner never reaches a hidden grader or the evaluation."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ABOVE_CONFIG = ("policy", "train", "evaluate", "launch", "run", "study", "analysis", "cli")


def imports(path: Path) -> set[str]:
    """Full names of all that a file imports, also inside functions; `from a import b` counts as a and a.b."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def breaches(folder: str, *forbidden: str) -> list[str]:
    """Imports under the folder of anything forbidden, or of what lies below it."""
    files = sorted((ROOT / folder).rglob("*.py")) if (ROOT / folder).is_dir() else [ROOT / folder]
    assert files
    return [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in files
        for name in imports(path)
        if any(name == f or name.startswith(f + ".") for f in forbidden)
    ]


@pytest.mark.parametrize(
    ("folder", "forbidden"),
    [
        ("envs", ["torch", "hydra", "harness", "scripts", "tests", "wandb"]),
        ("harness", ["scripts", "tests"]),
        ("harness/analysis", ["torch", "harness.train", "harness.policy", "harness.run", "harness.study"]),
        (
            "harness/policy",
            ["envs.graders", "harness.train", "harness.evaluate", "harness.run", "harness.study"],
        ),
        (
            "harness/train",
            ["envs.graders", "harness.evaluate", "harness.run", "harness.study", "harness.analysis"],
        ),
        ("harness/evaluate.py", ["harness.run", "harness.study"]),
        ("harness/launch", ["torch", "harness.train", "harness.study", "harness.run"]),
        ("harness/core/types.py", ["harness.train", "harness.evaluate", "harness.run"]),
        ("harness/core", ["harness.config"]),
        ("harness/config", ["envs.graders", *(f"harness.{name}" for name in ABOVE_CONFIG)]),
        ("harness/config/schema", ["envs", "torch", "hydra", "omegaconf", "harness.core"]),
        ("harness/cli.py", ["torch", "harness.train", "harness.run", "harness.study"]),
    ],
)
def test_imports_run_one_way(folder, forbidden):
    assert breaches(folder, *forbidden) == []


def test_only_the_evaluation_may_see_hidden_graders():
    seen = {line.split()[0] for line in breaches("harness", "envs.graders") + breaches("scripts", "envs.graders")}
    assert seen <= {"harness/evaluate.py"}


def test_the_walk_sees_imports_of_every_form(tmp_path):
    file = tmp_path / "a.py"
    file.write_text("import torch.nn as nn\ndef f():\n    from envs import graders\n")
    assert imports(file) == {"torch.nn", "envs", "envs.graders"}
