"""A trial of a study is below its limits whatever an arm sets, and changes no study that is not one."""

from dataclasses import replace

import pytest
from hydra import initialize_config_module

from harness.config.compose import Composer
from harness.config.parse import parse, parse_size
from harness.config.schema import NoTracker, StudySize, WandbTracker
from harness.config.schema.study import Measure, MeasureTerm, Preregistration, StudyConfig
from harness.core.errors import UserError
from harness.study.expand import expand
from harness.study.size import limited, limited_run, limited_study
from tests.toys import container

DEVICE = ["device=cpu"]


def expanded(*overrides):
    with initialize_config_module("configs", version_base="1.3"):
        return expand(Composer("study"), [*overrides, *DEVICE])


def size(**changes):
    return parse_size({"name": "tiny", "replicates": 2, **changes})


def test_numbers_and_those_of_lists_are_limited_and_words_and_null_stay():
    found = limited(
        {"rl": {"steps": 64, "name": "x"}, "difficulties": [1, 32, 64], "model": None, "flag": True},
        {"rl": {"steps": 4, "name": 1}, "difficulties": 8, "model": {"steps": 2}, "flag": 0},
    )
    assert found == {"rl": {"steps": 4, "name": "x"}, "difficulties": [1, 8], "model": None, "flag": True}


def test_budgets_of_a_pretrained_run_stay_within_its_steps():
    run = container("objective=pretraining", "base.steps=64", "budgets=[0,8,64]")
    found = limited_run(run, {"base": {"steps": 16}, "rl": {"steps": 2}})
    assert parse(found).budget_steps() == (0, 8, 16)


def test_what_depends_on_a_limited_number_stays_within_it():
    run = container("budgets=[0,4,64]", "rl.steps=64", "evaluation.ks=[1,2,4]", "optim.minibatches=4")
    found = limited_run(run, {"rl": {"steps": 2, "problems": 2}, "evaluation": {"samples": 2}})
    assert (found["budgets"], found["evaluation"]["ks"], found["optim"]["minibatches"]) == ([0, 2], [1, 2], 2)
    assert parse(found).budget_steps() == (0, 2)


def test_a_limit_of_what_does_not_exist_is_refused():
    with pytest.raises(UserError, match="stepz: there is no such setting"):
        limited({"rl": {"steps": 4}}, {"rl": {"stepz": 4}})


def test_what_an_arm_sets_is_limited_too_and_variants_that_become_one_run_are_one():
    def compose(overrides):
        arms = {"a": ["rl.steps=64"], "b": [["rl.steps=2"], ["rl.steps=32"], ["rl.steps=64"], ["optim.lr=1.0"]]}
        about = {"name": "toy", "question": "?", "axis": "step", "arms": arms, "seeds": [3, 4, 5], "base_seeds": [0, 1]}
        limits = {"name": "tiny", "replicates": 2, "at_most": {"rl": {"steps": 4}}}
        return {**container(*overrides), "study": about, "size": limits}

    found = expand(compose, [])
    assert [(e.arm, e.config.rl.steps, e.config.optim.lr) for e in found.entries] == [
        ("a", 4, 1e-2), ("a", 4, 1e-2), ("b", 4, 1e-2), ("b", 4, 1e-2), ("b", 4, 1.0), ("b", 4, 1.0)
    ]  # fmt: skip
    assert [(e.config.base.seed, e.config.seed) for e in found.entries] == [(0, 3), (0, 4)] * 3
    assert found.config.name == "toy-tiny"
    assert found.config.accept_out_of_reach
    # Or the run table would have one run under two arms.
    assert len({(e.run_id, e.config.base.seed, e.config.seed) for e in found.entries}) == 6


def test_a_registered_measure_is_taken_at_budgets_that_there_are():
    measure = Measure((MeasureTerm("a", at=64), MeasureTerm("a", at="first")), 0.1, per=(MeasureTerm("b", at=2),))
    registered = Preregistration(("h",), "p", "m", "e", "s", (), measure=measure)
    study = StudyConfig("toy", "?", (0, 1, 2), "same", "step", {"a": ()}, registered=registered)
    found = limited_study(study, size(at_most={"rl": {"steps": 4}})).registered.measure
    assert [term.at for term in (*found.terms, *found.per)] == [4, "first", 2]
    counted = replace(study, registered=replace(registered, measure=replace(measure, metric="pass_all_at_8")))
    fewer = limited_study(counted, size(at_most={"evaluation": {"samples": 2}})).registered.measure
    assert (fewer.metric, fewer.terms[0].at) == ("pass_all_at_2", 64)


def test_the_full_size_is_the_study_as_it_is():
    study = StudyConfig("toy", "?", (0, 1, 2), (0, 1), "step", {"a": ()})
    assert limited_study(study, StudySize()) is study
    assert expanded("study=quickstart") == expanded("study=quickstart", "size=full")


def test_a_trial_of_the_quickstart_is_small_and_a_user_can_change_its_limits():
    study = expanded("study=quickstart", "size=tiny", "size.at_most.rl.steps=2", "size.replicates=1")
    assert study.config.name == "quickstart-tiny"
    assert [entry.arm for entry in study.entries] == ["true_reward", "shuffled_within_group", "frozen"]
    assert {entry.config.budget_steps() for entry in study.entries} == {(0, 1, 2)}
    assert isinstance(study.entries[0].config.tracker, NoTracker)
    tracked = expanded("study=quickstart", "size=tiny", "tracker=wandb")
    assert isinstance(tracked.entries[0].config.tracker, WandbTracker)


@pytest.mark.parametrize("name", ["allocation", "exposure", "learning_rate", "mup", "when_log_linear"])
def test_no_arm_of_a_trial_takes_many_steps(name):
    study = expanded(f"study={name}", "size=tiny")
    configs = [entry.config for entry in study.entries]
    assert max(config.rl.steps for config in configs) <= 4
    assert max(config.base.steps for config in configs) <= 16
    assert {entry.arm for entry in study.entries} == set(study.config.arms)
    assert len({(entry.arm, entry.run_id) for entry in study.entries}) == len({e.run_id for e in study.entries})
