"""Imports run one way, from scripts down to envs, and the learner never reaches a hidden grader or the evaluation."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def imports(path: Path, checked: bool = True) -> set[str]:
    """Full names of all that a file imports, also inside functions; `from a import b` counts as a and a.b. Without
    `checked`, what stands under TYPE_CHECKING is left out."""
    tree, found = ast.parse(path.read_text()), set()
    only_checked = {
        id(node)
        for test in ast.walk(tree)
        if isinstance(test, ast.If) and ast.unparse(test.test) == "TYPE_CHECKING" and not checked
        for node in ast.walk(test)
    }
    for node in ast.walk(tree):
        if id(node) in only_checked:
            continue
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


# Low to high: a floor may import those before it, and itself. launch, beside them, imports config and core alone.
FLOORS = (
    "envs",
    "harness.core",
    "harness.config",
    "harness.policy",
    "harness.train",
    "harness.evaluate",
    "harness.run",
    "harness.study",
    "scripts",
)
BESIDE = ("harness.analysis", "harness.tracking", "harness.launch", "harness.cli")


# Layers of the analysis: each may import itself and what is named, and no file beside them.
LAYERS = {
    "data": "data",
    "stats": "data stats",
    "verdict": "data stats verdict",
    "transfer": "data stats transfer",
    "report": "data stats verdict transfer report",
    "calibration": "data stats verdict transfer report calibration",
}
BESIDE_LAYERS = {"__init__.py", "analysis.py", "command.py"}


def source(name: str) -> str:
    """The folder or file of a module of this project, under the root."""
    path = name.replace(".", "/")
    return path if (ROOT / path).is_dir() else f"{path}.py"


@pytest.mark.parametrize(("floor", "name"), list(enumerate(FLOORS)), ids=FLOORS)
def test_no_floor_imports_one_above_it(floor, name):
    assert breaches(source(name), *FLOORS[floor + 1 :]) == []


@pytest.mark.parametrize(
    ("folder", "forbidden"),
    [
        ("envs", ["torch", "hydra", "harness", "tests", "wandb"]),
        ("harness", ["scripts", "tests", "benchmarks"]),
        ("harness/core", ["harness.config", "harness.launch", *BESIDE]),
        ("harness/config", BESIDE),
        ("harness/policy", ["envs.graders", *BESIDE]),
        ("harness/train", ["envs.graders", *BESIDE]),
        ("harness/evaluate.py", BESIDE),
        ("harness/launch", ["torch", *(floor for floor in FLOORS[3:]), "harness.analysis", "harness.tracking"]),
        ("harness/run", ["harness.analysis", "harness.tracking", "harness.cli"]),
        ("harness/study", ["harness.cli"]),
        ("harness/analysis", ["torch", *(floor for floor in FLOORS[3:]), "harness.launch"]),
        ("harness/tracking", ["torch", "harness.policy", "harness.train", "harness.study"]),
        ("harness/cli.py", ["torch", *(floor for floor in FLOORS[3:]), "harness.analysis"]),
    ],
)
def test_imports_run_one_way(folder, forbidden):
    assert breaches(folder, *forbidden) == []


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_of_the_analysis_imports_only_itself_and_what_lies_below(layer):
    others = {*LAYERS, "analysis", "command"} - {*LAYERS[layer].split()}
    assert breaches(f"harness/analysis/{layer}", *(f"harness.analysis.{other}" for other in others)) == []
    found = {path.name for path in (ROOT / "harness/analysis").iterdir()} - {"__pycache__"}
    assert found == LAYERS.keys() | BESIDE_LAYERS


@pytest.mark.parametrize(
    ("imported", "absent"),
    [
        ("envs", "torch hydra harness wandb envs.graders"),
        ("harness", "torch polars numpy hydra"),
        ("harness.cli, harness.launch.jobs", "torch wandb polars"),
    ],
)
def test_what_is_imported_often_brings_in_nothing_heavy(imported, absent):
    """Whatever the packages of others import in their turn."""
    code = f"import sys, {imported}; print({{*{absent.split()}}} & {{*sys.modules}})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_no_module_imports_itself_by_way_of_others():
    """Imports inside functions count; those for type checkers alone, which never run, do not."""
    files = {module_name(path): path for path in (ROOT / "harness").rglob("*.py") if "hydra_plugins" not in path.parts}
    graph = {name: (imports(path, checked=False) & files.keys()) - {name} for name, path in files.items()}
    graphlib.TopologicalSorter(graph).prepare()


def named_modules(path: Path, modules: set[str]) -> set[str]:
    """Modules named in the strings of a file, alone or before a colon; but for a command's `-m`, and for the package
    whose files importlib.resources opens."""
    tree, allowed = ast.parse(path.read_text()), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "files":
            allowed |= {id(argument) for argument in node.args}
        elif isinstance(node, ast.List | ast.Tuple):
            after = zip(node.elts, node.elts[1:])
            allowed |= {id(name) for flag, name in after if isinstance(flag, ast.Constant) and flag.value == "-m"}
    strings = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return {node.value for node in strings if id(node) not in allowed and node.value.split(":")[0] in modules}


def test_no_module_is_named_in_a_string():
    paths = [path for folder in ("harness", "envs") for path in (ROOT / folder).rglob("*.py")]
    modules = {name for path in paths if "." in (name := module_name(path))}
    searched = [path for path in paths if (ROOT / "harness") in path.parents]
    assert {str(path): named for path in searched if (named := named_modules(path, modules))} == {}


def test_the_search_of_strings_finds_a_module_before_its_function_and_passes_over_commands(tmp_path):
    file = tmp_path / "a.py"
    file.write_text('"""See harness.run.job."""\nA = "harness.run.job:run_job"\nB = ["-m", "harness.run.job"]\n')
    assert named_modules(file, {"harness.run.job"}) == {"harness.run.job:run_job"}


def test_only_the_check_for_cuda_imports_torch_in_the_configuration_and_not_at_import():
    assert breaches("harness/config", "torch") == ["harness/config/validate.py imports torch"]
    top = ast.parse((ROOT / "harness/config/validate.py").read_text()).body
    assert not [node for node in top if isinstance(node, ast.Import) and node.names[0].name == "torch"]


def test_the_rl_step_imports_at_most_14_modules_of_the_project_and_harness_has_at_most_14_parts():
    names = imports(ROOT / "harness/train/rl.py")
    modules = {name for name in names if name.startswith(("envs.", "harness.")) and (ROOT / source(name)).exists()}
    assert len(modules - {"harness.train"}) <= 14
    parts = [path for path in (ROOT / "harness").iterdir() if path.suffix == ".py" or any(path.glob("*.py"))]
    assert 10 < len(parts) <= 14


def test_only_the_evaluation_may_see_hidden_graders():
    seen = {line.split()[0] for line in breaches("harness", "envs.graders") + breaches("scripts", "envs.graders")}
    assert seen <= {"harness/evaluate.py"}


def test_the_walk_sees_imports_of_every_form(tmp_path):
    file = tmp_path / "a.py"
    file.write_text("import torch.nn as nn\ndef f():\n    from envs import graders\n")
    assert imports(file) == {"torch.nn", "envs", "envs.graders"}


MOST = {"lines of a file": 300, "lines of a function": 50, "parameters": 8}


def measures(source: str):
    """(name, what, how many) of a module, its functions and their parameters but self and cls."""
    yield "file", "lines of a file", source.count("\n")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            yield node.name, "lines of a function", node.end_lineno - node.lineno + 1
            yield node.name, "parameters", len([name for name in names if name not in ("self", "cls")])


@pytest.mark.parametrize("folder", ["harness", "envs", "scripts", "examples"])
def test_files_functions_and_signatures_are_short(folder):
    long = [
        f"{path.relative_to(ROOT)} {name}: {count} {what}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for name, what, count in measures(path.read_text())
        if count > MOST[what]
    ]
    assert long == []


def test_what_is_long_is_found():
    source = "def f(self, a, b, *, c):\n" + "    pass\n" * 60
    assert {what: count for _, what, count in measures(source)} == {
        "lines of a file": 61, "lines of a function": 61, "parameters": 3,
    }  # fmt: skip
