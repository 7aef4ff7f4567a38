"""Every command in README.md, CONTRIBUTING.md and docs/ runs: its settings compose; the slow tests start it."""

import ast
import importlib
import importlib.util
import itertools
import json
import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser

from benchmarks.page import PARTS
from harness.analysis.verdict.primary import PrimaryRecord
from harness.analysis.verdict.record import VerdictRecord
from harness.commands.ask import settings_of, split_arguments
from harness.commands.main import COMMANDS, summary
from harness.config.compose import Composer, config_folder_among, flags_and_overrides, hydra_with, plain
from harness.config.parse import parse
from harness.study.expand import expand
from scripts.config_page import config_page
from tests.commands_in_docs import Command, commands, pages, texts_of, write_files
from tests.toys import tiny, train

ROOT = Path(__file__).parent.parent
FOUND = commands(ROOT)
PAGES = pages(ROOT)
TRAINING = ("train", "study")
# Seconds each, and they write nothing: they are run as they are. Other modules take minutes, and are only imported.
QUICK_MODULES = ("arms", "breadth")
# Stands for the installed command, which tests/test_package.py runs from the wheel.
CONSOLE_COMMAND = "rl-scaling() { python -c 'from harness.commands.main import main; main()' \"$@\"; };"


@pytest.fixture
def checkout(tmp_path):
    """A folder that looks like a checkout, in which commands leave their outputs."""
    for name in ("scripts", "docs", "configs", "harness", "envs", "tests", "benchmarks"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def app(command: Command) -> str | None:
    """The app that a command starts, by its script or by the console command; None for other programs."""
    path = Path(command.program)
    name = path.stem if path.parent.name == "scripts" else command.program
    return name if name in COMMANDS else None


def names(found: list[Command]):
    return pytest.mark.parametrize("command", found, ids=[f"{c.page}: {c.text[:60]}" for c in found])


def jobs(command: Command) -> list[list[str]]:
    """The overrides of each job of a command: more than one with -m."""
    _, overrides = flags_and_overrides(command.arguments)
    if app(command) == "ask":
        overrides, prompts = split_arguments(overrides, settings_of("ask"))
        assert prompts or overrides
    if "-m" not in command.words:
        return [overrides]
    parsed = OverridesParser.create().parse_overrides(overrides)
    choices = [
        [f"{one.key_or_group}={value}" for value in one.sweep_string_iterator()] if one.is_sweep_override() else [text]
        for one, text in zip(parsed, overrides)
    ]
    return [list(job) for job in itertools.product(*choices)]


@names([command for command in FOUND if app(command)])
def test_the_settings_of_a_command_compose(command, checkout, monkeypatch):
    write_files(command.files, checkout)
    monkeypatch.chdir(checkout)
    name = app(command)
    own_module = any("imports=" in argument for argument in command.arguments)  # only the slow test has it at hand
    with hydra_with("configs", config_folder_among(command.arguments)):
        for overrides in jobs(command):
            config = plain(compose(name, overrides=overrides))
            if name == "train" and not own_module:
                parse(config)
            if name == "study" and config["studies"] is None:
                assert expand(Composer("study"), [*overrides, "tracker=none", "device=cpu"]).entries


@names([command for command in FOUND if not app(command)])
def test_what_else_the_pages_start_exists(command):
    if command.words[0] == "rl-scaling":
        assert command.words[1] in ("--help", "--version"), command.text
    elif command.words[1] == "-m":
        assert importlib.util.find_spec(command.program), command.text
    else:
        assert (ROOT / command.program).is_file(), command.text
    if command.program == "scripts/bench.py":
        assert dict(argument.split("=") for argument in command.arguments)["part"] in ("all", "envs", "gpu", *PARTS)
    if command.program == "pytest":
        assert all((ROOT / argument).exists() for argument in command.arguments)


def test_the_readme_has_commands_of_every_kind():
    found = {Path(command.program).name for command in FOUND if command.page == "README.md"}
    assert {"quickstart.sh", "test.sh", "train.py", "study.py", "analyze.py"} <= found


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_the_files_and_links_that_a_page_names_exist(page):
    text = page.read_text()
    named = re.findall(r"(?<![\w/.-])(?:harness|envs|configs|scripts|tests|benchmarks|docs)/[\w./-]*\w", text)
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert [name for name in named if not (ROOT / name).exists()] == []
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_python_of_a_page_is_valid_and_imports_what_exists(page):
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S)
    for node in itertools.chain.from_iterable(ast.walk(ast.parse(block)) for block in blocks):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("harness", "envs"):
            module = importlib.import_module(node.module)
            assert [name.name for name in node.names if not hasattr(module, name.name)] == []


def test_the_page_of_settings_is_made_from_the_configuration():
    """`python scripts/config_page.py` after a setting has changed."""
    assert (ROOT / "docs/reference/configs.md").read_text() == config_page()


def test_the_page_of_commands_lists_all_with_what_they_do():
    rows = (ROOT / "docs/reference/commands.md").read_text()
    assert [
        name for name, app in COMMANDS.items() if f"| `{name}` | {' '.join(summary(app).split())} |" not in rows
    ] == []


def test_the_page_of_metrics_has_all_that_a_step_gives(tmp_path):
    metrics = (train(tiny("rl.steps=1", out=tmp_path)) / "metrics.jsonl").read_text()
    given = {name for line in metrics.splitlines() for name in json.loads(line)}
    page = (ROOT / "docs/reference/metrics.md").read_text()
    assert "train/accuracy" in given
    assert [name for name in given if name.split("/")[0] not in ("eval", "time") and f"`{name}`" not in page] == []


@pytest.mark.parametrize("record", [VerdictRecord, PrimaryRecord])
def test_the_page_on_verdicts_names_every_entry_of_a_record(record):
    page = (ROOT / "docs/reference/verdicts-json.md").read_text()
    named = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", page))))
    assert [entry.name for entry in fields(record) if entry.name not in named] == []


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path):
    pytest.importorskip("material", reason="needs the extra docs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "tutorials/first-study.html").is_file()
    links = re.findall(r'href="([^"]+)"', (tmp_path / "results/atlas.html").read_text())
    assert [link for link in links if not (tmp_path / "results" / link).is_file()] == []


@pytest.mark.parametrize(
    ("page", "texts"),
    [
        ("```bash\npython a.py x=1 \\\n  y=2   # words\npip install b\n```\n", ["python a.py x=1 y=2"]),
        ("text\n\n    python a.py x=1\n    # words\n    not a command\n\ntext\n", ["python a.py x=1"]),
        ("`python a.py x=1 …` and `python` and `du -sb`\n", ["python a.py x=1"]),
        ("<!-- not run: needs a GPU -->\n```bash\npython a.py\n```\n", []),
        ("```python\nimport envs\n```\n", []),
    ],
)
def test_commands_are_found_where_a_reader_copies_them(page, texts):
    assert list(texts_of(page)) == texts


def started(command: Command, folder: Path, *more: str) -> subprocess.CompletedProcess:
    """Runs the text of a command in bash, with this Python, and `more` behind it."""
    write_files(command.files, folder)
    for block in command.python if any("imports=" in argument for argument in command.arguments) else ():
        (folder / "my_tasks.py").write_text(block)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    modules = os.pathsep.join([str(folder), str(ROOT), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "PATH": path, "PYTHONPATH": modules, "WANDB_MODE": "offline"}
    text = " ".join([CONSOLE_COMMAND, command.text, *more])
    ended = subprocess.run(["bash", "-c", text], cwd=folder, env=env, capture_output=True, text=True)
    assert ended.returncode == 0, f"{text}\n{ended.stdout[-2000:]}\n{ended.stderr[-3000:]}"
    return ended


@pytest.mark.slow
@names([command for command in FOUND if app(command) in TRAINING and command.words[0] != "torchrun"])
def test_a_command_that_trains_prints_its_plan(command, checkout):
    planned = started(command, checkout, *["plan=true"] * ("plan=true" not in command.words))
    assert ("rl:" if "--cfg" in command.words else "FLOPs") in planned.stdout
    assert not (checkout / "outputs" / "runs").exists()


@pytest.mark.slow
@names([command for command in FOUND if app(command) not in (None, *TRAINING)])
def test_another_command_starts_and_composes(command, checkout):
    shows_few = app(command) == "tasks" and any(argument.startswith("show=") for argument in command.arguments)
    assert started(command, checkout, *["--cfg job"] * (not shows_few)).stdout


@pytest.mark.slow
@names([command for command in FOUND if command.program.split(".")[-1] in QUICK_MODULES])
def test_tables_of_the_results_pages_are_printed(command, checkout):
    assert started(command, checkout).stdout.count("\n") > 3
