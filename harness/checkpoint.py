"""Checkpoints: a folder written whole, then renamed; checked by hash on load.

`step-00000064/` holds policy.safetensors, training.pt (optimizer) and meta.json, which names the run, the step, what
was spent and the hash of each file. Budgets keep policy.safetensors and meta.json alone.
"""

import hashlib
import json
import os
import re
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save

from harness.config import SCHEMA_VERSION
from harness.errors import UserError
from harness.flops import Spent
from harness.policy.transformer import Transformer
from harness.train.state import TrainState

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
    beside.mkdir(parents=True)
    meta = {**meta, "schema": SCHEMA_VERSION, "hashes": {name: _hash(data) for name, data in files.items()}}
    meta["hash"] = _hash_of(meta)
    for name, data in {**files, "meta.json": json.dumps(meta, indent=1).encode()}.items():
        with (beside / name).open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    shutil.rmtree(folder, ignore_errors=True)
    beside.rename(folder)


def _weights(policy: Transformer) -> bytes:
    return save({name: weight.contiguous() for name, weight in policy.state_dict().items()})


def save_checkpoint(folder: Path, run_id: str, state: TrainState, keep: int) -> None:
    """Everything to go on exactly, at folder/step-…; the last `keep` stay."""
    import io

    training = io.BytesIO()
    torch.save(state.optimizer.state_dict(), training)
    files = {"policy.safetensors": _weights(state.policy), "training.pt": training.getvalue()}
    _write(step_folder(folder, state.spent.step), files, {"run_id": run_id, "spent": asdict(state.spent)})
    for step in saved_steps(folder)[:-keep]:
        shutil.rmtree(step_folder(folder, step))


def save_weights(folder: Path, run_id: str, policy: Transformer, spent: Spent) -> None:
    """The policy at a budget; written once."""
    if not step_folder(folder, spent.step).is_dir():
        meta = {"run_id": run_id, "spent": asdict(spent)}
        _write(step_folder(folder, spent.step), {"policy.safetensors": _weights(policy)}, meta)


def _read(folder: Path, run_id: str) -> tuple[dict[str, bytes], dict[str, Any]]:
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
    if meta["run_id"] != run_id:
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


def load_checkpoint(folder: Path, run_id: str, state: TrainState, step: int) -> None:
    """Fills `state` from folder/step-…. Raises UserError as `_read` does."""
    import io

    files, meta = _read(step_folder(folder, step), run_id)
    state.policy.load_state_dict(load(files["policy.safetensors"]))
    state.optimizer.load_state_dict(torch.load(io.BytesIO(files["training.pt"]), weights_only=True))
    state.spent = Spent(**meta["spent"])


def load_weights(folder: Path, run_id: str, policy: Transformer, step: int) -> Spent:
    """Fills `policy` with the weights at a budget; what had been spent by then. Raises UserError as `_read` does."""
    files, meta = _read(step_folder(folder, step), run_id)
    policy.load_state_dict(load(files["policy.safetensors"]))
    return Spent(**meta["spent"])
