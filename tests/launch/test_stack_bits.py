"""On the native backend a stack of seeds leaves what their plain runs leave, to the last bit."""

import pytest
import torch
from hydra import compose, initialize_config_module

from harness.config.compose import plain
from harness.config.identity import base_id, evaluation_id, run_id
from harness.config.parse import parse
from harness.core.files import read_json
from harness.core.types import Rewards
from harness.run.checkpoint import read_meta, step_folder
from harness.run.folder import run_folder
from harness.run.job import run_stack
from harness.train.rewards import REWARDS
from tests.policy.conftest import needs_compiler
from tests.run.test_job import rows
from tests.toys import base_job, rl_job

SEEDS, STEPS, BASE_STEPS = (3, 8, 5), 4, 4
SIZES = (
    "tracker=none", "device=cpu", "backend=native", "model.width=32", "model.heads=2", "model.mlp=48",
    "model.init_std=0.1", f"base.steps={BASE_STEPS}", "base.documents=24", "rl.problems=6", "rl.group_size=4",
    f"rl.steps={STEPS}", f"budgets=[0,{STEPS}]", "evaluation.problems=2", "evaluation.samples=4", "optim.lr=3e-3",
    "schedule.warmup=0",
)  # fmt: skip
CIPHER, WALK = ("experiment=cipher",), ("experiment=walk", "sampling.thinking=20", "evaluation.thinking=[20]")
CASES = {
    "cipher": CIPHER,
    "walk": WALK,
    "two epochs of two minibatches": (*WALK, "optim.minibatches=2", "optim.epochs=2"),
    "critic": (*CIPHER, "algo=ppo"),
    "standardised over tokens": (*WALK, "algo=reinforce_pp"),
}


def reward_of_ids(inputs):
    """1 for some completions of two problems in three: an untrained policy is right about nothing."""
    rollouts = inputs.rollouts
    problem = torch.arange(rollouts.rows // rollouts.seeds).repeat(rollouts.seeds) // rollouts.group_size
    reward = (((rollouts.ids * rollouts.loss_mask).sum(1) % 4 == 0) & (problem % 3 > 0)).float()
    return Rewards(base=reward, outcome=reward)


def configs(out, case):
    with initialize_config_module("configs", version_base="1.3"):
        content = plain(compose("train", overrides=[*CASES[case], *SIZES])) | {"out": str(out)}
    return [parse(content | {"seed": seed, "base": content["base"] | {"seed": seed}}) for seed in SEEDS]


def trained(out, case, at_once):
    """What bases and runs leave, so many of them in a stack."""
    members = configs(out, case)
    for jobs in ([base_job(config) for config in members], [rl_job(config) for config in members]):
        for i in range(0, len(jobs), at_once):
            run_stack(jobs[i : i + at_once], lambda job, row: None)
    bases = [left_by(run_folder(out, base_id(config)), BASE_STEPS) for config in members]
    return bases + [left_by(run_folder(out, run_id(config)), STEPS, evaluation_id(config)) for config in members]


def left_by(folder, step, which=None):
    """Hashes of the last checkpoint, which has weights and optimizer; rows of metrics without times; scores."""
    scores = [read_json(folder.evaluation(which, budget)) for budget in (0, step)] if which else []
    return {
        "checkpoint": read_meta(step_folder(folder.checkpoints, step))["hashes"],
        "metrics": rows(folder.path),
        "scores": [(content["rows"], content["problems"]) for content in scores],
    }


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_native_stack_leaves_what_plain_runs_leave_to_the_last_bit(case, tmp_path, monkeypatch):
    """Of bases and runs: weights, optimizer, metrics and scores of seeds that keep unlike groups and draw unlike
    numbers of tokens."""
    monkeypatch.setitem(REWARDS, "true_reward", reward_of_ids)
    monkeypatch.setattr("harness.policy.backends.native.PASS_TOKENS", 512)
    alone, together = (trained(tmp_path / str(n), case, n) for n in (1, len(SEEDS)))
    for own, same in zip(alone, together, strict=True):
        assert same == own
    first = [next(row for row in run["metrics"] if "train/grad_norm" in row) for run in alone]
    assert all(row["train/grad_norm"] > 0 for row in first)
    assert len({row["compute/tokens"] for row in first[len(SEEDS) :]}) == len(SEEDS)
    if case not in ("critic", "standardised over tokens"):  # which keep all groups
        assert len({row["train/zero_advantage_groups"] for row in first[len(SEEDS) :]}) > 1
