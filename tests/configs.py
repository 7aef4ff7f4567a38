"""Tiny configurations for the tests, composed from configs/train.yaml as the scripts compose them."""

from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_module

from harness.config import Config, parse, plain

# A policy of 10,000 weights, on skills that it half learns in seconds.
TINY = (
    "tracker=none",
    "model.layers=1",
    "model.width=16",
    "model.heads=2",
    "model.mlp=32",
    "model.context=64",
    "base.steps=3",
    "base.documents=16",
    "base.tasks=[maximum.*]",
    "base.difficulties=[1,2]",
    "tasks.verified=[maximum.symbolic]",
    "tasks.unverified=[maximum.worded]",
    "tasks.difficulties=[1,2]",
    "rl.steps=4",
    "rl.problems=4",
    "rl.group_size=4",
    "evaluation.problems=3",
    "evaluation.samples=4",
    "evaluation.rows=64",
    "optim.lr=1e-3",
    "device=cpu",
)


def container(*overrides: str, config_name: str = "train") -> dict[str, Any]:
    """The composed container, without Hydra's own part."""
    with initialize_config_module("configs", version_base="1.3"):
        return plain(compose(config_name, overrides=[*TINY, *overrides]))


def tiny(*overrides: str, out: Path | str = "outputs") -> Config:
    """The configuration of a run that takes a second."""
    return parse(container(*overrides, f"out={out}"))
