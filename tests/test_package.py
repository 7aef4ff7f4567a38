"""The wheel, installed into an empty environment, has the console command and trains from any folder."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from harness import __version__
from harness.commands.main import COMMANDS, help_text, main, unknown_command
from tests.toys import TINY

ROOT = Path(__file__).parent.parent
FIVE_STEPS = [setting for setting in TINY if not setting.startswith("imports")]
FIVE_STEPS += ["rl.steps=5", "budgets=[0,5]", "base.tasks=[reversal.symbolic]", "base.contexts.worded=0"]
FIVE_STEPS += ["tasks.verified=[reversal.symbolic]", "tasks.unverified=[]"]


def called(monkeypatch, *arguments):
    """Exit status of `rl-scaling` with these arguments, in this process; 0 where it returns."""
    monkeypatch.setattr(sys, "argv", ["rl-scaling", *arguments])
    try:
        main()
    except SystemExit as stopped:
        return stopped.code or 0
    return 0


def test_every_script_that_takes_settings_is_a_command_and_has_a_line_of_help():
    scripts = {path.stem for path in (ROOT / "scripts").glob("*.py") if f'start("{path.stem}")' in path.read_text()}
    assert set(COMMANDS) == scripts
    lines = {line.split()[0]: line.split(None, 1)[1] for line in help_text().splitlines() if line.startswith("  ")}
    assert set(lines) == set(COMMANDS)
    assert all(0 < len(line) < 110 for line in lines.values())


def test_help_and_version_are_printed(monkeypatch, capsys):
    assert called(monkeypatch, "--help") == 0
    assert "study" in capsys.readouterr().out
    assert called(monkeypatch, "--version") == 0
    assert capsys.readouterr().out.strip() == __version__


@pytest.mark.parametrize(("typed", "meant"), [("stdy", "study"), ("trian", "train"), ("analyse", "analyze")])
def test_an_unknown_command_gets_the_nearest_name_and_status_2(monkeypatch, capsys, typed, meant):
    assert called(monkeypatch, typed) == 2
    assert f"did you mean {meant}" in capsys.readouterr().err


def test_an_unknown_command_without_a_near_name_lists_all():
    assert "did you mean" not in unknown_command("qqqq")
    assert all(name in unknown_command("qqqq") for name in COMMANDS)


def test_citation_and_package_have_the_same_version_and_licence():
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {__version__}\n" in citation
    assert "\nlicense: Apache-2.0\n" in citation
    assert 'license = "Apache-2.0"' in (ROOT / "pyproject.toml").read_text()
    assert "Apache License" in (ROOT / "LICENSE").read_text()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    pytest.importorskip("hatchling", reason="extra `dev`")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    (file,) = folder.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A new environment with the wheel. It finds the dependencies in the packages of this one; the .pth file of an
    editable install there has no effect in it."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True, env=environment())
    (packages,) = folder.glob("lib/python*/site-packages")
    found = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (packages / "dependencies.pth").write_text("\n".join(found) + "\n")
    return folder


def environment():
    """This process's environment without its import path."""
    hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if name not in hidden}


def ran(installed, *command, cwd):
    return subprocess.run(
        [str(installed / "bin" / command[0]), *command[1:]], cwd=cwd, env=environment(), capture_output=True, text=True
    )


@pytest.mark.slow
def test_the_wheel_ships_the_packages_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {"harness", "envs", "configs", "hydra_plugins"}
    assert {"configs/study/quickstart.yaml", "hydra_plugins/laboratory.py"} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)


@pytest.mark.slow
def test_the_installed_command_comes_from_the_wheel_and_prints_its_help(installed, tmp_path):
    where = ran(installed, "python", "-c", "import harness; print(harness.__file__)", cwd=tmp_path)
    assert str(installed) in where.stdout, where.stderr
    ended = ran(installed, "rl-scaling", "--help", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert all(name in ended.stdout for name in COMMANDS)


@pytest.mark.slow
def test_five_steps_run_from_the_wheel_in_another_folder(installed, tmp_path):
    ended = ran(installed, "rl-scaling", "train", *FIVE_STEPS, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr + ended.stdout
    (run,) = (tmp_path / "outputs" / "runs").glob("rl-*")
    steps = [json.loads(line)["compute/step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert max(steps) == 5
    wrong = ran(installed, "rl-scaling", "train", "rl.stps=5", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "did you mean rl.steps?" in wrong.stderr
