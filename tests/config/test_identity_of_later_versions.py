"""Ids of runs when options are added, defaults change, sources are edited, or git is not there."""

import shutil
from dataclasses import fields

import pytest
from hydra import compose, initialize_config_dir, initialize_config_module
from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

import harness.config.identity as identity
from harness.config.compose import plain
from harness.config.identity import base_id, code_version, evaluation_id, run_id
from harness.config.parse import parse
from harness.config.schema import Config
from tests.toys import CONFIGS, container, tiny

PLANTED = ("model", "base", "tasks", "rl", "sampling", "algo", "reward", "optim", "schedule", "evaluation")


def with_planted_option(section):
    """The type Config with one more option in a section, which is off at 0."""
    forbid, kind = {"extra": "forbid"}, next(field.type for field in fields(Config) if field.name == section)
    new = dataclass(frozen=True, config=forbid)(
        type("Planted", (kind,), {"__annotations__": {"planted": float}, "planted": 0.0})
    )
    return dataclass(frozen=True, config=forbid)(type("Config", (Config,), {"__annotations__": {section: new}}))


def ids(config):
    return run_id(config), base_id(config), evaluation_id(config)


@pytest.mark.parametrize("section", PLANTED)
@pytest.mark.parametrize("settings", [(), ("objective=continued_pretraining",), ("objective=frozen",), ("algo=ppo",)])
def test_a_new_option_that_is_off_changes_no_id_and_one_that_is_on_does(section, settings, monkeypatch):
    before = ids(tiny(*settings))
    types = TypeAdapter(with_planted_option(section))
    monkeypatch.setattr(identity, "_CONFIG", types)
    whole = container(*settings)
    off = types.validate_python({**whole, section: {**whole[section], "planted": 0.0}})
    on = types.validate_python({**whole, section: {**whole[section], "planted": 0.5}})
    assert ids(off) == before
    trained = section != "evaluation" and ("objective=frozen" not in settings or section in ("model", "base"))
    sampled = section not in ("sampling", "reward") or "objective=continued_pretraining" not in settings
    assert (run_id(on) != before[0]) == (trained and sampled)
    assert (evaluation_id(on) != before[2]) == (section == "evaluation")


def composed(folder, *overrides):
    with initialize_config_dir(str(folder), version_base="1.3"):
        return parse(plain(compose("train", overrides=list(overrides))))


@pytest.mark.parametrize(
    ("file", "before", "after", "setting"),
    [
        ("train.yaml", "problems: 32 # a step", "problems: 16", "rl.problems=32"),
        ("train.yaml", "off_policy_steps: 0", "off_policy_steps: 1", "rl.off_policy_steps=0"),
        ("algo/ppo.yaml", "gae_lambda: 0.95", "gae_lambda: 0.9", "algo.critic.gae_lambda=0.95"),
        ("algo/ppo.yaml", "clip_low: 0.2", "clip_low: 0.1", "algo.clip_low=0.2"),
    ],
)
def test_a_changed_default_changes_the_id_of_a_run_that_does_not_set_it_and_no_other(
    file, before, after, setting, tmp_path
):
    folder = tmp_path / "configs"
    shutil.copytree(CONFIGS, folder)
    old = run_id(composed(folder, "algo=ppo"))
    text = (folder / file).read_text()
    assert before in text
    (folder / file).write_text(text.replace(before, after))
    assert run_id(composed(folder, "algo=ppo")) != old
    assert run_id(composed(folder, "algo=ppo", setting)) == old


def test_an_edited_module_of_the_users_makes_other_runs_bases_and_evaluations(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "task_of_my_own.py").write_text("LARGEST = 9\n")
    package = tmp_path / "tasks_of_my_own"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "inner.py").write_text("LARGEST = 9\n")

    def in_a_new_process(name):
        identity._source_hash.cache_clear()
        return ids(tiny(f"imports=[tests.toy_task,{name}]"))

    for name, edited in (("task_of_my_own", "task_of_my_own.py"), ("tasks_of_my_own", "tasks_of_my_own/inner.py")):
        before = in_a_new_process(name)
        (tmp_path / edited).write_text("LARGEST = 10\n")
        assert all(old != new for old, new in zip(before, in_a_new_process(name)))


def test_a_module_that_is_imported_is_hashed_as_this_process_imported_it(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "edited_while_running.py").write_text("LARGEST = 9\n")
    config = tiny("imports=[tests.toy_task,edited_while_running]")
    before = ids(config)
    (tmp_path / "edited_while_running.py").write_text("LARGEST = 10\n")
    assert ids(config) == before


@pytest.fixture
def fresh_version():
    code_version.cache_clear()
    yield
    code_version.cache_clear()


def test_the_version_needs_no_git(fresh_version, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert code_version()
    assert "+" not in code_version()


def test_sources_inside_another_repository_do_not_take_its_commit(fresh_version, monkeypatch, tmp_path):
    """As an unpacked zip of the sources does not, either."""
    monkeypatch.setattr(identity, "_ROOT", CONFIGS)
    assert "+" not in code_version()
    code_version.cache_clear()
    monkeypatch.setattr(identity, "_ROOT", tmp_path / "gone.zip")
    assert "+" not in code_version()


@pytest.mark.parametrize(
    ("overrides", "run", "base"),
    [
        ([], "rl-ce93f3b27748", "base-34538b82ec40"),
        (["objective=continued_pretraining"], "continued_pretraining-456e2ad25966", "base-34538b82ec40"),
        (["objective=frozen"], "frozen-112bd3a3fabd", "base-34538b82ec40"),
        (["base=all", "model=micro", "model.context=512"], "rl-e0e193703bb8", "base-8386cd1b3e68"),
        (["base=walk", "tasks=walk"], "rl-8e543d21250b", "base-750058151fe5"),  # with options of single tasks
    ],
)
def test_nobody_trains_again_what_was_trained_by_an_earlier_version(overrides, run, base):
    """Ids as they were when SCHEMA_VERSION became 2. A change of the defaults in configs/ changes them on purpose."""
    with initialize_config_module("configs", version_base="1.3"):
        config = parse(plain(compose("train", overrides=overrides)))
    evaluation = "evaluation-ef2909362a14" if "tasks=walk" in overrides else "evaluation-53bd820655d5"
    assert ids(config) == (run, base, evaluation)
