"""Tiny configurations for the tests, composed from configs/train.yaml as the scripts compose them."""

import functools
import io
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast

from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf
from pydantic import TypeAdapter
from rich.console import Console

import configs
import tests.toy_task  # noqa: F401  (a spawned process computes identities before it parses a configuration)
from harness.config.compose import plain
from harness.config.identity import base_id, run_id
from harness.config.parse import dump, parse
from harness.config.schema import AlgoConfig, Config, ModelConfig, OptimConfig
from harness.core.seeding import keys
from harness.launch.jobs import Job
from harness.policy.transformer import Transformer
from harness.run.job import backend_of, run_job
from harness.train.optim import make_optimizer
from harness.train.state import TrainState

CONFIGS = Path(configs.__file__).parent

# A policy of 7,000 weights on a toy task: a run takes well under a second.
TINY = (
    "imports=[tests.toy_task]",
    "tracker=none",
    "device=cpu",
    "model.layers=1",
    "model.width=16",
    "model.heads=2",
    "model.mlp=32",
    "model.context=64",
    "model.init_std=0.3",
    "base.steps=3",
    "base.documents=8",
    "base.tasks=[toy.*]",
    "base.difficulties=[1,2]",
    "tasks.verified=[toy.symbolic]",
    "tasks.unverified=[toy.worded]",
    "tasks.difficulties=[1,2]",
    "rl.steps=4",
    "rl.problems=4",
    "rl.group_size=4",
    "evaluation.problems=3",
    "evaluation.samples=4",
    "evaluation.batch_size=64",
    "optim.lr=1e-2",
)

STUDY = ("study=skills",)  # answers at once, as the toy's are


@functools.cache
def _composed(config_name: str, choices: tuple[str, ...]) -> DictConfig:
    with initialize_config_module("configs", version_base="1.3"):
        return compose(config_name, overrides=[*TINY, *choices])


def container(*overrides: str, config_name: str = "train") -> dict[str, Any]:
    """The composed container, without Hydra's own part. Choices of groups go through Hydra, the rest, which is most and
    would take it half a second each time, is set afterwards."""
    choices = tuple(o for o in overrides if "." not in o.split("=")[0] and (CONFIGS / o.split("=")[0]).is_dir())
    composed = _composed(config_name, STUDY + choices if config_name == "study" else choices)
    return plain(OmegaConf.merge(composed, OmegaConf.from_dotlist([o for o in overrides if o not in choices])))


def tiny(*overrides: str, out: Path | str = "outputs") -> Config:
    """The configuration of a tiny run."""
    return parse({**container(*overrides), "out": str(out)})


def algo(name: str, **changes: Any) -> AlgoConfig:
    """configs/algo/<name>.yaml, with changes."""
    written = plain(OmegaConf.load(CONFIGS / f"algo/{name}.yaml"))
    return TypeAdapter(AlgoConfig).validate_python(written | changes)


def toy_state(*seeds: int, model: ModelConfig | None = None, optim: OptimConfig | None = None) -> TrainState:
    """Untrained policies of these seeds, stacked."""
    config = tiny()
    policy = Transformer(model or config.model, len(seeds)).initialise(keys("init", seeds, 0))
    return TrainState(seeds, policy, make_optimizer(policy, optim or config.optim), backend_of(config))


def base_job(config: Config) -> Job:
    return Job(base_id(config), dump(config), config.base.steps, labels={"arm": "base"})


def rl_job(config: Config, until: int | None = None) -> Job:
    budgets = config.budget_steps()
    return Job(run_id(config), dump(config), until or budgets[-1], budgets, (base_id(config),), {"arm": "true_reward"})


def silent(row: dict[str, Any]) -> None:
    """A report that nobody reads."""


def run_all(jobs: Iterable[Job]) -> None:
    """One after the other, in this process."""
    for job in jobs:
        run_job(job, silent)


def printed(function: Callable[..., object], *arguments: Any, width: int = 200) -> str:
    """What the function prints to the console that is its last argument."""
    console = Console(file=io.StringIO(), width=width)
    function(*arguments, console)
    return cast(io.StringIO, console.file).getvalue()


def train(config: Config, report: Callable[[dict[str, Any]], None] = silent) -> Path:
    """Base, then RL, in this process; the folder of the RL run."""
    run_job(base_job(config), report)
    return Path(run_job(rl_job(config), report)["folder"])
