"""What names a run, and what does not."""

import pytest

from harness.config.identity import base_id, evaluation_id, run_id
from harness.config.parse import dump, parse
from harness.core.dotted import flatten
from tests.toys import container, tiny

LEAVES = flatten(container())
# The vocabulary has one legal size; tests/policy/test_export.py takes bases from folders; a sequence has a test below;
# the rest are options of the base's optimizer that pretraining does not read.
FIXED = {
    "tasks.sequence",
    "tasks.replay",
    "model.vocab",
    "base.folder",
    "base.optim.minibatches",
    "base.optim.epochs",
    "base.optim.micro_batch",
}
SECTIONS_OF_LABELS = ("evaluation.", "launcher.", "save.")


def other_number(value):
    return 2 * value or 1 if isinstance(value, int) else value / 2 or 0.5


NUMBERS = {leaf: other_number(value) for leaf, value in LEAVES.items() if type(value) in (int, float)}
# Another legal value for every leaf of the configuration: a leaf that is missing here fails a test.
OTHER = {
    **{leaf: value for leaf, value in NUMBERS.items() if not leaf.startswith(SECTIONS_OF_LABELS) and leaf not in FIXED},
    "objective": "frozen",
    "model.name": "other",
    "model.norm": "layernorm",
    "model.norm_position": "post",
    "model.qk_norm": True,
    "model.base_width": 8,
    "base.tasks": ["toy.*", "maximum.*"],
    "base.difficulties": [1],
    "base.task_options": {"toy.symbolic": {"weight": 2.0}},
    "base.synthetic": {"generation": 1},
    "base.optim.name": "muon",
    "base.schedule.name": "constant",
    "tasks.verified": ["maximum.symbolic"],
    "tasks.unverified": [],
    "tasks.difficulties": [1],
    "tasks.weights": [2.0],
    "tasks.weight_distribution": {"name": "log_uniform", "decades": 3.0},
    "tasks.target_success": 0.5,
    "tasks.retire_at": 0.9,
    "tasks.distinct_problems": 8,
    "rl.stop_at.accuracy": 0.9,
    "rl.stop_at.seconds": 60.0,
    "sampling.max_new_tokens": 2,
    "algo.name": "grpo",
    "algo.scale": "none",
    "algo.aggregation": "sample",
    "algo.denominator": "kept",
    "algo.kl": "k3",
    "algo.critic": {"discount": 1.0, "gae_lambda": 0.9, "lr_factor": 1.0, "value_clip": None},
    "reward.name": "random_reward",
    "reward.model": {"steps": 1, "lr": 1e-3, "label_noise": 0.0},
    "optim.name": "muon",
    "schedule.name": "wsd",
    "precision": "bf16",
    "imports": ["tests.toy_task", "tests.toy_app"],
}
# What another value of a leaf can only stand with.
NEEDS = {
    "algo.kl": ("algo.kl_coefficient", 0.5),
    "algo.kl_coefficient": ("algo.kl", "k3"),
    "tasks.pool_exponent": ("tasks.distinct_problems", 8),
    "algo.critic": ("algo.name", "ppo"),
    "reward.model": ("reward.name", "learned_reward"),
    "sampling.thinking": ("base.scratchpad_share", 0.5),
    "evaluation.thinking": ("base.scratchpad_share", 0.5),
}
# These change no weight of any run.
LABELS = {
    **{leaf: value for leaf, value in NUMBERS.items() if leaf.startswith(SECTIONS_OF_LABELS)},
    "name": "mine",
    "tasks.unverified": [],
    "tasks.held_out_difficulties": [3],
    "rl.steps": 8,
    "evaluation.split": "validation",
    "evaluation.ks": [2],
    "evaluation.thinking": [8],
    "budgets": [0, 4],
    "device": "auto",
    "backend": "eager",
    "tracker.name": None,
    "launcher.name": None,
    "launcher.jobs": 1,
    "launcher.threads": 1,
    "objective_metric": "train/accuracy",
    "out": "elsewhere",
    "plan": True,
}


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
    """What to compare with: thinking budgets need a base with scratchpads."""
    return tiny("base.scratchpad_share=0.5") if NEEDS.get(leaf, ("",))[0] == "base.scratchpad_share" else tiny()


def test_every_leaf_of_the_configuration_is_sorted_into_one_of_two_kinds():
    assert set(flatten(container())) == set(OTHER) | set(LABELS) | FIXED


def test_yaml_gives_every_option_that_the_types_have():
    """Also those that may be missing: an option is found in the file that owns its default."""
    assert set(flatten(container())) == set(flatten(dump(tiny())))


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
def test_the_base_depends_on_the_model_the_base_part_the_precision_and_imported_sources_alone(leaf):
    of_base = leaf.startswith(("model.", "base.")) or leaf in ("precision", "imports")
    assert (base_id(changed(leaf, OTHER[leaf])) != base_id(unchanged(leaf))) == of_base


def test_the_number_of_steps_counts_where_the_schedule_has_a_horizon():
    assert run_id(tiny("schedule=wsd", "rl.steps=8")) != run_id(tiny("schedule=wsd"))


def test_a_sequence_is_identified_by_the_order_of_its_phases_its_replay_and_the_number_of_steps():
    def sequence(*more, verified="toy.symbolic,maximum.symbolic"):
        return run_id(tiny("tasks.sequence=true", f"tasks.verified=[{verified}]", *more))

    ids = {
        run_id(tiny("tasks.verified=[toy.symbolic,maximum.symbolic]")),
        sequence(),
        sequence(verified="maximum.symbolic,toy.symbolic"),
        sequence("tasks.replay=0.5"),
        sequence("rl.steps=8"),
    }
    assert len(ids) == 5
    assert sequence(verified="toy.symb*,maximum.s*") == sequence() == sequence("budgets=[0,1]")


@pytest.mark.parametrize("leaf", ["reward.name", "optim.lr", "rl.problems", "tasks.difficulty_decay"])
def test_a_frozen_run_depends_on_base_and_seed_alone(leaf):
    def frozen(*more):
        return run_id(tiny("objective=frozen", *more))

    value = OTHER[leaf]
    setting = f"reward={value}" if leaf == "reward.name" else f"{leaf}={value}"
    assert frozen(setting) == frozen()
    assert frozen("seed=1") != frozen()
    assert frozen("base.steps=4") != frozen()


def test_what_continued_pretraining_costs_depends_on_how_long_rl_would_think():
    ids = {
        run_id(tiny("objective=continued_pretraining", "base.scratchpad_share=0.5", f"sampling.thinking={n}"))
        for n in (0, 8)
    }
    assert len(ids) == 2


def test_a_run_that_is_pretrained_depends_on_the_base_section_alone():
    """And on its steps only where the schedule has a horizon: a longer run extends a shorter one."""

    def pretrained(*more):
        return run_id(tiny("objective=pretraining", *more))

    constant = "base.schedule.name=constant"
    assert pretrained("optim.lr=0.5", "rl.problems=8", "algo=grpo") == pretrained()
    assert pretrained("base.documents=16") != pretrained() != pretrained("base.steps=4")
    assert pretrained("model.layers=2") != pretrained() != pretrained("base.seed=1")
    assert pretrained(constant, "base.steps=4") == pretrained(constant)


def test_the_loss_on_held_out_documents_is_identified_by_the_corpus():
    of = lambda *more: evaluation_id(tiny(*more))  # noqa: E731
    assert of("base.label_noise=0.3") == of()
    assert of("evaluation.documents=8", "base.label_noise=0.3") != of("evaluation.documents=8")


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


@pytest.mark.parametrize("leaf", ["steps=7", "lr=0.5", "label_noise=0.1"])
def test_what_a_reward_is_learned_from_names_the_run(leaf):
    assert run_id(tiny("reward=learned_reward", f"reward.model.{leaf}")) != run_id(tiny("reward=learned_reward"))


@pytest.mark.parametrize("leaf", ["discount=0.9", "gae_lambda=1.0", "lr_factor=2.0", "value_clip=0.2"])
def test_how_a_critic_learns_names_the_run(leaf):
    assert run_id(tiny("algo=ppo", f"algo.critic.{leaf}")) != run_id(tiny("algo=ppo"))
