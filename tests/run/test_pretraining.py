"""Runs that are pretrained: evaluated at their budgets, resumed exactly, the same as the bases of their settings."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from envs.splits import split_of
from harness.config.identity import evaluation_id, run_id
from harness.config.parse import dump
from harness.core.files import read_json
from harness.launch.jobs import Job
from harness.policy.tokenizer import decode
from harness.run.checkpoint import step_folder
from harness.run.evaluations import kept_evaluations
from harness.run.folder import run_folder
from harness.run.job import run_job, run_stack
from harness.run.tracker import read_metrics
from harness.train import pretrain
from harness.train.pretrain import document_loss, held_out_documents
from tests.run.test_job import assert_same_run
from tests.toys import base_job, silent, tiny, toy_state

SETTINGS = ("objective=pretraining", "base.schedule.name=constant", "evaluation.documents=16")


def pretraining(out, *more, steps=4):
    return tiny(*SETTINGS, f"base.steps={steps}", *more, out=out)


def job_of(config):
    budgets = config.budget_steps()
    return Job(run_id(config), dump(config), budgets[-1], budgets, labels={"arm": "nano"})


def trained(config):
    return Path(run_job(job_of(config), silent)["folder"])


def losses(config):
    return {step: content["rows"][0]["loss"] for step, content in kept_evaluations(config).items()}


def test_a_pretrained_run_is_scored_at_its_budgets_and_ends_with_the_weights_of_such_a_base(tmp_path):
    config = pretraining(tmp_path)
    folder = trained(config)
    assert sorted(losses(config)) == [0, 1, 2, 4]
    logged = {row["compute/step"]: row["eval/loss"] for row in read_metrics(folder) if "eval/loss" in row}
    assert logged == losses(config)
    base = tiny("base.schedule.name=constant", "base.steps=4", out=tmp_path)
    made = run_folder(tmp_path, base_job(base).run_id)
    run_job(base_job(base), silent)
    ours, theirs = (load_file(step_folder(f, 4) / "policy.safetensors") for f in (folder / "budgets", made.budgets))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_pretrained_run_that_was_interrupted_equals_one_that_was_not(tmp_path):
    trained(pretraining(tmp_path / "twice", "budgets=[0,2]", steps=2))
    twice = trained(pretraining(tmp_path / "twice", "budgets=[0,2,5]", steps=5))
    assert_same_run(twice, trained(pretraining(tmp_path / "once", "budgets=[0,2,5]", steps=5)))


def test_budgets_that_a_pretrained_run_has_passed_are_scored_by_a_replay(tmp_path):
    whole = losses_of(tmp_path / "whole", "[0,1,3]")
    later = pretraining(tmp_path / "later", "budgets=[0]", steps=3)
    trained(later)
    assert losses_of(tmp_path / "later", "[0,1,3]") == whole


def losses_of(out, budgets):
    config = pretraining(out, f"budgets={budgets}", steps=3)
    trained(config)
    return losses(config)


def test_stacked_pretrained_runs_have_the_losses_of_separate_ones(tmp_path):
    seeds = [(f"seed={s}", f"base.seed={s}", "backend=eager") for s in (0, 3)]
    stacked = [pretraining(tmp_path / "stacked", *own) for own in seeds]
    run_stack([job_of(config) for config in stacked], lambda job, row: None)
    for own, config in zip(seeds, stacked):
        alone = pretraining(tmp_path / "alone", *own)
        trained(alone)
        assert losses(config) == pytest.approx(losses(alone), rel=1e-4)
    assert losses(stacked[0])[4] != losses(stacked[1])[4]


def test_the_held_out_loss_is_the_mean_over_all_tokens_but_the_first(tmp_path):
    documents = held_out_documents(tiny().base, 12, 0, 64)
    state = toy_state(0, 1)
    found = document_loss(state.backend, state.policy, documents)
    by_hand = []
    for document in documents:
        ids = torch.from_numpy(np.stack([document, document]))[:, None]
        with torch.no_grad():
            by_hand.append(-state.backend.token_logprobs(state.policy, ids, 1.0)[:, 0, 1:])
    torch.testing.assert_close(found, torch.cat(by_hand, dim=1).mean(1))
    assert found[0] != found[1]
    assert 0 < found.min() < 2 * math.log(112)


def test_held_out_documents_are_of_the_validation_split_and_the_same_for_all_runs(monkeypatch):
    drawn = []
    mixture_draw = pretrain.Mixture.draw
    monkeypatch.setattr(
        pretrain.Mixture, "draw", lambda *given: drawn.extend(problems := mixture_draw(*given)) or problems
    )
    base = tiny("base.difficulties=[2]").base
    first = held_out_documents(base, 20, 0, 64)
    again = held_out_documents(replace(base, seed=9, steps=77), 20, 0, 64)
    assert {split_of(problem) for problem in drawn} == {"validation"}
    assert [decode(d) for d in first] == [decode(d) for d in again]
    assert [decode(d) for d in first] != [decode(d) for d in held_out_documents(base, 20, 1, 64)]


def test_without_held_out_documents_rows_are_as_before(tmp_path):
    config = pretraining(tmp_path, "evaluation.documents=0")
    rows = read_json(run_folder(tmp_path, trained(config).name).evaluation(evaluation_id(config), 4))["rows"]
    assert all("loss" not in row for row in rows)
