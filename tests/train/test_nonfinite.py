"""A step that is not finite stops the run with the name of the tensor and a dump of the batch."""

import json

import pytest
import torch
from safetensors.torch import load_file

from harness.config.identity import base_id, run_id
from harness.run.checkpoint import saved_steps, step_folder
from harness.run.folder import run_folder
from harness.run.job import run_job
from harness.train import pretrain, update
from harness.train.state import NonFinite
from tests.policy.conftest import needs_compiler
from tests.run.test_job import assert_same_run
from tests.toys import base_job, rl_job, silent, tiny, train

SETTINGS = ("rl.steps=10", "save.seconds=1e-3")


def poison(monkeypatch, step):
    """The loss of one step is NaN, the first time it is computed."""
    plain, seen = update.losses, []

    def poisoned(*arguments):
        loss, metrics = plain(*arguments)
        seen.append(1)
        return (loss * torch.nan if len(seen) == step + 1 else loss), metrics

    monkeypatch.setattr(update, "losses", poisoned)


@pytest.mark.parametrize("algorithm", ["rloo", "ppo"])
def test_a_run_stops_there_with_a_dump_and_a_resume_goes_on(algorithm, tmp_path, monkeypatch):
    settings = (*SETTINGS, f"algo={algorithm}")
    config = tiny(*settings, out=tmp_path / "a")
    run_job(base_job(config), silent)
    poison(monkeypatch, 7)
    with pytest.raises(NonFinite, match="step 7: loss") as error:
        run_job(rl_job(config), silent)
    folder = run_folder(config.out, run_id(config))
    assert folder.status()["state"] == "failed"
    assert saved_steps(folder.checkpoints)[-1] == 7
    dump = step_folder(folder.path / "dump", 7)
    assert str(dump) in "".join(error.value.__notes__)
    assert str(dump) in (folder.path / "traceback.txt").read_text()
    meta = json.loads((dump / "meta.json").read_text())
    assert (meta["tensor"], meta["step"]) == ("loss", 7)
    batch = torch.load(dump / "batch.pt", weights_only=True)
    assert batch["completions"].shape == batch["advantages"].shape
    before = load_file(step_folder(folder.checkpoints, 7) / "policy.safetensors")
    assert all(torch.equal(w, before[name]) for name, w in load_file(dump / "policy.safetensors").items())

    run_job(rl_job(config), silent)  # the fault was a passing one
    assert_same_run(folder.path, train(tiny(*settings, out=tmp_path / "b")))


def test_a_gradient_that_is_not_finite_is_named(tmp_path, monkeypatch):
    config = tiny(out=tmp_path)
    run_job(base_job(config), silent)
    plain = update.losses

    def steep(state, part, cfg):
        loss, metrics = plain(state, part, cfg)
        return loss + (state.policy.blocks[0].down.flatten(1).sum(1) * 0).sqrt(), metrics

    monkeypatch.setattr(update, "losses", steep)
    with pytest.raises(NonFinite, match=r"the gradient of policy\.blocks\.0\.down is not finite"):
        run_job(rl_job(config), silent)


def test_a_value_loss_that_is_not_finite_is_named_and_dumped_beside_the_policy(tmp_path, monkeypatch):
    config = tiny("algo=ppo", out=tmp_path)
    run_job(base_job(config), silent)
    plain = update.critic_loss

    def poisoned(*arguments):
        loss, metrics = plain(*arguments)
        return loss, {name: value * torch.nan for name, value in metrics.items()}

    monkeypatch.setattr(update, "critic_loss", poisoned)
    with pytest.raises(NonFinite, match="step 0: value_loss"):
        run_job(rl_job(config), silent)
    dump = step_folder(run_folder(tmp_path, run_id(config)).path / "dump", 0)
    policy, critic = (load_file(dump / f"{name}.safetensors") for name in ("policy", "critic"))
    assert policy.keys() == critic.keys()
    assert (critic["head"] == 0).all()
    assert torch.equal(policy["embedding"], critic["embedding"])


@pytest.mark.parametrize("backend", ["eager", pytest.param("native", marks=needs_compiler)])
def test_pretraining_dumps_its_documents(backend, tmp_path, monkeypatch):
    config = tiny(f"backend={backend}", out=tmp_path)
    plain = pretrain.accumulate_gradients

    def poisoned(*arguments):
        return [loss / 0 for loss in plain(*arguments)]

    monkeypatch.setattr(pretrain, "accumulate_gradients", poisoned)
    with pytest.raises(NonFinite, match="step 0: loss"):
        run_job(base_job(config), silent)
    dump = step_folder(run_folder(tmp_path, base_id(config)).path / "dump", 0)
    assert len(torch.load(dump / "batch.pt", weights_only=True)["documents"][0]) == 8


def test_a_policy_whose_samples_have_no_probability_stops_the_run(tmp_path):
    """Its weights may be finite and its loss 0: every answer is wrong, so every group has zero advantage."""
    config = tiny("optim.lr=1e38", "model.norm=none", "optim.weight_decay=0", out=tmp_path)
    run_job(base_job(config), silent)
    with pytest.raises(NonFinite, match="step 1: sampler_logprobs is not finite"):
        run_job(rl_job(config), silent)
