"""A sweep names its runs by what was changed."""

from harness.study.sweep import changed_settings, sweep_arms
from tests.toys import tiny


def test_the_arms_of_a_sweep_are_the_changed_settings_without_the_seed():
    configs = [tiny(f"seed={seed}", f"optim.lr={lr}") for seed in (0, 1) for lr in (0.01, 0.1)]
    assert sweep_arms(configs) == ["optim.lr=0.01", "optim.lr=0.1"] * 2
    assert changed_settings(configs)[3] == {"seed": 1, "optim.lr": 0.1}
    assert sweep_arms(configs[::2]) == ["", ""]


def test_of_a_changed_choice_only_the_name_is_said_unless_more_was_changed():
    configs = [
        tiny("optim=adamw"),
        tiny("optim=muon"),
        tiny("optim=adamw", "algo=grpo"),
        tiny("optim=muon", "algo=grpo"),
    ]
    assert sweep_arms(configs)[3] == "algo=grpo optim=muon"
    assert sweep_arms([*configs, tiny("optim=muon", "optim.weight_decay=0.5")])[4].endswith(
        "optim=muon optim.weight_decay=0.5"
    )
