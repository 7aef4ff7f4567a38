"""What a study registered and how it is analysed, from the manifest beside its table."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from pydantic import TypeAdapter

from harness.analysis.data.options import Options, default_options
from harness.config.schema.study import Measure
from harness.core.files import read_json

_MEASURE = TypeAdapter(Measure)


@dataclass(frozen=True)
class Registered:
    """A study's primary measure: question in its words, measure in a form that the analysis computes."""

    study: str
    question: str
    measure: Measure


def registered_measure(source: Any) -> Registered | None:
    """Of the study whose folder, or table.parquet, is `source`; None where it registered none. A manifest of before
    measures had a form takes that of configs/study where hypotheses and margins there are the same words."""
    study = _manifest(source).get("study") or {}
    registered = study.get("registered") or {}
    measure = registered.get("measure") or _shipped_form(study.get("name"), registered)
    if measure is None:
        return None
    return Registered(study["name"], registered["primary"], _MEASURE.validate_python(measure))


def study_options(source: Any) -> dict[str, Any]:
    """Options of the analysis that the study beside a table has of its own, with where warm-up ends on its axis; none
    without a manifest, or of several tables."""
    manifest = _manifest(source)
    warmup = {"warmup": manifest["warmup"]} if "warmup" in manifest else {}  # older ones have none
    return warmup | ((manifest.get("study") or {}).get("analysis") or {})


def as_its_study(options: Options, source: Any) -> Options:
    """The options; those at their defaults as `study_options` of the source has them."""
    plain, own = default_options(), study_options(source)
    return replace(options, **{n: value for n, value in own.items() if getattr(options, n) == getattr(plain, n)})


def _manifest(source: Any) -> dict[str, Any]:
    """That of the one folder, or table.parquet, which `source` is; empty where there is none."""
    sources = [source] if isinstance(source, str | Path) else list(source)
    if len(sources) != 1:
        return {}
    path = Path(sources[0])
    return read_json((path if path.is_dir() else path.parent) / "manifest.json") or {}


def _shipped_form(name: str | None, registered: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The measure in configs/study/NAME.yaml, if it belongs to the same registration."""
    file = files("configs").joinpath("study", f"{name}.yaml")
    if not registered or not file.is_file():
        return None
    shipped: Any = OmegaConf.to_container(OmegaConf.create(file.read_text()))
    own = shipped.get("study", {}).get("registered") or {}
    same = all(own.get(part) == registered.get(part) for part in ("hypotheses", "margins"))
    return own.get("measure") if same else None
