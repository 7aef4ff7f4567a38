"""A study's run table, problems table and manifest, gathered from run folders and from what its tables held already."""

import os
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import TypeAdapter

from harness.config.identity import SCHEMA_VERSION, base_id, code_version, evaluation_id
from harness.config.roles import phases_of, roles_of
from harness.config.schema import Config, StudyConfig
from harness.core.errors import UserError
from harness.core.files import is_intact, read_json, remove_unfinished
from harness.policy.transformer import parameter_count
from harness.run.checkpoint import read_meta, step_folder
from harness.run.folder import run_folder
from harness.run.tracker import check_metrics, read_metrics
from harness.study.cached_results import BASE_COLUMNS, PROVENANCE_COLUMNS, Scores
from harness.study.expand import Entry, ExpandedStudy
from harness.study.table_files import TABLES, write_table_files


def warmup_x(study: ExpandedStudy, table: pl.DataFrame) -> float:
    """Where learning-rate warm-up ends on the study's axis: the mean spend of a step times the warm-up's steps. 0 where
    an arm has no two budgets yet in the window, which begins at twice that."""
    warmup = max(entry.config.trained_schedule.warmup for entry in study.entries)
    spent = table.filter(pl.col("step") > 0)
    if spent.is_empty():
        return 0.0
    per_step = spent.select((pl.col("x") / pl.col("step")).mean()).item()
    budgets = spent.group_by("arm", "step").agg(pl.col("x").min()).sort("step")
    last_but_one = budgets.group_by("arm").agg(pl.col("x").slice(-2, 1))["x"].list.first()
    reached = last_but_one.null_count() == 0 and last_but_one.min() >= 2 * warmup * per_step
    return warmup * per_step if reached else 0.0


def _base_columns(study: ExpandedStudy, entry: Entry) -> Mapping[str, Any]:
    config = entry.config
    base = run_folder(config.out, base_id(config))
    meta = read_meta(step_folder(base.budgets, config.base.steps)) or {}
    check_metrics(base.path, base.status())
    rows = read_metrics(base.path)
    if config.objective == "pretraining":  # it has no base
        tokens, loss = 0, None
    elif "loss" not in meta and not rows and (cached := study.cached.base(entry.run_id)):
        return {name: cached[name] for name in BASE_COLUMNS} | {"base_id": base_id(config)}
    elif "loss" in meta:
        tokens, loss = meta["spent"]["tokens"], meta["loss"]
    else:  # an imported base, or one of an older version
        last = [row["train/loss"] for row in rows[-20:]]
        tokens, loss = (rows[-1]["compute/tokens"], sum(last) / len(last)) if rows else (None, None)
    return {
        "base_id": base_id(config),
        "base_seed": config.base.seed,
        "model": config.model.name,
        "model_params": parameter_count(config.model),
        "pretrain_tokens": tokens,
        "pretrain_loss": loss,
        "budgets_mode": "decay" if config.trained_schedule.has_horizon else "prefix",
    }


def _scores(study: ExpandedStudy, entry: Entry) -> dict[int, Scores]:
    """What was measured, by step; budgets not reached yet are absent."""
    folder, which = run_folder(entry.config.out, entry.run_id), evaluation_id(entry.config)
    cached = study.cached.scores(entry.run_id, which)
    found = {step: read_json(folder.evaluation(which, step)) or cached.get(step) for step in entry.budgets}
    # Older evaluations do not name what computed them; the tables may.
    made_by = {step: {name: scores.get(name) for name in PROVENANCE_COLUMNS} for step, scores in cached.items()}
    unknown = dict.fromkeys(PROVENANCE_COLUMNS)
    return {step: made_by.get(step, unknown) | content for step, content in found.items() if content is not None}


def ended_step(study: ExpandedStudy, entry: Entry) -> int | None:
    """Where rl.stop_at ended the run; None where it did not."""
    if entry.config.objective == "frozen":
        return None
    end = run_folder(entry.config.out, entry.run_id).end
    return study.cached.end(entry.run_id) if end is None else end


def _last_step(study: ExpandedStudy, entry: Entry) -> int | None:
    """Beyond which no table will hold the run: where it ended, or, of a frozen one, where its reference did."""
    if entry.config.objective != "frozen":
        return ended_step(study, entry)
    same = (e for e in _reference_entries(study) if e.replicate == entry.replicate)
    return next((ended_step(study, e) for e in same), None)


def _reference_entries(study: ExpandedStudy) -> list[Entry]:
    """Runs of the first arm that trains, at whose budgets frozen runs stand."""
    first = next((e.arm for e in study.entries if e.config.objective != "frozen"), None)
    return [entry for entry in study.entries if entry.arm == first]


def _of_sequence(config: Config, row: Mapping[str, Any], step: int) -> dict[str, Any]:
    """phase: the number of the phase that trains the task, from 1, None for one that none trains, or not at this
    difficulty; phases_ended: how many have ended at `step`. {} without a sequence."""
    if not config.tasks.sequence:
        return {}
    trained = row["difficulty"] not in config.tasks.held_out_difficulties
    numbered = enumerate(phases_of(config.tasks.verified), 1)
    phase = next((number for number, names in numbered if trained and row["task"] in names), None)
    return {"phase": phase, "phases_ended": sum(end <= step for end in config.phase_ends)}


def _rows_of(
    study: ExpandedStudy, entry: Entry, reference: Mapping[tuple, dict[int, dict[str, Any]]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A run's rows of the run table and of the problems table. A frozen run spends nothing: it stands at the budgets of
    the run that it is compared with, in `reference` (replicate -> step -> axes), as far as that has come."""
    config, rows, problems = entry.config, [], []
    role_and_task = roles_of(config)
    run = {"run_id": entry.run_id, "arm": entry.arm, "seed": config.seed}  # an identity takes a millisecond
    labels = {"study": study.config.name, **run, **_base_columns(study, entry)}
    draws = config.objective == "rl"  # groups of problems
    labels["problems_per_step"] = config.rl.problems if draws else None
    labels["group_size"] = config.rl.group_size if draws else None
    if (end := ended_step(study, entry)) is not None:
        labels["ended_step"] = end
    for step, content in _scores(study, entry).items():
        stands_elsewhere = config.objective == "frozen" and step > 0
        axes = reference.get(entry.replicate, {}).get(step) if stands_elsewhere else content["spent"]
        if axes is None:
            continue
        x = {"x": float(axes[study.config.axis])}
        made = labels | {name: content[name] for name in PROVENANCE_COLUMNS}
        for row in content["rows"]:
            role, task = role_and_task(row["task"], row["difficulty"])
            asked = {"task": task, "role": role, "split": config.evaluation.split}
            rows.append(made | row | asked | x | axes | _of_sequence(config, row, step))
        for row in content["problems"]:
            problems.append(run | x | row | {"task": role_and_task(row["task"], row["difficulty"])[1]})
    return rows, problems


def build_tables(study: ExpandedStudy) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The run table and the problems table of all that was measured so far; empty where nothing was."""
    reference = {
        e.replicate: {step: content["spent"] for step, content in _scores(study, e).items()}
        for e in _reference_entries(study)
    }
    tables: tuple[list[pl.DataFrame], list[pl.DataFrame]] = ([], [])
    for entry in study.entries:  # one at a time: as Python objects the problems of a run take 30 MB
        for table, rows in zip(tables, _rows_of(study, entry, reference)):
            table.append(pl.from_dicts(rows, infer_schema_length=None) if rows else pl.DataFrame())
    table, problems = (pl.concat(parts, how="diagonal_relaxed") for parts in tables)
    return table, problems


def runs_left_out(study: ExpandedStudy) -> set[str]:
    """run_ids of which the study's tables hold scores, and which are not among its runs: new tables will not hold them.
    Raises UserError where they hold scores that new tables would lose and that lie nowhere else."""
    kept: dict[tuple[str, str], set[int]] = {}
    for entry in study.entries:
        kept.setdefault((entry.run_id, evaluation_id(entry.config)), set()).update(entry.budgets)
    lost = [run_id for run_id in study.own.runs if _scores_lie_nowhere_else(study, run_id, kept)]
    if lost:
        raise UserError(
            f"the tables in {study.folder} hold scores of {len(lost)} runs that this command does not include "
            "and no run folder has",
            "new tables would lose them",
            "add their arms, seeds or budgets, evaluate as they did, or name another study: study.name=…",
        )
    return study.own.runs.keys() - {run_id for run_id, _ in kept}


def _scores_lie_nowhere_else(
    study: ExpandedStudy, run_id: str, kept: Mapping[tuple[str, str], Collection[int]]
) -> bool:
    """Whether the study's tables alone hold scores of a run at steps that are not `kept` under its evaluation."""
    which = study.own.runs[run_id].evaluation_id
    folder, asked = run_folder(study.entries[0].config.out, run_id), kept.get((run_id, which), ())
    left_out = study.own.steps(run_id, which).difference(asked)
    return any(not is_intact(folder.evaluation(which, step)) for step in left_out)


def write_tables(study: ExpandedStudy) -> Path:
    """table.parquet, problems.parquet and manifest.json in the study's folder; returns it. Raises UserError if nothing
    was measured yet, and as `runs_left_out` does."""
    runs_left_out(study)
    table, problems = build_tables(study)
    if table.is_empty():
        fix = "launch it first, or see what failed by status=true"
        raise UserError(f"study {study.config.name}: nothing was measured", "no run reached a budget", fix)
    folder = study.folder
    folder.mkdir(parents=True, exist_ok=True)
    remove_unfinished(folder)
    entries = [
        {"arm": e.arm, "seed": e.config.seed, "base_seed": e.config.base.seed, "run_id": e.run_id,
         "base_id": base_id(e.config), "evaluation_id": evaluation_id(e.config), "budgets": e.budgets,
         "ended_step": _last_step(study, e)}
        for e in study.entries
    ]  # fmt: skip
    plain = TypeAdapter(StudyConfig).dump_python(study.config, mode="json")
    about = {"study": plain, "identity_version": SCHEMA_VERSION, "code_version": code_version(), "runs": entries}
    about["warmup"] = warmup_x(study, table)
    write_table_files(folder, dict(zip(TABLES, (table, problems))), about)
    return folder


def report_context(study: ExpandedStudy, overrides: Sequence[str]) -> dict[str, Any]:
    """What the report shows beside the numbers: question, command, versions, and where the run folders lie."""
    names = ("torch", "numpy", "gymnasium", "scipy", "polars")
    command = shlex.join(["python", "scripts/study.py", *overrides])
    runs = {e.run_id: run_folder(e.config.out, e.run_id).path for e in study.entries}
    return {
        "title": study.config.name,
        "question": study.config.question,
        "commands": [command, f"python scripts/analyze.py table={study.folder} out={study.folder}"],
        "versions": {"code": code_version(), **{name: version(name) for name in names}},
        "registered": asdict(study.config.registered) if study.config.registered else None,
        "runs": {run_id: os.path.relpath(path, study.folder) for run_id, path in runs.items()},
    }
