"""A list of studies: each runs by itself, a failure stops no other, and nothing is left to maintain."""

import io
import os
import signal
import sys
import threading
import time

import pytest
from hydra import initialize_config_module
from rich.console import Console

from harness.config.compose import Composer
from harness.core.errors import UserError
from harness.study.expand import expand
from harness.study.several import matching_studies, overrides_of, run_each, run_in_parts, unfinished
from tests.test_scripts import script
from tests.toys import CONFIGS


@pytest.fixture
def compose():
    with initialize_config_module("configs", version_base="1.3"):
        yield Composer("study")


def test_patterns_stand_for_study_files(compose):
    assert set(matching_studies(["*"])) == {path.stem for path in (CONFIGS / "study").glob("*.yaml")}
    assert matching_studies(["transfer_2", "mu*"]) == ["transfer_2", "mup"]
    with pytest.raises(UserError, match=r"studies=transfr: there is no such study\n.*transfer"):
        matching_studies(["transfr"])


def test_a_list_is_no_study_itself(compose):
    with pytest.raises(UserError, match="list of studies"):
        expand(compose, ["study=atlas"])


def test_the_settings_of_the_list_are_those_of_each_study():
    asked = ["size=tiny", "study=atlas", "studies=[a,b]", "study.seeds=[1]"]
    assert overrides_of("a", asked) == ["study=a", "size=tiny", "study.seeds=[1]"]


def test_a_study_that_fails_is_named_and_the_others_go_on(compose, tmp_path):
    seen = []

    def act(study, overrides, console):
        seen.append(study.config.name)
        console.print("printed by the study")
        if study.config.name == "mup":
            raise ZeroDivisionError("a bug")

    console = Console(file=io.StringIO(), width=60)
    names = ["quickstart", "mup", "skills"]
    overrides = ["study=atlas", f"out={tmp_path}", "tracker=none", "device=cpu"]
    assert run_each([*names, "atlas"], compose, overrides, act, console, logged=True) == ["mup"]
    assert seen == names
    text = console.file.getvalue()
    assert "printed by the study" not in text
    assert (tmp_path / "studies/mup/log.txt").read_text() == "printed by the study\n"
    assert [line.split()[:2] for line in text.splitlines() if line.startswith(tuple(names))] == [
        ["quickstart", "done"], ["mup", "failed:"], ["skills", "done"]
    ]  # fmt: skip
    assert "ZeroDivisionError: a bug" in text


def test_parts_of_a_list_run_at_once_and_their_worst_status_is_the_whole_ones(tmp_path):
    script = f"""
import pathlib, sys
part = sys.argv[-2].removeprefix("studies=")
pathlib.Path({str(tmp_path)!r}, part).write_text(" ".join(sys.argv[1:]))
sys.exit(part == "[b]")
"""
    command, asked = [sys.executable, "-c", script], ["study=atlas", "studies=[*]"]
    assert run_in_parts(["a", "b", "c"], command, [*asked, "size=tiny"], at_once=2) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["[a,c]", "[b]"]
    assert (tmp_path / "[b]").read_text() == "study=atlas size=tiny studies=[b] studies_at_once=1"
    assert run_in_parts(["a"], command, asked, at_once=2) == 0


def test_a_part_that_is_killed_is_no_success_and_parts_do_not_share_the_terminal(tmp_path):
    script = f"""
import os, pathlib, signal, sys
part = sys.argv[-2].removeprefix("studies=")
pathlib.Path({str(tmp_path)!r}, part).write_text(str(os.getsid(0) == os.getpid()))
if part == "[b]":
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert run_in_parts(["a", "b"], [sys.executable, "-c", script], [], at_once=2) == 128 + 9
    assert {path.read_text() for path in tmp_path.iterdir()} == {"True"}


def test_a_study_that_has_not_run_is_unfinished_and_a_list_is_none(compose, tmp_path):
    overrides = ["study=atlas", f"out={tmp_path}", "tracker=none", "device=cpu"]
    assert unfinished(["quickstart", "atlas"], compose, overrides) == ["quickstart"]


def test_a_study_whose_settings_are_wrong_is_unfinished_too(compose):
    assert unfinished(["quickstart"], compose, ["study=atlas", "rl.steps=-1"]) == ["quickstart"]


def test_a_stop_reaches_all_parts(tmp_path):
    started, saved = tmp_path / "started", tmp_path / "saved"
    script = f"""
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (open({str(saved)!r}, "a").write("."), sys.exit(1)))
open({str(started)!r}, "a").write(".")
time.sleep(60)
"""

    def stop():
        while not started.exists() or len(started.read_text()) < 2:
            time.sleep(0.05)
        time.sleep(0.5)  # until both are known to the process that waits for them
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=stop, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        run_in_parts(["a", "b"], [sys.executable, "-c", script], [], at_once=2)
    assert saved.read_text() == ".."


def test_a_mistake_is_printed_without_a_traceback(compose, tmp_path):
    console = Console(file=io.StringIO(), width=60)
    overrides = ["study=atlas", "rl.steps=-1", "rl.group_size=none"]
    assert run_each(["mup"], compose, overrides, lambda *_: None, console, logged=False) == ["mup"]
    assert "rl.group_size" in console.file.getvalue()
    assert "Traceback" not in console.file.getvalue()


def atlas(*overrides, cwd):
    return script("study", "study=atlas", "size=tiny", *overrides, cwd=cwd)


def check_atlas(names, ended, out):
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert {line.split()[0] for line in ended.stdout.splitlines()} == set(names)
    for name in names:
        folder = out / "studies" / f"{name}-tiny"
        assert (folder / "report.html").is_file()
        assert "jobs" in (folder / "log.txt").read_text()


@pytest.mark.slow
def test_two_studies_run_to_their_reports_and_a_second_time_do_nothing(tmp_path):
    names = ["quickstart", "mup"]
    settings = [f"studies=[{','.join(names)}]", "size.replicates=1", f"out={tmp_path}"]
    check_atlas(names, atlas(*settings, cwd=tmp_path), tmp_path)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("metrics.jsonl")}
    check_atlas(names, atlas(*settings, cwd=tmp_path), tmp_path)
    assert times == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("metrics.jsonl")}


@pytest.mark.slow
def test_every_study_that_ships_runs_to_its_report(tmp_path, compose):
    names = [name for name in matching_studies(["*"]) if name != "atlas"]
    check_atlas(names, atlas(f"out={tmp_path}", cwd=tmp_path), tmp_path)
