"""A study's results in Weights & Biases: tables, verdicts and report as one artifact, and a summary to chart."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.analysis.data.wandb_table import ARTIFACT
from harness.config.schema import WandbTracker
from harness.run.wandb_run import wandb_run

FILES = (
    "table.parquet", "problems.parquet", "manifest.json", "verdicts.json", "transfer.json", "allocation.json",
    "report.html",
)  # fmt: skip


def publish_study(
    config: WandbTracker, folder: Path, study: str, records: Sequence[Mapping[str, Any]], transfer: Mapping[str, Any]
) -> None:
    """Logs what lies in a study's folder as a W&B run of job type `analysis` in the study's group, offline too.

    `scripts/analyze.py table=wandb:ENTITY/PROJECT/STUDY` reads it back. A W&B failure gives a warning.
    """
    labels = {"study": study, "arm": "analysis"}
    with wandb_run(config, f"analysis-{study}", {}, labels, f"All results are in {folder}") as act:
        act(lambda run: run.log_artifact(_artifact(folder, study)))
        act(lambda run: run.summary.update(summary_of(records, transfer)))


def summary_of(records: Sequence[Mapping[str, Any]], transfer: Mapping[str, Any]) -> dict[str, Any]:
    """Flat: verdict, slope per decade and its 95% interval of each arm and role over all its tasks; transfer gains.
    Values that are not known are left out; where an arm has several model sizes, the last one's stand."""
    found: dict[str, Any] = {}
    for record in records:
        if record["task"] == "all":
            where = f"{record['arm']}/{record['role']}"
            found[f"verdict/{where}"] = "withheld" if record["withheld"] else record["verdict"]
            found |= _interval(f"slope/{where}", record["slope_per_decade"], record["slope_ci"])
    for role in ("verified", "unverified"):
        gain = ((transfer.get(role) or {}).get("pooled") or {}).get("gain")
        if gain:
            found |= _interval(f"gain/{role}", gain["mean"], (gain["low"], gain["high"]))
    return found


def _interval(name: str, value: float | None, ends: Sequence[float | None] | None) -> dict[str, float]:
    low, high = ends or (None, None)
    named = {name: value, f"{name}/low": low, f"{name}/high": high}
    return {key: float(each) for key, each in named.items() if each is not None and each == each}


def _artifact(folder: Path, study: str) -> Any:
    import wandb

    artifact = wandb.Artifact(study, ARTIFACT, description="run table, verdicts and report of a study")
    for path in present(folder):
        artifact.add_file(str(path))
    return artifact


def present(folder: Path) -> Iterator[Path]:
    """The files of FILES that a study has written so far."""
    return (folder / name for name in FILES if (folder / name).is_file())
