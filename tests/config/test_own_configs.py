"""Studies and presets in a folder of the user's own, as docs/how-to/own-studies.md gives them, and those shipped."""

from pathlib import Path

import pytest
from hydra import compose
from hydra.errors import HydraException

from harness import load_study
from harness.config.compose import Composer, config_folder_among, explain, flags_and_overrides, hydra_with, plain
from harness.config.hints import unknown_setting_error
from harness.config.parse import parse
from harness.core.errors import UserError
from harness.study.expand import expand
from tests.commands_in_docs import files_of, write_files
from tests.test_scripts import script
from tests.toys import CONFIGS, TINY

ROOT = CONFIGS.parent
PAGE = files_of((ROOT / "docs/how-to/own-studies.md").read_text())


@pytest.fixture
def folder(tmp_path):
    """The page's files, pasted."""
    write_files(PAGE, tmp_path)
    return tmp_path / "my_configs"


def train_config(*overrides, folder=None):
    with hydra_with("configs", folder):
        return parse(plain(compose("train", overrides=["device=cpu", *overrides])))


def test_the_study_of_the_page_is_ten_lines_and_expands(folder):
    assert PAGE["my_configs/study/group_size.yaml"].count("\n") <= 13  # two are its heading
    with hydra_with("configs", str(folder)):
        study = expand(Composer("study"), ["study=group_size", "device=cpu"])
    assert [(e.arm, e.config.rl.group_size * e.config.rl.problems) for e in study.entries] == [
        (arm, 256) for arm in ("small", "large") for _ in range(5)
    ]


def test_the_preset_of_the_page_changes_what_it_says(folder):
    config = train_config("experiment=long", folder=str(folder))
    assert (config.name, config.algo.name, config.rl.steps, config.rl.group_size) == ("long", "grpo", 1024, 8)


def test_a_study_may_start_from_a_preset_and_change_it(folder):
    path = folder / "study" / "group_size.yaml"
    first, rest = path.read_text().split("\n", 1)
    path.write_text(f"{first}\ndefaults:\n  - override /experiment: walk\n{rest}\nrl: {{steps: 64}}\n")
    with hydra_with("configs", str(folder)):
        study = expand(Composer("study"), ["study=group_size", "device=cpu"])
    config = study.entries[0].config
    assert (config.sampling.thinking, config.rl.steps, config.tasks.verified) == (26, 64, ("walk_map1.symbolic",))


@pytest.mark.parametrize("name", [path.stem for path in sorted((CONFIGS / "experiment").glob("*.yaml"))])
def test_a_shipped_preset_is_that_of_its_family_and_overrides_still_count(name):
    config = train_config(f"experiment={name}", "rl.steps=3")
    assert config.name == name
    assert all(task.startswith((name, f"{name}_")) for task in config.tasks.verified)
    assert config.rl.steps == 3


def test_a_misspelt_choice_of_the_users_own_gets_the_near_one(folder):
    with hydra_with("configs", str(folder)):
        said = str(explain(HydraException("?"), "study", ["study=group_sise"]))
    assert "did you mean group_size?" in said


def test_a_setting_that_a_file_of_the_users_brought_in_is_not_offered_for_itself():
    assert (
        "study.sdeeds" not in str(unknown_setting_error("study.sdeeds", ["study.sdeeds", "study.seeds"])).split("\n")[1]
    )


@pytest.mark.parametrize("arguments", [["--config-dir", "nowhere"], ["a=1", "--config-dir=nowhere"]])
def test_a_folder_that_is_not_there_is_named(arguments):
    with pytest.raises(UserError, match="--config-dir nowhere: there is no such folder"):
        config_folder_among(arguments)


def test_flags_may_stand_between_settings():
    given = ["a=1", "--config-dir", "d", "b=2", "-m"]
    assert flags_and_overrides(given) == (["--config-dir", "d", "-m"], ["a=1", "b=2"])


@pytest.mark.slow
def test_the_study_of_the_page_runs_outside_the_repository_and_opens_in_python(folder, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "harness/launch/plugin"))
    settings = ["study=group_size", "--config-dir", "my_configs", *TINY, "study.seeds=[0,1]", "rl.steps=4"]
    ended = script("study", *settings, "launcher.jobs=1", cwd=folder.parent)
    assert ended.returncode == 0, ended.stderr
    study = load_study("group_size", folder.parent / "outputs")
    assert sorted(study.table["arm"].unique()) == ["large", "small"]
    assert {run.name for run in study.runs} >= {"group_size-small-s0", "group_size-large-s1"}


@pytest.mark.slow
def test_a_file_that_is_no_yaml_is_named_without_a_traceback(folder):
    (folder / "study" / "bad.yaml").write_text("study: {name: [}")
    ended = script("study", "--config-dir", "my_configs", "study=bad", cwd=folder.parent)
    assert ended.returncode == 2
    assert "bad.yaml" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not Path(folder.parent, "outputs").exists()
