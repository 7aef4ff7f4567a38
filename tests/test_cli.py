"""Every mistake on the command line gets one clear message, and a stop says how to go on."""

import os
import subprocess
import sys
import traceback
from pathlib import Path

import pytest
from hydra.errors import HydraException

from harness.cli import command_line
from harness.config.compose import explain, hydra_with
from harness.config.hints import from_validation, unknown_setting_error
from harness.core.errors import UserError, headline, nearest


def explained(*overrides):
    with hydra_with("tests.toy_configs", None):
        return str(explain(HydraException("as Hydra says"), "toy", overrides))


def run(*arguments):
    command = [sys.executable, "-m", "tests.toy_app", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("override", "meant"),
    [
        ("optim.lrr=3", "optim.lr"),
        ("rl.grop_size=3", "rl.group_size"),
        ("steps=3", "rl.steps"),
        ("optm=adam", "optim"),
        ("sed=1,2,3", "seed"),
        ("optim=muon", "as Hydra says"),
    ],
)
def test_a_misspelt_setting_gets_the_nearest_name(override, meant):
    assert meant in explained(override)


def test_names_that_only_the_chosen_option_has_are_known():
    assert "did you mean optim.momentum?" in explained("optim=muon", "optim.momentun=1")
    assert "optim.momentum" not in explained("optim.momentun=1")


@pytest.mark.parametrize("override", ["optim=muo", "optim=adam,muo"])
def test_a_misspelt_choice_lists_the_choices(override):
    assert "did you mean muon? There are: adam, muon" in explained(override)


@pytest.mark.parametrize("key", ["top_k", "top_p", "sampling.top_k"])
def test_cut_sampling_distributions_are_refused_with_the_reason(key):
    assert "biases the importance ratio" in explained(f"{key}=5")


@pytest.mark.parametrize("inner", ["study.seeds", "rl.steps"])
def test_settings_of_a_study_file_that_is_not_global_get_its_first_line(inner):
    known = ["study.seeds", "rl.steps", "seed", f"study.{inner}"]
    message = str(unknown_setting_error(f"study.{inner}", known))
    assert f"write {inner}; in the file of a study, `# @package _global_` must be the first line" in message
    assert "_global_" not in str(unknown_setting_error("study.sed", known))


@pytest.mark.parametrize(
    ("started_as", "line"),
    [
        ("scripts/train.py", "python scripts/ask.py"),
        ("/bin/rl-scaling", "rl-scaling ask"),
        ("-c", "rl-scaling ask"),
    ],
)
def test_another_command_is_started_as_this_one_was(started_as, line, monkeypatch):
    monkeypatch.setattr(sys, "argv", [started_as])
    assert command_line("ask") == line


def test_a_name_from_another_trainer_gets_ours():
    assert "optim.lr" in str(unknown_setting_error("learning_rate", ["seed"]))


def test_text_that_is_no_override_is_said_so():
    assert "cannot be read as a setting" in explained("seed=[1")
    assert "cannot be read as a setting" in explained("seed")
    assert """'+study.arms.other=["algo=grpo"]'""" in explained("+study.arms.mine=[algo=rloo]")


def test_right_overrides_are_left_alone():
    assert explained("rl.steps=3", "seed=1,2", "+new=1", "hydra.verbose=true", "rl={steps: 1}") == "as Hydra says"


def test_the_headline_of_an_error_is_what_was_raised_last_and_not_a_note_on_it():
    error = ValueError("first\n  second")
    error.add_note("a note")
    try:
        try:
            raise KeyError("cause")
        except KeyError as cause:
            raise error from cause
    except ValueError:
        assert headline(traceback.format_exc()) == "ValueError: first"
    assert headline("killed by SIGKILL\n  ask for less") == "killed by SIGKILL"
    assert headline("") == ""


def test_nearest_prefers_the_same_last_part():
    assert nearest("lr", ["optim.lr", "optim.lrs", "seed"])[0] == "optim.lr"
    assert nearest("qqq", ["optim.lr"]) == []


def test_all_findings_of_a_schema_are_told_at_once():
    from pydantic import ConfigDict, PositiveInt, ValidationError
    from pydantic.dataclasses import dataclass

    @dataclass(config=ConfigDict(extra="forbid"))
    class Toy:
        steps: PositiveInt
        group_size: int

    with pytest.raises(ValidationError) as caught:
        Toy(steps=-1, group_size=2, grop_size=3)  # type: ignore[call-arg]
    message = str(from_validation(caught.value, ["steps", "group_size"]))
    assert "did you mean group_size?" in message
    assert "steps: input should be greater than 0 (it is -1)" in message


def test_a_user_error_survives_pickling():
    import pickle

    error = UserError("thing", "reason", "fix")
    assert str(pickle.loads(pickle.dumps(error))) == str(error) == "thing: reason\n  fix"


@pytest.mark.parametrize(
    ("how", "status", "said"),
    [
        ("user_error", 2, "error: rl.group_size=1: rloo compares completions of one problem\n  use 2 or more"),
        ("disk_full", 2, "cannot write outputs/metrics.jsonl: No space left on device"),
        ("bug", 1, "ZeroDivisionError: planted"),
    ],
)
def test_only_a_bug_shows_a_traceback(how, status, said):
    ended = run(f"do={how}")
    assert ended.returncode == status
    assert said in ended.stderr
    assert ("Traceback" in ended.stderr) == (how == "bug")


@pytest.mark.parametrize(("signal_name", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_stop_says_how_to_resume(signal_name, status):
    ended = run(f"do={signal_name}")
    assert ended.returncode == status
    assert f"stopped by {signal_name}. To resume: python" in ended.stderr
    assert f"do={signal_name}" in ended.stderr


def test_output_that_nobody_reads_any_more_ends_it_without_a_traceback():
    reads, writes = os.pipe()
    os.close(reads)
    command = [sys.executable, "-m", "tests.toy_app", "--help"]
    ended = subprocess.run(command, stdout=writes, stderr=subprocess.PIPE, text=True)
    os.close(writes)
    assert (ended.returncode, ended.stderr) == (141, "")


def test_a_run_leaves_no_folders_of_hydra(tmp_path):
    command = [sys.executable, "-m", "tests.toy_app"]
    root = Path(__file__).parent.parent
    ended = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(root)}, capture_output=True, text=True, check=True
    )
    assert "seed 1" in ended.stdout
    assert list(tmp_path.iterdir()) == []


def test_help_calls_the_application_by_its_command():
    assert run("--help").stdout.startswith("toy is powered by Hydra")


def test_a_sweep_hands_over_all_its_configurations_at_once():
    printed = run("-m", "seed=1,2", "optim=adam,muon").stdout
    assert printed.count("all at once") == 1
    assert printed.count("'seed': 2") == 2
    assert "hydra" not in printed


def test_the_serial_launcher_of_hydra_still_works():
    assert run("-m", "seed=1,2", "hydra/launcher=basic").stdout == "seed 1 lr 0.0001\nseed 2 lr 0.0001\n"
