"""Checkpoints come back to the bit, or not at all."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from harness.core.errors import UserError
from harness.core.flops import Spent
from harness.run import checkpoint
from harness.run.checkpoint import (
    load_checkpoint,
    load_weights,
    save_checkpoint,
    save_weights,
    saved_steps,
    step_folder,
)
from tests.toys import toy_state

SPENT = Spent(step=5, completions=80, tokens=999, flops=1.5e9, flops_convention=2e9, seconds=3.25)


def trained_state(step=5):
    """A state whose optimizer has momentum."""
    state = toy_state(0)
    state.policy(torch.arange(16, 26).view(1, 1, -1)).square().sum().backward()
    state.optimizer.step()
    state.past_weights = [{"head": torch.full((1, 2, 3), value)} for value in (1.0, 2.0)]
    state.spent = (replace(SPENT, step=step),)
    return state


@pytest.fixture
def saved(tmp_path):
    state = trained_state()
    folder = tmp_path / "run-1" / "checkpoints"
    save_checkpoint(folder, state, keep=2)
    return folder, state


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_weights_optimizer_and_counts_come_back_to_the_bit(saved):
    folder, state = saved
    other = toy_state(1)
    load_checkpoint([folder], other, 5)
    assert other.spent == state.spent
    assert all(torch.equal(a, b) for a, b in zip(other.policy.parameters(), state.policy.parameters()))
    assert len(other.past_weights) == 2
    for a, b in zip(other.past_weights, state.past_weights):
        assert all(torch.equal(a[name], b[name]) for name in b)
    a, b = other.optimizer.state_dict()["state"], state.optimizer.state_dict()["state"]
    assert a.keys() == b.keys()
    assert all(torch.equal(a[i][name], b[i][name]) for i in a for name in a[i])


def test_the_last_ones_are_kept(tmp_path):
    for step in (1, 2, 3, 10):
        save_checkpoint(tmp_path, trained_state(step), keep=2)
    assert saved_steps(tmp_path) == [3, 10]
    assert saved_steps(tmp_path / "nowhere") == []


def test_weights_of_a_budget_are_written_once(tmp_path):
    state = trained_state()
    save_weights(tmp_path, state.policy, state.spent[0])
    before = files(tmp_path)
    save_weights(tmp_path, toy_state(1).policy, state.spent[0])
    assert files(tmp_path) == before
    other = toy_state(2)
    assert load_weights([tmp_path], other.policy, 5) == state.spent
    assert all(torch.equal(a, b) for a, b in zip(other.policy.parameters(), state.policy.parameters()))


@pytest.mark.parametrize("name", ["policy.safetensors", "training.pt", "meta.json"])
@pytest.mark.parametrize("how", ["one bit", "cut short", "empty", "gone", "not text"])
def test_any_damage_is_said_and_nothing_is_lost(saved, name, how):
    folder, _ = saved
    path = step_folder(folder, 5) / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    damaged = {"one bit": bytes(data), "cut short": bytes(data[:-9]), "empty": b"", "not text": b"\xff\xfe\x00"}
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(damaged[how])
    before, state = files(folder), toy_state(1)
    weights = [w.detach().clone() for w in state.policy.parameters()]
    with pytest.raises(UserError, match=r"is damaged.*\n.*rm -r"):
        load_checkpoint([folder], state, 5)
    assert files(folder) == before
    assert all(torch.equal(a, b) for a, b in zip(weights, state.policy.parameters()))


@pytest.mark.parametrize("content", ["[]", "{}", "null", '{"hashes": 3, "hash": "x"}'])
def test_a_meta_file_of_another_kind_is_damage_too(saved, content):
    folder, _ = saved
    (step_folder(folder, 5) / "meta.json").write_text(content)
    with pytest.raises(UserError, match="is damaged"):
        load_checkpoint([folder], toy_state(1), 5)


def test_a_count_that_was_edited_is_noticed(saved):
    folder, _ = saved
    path = step_folder(folder, 5) / "meta.json"
    meta = json.loads(path.read_text())
    meta["spent"]["tokens"] += 1
    path.write_text(json.dumps(meta))
    with pytest.raises(UserError, match=r"meta\.json does not match its hash"):
        load_checkpoint([folder], toy_state(1), 5)


def test_a_foreign_checkpoint_is_refused(saved):
    folder, _ = saved
    other = folder.parent.with_name("run-2") / "checkpoints"
    shutil.copytree(folder, other)
    with pytest.raises(UserError, match="belongs to the run run-1"):
        load_checkpoint([other], toy_state(1), 5)


def test_a_checkpoint_of_another_schema_is_refused_with_a_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "SCHEMA_VERSION", 0)
    save_checkpoint(tmp_path, trained_state(), keep=2)
    monkeypatch.undo()
    with pytest.raises(UserError, match=r"written by schema 0(?s:.*)out="):
        load_checkpoint([tmp_path], toy_state(1), 5)


@pytest.mark.parametrize("fails_at", ["policy.safetensors", "training.pt", "meta.json", "rename"])
def test_a_crash_while_saving_leaves_the_checkpoint_before(saved, fails_at, monkeypatch):
    """The disk is full at any of the files, or the process dies before the rename."""
    folder, _ = saved
    opened = Path.open

    def full(path, *arguments, **options):
        if fails_at in path.name and "wb" in arguments:
            raise OSError(28, "No space left on device", str(path))
        return opened(path, *arguments, **options)

    def crash(path, target):
        raise OSError(5, "crash")

    monkeypatch.setattr(Path, "open", full)
    if fails_at == "rename":
        monkeypatch.setattr(Path, "rename", crash)
    with pytest.raises(OSError):  # noqa: PT011  (of the kinds above)
        save_checkpoint(folder, trained_state(9), keep=1)
    monkeypatch.undo()
    assert saved_steps(folder) == [5]
    load_checkpoint([folder], toy_state(1), 5)
    save_checkpoint(folder, trained_state(9), keep=1)
    assert saved_steps(folder) == [9]
