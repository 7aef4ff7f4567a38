"""Checkpoints: a folder written whole, then renamed; checked by hash on load.

`step-00000064/` holds policy.safetensors, training.pt (optimizer and all else that a step needs)
and meta.json, which names the run, the step, what was spent and the hash of each file. Budgets keep policy.safetensors
and meta.json alone.
"""

import hashlib
import io
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from safetensors.torch import load, save
from torch import Tensor

from harness.config.identity import SCHEMA_VERSION
from harness.config.run_names import name_of
from harness.config.schema import ModelConfig
from harness.core.errors import UserError, nearest
from harness.core.files import read_json, write_whole
from harness.core.flops import Spent
from harness.policy.export import write_folder
from harness.policy.transformer import Transformer
from harness.train.state import NonFinite, TrainState

_NAME = re.compile(r"step-(\d{8})")


def _hash(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _hash_of(meta: dict[str, Any]) -> str:
    """Of meta.json itself, without this entry."""
    return _hash(json.dumps({k: v for k, v in meta.items() if k != "hash"}, sort_keys=True).encode())


def step_folder(folder: Path, step: int) -> Path:
    return folder / f"step-{step:08d}"


def saved_steps(folder: Path) -> list[int]:
    """Steps with a complete checkpoint, ascending."""
    names = (_NAME.fullmatch(path.name) for path in folder.iterdir()) if folder.is_dir() else ()
    return sorted(int(name[1]) for name in names if name)


def _write(folder: Path, files: dict[str, bytes], meta: dict[str, Any]) -> None:
    """All files in a new folder, or nothing: a crash leaves at most a folder that no reader looks at."""
    beside = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(beside, ignore_errors=True)
    meta = {"run_id": folder.parents[1].name, **meta, "schema": SCHEMA_VERSION}
    meta["hashes"] = {name: _hash(data) for name, data in files.items()}
    meta["hash"] = _hash_of(meta)
    for name, data in {**files, "meta.json": json.dumps(meta, indent=1).encode()}.items():
        write_whole(beside / name, data)
    shutil.rmtree(folder, ignore_errors=True)
    beside.rename(folder)


def _member(x: Tensor, member: int) -> Tensor:
    """One run's part of a stacked tensor; what all share (AdamW's step count) stays whole."""
    return x[member : member + 1].clone() if x.dim() else x


def _weights(policy: Transformer, member: int) -> bytes:
    return save({name: _member(weight, member).contiguous() for name, weight in policy.state_dict().items()})


def _models(state: TrainState) -> dict[str, Transformer]:
    """What was trained beside the policy, where there is such a thing."""
    models = {"reward_model": state.reward_model, "critic": state.critic}
    return {name: model for name, model in models.items() if model is not None}


def _training(state: TrainState, member: int) -> bytes:
    def of_member(tensors: dict[str, Any]) -> dict[str, Any]:
        return {name: _member(tensor, member) for name, tensor in tensors.items()}

    whole = state.optimizer.state_dict()
    optimizer = {i: of_member(entry) for i, entry in whole["state"].items()}
    past_weights = [of_member(weights) for weights in state.past_weights]
    data = io.BytesIO()
    models = {name: of_member(model.state_dict()) for name, model in _models(state).items()}
    success = None if state.success is None else _member(state.success, member)
    beside = {"past_weights": past_weights, "success": success, "solved": state.solved[member], **models}
    torch.save({"state": optimizer, "param_groups": whole["param_groups"], **beside}, data)
    return data.getvalue()


def save_checkpoint(folder: Path, state: TrainState, keep: int, member: int = 0) -> None:
    """Everything that one run of a stack needs to go on exactly, at folder/step-…; the last `keep` stay."""
    files = {"policy.safetensors": _weights(state.policy, member), "training.pt": _training(state, member)}
    _write(step_folder(folder, state.step), files, {"spent": asdict(state.spent[member])})
    for step in saved_steps(folder)[:-keep]:
        shutil.rmtree(step_folder(folder, step))


def save_weights(
    folder: Path, policy: Transformer, spent: Spent, member: int = 0, about: Mapping[str, float] | None = None
) -> None:
    """The policy of one run of a stack at a budget; written once. about: what else meta.json is to hold."""
    if not step_folder(folder, spent.step).is_dir():
        meta = {**(about or {}), "spent": asdict(spent)}
        _write(step_folder(folder, spent.step), {"policy.safetensors": _weights(policy, member)}, meta)


def read_meta(folder: Path) -> dict[str, Any] | None:
    """meta.json of a checkpoint; None if there is none, or it is damaged."""
    try:
        meta = json.loads((folder / "meta.json").read_bytes())
        return meta if meta["hash"] == _hash_of(meta) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _read(folder: Path) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Files and meta of a checkpoint. Raises UserError if it is damaged, of another run or of another schema."""
    try:
        meta = json.loads((folder / "meta.json").read_bytes())
        if meta["hash"] != _hash_of(meta):
            raise _damaged(folder, "the content of meta.json does not match its hash")
        files = {name: (folder / name).read_bytes() for name in meta["hashes"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(folder, f"{type(error).__name__}: {error}") from None
    for name, data in files.items():
        if _hash(data) != meta["hashes"][name]:
            raise _damaged(folder, f"the content of {name} does not match its hash")
    if meta["schema"] != SCHEMA_VERSION:
        raise UserError(
            f"{folder} was written by schema {meta['schema']}",
            f"this version reads schema {SCHEMA_VERSION}",
            "train it again in another output folder (out=…), or go back to the version that wrote it",
        )
    if meta["run_id"] != (run_id := folder.parents[1].name):
        raise UserError(
            f"{folder} belongs to the run {meta['run_id']}",
            f"the run at hand is {run_id}; weights of one must not continue the other",
            "move that folder away",
        )
    return files, meta


def _damaged(folder: Path, reason: str) -> UserError:
    return UserError(
        f"the checkpoint {folder} is damaged", reason, f"delete it to go on from the one before: rm -r {folder}"
    )


def load_checkpoint(folders: Sequence[Path], state: TrainState, step: int) -> None:
    """Fills `state`, a stack of as many runs as there are folders of checkpoints. Raises UserError as `_read` does."""
    read = [_read(step_folder(folder, step)) for folder in folders]
    state.policy.load_state_dict(_stacked([load(files["policy.safetensors"]) for files, _ in read]))
    saved = [torch.load(io.BytesIO(files["training.pt"]), map_location="cpu", weights_only=True) for files, _ in read]
    entries = {i: _stacked([each["state"][i] for each in saved]) for i in saved[0]["state"]}
    state.optimizer.load_state_dict({"state": entries, "param_groups": saved[0]["param_groups"]})
    for name, model in _models(state).items():
        model.load_state_dict(_stacked([each[name] for each in saved]))
    if saved[0]["success"] is not None:
        state.success = torch.cat([each["success"] for each in saved])
    state.solved = tuple(each["solved"] for each in saved)
    state.past_weights = [_stacked(weights) for weights in zip(*(each["past_weights"] for each in saved))]
    state.spent = tuple(Spent(**meta["spent"]) for _, meta in read)


def load_weights(folders: Sequence[Path], policy: Transformer, step: int) -> tuple[Spent, ...]:
    """Fills a stack of policies with weights at a budget; what each had spent by then. Raises as `_read` does."""
    read = [_read(step_folder(folder, step)) for folder in folders]
    policy.load_state_dict(_stacked([load(files["policy.safetensors"]) for files, _ in read]))
    return tuple(Spent(**meta["spent"]) for _, meta in read)


def _stacked(members: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    first = members[0]
    return {k: torch.cat([m[k] for m in members]) if first[k].dim() else first[k] for k in first}


def kept_step(folder: Path, step: int | None) -> int:
    """The step, or the last one at which a run keeps weights. Raises UserError where it keeps none."""
    steps = saved_steps(folder / "budgets")
    if not steps or (step is not None and step not in steps):
        kept = f"it keeps the steps {', '.join(map(str, steps))}" if steps else "it keeps no weights"
        fix = "name one of its budgets" if steps else "train it: weights are kept at budgets"
        raise UserError(name_of(folder) + ("" if step is None else f", step {step}"), kept, fix)
    return steps[-1] if step is None else step


def export_run(run: Path, step: int | None, out: Path) -> int:
    """Writes the weights of a run at a budget (default: its last) as a Hugging Face folder; returns the step. Raises
    UserError where there are no such weights, or they cannot be expressed."""
    if not run.is_dir():
        near = nearest(run.name, (each.name for each in run.parent.glob("*/")))
        fix = f"did you mean {' or '.join(near)}?" if near else "name a folder of a run, such as outputs/runs/rl-…"
        raise UserError(f"run={run}", "there is no such folder", fix)
    step = kept_step(run, step)
    files, meta = _read(step_folder(run / "budgets", step))
    config = read_json(run / "config.json")
    if config is None:
        raise UserError(str(run), "holds no config.json", "launch the run again: it is then written anew")
    made_by = {"run_id": run.name, "step": step, "spent": meta["spent"], "schema": SCHEMA_VERSION}
    write_folder(
        out, load(files["policy.safetensors"]), TypeAdapter(ModelConfig).validate_python(config["model"]), made_by
    )
    return step


def save_dump(folder: Path, state: TrainState, error: NonFinite) -> Path:
    """What is needed to look into a step that gave no number: the whole stack's batch (batch.pt) and weights of what
    learns (policy.safetensors …), and meta.json with the tensor's name and the step. Returns its folder."""
    where = step_folder(folder, error.step)
    batch = io.BytesIO()
    torch.save(error.batch, batch)
    weights = {
        f"{name}.safetensors": save({key: weight.contiguous() for key, weight in model.state_dict().items()})
        for name, model in state.learners.items()
    }
    meta = {"seeds": state.seeds, "step": error.step, "tensor": error.tensor}
    _write(where, {**weights, "batch.pt": batch.getvalue()}, meta)
    return where
