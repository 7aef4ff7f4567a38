"""Stacked seeds are the runs that each would be alone."""

from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file

from harness.config.identity import base_id, evaluation_id, run_id
from harness.config.parse import dump
from harness.config.schema import StackedConfig
from harness.core.files import read_json
from harness.launch.launch import launch
from harness.launch.stacked import group_into_stacks, stack_key
from harness.run.checkpoint import step_folder
from harness.run.folder import run_folder
from harness.run.job import run_job, run_stack
from harness.run.tracker import read_metrics
from tests.policy.conftest import needs_compiler
from tests.toys import base_job, rl_job, tiny, train

SEEDS = (0, 1, 5)


def of_seeds(out, *overrides):
    """On a backend that computes them in one model; of the native one see test_stack_bits.py."""
    same = ("backend=eager", *overrides)
    return [tiny(f"seed={seed}", f"base.seed={seed % 2}", *same, out=out) for seed in SEEDS]


def bases(configs):
    return list({base_id(c): base_job(c) for c in configs}.values())


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The same runs, separate and stacked; (folders, folders)."""
    alone, stacked = tmp_path_factory.mktemp("alone"), tmp_path_factory.mktemp("stacked")
    for config in of_seeds(alone):
        train(config)
    configs = of_seeds(stacked)
    run_stack(bases(configs), lambda job, row: None)
    run_stack([rl_job(c) for c in configs], lambda job, row: None)
    ids = [run_id(c) for c in configs]
    assert ids == [run_id(c) for c in of_seeds(alone)]
    return [[run_folder(out, i) for i in ids] for out in (alone, stacked)]


def check_same_weights(one, other):
    """To rounding; Adam makes much of the last bit of a gradient near 0."""
    a, b = (load_file(step_folder(folder.budgets, 4) / "policy.safetensors") for folder in (one, other))
    assert a.keys() == b.keys()
    assert all((a[name] - b[name]).abs().max() < 5e-5 for name in a)


def test_stacked_seeds_have_the_weights_of_separate_runs_to_rounding(both):
    for alone, stacked in zip(*both):
        check_same_weights(alone, stacked)


def test_stacked_seeds_have_the_scores_and_axes_of_separate_runs(both):
    which = evaluation_id(tiny())
    for alone, stacked in zip(*both):
        for step in (0, 1, 2, 4):
            a, b = (read_json(f.evaluation(which, step)) for f in (alone, stacked))
            assert a["problems"] == b["problems"]
            assert {**a["spent"], "seconds": 0} == {**b["spent"], "seconds": 0}
    rows = [[(r.get("compute/tokens"), r.get("train/accuracy")) for r in read_metrics(f[1].path)] for f in both]
    assert rows[0] == rows[1]


def test_runs_move_between_stacked_and_separate(both, tmp_path):
    """A run begun in a stack goes on alone, to where the whole stack would be."""
    configs = of_seeds(tmp_path, "rl.steps=4")
    run_stack(bases(configs), lambda job, row: None)
    run_stack([replace(rl_job(c), until=2, budgets=(0, 1, 2)) for c in configs], lambda job, row: None)
    for config in configs:
        train(config)
    for begun, alone in zip(configs, both[0]):
        check_same_weights(run_folder(tmp_path, run_id(begun)), alone)


def test_only_runs_that_differ_in_seeds_are_stacked(tmp_path):
    jobs = [rl_job(c) for c in of_seeds(tmp_path)] + [rl_job(c) for c in of_seeds(tmp_path, "reward=random_reward")]
    assert len({stack_key(job) for job in jobs}) == 2
    assert sorted(len(stack.run["jobs"]) for stack in group_into_stacks(jobs, 2)) == [1, 1, 2, 2]


def test_the_launcher_stacks_what_is_ready_and_reports_each_run(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))  # the worker imports tests.toy_task
    configs = of_seeds(tmp_path)
    launcher = StackedConfig("stacked", 8, 1, 1, 1.0, 0, 5.0)
    jobs = [*bases(configs), *(replace(rl_job(c), needs=(base_id(c),), run=dump(c)) for c in configs)]
    seen = set()
    results = list(launch(jobs, launcher, run_job, lambda job, row: seen.add(job.run_id)))
    assert {r.job.run_id: r.status for r in results} == {job.run_id: "done" for job in jobs}, results[0].error
    assert seen >= {run_id(c) for c in configs}


@needs_compiler
def test_of_seeds_that_run_one_by_one_a_failure_keeps_no_other_from_running(tmp_path):
    """The first seed has no base; the last of the stack is trained all the same, and the failure reported."""
    configs = [tiny(f"seed={seed}", f"base.seed={seed}", "backend=native", out=tmp_path) for seed in (0, 1)]
    run_stack([base_job(configs[1])], lambda job, row: None)
    with pytest.raises(Exception, match=base_id(configs[0])):
        run_stack([rl_job(config) for config in configs], lambda job, row: None)
    states = [run_folder(tmp_path, run_id(config)).status()["state"] for config in configs]
    assert states == ["failed", "done"]
