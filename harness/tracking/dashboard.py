"""A W&B workspace to compare a study's runs: learning curves by arm with seed bands, transfer, slopes.

Built from what lies in the study's folder, with no network; saving it needs a login. wandb-workspaces (extra
`dashboard`) writes the format that the W&B page reads.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from harness.core.errors import UserError
from harness.core.files import read_json, write_json

PER_SECTION = 24  # panels: more make a section slow to open


@dataclass(frozen=True)
class StudyContents:
    """What a study has to show. tasks: role -> names, of all arms. pairs: (verified, unverified) tasks of one family.
    slopes: names that `harness/tracking/publish.py` gives the slopes in the summary of the analysis run."""

    study: str
    tasks: Mapping[str, Sequence[str]]
    pairs: Sequence[tuple[str, str]]
    slopes: Sequence[str]


def read_study(folder: Path) -> StudyContents:
    """Reads manifest.json, table.parquet and verdicts.json of a study's folder. Raises UserError if one is missing."""
    manifest, records = read_json(folder / "manifest.json"), read_json(folder / "verdicts.json")
    missing = [name for name in ("manifest.json", "table.parquet", "verdicts.json") if not (folder / name).is_file()]
    if missing:
        fix = "name the folder of a study that has run, such as folder=outputs/studies/quickstart"
        raise UserError(str(folder), f"holds no {' and no '.join(missing)}", fix)
    study = manifest["study"]["name"]
    rows = pl.read_parquet(folder / "table.parquet", columns=["task", "family", "role"]).unique().sort("task")
    of = {role: rows.filter(pl.col("role") == role) for role in ("verified", "unverified")}
    pairs = of["verified"].join(of["unverified"], on="family").sort("task", "task_right")
    slopes = dict.fromkeys(f"slope/{r['arm']}/{r['role']}" for r in records if r["task"] == "all")
    tasks = {role: part["task"].to_list() for role, part in of.items()}
    return StudyContents(study, tasks, pairs.select("task", "task_right").rows(), tuple(slopes))


def workspace(study: StudyContents, entity: str, project: str, axis: str) -> Any:
    """The workspace, not saved. axis: what learning curves are drawn over, such as compute/flops_convention.
    Raises UserError where wandb-workspaces is not installed."""
    try:
        import wandb_workspaces.reports.v2 as wr
        import wandb_workspaces.workspaces as ws
    except ModuleNotFoundError as error:
        raise UserError(f"no module {error.name}", fix="pip install -e '.[dashboard]'") from None
    curves = [_curves(wr, f"all {role} tasks", map(_score, own), axis) for role, own in study.tasks.items() if own]
    each = [_curves(wr, task, [_score(task)], axis) for own in study.tasks.values() for task in own]
    scatter = [_scatter(wr, *pair) for pair in study.pairs]
    bars = wr.BarPlot(title="accuracy per decade of RL", metrics=[wr.SummaryMetric(name) for name in study.slopes])
    learning = [
        _curves(wr, name, [name], axis) for name in ("train/accuracy", "train/zero_advantage_groups", "train/entropy")
    ]
    panels: dict[str, list[Any]] = {
        "Learning curves": curves,
        "Transfer: unverified against verified": scatter,
        "Slopes (of the analysis run)": [bars],
        "Each task": each,
        "Training": learning,
    }
    sections = [
        ws.Section(name=name, panels=some[:PER_SECTION], is_open=place < 3)
        for place, (name, some) in enumerate(panels.items())
        if some
    ]
    return ws.Workspace(
        entity=entity,
        project=project,
        name=f"{study.study}: arms compared",
        sections=sections,
        settings=ws.WorkspaceSettings(x_axis=axis, max_runs=100),
        runset_settings=ws.RunsetSettings(
            filters=ws.And(ws.Metric("Group") == study.study), groupby=[ws.Metric("JobType")]
        ),
    )


def _score(task: str) -> str:
    return f"eval/{task}/mean@1"


def _curves(wr: Any, title: str, metrics: Iterable[str], axis: str) -> Any:
    """A line for each arm, the mean over its seeds and the metrics, with a band of one standard deviation."""
    return wr.LinePlot(
        title=title, x=axis, y=list(metrics), log_x=True, title_x=axis, groupby="JobType", groupby_aggfunc="mean",
        groupby_rangefunc="stddev", aggregate=True, max_runs_to_show=100,
    )  # fmt: skip


def _scatter(wr: Any, verified: str, unverified: str) -> Any:
    """A point for each run: where it ended on a verified task and on an unverified one of the same family."""
    x, y = (wr.SummaryMetric(_score(task)) for task in (verified, unverified))
    return wr.ScatterPlot(title=f"{unverified} against {verified}", x=x, y=y)


def write(view: Any, path: Path) -> Path:
    """The workspace as JSON. wandb-workspaces has no public way to show what it would send; its version is pinned."""
    write_json(path, view._to_model().model_dump(mode="json", by_alias=True, exclude_none=True))
    return path


def save(view: Any) -> str:
    """Saves the workspace in W&B; its address. Raises UserError where W&B fails."""
    import wandb

    try:
        return view.save().url
    except (wandb.Error, OSError, ValueError) as error:
        fix = "check entity, project and connection; the workspace has been written as JSON"
        raise UserError("W&B did not save the workspace", f"{type(error).__name__}: {error}", fix) from error
