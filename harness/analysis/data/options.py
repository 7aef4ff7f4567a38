"""What an analysis fixes beforehand. configs/analyze.yaml owns the values."""

from dataclasses import replace
from importlib.resources import files
from typing import Any, cast

from omegaconf import OmegaConf
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Options:
    """Thresholds and names of an analysis, fixed before the data are seen. See configs/analyze.yaml for each."""

    real_arm: str
    primary_control: str
    controls: tuple[str, ...]
    direct_arm: str
    margin: float
    min_budgets: int
    min_decades: float
    min_seeds: int
    min_bases: int
    warmup: float
    bootstraps: int
    seed: int
    transfer_margin: float
    transfer_margin_share: float


def default_options(**changes: Any) -> Options:
    """The options of configs/analyze.yaml, with changes by name (ValidationError names an unknown one)."""
    loaded = OmegaConf.create(files("configs").joinpath("analyze.yaml").read_text())
    values = cast(dict[str, Any], OmegaConf.to_container(loaded.analysis))
    return replace(Options(**values), **changes)
