"""Where and how jobs run, and what they keep: sections `launcher`, `tracker`, `save`. None of it changes weights."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Tag,
)
from pydantic.dataclasses import dataclass as schema

from harness.config.schema.training import FORBID_EXTRA


@schema(frozen=True, config=FORBID_EXTRA)
class LocalConfig:
    """Processes on this machine. None for `jobs` or `threads`: from the cores and the memory present."""

    name: Literal["local"]
    jobs: PositiveInt | None
    threads: PositiveInt | None
    memory_gb: PositiveFloat  # what one job is taken to need
    retries: int  # more attempts for a job whose process died; one that raised would raise again
    grace: PositiveFloat  # seconds between asking a job to stop and ending it by force


@schema(frozen=True, config=FORBID_EXTRA)
class RayConfig:
    """A Ray cluster: one of this machine alone (address None), or a running one ("auto", host:port)."""

    name: Literal["ray"]
    address: str | None
    jobs: PositiveInt | None
    cpus: PositiveFloat
    gpus: NonNegativeFloat
    retries: int
    grace: PositiveFloat


@schema(frozen=True, config=FORBID_EXTRA)
class SubmititConfig:
    """Slurm, or `executor` local to try it out. `jobs`: packs at once; `pack`: jobs one after the other in each."""

    name: Literal["submitit"]
    executor: Literal["slurm", "local"]
    folder: str  # of submitit's own files, on storage that all nodes see
    partition: str | None
    account: str | None
    minutes: PositiveInt
    cpus: PositiveInt
    gpus: NonNegativeInt
    memory_gb: PositiveFloat
    jobs: PositiveInt
    pack: PositiveInt
    setup: tuple[str, ...]  # shell lines before each pack
    wait: bool
    retries: int
    grace: PositiveFloat


@schema(frozen=True, config=FORBID_EXTRA)
class StackedConfig:
    """Seeds of one shape in one model, up to `seeds` at once, or one after the other where the backend does not batch
    them; the rest as for local, a stack counting as a job."""

    name: Literal["stacked"]
    seeds: PositiveInt
    jobs: PositiveInt
    threads: PositiveInt | None
    memory_gb: PositiveFloat
    retries: int
    grace: PositiveFloat


Launcher = LocalConfig | RayConfig | SubmititConfig | StackedConfig
LauncherConfig = Annotated[Launcher, Field(discriminator="name")]


@schema(frozen=True, config=FORBID_EXTRA)
class NoTracker:
    """metrics.jsonl alone."""

    name: Literal["none"]


def _split_tags(tags: Any) -> Any:
    """As W&B reads WANDB_TAGS: "a,b" is two tags."""
    return tuple(filter(None, tags.split(","))) if isinstance(tags, str) else tags or ()


@schema(frozen=True, config=FORBID_EXTRA)
class WandbTracker:
    """A mirror in W&B. `name` and `group` replace the run's display name and its study; mode None: as the variable
    WANDB_MODE says, else online when logged in, otherwise offline. axis: the metric that charts use as x; every axis is
    in every row. dir: recordings lie in its folder wandb. log_model: whether the weights at the last and the best
    budget become an artifact."""

    name: str | None
    project: str
    entity: str | None
    group: str | None
    notes: str | None
    tags: Annotated[tuple[str, ...], BeforeValidator(_split_tags)]
    mode: Literal["online", "offline", "disabled"] | None
    dir: str
    axis: str
    log_model: bool
    system_metrics: bool


def _tracker(value: Any) -> str:
    """Which of the two: only W&B has projects."""
    return "wandb" if isinstance(value, WandbTracker) or (isinstance(value, Mapping) and "project" in value) else "none"


TrackerConfig = Annotated[
    Annotated[NoTracker, Tag("none")] | Annotated[WandbTracker, Tag("wandb")], Discriminator(_tracker)
]


@schema(frozen=True, config=FORBID_EXTRA)
class SaveConfig:
    """Checkpoints to resume from every `seconds`, the last `keep` of them; weights at budgets are always kept."""

    seconds: PositiveFloat
    keep: PositiveInt
