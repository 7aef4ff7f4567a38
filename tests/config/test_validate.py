"""Mistakes that are found before any compute is spent, each with its reason and a fix."""

import functools

import pytest
import torch
from hydra import initialize_config_module
from omegaconf import OmegaConf
from pydantic_core import ValidationError

import harness.config.validate as validate
import harness.core.registry as registry
from harness.config.compose import Composer
from harness.config.hints import OLD_KEYS, from_validation, new_key, unknown_setting_error
from harness.config.parse import dump, parse, parse_study
from harness.core.dotted import flatten
from harness.core.errors import UserError
from tests.toys import CONFIGS, container, tiny

SUMS = ("base.tasks=[addition.symbolic]", "base.contexts.worded=0", "base.difficulties=[5]")

LONG = ("base.tasks=[toy.*,walk_map0.*]", "base.difficulties=[1,12]", "base.scratchpad_share=0.5", "model.context=40")
PHASES = ("tasks.sequence=true", "tasks.verified=[toy.symbolic,maximum.symbolic]")


def test_a_configuration_survives_the_way_through_json():
    config = tiny()
    assert parse(dump(config)) == config


def test_log2_budgets_are_the_powers_of_two_and_the_last_step():
    assert tiny("rl.steps=8").budget_steps() == (0, 1, 2, 4, 8)
    assert tiny("rl.steps=6").budget_steps() == (0, 1, 2, 4, 6)
    assert tiny("rl.steps=1").budget_steps() == (0, 1)
    assert tiny("budgets=[3,0,3]").budget_steps() == (0, 3, 4)


def test_the_ends_of_phases_are_budgets():
    """Phases of equal length, but for the last, which takes what is left over."""
    three = ("tasks.sequence=true", "tasks.verified=[toy.symbolic,maximum.symbolic,toy.worded]", "tasks.unverified=[]")
    assert tiny(*three, "rl.steps=11").phase_ends == (3, 6, 11)
    assert tiny(*three, "rl.steps=11").budget_steps() == (0, 1, 2, 3, 4, 6, 8, 11)
    assert tiny(*three, "rl.steps=11", "budgets=[0]").budget_steps() == (0, 3, 6, 11)
    assert tiny("rl.steps=11").phase_ends == ()


def test_documents_fit_until_they_show_their_steps():
    """So that the refusal of the same settings with steps, below, is about the steps."""
    assert tiny(*SUMS).base.scratchpad_share == 0


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["rl.group_size=1"], "one completion alone never carries signal"),
        (["model.heads=3"], "multiple of 6"),
        (["model.width=18", "model.heads=6"], "even number of dimensions"),
        (["optim.minibatches=5"], "a step has 4"),
        (["algo=sft"], "one canonical answer"),
        (["algo=sft", "rl.group_size=1", "tasks.verified=[calculator.*]"], "leave these tasks out"),
        (["algo=reinforce", "algo.scale=group"], "algo.scale to none"),
        (["algo=reinforce_pp", "algo.scale=group"], "none or batch"),
        (["algo.kl=k1"], "a coefficient above 0"),
        (["tasks.weights=[1.0,2.0]"], "as many, or none"),
        (["tasks.target_success=0.5", "objective=continued_pretraining"], "cannot be matched"),
        (["tasks.retire_at=0.9", "objective=continued_pretraining"], r"tasks\.retire_at=null"),
        (["tasks.pool_exponent=1.0"], "there is none"),
        (["tasks.distinct_problems=8", "tasks.retire_at=0.9"], "none of its problems leaves it"),
        (["tasks.distinct_problems=8", "tasks.target_success=0.5"], "fixed probabilities"),
        (["tasks.distinct_problems=999", "tasks.difficulties=[1]"], r"about 1\d\d distinct training problems"),
        (["tasks.replay=0.5"], "there are none"),
        (["tasks.sequence=true"], "one phase is no sequence"),
        ([*PHASES, "tasks.weights=[1.0,2.0]"], r"tasks\.weights=\[\] or"),
        ([*PHASES, "tasks.weight_distribution={name: uniform, decades: 1.0}"], "one after the other"),
        ([*PHASES, "tasks.target_success=0.5"], "whatever the policy's success"),
        ([*PHASES, "tasks.distinct_problems=8"], "no problem of a phase"),
        ([*PHASES, "tasks.verified=[toy.*,toy.worded]", "tasks.unverified=[]"], r"with toy\.worded in tasks\.verified"),
        ([*PHASES, "rl.steps=1"], "rl.steps=2 or more"),
        (["reward=learned_reward", "rl.group_size=5"], "make rl.group_size even"),
        (["reward.name=learned_reward"], "choose it as a whole"),
        (["algo.name=ppo"], "choose it as a whole"),
        (["algo=ppo", "algo.name=rloo"], "choose it as a whole"),
        (["algo=ppo", "algo.scale=group"], "none or batch"),
        (["algo.kl_coefficient=0.1"], "a coefficient above 0"),
        (["evaluation.ks=[8]"], "pass@k needs at least k samples"),
        (["tasks.unverified=[toy.*]"], r"both hold toy\.symbolic"),
        (["tasks.verified=[]"], "at least one task"),
        (["tasks.verified=[explain.symbolic]"], "no verifier"),
        (["tasks.verified=[maximun.symbolic]"], r"maximum\.symbolic"),
        (["base.tasks=[reversl.*]"], "reversal"),
        (["tasks.difficulties=[9]"], r"toy\.symbolic has none of the difficulties"),
        (["base.difficulties=[9]"], r"base\.difficulties"),
        (["base.contexts={symbolic:1.0,worded:1.0,wordy:1.0}"], "wordy"),
        (["model.context=8"], r"model\.context is 8"),
        (["base.scratchpad_share=0.5", "reward=process_reward"], "no tokens are left to write any"),
        (["sampling.thinking=8"], "pretrain one that has"),
        (["evaluation.thinking=[0,8]"], "pretrain one that has"),
        (["base.scratchpad_share=0.5", "evaluation.thinking=[8,8]"], "a budget stands twice"),
        (["base.scratchpad_share=0.5", "evaluation.thinking=[0,60]"], "completions of up to 65"),
        (["base.scratchpad_share=0.5", "base.tasks=[store.*]"], "none of base.tasks has worked steps"),
        (["base.scratchpad_share=0.5", *SUMS], r"a document of addition\.symbolic may need"),
        (["sampling.max_new_tokens=60"], "completions of up to 60"),
        (["base.tasks=[expression.*,toy.*]", "base.difficulties=[]"], "a document of expression"),
        (["budgets=[0,-1]"], r"budgets=\[0,-1\]: a budget is a number of steps"),
        (["objective=pretraining", "budgets=[0,4]"], r"base\.steps=3: the run ends before 4.*\n.*base\.steps=4"),
        (["objective=pretraining", "base.folder=there"], "begins at initialisation"),
        (["objective=pretraining", "rl.stop_at.accuracy=0.9"], "goes on to base.steps"),
        (["budgets=[0,4,99]"], r"rl\.steps=4: the run ends before 99.*\n.*rl\.steps=99"),
        (["algo.name=ppoo"], r"algo\.name=ppoo: it is not registered\n.*did you mean ppo\?"),
        (["reward.name=true_rewrad"], r"did you mean true_reward"),
        (["algo.name=zzz"], r"(?s)There are: cispo, dapo.*register_algorithm must be named in imports"),
        (["launcher=stacked", "rl.stop_at.seconds=5"], r"rl\.stop_at with launcher=stacked"),
        (["tasks.held_out_difficulties=[2,3]"], "evaluated and never trained"),
        (["base.synthetic={generation: 1, filter_error: 0.1}"], "nothing can err"),
        (["base.synthetic={generation: 1}", "base.folder=somewhere"], "not pretrained"),
        (["base.synthetic={generation: 1}", *LONG], "model.context"),
        (["imports=[no_such_package]"], "no module is called 'no_such_package'"),
    ],
)
def test_a_combination_that_cannot_work_is_refused_with_advice(overrides, said):
    whole = container(*[o for o in overrides if not o.startswith("base.contexts={")])
    if overrides[0].startswith("base.contexts={"):
        whole["base"]["contexts"] = {"symbolic": 1.0, "worded": 1.0, "wordy": 1.0}
    with pytest.raises(UserError, match=said):
        parse(whole)


@pytest.mark.parametrize("leaf", ["top_k", "top_p"])
def test_cutting_the_sampling_distribution_is_a_configuration_error_with_the_reason(leaf):
    whole = container()
    whole["sampling"][leaf] = 0.9
    with pytest.raises(ValidationError) as error:
        parse(whole)
    assert "biases the importance ratio" in str(from_validation(error.value))


@pytest.mark.parametrize(("leaf", "value"), [("optim.lr", -1.0), ("rl.steps", 0), ("backend", "cuda")])
def test_a_value_out_of_range_is_refused(leaf, value):
    with pytest.raises(ValidationError, match=leaf.rsplit(".", 1)[-1]):
        tiny(f"{leaf}={value}")


def test_a_device_that_is_not_there_is_refused_where_jobs_run_on_this_machine(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for launcher in ("local", "stacked"):
        with pytest.raises(UserError, match="device=cuda: PyTorch sees no CUDA device"):
            tiny("device=cuda", f"launcher={launcher}")
    tiny("device=cuda", "launcher=ray")  # the machine that submits needs none
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    tiny("device=cuda")


def with_setting(whole, key):
    *path, last = key.split(".")
    branch = whole
    for name in path:
        branch[name] = branch.get(name) if isinstance(branch.get(name), dict) else {}
        branch = branch[name]
    branch[last] = 1
    return whole


@pytest.mark.parametrize(("old", "new"), OLD_KEYS.items())
def test_a_renamed_setting_is_refused_with_its_new_name(old, new):
    assert f"write {new}" in str(unknown_setting_error(old, ["seed"]))
    if old != "reward.learned":
        assert new in flatten(container("reward=learned_reward"))
    with pytest.raises(UserError, match=f"write {new} instead of {old}"):
        parse(with_setting(container(), old))


def test_an_old_configuration_is_refused_with_all_new_names_at_once():
    """A config.json from before the names changed."""
    old_keys = [*sorted(OLD_KEYS), "reward.learned.lr"]
    with pytest.raises(UserError) as error:
        parse(functools.reduce(with_setting, old_keys, container()))
    for old in set(OLD_KEYS) - {"reward.learned"}:
        assert f"write {new_key(old)} instead of {old}" in str(error.value)
    assert "write reward.model.lr instead of reward.learned.lr" in str(error.value)


def test_what_is_registered_from_outside_is_accepted_and_checked_by_its_traits(monkeypatch):
    for name in ("ALGORITHM_TRAITS", "REWARD_TRAITS"):
        traits = dict(getattr(registry, name))
        for module in (registry, validate):
            monkeypatch.setattr(module, name, traits)
    traits = registry.AlgorithmTraits("batch", scales=("none", "batch"))
    registry.register({}, "mine", None, traits)
    registry.register({}, "mine", None, traits)  # a module that is imported twice
    registry.register({}, "mine", None, registry.RewardTraits(needs_scratchpad=True))
    assert tiny("algo.name=mine", "rl.group_size=1").algo.name == "mine"
    with pytest.raises(UserError, match="none or batch"):
        tiny("algo.name=mine", "algo.scale=group")
    with pytest.raises(UserError, match=r"reward=mine with sampling\.thinking=0"):
        tiny("reward.name=mine")
    with pytest.raises(ValueError, match="registered already"):
        registry.register({}, "mine", None, registry.AlgorithmTraits(needs_critic=True))
    with pytest.raises(ValueError, match="registered already"):
        registry.register({}, "true_reward", None, registry.RewardTraits(needs_model=True))


@pytest.mark.parametrize(("group", "traits"), [("algo", registry.ALGORITHM_TRAITS), ("reward", registry.REWARD_TRAITS)])
def test_every_choice_that_ships_is_registered(group, traits):
    names = {OmegaConf.load(path)["name"] for path in (CONFIGS / group).glob("*.yaml")}
    assert names == set(traits)


def study_section(**changes):
    about = {"name": "toy", "question": "?", "seeds": [0], "base_seeds": [0], "axis": "step", "arms": {"a": []}}
    return about | changes


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"arms": {}}, r"study\.arms is empty: the study has no run"),
        ({"seeds": []}, r"study\.seeds is empty"),
        ({"base_seeds": []}, r"study\.base_seeds is empty"),
        ({"arms": {"a": ["optim.lr=1", "seed=3"]}}, r"study\.arms\.a holds seed=3: .*study\.seeds"),
        ({"arms": {"a": [["rl.steps=1"], ["+base.seed=3"]]}}, r"study\.arms\.a holds \+base\.seed=3: .*base_seeds"),
    ],
)
def test_a_study_that_cannot_be_meant_is_refused(changes, expected):
    with pytest.raises(UserError, match=expected):
        parse_study(study_section(**changes))


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("algo=nope", "(?s)algo=nope: there is no such choice.*There are: cispo"),
        ("study.arms={}", r"(?s)study\.arms=\{\}: mappings are merged.*~study\.arms\.NAME"),
        ("rl.lag=2", r"write rl\.off_policy_steps"),
        ("rl.stepz=3", r"did you mean rl\.steps"),
    ],
)
def test_an_override_that_an_arm_cannot_have_is_refused_with_its_reason(override, expected):
    with initialize_config_module("configs", version_base="1.3"):
        composer = Composer("study")
        with pytest.raises(UserError, match=expected):
            composer([override])
        assert composer(["algo=grpo"])["algo"]["name"] == "grpo"  # Hydra is as it was
