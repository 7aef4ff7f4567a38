"""A W&B workspace to compare a study's runs: learning curves by arm with seed bands, transfer, slopes.

Built from what lies in the study's folder, with no network; saving it needs a login. wandb-workspaces (extra
`dashboard`) writes the format that the W&B page reads.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import polars as pl

from harness.core.errors import UserError
from harness.core.files import read_json, write_json

PER_SECTION = 24  # panels: more make a section slow to open


def workspace(folder: Path, entity: str, project: str, axis: str) -> Any:
    """The workspace of the study in a folder, not saved. axis: what learning curves are drawn over, such as
    compute/flops_convention. Raises UserError where a file is missing or wandb-workspaces is not installed."""
    try:
        import wandb_workspaces.reports.v2 as wr
        import wandb_workspaces.workspaces as ws
    except ModuleNotFoundError as error:
        raise UserError(f"no module {error.name}", fix="pip install -e '.[dashboard]'") from None
    missing = [name for name in ("manifest.json", "table.parquet", "verdicts.json") if not (folder / name).is_file()]
    if missing:
        fix = "name the folder of a study that has run, such as folder=outputs/studies/quickstart"
        raise UserError(str(folder), f"holds no {' and no '.join(missing)}", fix)
    study = read_json(folder / "manifest.json")["study"]["name"]
    panels = _panels(wr, folder, axis)
    sections = [
        ws.Section(name=name, panels=some[:PER_SECTION], is_open=place < 3)
        for place, (name, some) in enumerate(panels.items())
        if some
    ]
    runs = ws.RunsetSettings(filters=ws.And(ws.Metric("Group") == study), groupby=[ws.Metric("JobType")])
    settings = ws.WorkspaceSettings(x_axis=axis, max_runs=100)
    about = {"entity": entity, "project": project, "name": f"{study}: arms compared"}
    return ws.Workspace(**about, sections=sections, settings=settings, runset_settings=runs)


def _panels(wr: Any, folder: Path, axis: str) -> dict[str, list[Any]]:
    """The panels of each section. The slopes are those that `harness/tracking/publish.py` writes into the summary of
    the analysis run; transfer is a point for each run and two tasks of one family."""
    rows = pl.read_parquet(folder / "table.parquet", columns=["task", "family", "role"]).unique().sort("task")
    verified, unverified = (rows.filter(pl.col("role") == role) for role in ("verified", "unverified"))
    pairs = verified.join(unverified, on="family").sort("task", "task_right").select("task", "task_right").rows()
    tasks = {"verified": verified["task"].to_list(), "unverified": unverified["task"].to_list()}
    records = read_json(folder / "verdicts.json")
    slopes = dict.fromkeys(f"slope/{r['arm']}/{r['role']}" for r in records if r["task"] == "all")
    bars = wr.BarPlot(title="accuracy per decade of RL", metrics=[wr.SummaryMetric(name) for name in slopes])
    training = ("train/accuracy", "train/zero_advantage_groups", "train/entropy")
    return {
        "Learning curves": [
            _curves(wr, f"all {role} tasks", map(_score, own), axis) for role, own in tasks.items() if own
        ],
        "Transfer: unverified against verified": [
            wr.ScatterPlot(
                title=f"{other} against {task}", x=wr.SummaryMetric(_score(task)), y=wr.SummaryMetric(_score(other))
            )
            for task, other in pairs
        ],
        "Slopes (of the analysis run)": [bars],
        "Each task": [_curves(wr, task, [_score(task)], axis) for own in tasks.values() for task in own],
        "Training": [_curves(wr, name, [name], axis) for name in training],
    }


def _score(task: str) -> str:
    return f"eval/{task}/mean@1"


def _curves(wr: Any, title: str, metrics: Iterable[str], axis: str) -> Any:
    """A line for each arm, the mean over its seeds and the metrics, with a band of one standard deviation."""
    return wr.LinePlot(
        title=title, x=axis, y=list(metrics), log_x=True, title_x=axis, groupby="JobType", groupby_aggfunc="mean",
        groupby_rangefunc="stddev", aggregate=True, max_runs_to_show=100,
    )  # fmt: skip


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
