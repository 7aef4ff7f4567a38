"""What names a run, what does not, and mistakes that are found before any compute is spent."""

import pytest
from hydra import compose, initialize_config_module
from pydantic_core import ValidationError

import harness.config.identity as identity_module
from harness.config.compose import plain
from harness.config.hints import from_validation
from harness.config.identity import base_id, evaluation_id, run_id
from harness.config.parse import dump, parse
from harness.core.dotted import flatten
from harness.core.errors import UserError
from tests.toys import container, tiny

# Another legal value for every leaf of the configuration: a leaf that is missing here fails a test.
OTHER = {
    "objective": "frozen",
    "seed": 1,
    "model.name": "other",
    "model.layers": 2,
    "model.width": 32,
    "model.heads": 4,
    "model.mlp": 48,
    "model.context": 72,
    "model.norm": "layernorm",
    "model.norm_position": "post",
    "model.qk_norm": True,
    "model.rope_base": 500.0,
    "model.init_std": 0.1,
    "model.base_width": 8,
    "base.seed": 1,
    "base.steps": 4,
    "base.documents": 16,
    "base.tasks": ["toy.*", "maximum.*"],
    "base.contexts.symbolic": 2.0,
    "base.contexts.worded": 0.5,
    "base.difficulties": [1],
    "base.difficulty_decay": 0.5,
    "base.label_noise": 0.2,
    "base.scratchpad_share": 0.5,
    "base.optim.name": "muon",
    "base.optim.lr": 1e-3,
    "base.optim.beta1": 0.8,
    "base.optim.beta2": 0.8,
    "base.optim.eps": 1e-7,
    "base.optim.weight_decay": 0.5,
    "base.optim.grad_clip": 0.5,
    "base.schedule.name": "constant",
    "base.schedule.warmup": 1,
    "base.schedule.decay_share": 0.1,
    "tasks.verified": ["maximum.symbolic"],
    "tasks.unverified": [],
    "tasks.difficulties": [1],
    "tasks.difficulty_decay": 0.5,
    "tasks.weights": [2.0],
    "tasks.target_success": 0.5,
    "tasks.retire_at": 0.9,
    "rl.steps": 8,
    "rl.problems": 8,
    "rl.group_size": 8,
    "rl.off_policy_steps": 2,
    "sampling.temperature": 0.9,
    "sampling.max_new_tokens": 2,
    "sampling.thinking": 8,
    "algo.name": "grpo",
    "algo.scale": "none",
    "algo.aggregation": "sample",
    "algo.denominator": "kept",
    "algo.kl": "k3",
    "algo.kl_coefficient": 0.1,
    "algo.entropy_bonus": 0.01,
    "algo.clip_low": 0.1,
    "algo.clip_high": 0.3,
    "algo.critic": {"discount": 1.0, "gae_lambda": 0.9, "lr_factor": 1.0, "value_clip": None},
    "reward.name": "random_reward",
    "reward.model": {"steps": 1, "lr": 1e-3, "noise": 0.0},
    "reward.length_penalty": 0.1,
    "reward.truncation_penalty": 0.5,
    "optim.name": "muon",
    "optim.lr": 1e-3,
    "optim.beta1": 0.8,
    "optim.beta2": 0.8,
    "optim.eps": 1e-7,
    "optim.weight_decay": 0.5,
    "optim.grad_clip": 0.5,
    "optim.minibatches": 2,
    "optim.epochs": 2,
    "optim.micro_batch": 2,
    "schedule.name": "wsd",
    "schedule.warmup": 1,
    "schedule.decay_share": 0.1,
    "precision": "bf16",
}
# What another value of a leaf can only stand with.
NEEDS = {
    "algo.kl": ("algo.kl_coefficient", 0.5),
    "algo.kl_coefficient": ("algo.kl", "k3"),
    "algo.critic": ("algo.name", "ppo"),
    "reward.model": ("reward.name", "learned_reward"),
    "sampling.thinking": ("base.scratchpad_share", 0.5),
    "evaluation.thinking": ("base.scratchpad_share", 0.5),
}
# These change no weight of any run.
LABELS = {
    "tasks.unverified": [],
    "tasks.held_out_difficulties": [3],
    "rl.steps": 8,
    "evaluation.split": "validation",
    "evaluation.problems": 5,
    "evaluation.samples": 8,
    "evaluation.ks": [2],
    "evaluation.thinking": [8],
    "evaluation.temperature": 0.5,
    "evaluation.seed": 3,
    "evaluation.batch_size": 128,
    "budgets": [0, 4],
    "device": "auto",
    "save.seconds": 5.0,
    "save.keep": 3,
    "tracker.name": None,
    "launcher.name": None,
    "launcher.jobs": 1,
    "launcher.threads": 1,
    "launcher.memory_gb": 2.0,
    "launcher.retries": 3,
    "launcher.grace": 3.0,
    "imports": ["tests.toy_task", "tests.toys"],
    "out": "elsewhere",
    "plan": True,
}
# The vocabulary has one legal size; tests/policy/test_export.py takes bases from folders; the rest are
# options of the base's optimizer that pretraining does not read.
FIXED = {"model.vocab", "base.folder", "base.optim.minibatches", "base.optim.epochs", "base.optim.micro_batch"}


SUMS = ("base.tasks=[addition.symbolic]", "base.contexts.worded=0", "base.difficulties=[5]")


def changed(leaf, value):
    whole = container()
    if leaf in NEEDS:
        (group, name), value_of_it = NEEDS[leaf][0].split("."), NEEDS[leaf][1]
        whole[group][name] = value_of_it
    branch = whole
    *path, last = leaf.split(".")
    for name in path:
        branch = branch[name]
    assert last in branch, leaf
    assert branch[last] != value, f"{leaf} has this value already"
    branch[last] = value
    return parse(whole)


def unchanged(leaf):
    """What to compare with: options of thinking only stand with a base that thinks."""
    return tiny("base.scratchpad_share=0.5") if NEEDS.get(leaf, ("",))[0] == "base.scratchpad_share" else tiny()


def test_every_leaf_of_the_configuration_is_sorted_into_one_of_two_kinds():
    assert set(flatten(container())) == set(OTHER) | set(LABELS) | FIXED


@pytest.mark.parametrize("leaf", sorted(set(OTHER) - set(LABELS)))
def test_whatever_changes_weights_changes_the_runs_identity(leaf):
    assert run_id(changed(leaf, OTHER[leaf])) != run_id(unchanged(leaf))


@pytest.mark.parametrize("leaf", sorted(name for name, value in LABELS.items() if value is not None))
def test_labels_paths_and_evaluation_settings_do_not(leaf):
    other, same = changed(leaf, LABELS[leaf]), unchanged(leaf)
    assert (run_id(other), base_id(other)) == (run_id(same), base_id(same))


def test_the_tracker_is_no_part_of_the_identity():
    assert run_id(tiny("tracker=wandb")) == run_id(tiny())


@pytest.mark.parametrize("leaf", sorted(OTHER))
def test_the_base_depends_on_the_model_the_base_part_and_the_precision_alone(leaf):
    of_base = leaf.startswith(("model.", "base.")) or leaf == "precision"
    assert (base_id(changed(leaf, OTHER[leaf])) != base_id(unchanged(leaf))) == of_base


def test_the_number_of_steps_counts_where_the_schedule_has_a_horizon():
    assert run_id(tiny("schedule=wsd", "rl.steps=8")) != run_id(tiny("schedule=wsd"))


@pytest.mark.parametrize("leaf", ["reward.name", "optim.lr", "rl.problems", "tasks.difficulty_decay"])
def test_a_frozen_run_depends_on_base_and_seed_alone(leaf):
    frozen = lambda *more: run_id(tiny("objective=frozen", *more))  # noqa: E731
    value = OTHER[leaf]
    setting = f"reward={value}" if leaf == "reward.name" else f"{leaf}={value}"
    assert frozen(setting) == frozen()
    assert frozen("seed=1") != frozen()
    assert frozen("base.steps=4") != frozen()


def test_the_quickstarts_base_is_called_what_it_was_before_policies_could_think():
    """Options that are off must not make anybody pretrain again. A change of configs/base/skills.yaml changes this."""
    with initialize_config_module("configs", version_base="1.3"):
        assert base_id(parse(plain(compose("train")))) == "base-67c6a86458ba"


def test_what_continued_pretraining_costs_depends_on_how_long_rl_would_think():
    ids = {
        run_id(tiny("objective=continued_pretraining", "base.scratchpad_share=0.5", f"sampling.thinking={n}"))
        for n in (0, 8)
    }
    assert len(ids) == 2


def test_documents_fit_until_they_show_their_steps():
    """So that the refusal of the same settings with steps, below, is about the steps."""
    assert tiny(*SUMS).base.scratchpad_share == 0


def test_a_pattern_is_the_tasks_that_it_stands_for():
    """So a task that joins the registry later, and matches, makes another run; and two spellings are one run."""
    assert run_id(tiny("tasks.verified=[toy.symb*]")) == run_id(tiny())
    assert base_id(tiny("base.tasks=[toy.worded,toy.symbolic]")) == base_id(tiny())
    assert evaluation_id(tiny("tasks.verified=[toy.symb*]")) == evaluation_id(tiny())


@pytest.mark.parametrize("leaf", sorted(name for name in LABELS if name.startswith("evaluation.")))
def test_an_evaluation_is_identified_by_its_settings_but_not_by_its_chunks(leaf):
    same = evaluation_id(changed(leaf, LABELS[leaf])) == evaluation_id(unchanged(leaf))
    assert same == (leaf == "evaluation.batch_size")


@pytest.mark.parametrize("leaf", ["tasks.unverified", "tasks.difficulties"])
def test_an_evaluation_of_other_tasks_is_another(leaf):
    assert evaluation_id(changed(leaf, OTHER[leaf])) != evaluation_id(tiny())


def test_a_configuration_survives_the_way_through_json():
    config = tiny()
    assert parse(dump(config)) == config


def test_log2_budgets_are_the_powers_of_two_and_the_last_step():
    assert tiny("rl.steps=8").budget_steps() == (0, 1, 2, 4, 8)
    assert tiny("rl.steps=6").budget_steps() == (0, 1, 2, 4, 6)
    assert tiny("rl.steps=1").budget_steps() == (0, 1)
    assert tiny("budgets=[3,0,99]").budget_steps() == (0, 3, 4)


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
        (["base.scratchpad_share=0.5", "reward=process_reward"], "no room to write any"),
        (["sampling.thinking=8"], "pretrain one that has"),
        (["evaluation.thinking=[0,8]"], "pretrain one that has"),
        (["base.scratchpad_share=0.5", "evaluation.thinking=[8,8]"], "a budget stands twice"),
        (["base.scratchpad_share=0.5", "evaluation.thinking=[0,60]"], "completions of up to 65"),
        (["base.scratchpad_share=0.5", "base.tasks=[store.*]"], "none of base.tasks has worked steps"),
        (["base.scratchpad_share=0.5", *SUMS], r"a document of addition\.symbolic may need"),
        (["sampling.max_new_tokens=60"], "completions of up to 60"),
        (["base.tasks=[expression.*,toy.*]", "base.difficulties=[]"], "a document of expression"),
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


@pytest.mark.parametrize(("leaf", "value"), [("optim.lr", -1.0), ("rl.steps", 0), ("algo.name", "ppoo")])
def test_a_value_out_of_range_is_refused(leaf, value):
    with pytest.raises(ValidationError):
        changed(leaf, value)


@pytest.mark.parametrize("leaf", ["steps=7", "lr=0.5", "noise=0.1"])
def test_what_a_reward_is_learned_from_names_the_run(leaf):
    assert run_id(tiny("reward=learned_reward", f"reward.model.{leaf}")) != run_id(tiny("reward=learned_reward"))


@pytest.mark.parametrize("leaf", ["discount=0.9", "gae_lambda=1.0", "lr_factor=2.0", "value_clip=0.2"])
def test_how_a_critic_learns_names_the_run(leaf):
    assert run_id(tiny("algo=ppo", f"algo.critic.{leaf}")) != run_id(tiny("algo=ppo"))


def test_an_option_that_came_later_and_is_off_leaves_a_run_the_name_it_had(monkeypatch):
    """The name is the hash of a content without it."""
    seen = []
    monkeypatch.setattr(identity_module, "_hash", lambda content: seen.append(content) or "hash")
    run_id(tiny())
    assert all(name not in seen[-1].get(section, {}) for section, name in identity_module._LATER)
    evaluation_id(tiny())
    assert all(name not in seen[-1] for section, name in identity_module._LATER if section == "evaluation")
    run_id(tiny("algo=ppo"))
    assert seen[-1]["algo"]["critic"]["discount"] == 1.0


@pytest.mark.parametrize(
    ("overrides", "run", "base"),
    [
        ([], "rl-ea1fce9e8fcd", "base-67c6a86458ba"),
        (["objective=continued_pretraining"], "continued_pretraining-c33b8ae14945", "base-67c6a86458ba"),
        (["objective=frozen"], "frozen-23135ae11ed1", "base-67c6a86458ba"),
        (["base=all", "model=micro", "model.context=512"], "rl-fd02007fc7db", "base-faf52e0b5b0d"),
    ],
)
def test_a_new_option_that_is_off_renames_no_run_that_was_made_before(overrides, run, base):
    with initialize_config_module("configs", version_base="1.3"):
        config = parse(plain(compose("train", overrides=overrides)))
    assert (run_id(config), base_id(config), evaluation_id(config)) == (run, base, "evaluation-ce8d52383f94")
