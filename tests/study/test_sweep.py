"""A sweep names its runs by what was changed, and gives a sweeper that optimises what it needs."""

import json
from dataclasses import replace

import pytest
from omegaconf import OmegaConf

from harness.commands.train import next_commands
from harness.config.identity import run_id
from harness.core.errors import UserError
from harness.run.folder import run_folder
from harness.run.tracker import read_metrics
from harness.study.sweep import changed_settings, objective_metric_value, refuse_tuning_on_test, sweep_arms
from tests.test_cli import run
from tests.test_scripts import SETTINGS, runs_of, script
from tests.toys import tiny, train

BASIC, OPTUNA = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper", "hydra_plugins.optuna.OptunaSweeper"


def test_the_arms_of_a_sweep_are_the_changed_settings_without_the_seed():
    configs = [tiny(f"seed={seed}", f"optim.lr={lr}") for seed in (0, 1) for lr in (0.01, 0.1)]
    assert sweep_arms(configs) == ["optim.lr=0.01", "optim.lr=0.1"] * 2
    assert changed_settings(configs)[3] == {"seed": 1, "optim.lr": 0.1}
    assert sweep_arms(configs[::2]) == ["", ""]


def test_of_a_changed_choice_only_the_name_is_said_unless_more_was_changed():
    configs = [tiny(f"optim={optim}", *more) for more in ((), ("algo=grpo",)) for optim in ("adamw", "muon")]
    assert sweep_arms(configs)[3] == "algo=grpo optim=muon"
    *_, last = sweep_arms([*configs, tiny("optim=muon", "optim.weight_decay=0.5")])
    assert last.endswith("optim=muon optim.weight_decay=0.5")


def test_after_a_sweep_the_page_of_all_its_runs_is_offered(tmp_path):
    single = tiny("name=rates", out=tmp_path)
    assert next_commands([single]) == []
    folder = run_folder(single.out, run_id(single)).path
    folder.mkdir(parents=True)
    assert f"runs={folder} " in next_commands([single])[1]
    assert f"runs='rates-*' outputs={tmp_path} " in next_commands([single, single])[1]
    unnamed = tiny(out=tmp_path)
    assert f"runs={folder.parent} " in next_commands([unnamed, unnamed])[1]


def test_the_objective_is_the_metric_asked_for_at_the_last_budget(tmp_path):
    config = tiny("evaluation.split=validation", out=tmp_path)
    last = {}
    for row in read_metrics(train(config)):
        last |= row
    assert objective_metric_value(config) == last["eval/verified/mean@1"]
    assert objective_metric_value(replace(config, objective_metric="train/accuracy")) == last["train/accuracy"]
    with pytest.raises(UserError, match=r"no run logs it\n  did you mean eval/unverified/mean@1"):
        objective_metric_value(replace(config, objective_metric="eval/unverfied/mean@1"))


def test_settings_are_not_chosen_by_test_accuracy():
    refuse_tuning_on_test(tiny(), BASIC)
    refuse_tuning_on_test(tiny("evaluation.split=validation"), OPTUNA)
    refuse_tuning_on_test(tiny("objective_metric=train/accuracy"), OPTUNA)
    with pytest.raises(UserError, match=r"(?s)evaluation\.split=test.*set evaluation\.split=validation"):
        refuse_tuning_on_test(tiny(), OPTUNA)


@pytest.mark.slow
def test_optuna_maximises_the_objective_and_a_failed_trial_does_not_end_it(tmp_path):
    """The third and fourth trial spoil the policy in their first update."""
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="extra `sweep`: hydra-optuna-sweeper")
    settings = [setting for setting in SETTINGS if not setting.startswith("optim.lr")]
    sweeper = ["hydra/sweeper=optuna", "hydra/sweeper/sampler=grid", "hydra.sweeper.direction=maximize"]
    sweeper += ["hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=2", "hydra.sweeper.max_failure_rate=1.0"]
    rates = "optim.lr=choice(1e-2,1e-3,1e38,1e37)"
    more = ["model.norm=none", "evaluation.split=validation", "tracker=none", f"out={tmp_path}", rates]
    ended = script("train", "-m", *settings, *sweeper, *more, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr[-2000:] + ended.stdout[-2000:]
    found = OmegaConf.load(tmp_path / "optimization_results.yaml")
    assert float(found.best_params["optim.lr"]) in (1e-2, 1e-3)
    scores = {}
    for folder in runs_of(tmp_path, "rl-"):
        rows = [row for row in read_metrics(folder) if "eval/verified/mean@1" in row]
        rate = json.loads((folder / "config.json").read_text())["optim"]["lr"]
        scores[rate] = rows[-1]["eval/verified/mean@1"]
    assert found.best_value == max(scores[rate] for rate in (1e-2, 1e-3))


def error_of_mistake(*arguments):
    ended = run(*arguments)
    assert ended.returncode == 2
    return ended.stderr


def test_an_interval_without_a_sweeper_that_chooses_in_it_gets_advice():
    for flags in ([], ["-m"]):
        said = error_of_mistake(*flags, "optim.lr=interval(1e-4,1e-2)")
        assert "only a sweeper that optimises chooses values in an interval" in said
        assert "list values: -m optim.lr=1e-4,2e-4" in said
        assert "hydra/sweeper=optuna" in said


def test_a_folder_of_hydra_is_refused_with_the_setting_that_takes_its_place(tmp_path):
    assert f"set out={tmp_path}/there" in error_of_mistake(f"hydra.run.dir={tmp_path}/there")
    assert not (tmp_path / "there").exists()
