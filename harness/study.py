"""A study: arms x seeds x budgets, expanded into runs, launched, gathered into a run table, analysed."""

import functools
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, NonNegativeInt, TypeAdapter
from pydantic.dataclasses import dataclass as schema

from harness.config import Config, base_id, dump, evaluation_id, parse, run_id
from harness.errors import UserError
from harness.launch.jobs import Job
from harness.runs import read_json, run_folder, write_json
from harness.tracker import read_metrics

# What configs/study.yaml adds to configs/train.yaml.
STUDY_KEYS = ("study", "status", "report", "prune")
Compose = Callable[[Sequence[str]], Mapping[str, Any]]


@schema(frozen=True, config=ConfigDict(extra="forbid"))
class StudyConfig:
    """arms: name -> overrides. axis: which budget is x of the run table. One run per arm, base seed and seed."""

    name: str
    question: str
    seeds: tuple[NonNegativeInt, ...]
    base_seeds: tuple[NonNegativeInt, ...]
    axis: Literal["step", "completions", "tokens", "flops", "flops_convention", "seconds"]
    arms: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Entry:
    """One run under one label. Two arms, or two studies, may share a run."""

    arm: str
    config: Config

    @property
    def run_id(self) -> str:
        return run_id(self.config)

    @property
    def replicate(self) -> tuple[int, int]:
        return self.config.base.seed, self.config.seed


@dataclass(frozen=True)
class Study:
    """A study, expanded."""

    config: StudyConfig
    entries: tuple[Entry, ...]

    @property
    def folder(self) -> Path:
        return Path(self.entries[0].config.out) / "studies" / self.config.name


def expand(compose: Compose, overrides: Sequence[str]) -> Study:
    """Arms x base seeds x seeds. `compose(overrides)` gives the container of configs/study.yaml; the user's overrides
    come first, an arm's after them: an arm is a condition of the study, not a default. Raises UserError."""
    plain = dict(compose(overrides))
    study = TypeAdapter(StudyConfig).validate_python(plain["study"])
    if not study.arms or not study.seeds or not study.base_seeds:
        raise UserError("the study has no run", "arms, seeds and base_seeds must each name at least one", "name them")
    entries = []
    for arm, changes in study.arms.items():
        container = {key: value for key, value in compose([*overrides, *changes]).items() if key not in STUDY_KEYS}
        for base_seed in study.base_seeds:
            for seed in study.seeds:
                base = {**container["base"], "seed": base_seed}
                entries.append(Entry(arm, parse({**container, "base": base, "seed": seed})))
    return Study(study, tuple(entries))


def jobs_of(entries: Sequence[Entry], labels: Mapping[str, Any]) -> list[Job]:
    """Bases first, then runs; a run that several entries share is one job with all their budgets."""
    bases: dict[str, Job] = {}
    runs: dict[str, Job] = {}
    for entry in entries:
        config, base = entry.config, base_id(entry.config)
        if base not in bases:
            bases[base] = Job(base, dump(config), config.base.steps, labels={**labels, "arm": "base"})
        budgets = config.budget_steps()
        known = runs.get(entry.run_id)
        if known:
            _check_shared(entry, known)
            budgets = tuple(sorted({*budgets, *known.budgets}))
        labelled = {**labels, "arm": known.labels["arm"] if known else entry.arm}
        runs[entry.run_id] = Job(entry.run_id, dump(config), budgets[-1], budgets, (base,), labelled)
    return [*bases.values(), *runs.values()]


def _check_shared(entry: Entry, known: Job) -> None:
    """A run is scored one way in a study. Raises UserError where two arms would have it scored in two."""
    other = known.labels["arm"]
    if evaluation_id(entry.config) != evaluation_id(parse(known.run)):
        raise UserError(
            f"arms {other} and {entry.arm} are the same run, evaluated differently",
            "a study scores a run once: with one list of tasks and one set of evaluation settings",
            "give both arms the same evaluation and unverified tasks, or put them into two studies",
        )


def is_done(job: Job) -> bool:
    """Whether the job's run stands at its step or beyond, with every evaluation asked for."""
    config = parse(job.run)
    folder = run_folder(config.out, job.run_id)
    status = folder.status()
    if status.get("state") != "done" or status["step"] < job.until:
        return False
    if not job.needs:
        return bool(list(folder.budgets.glob(f"step-{job.until:08d}/meta.json")))
    return all(folder.evaluation(evaluation_id(config), step).is_file() for step in job.budgets)


def to_do(jobs: Sequence[Job]) -> list[Job]:
    """Jobs that are not done, without needs that are."""
    left = {job.run_id: job for job in jobs if not is_done(job)}
    # A base whose runs are all done is not needed, be it there or not.
    wanted = {need for job in left.values() for need in job.needs} | {i for i, job in left.items() if job.needs}
    left = {run_id: job for run_id, job in left.items() if run_id in wanted}
    return [replace(job, needs=tuple(need for need in job.needs if need in left)) for job in left.values()]


def warmup_x(study: Study, folder: Path) -> float:
    """Where learning-rate warm-up ends on the study's axis: the mean spend of a step times the warm-up's steps. 0 for a
    study that is over before the window, at twice that, would begin."""
    import polars as pl

    warmup = max(entry.config.schedule.warmup for entry in study.entries)
    spent = pl.read_parquet(folder / "table.parquet", columns=["x", "step"]).filter(pl.col("step") > 0)
    if spent.is_empty():
        return 0.0
    per_step, last = spent.select((pl.col("x") / pl.col("step")).mean(), pl.col("x").max().alias("last")).row(0)
    return warmup * per_step if 2 * warmup * per_step < last else 0.0


@functools.cache
def code_version() -> str:
    """Version of the package, with the commit where this is a git checkout."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        release = version("rl-scaling")
    except PackageNotFoundError:
        release = "0"
    where = Path(__file__).parent
    git = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=where, capture_output=True, text=True)
    return f"{release}+{git.stdout.strip()}" if git.returncode == 0 else release


def _base_columns(config: Config) -> dict[str, Any]:
    from harness.policy.transformer import parameter_count

    rows = read_metrics(run_folder(config.out, base_id(config)).path)
    last = rows[-20:]
    return {
        "base_id": base_id(config),
        "base_seed": config.base.seed,
        "model": config.model.name,
        "model_params": parameter_count(config.model),
        "pretrain_tokens": rows[-1]["compute/tokens"] if rows else None,
        "pretrain_loss": sum(r["train/loss"] for r in last) / len(last) if rows else None,
        "budgets_mode": "prefix",
    }


def _evaluations(entry: Entry) -> dict[int, dict[str, Any]]:
    """What was measured, by step; budgets not reached yet are absent."""
    folder, which = run_folder(entry.config.out, entry.run_id), evaluation_id(entry.config)
    found = {step: read_json(folder.evaluation(which, step)) for step in entry.config.budget_steps()}
    return {step: content for step, content in found.items() if content is not None}


def _axes(
    entry: Entry, reference: Mapping[tuple, dict[int, dict]], step: int, spent: dict[str, Any]
) -> dict[str, Any] | None:
    """Budget axes of a row. A frozen run spends nothing: it stands at the budgets of the run that it is compared with,
    the first arm's of the same replicate; None where that run has not come so far."""
    if entry.config.objective == "frozen" and step > 0:
        return reference.get(entry.replicate, {}).get(step, {}).get("spent")
    return spent


def gather(study: Study) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of the run table and of the problems table, of all that was measured so far."""
    from envs.registry import select

    first = next((e.arm for e in study.entries if e.config.objective != "frozen"), None)
    reference = {e.replicate: _evaluations(e) for e in study.entries if e.arm == first}
    rows, problems = [], []
    for entry in study.entries:
        config = entry.config
        verified = {task.name for task in select(config.tasks.verified)}
        run = {"run_id": entry.run_id, "arm": entry.arm, "seed": config.seed}  # an identity takes a millisecond
        labels = {"study": study.config.name, **run, **_base_columns(config), "code_version": code_version()}
        for step, content in _evaluations(entry).items():
            axes = _axes(entry, reference, step, content["spent"])
            if axes is None:
                continue
            x = {"x": float(axes[study.config.axis])}
            for row in content["rows"]:
                role = "verified" if row["task"] in verified else "unverified"
                rows.append(labels | row | {"role": role, "split": config.evaluation.split} | x | axes)
            problems += [{**run, **x, **problem} for problem in content["problems"]]
    return rows, problems


def write_tables(study: Study) -> Path:
    """table.parquet, problems.parquet and manifest.json in the study's folder; returns it. Raises UserError if nothing
    was measured yet."""
    import polars as pl

    rows, problems = gather(study)
    if not rows:
        raise UserError(
            f"study {study.config.name}: nothing was measured", "no run reached a budget", "see the failures above"
        )
    folder = study.folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (("table", rows), ("problems", problems)):
        beside = folder / f".{name}.parquet"
        pl.from_dicts(content, infer_schema_length=None).write_parquet(beside)
        beside.replace(folder / f"{name}.parquet")
    entries = [
        {"arm": e.arm, "seed": e.config.seed, "base_seed": e.config.base.seed, "run_id": e.run_id,
         "base_id": base_id(e.config), "evaluation_id": evaluation_id(e.config), "budgets": e.config.budget_steps()}
        for e in study.entries
    ]  # fmt: skip
    plain = TypeAdapter(StudyConfig).dump_python(study.config, mode="json")
    write_json(folder / "manifest.json", {"study": plain, "code_version": code_version(), "runs": entries})
    return folder


def context_of(study: Study, overrides: Sequence[str]) -> dict[str, Any]:
    """What the report shows beside the numbers: question, command, versions, and where the run folders lie."""
    from importlib.metadata import version

    names = ("torch", "numpy", "gymnasium", "scipy", "polars")
    command = " ".join(["python scripts/study.py", *overrides])
    return {
        "title": study.config.name,
        "question": study.config.question,
        "commands": [command, f"python scripts/analyze.py table={study.folder} out={study.folder}"],
        "versions": {"code": code_version(), **{name: version(name) for name in names}},
        "runs": {entry.run_id: f"../../runs/{entry.run_id}" for entry in study.entries},
    }
