"""A study: arms x seeds x budgets, expanded into runs and jobs, and what of them is done."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.config.identity import base_id, evaluation_id, run_id
from harness.config.parse import dump, parse, parse_study
from harness.config.schema import Config, StudyConfig
from harness.core.errors import UserError
from harness.launch.jobs import Job
from harness.run.folder import run_folder
from harness.study.cached_results import NOTHING, Known, known_in

# What configs/study.yaml adds to configs/train.yaml.
STUDY_KEYS = ("study", "status", "report", "prune")
Compose = Callable[[Sequence[str]], Mapping[str, Any]]


@dataclass(frozen=True)
class Entry:
    """One run under one label. Two arms, or two studies, may share a run."""

    arm: str
    config: Config

    @property
    def run_id(self) -> str:
        return run_id(self.config)

    @property
    def replicate(self) -> tuple[str, int]:
        return base_id(self.config), self.config.seed


@dataclass(frozen=True)
class Study:
    """A study, expanded."""

    config: StudyConfig
    entries: tuple[Entry, ...]

    @property
    def folder(self) -> Path:
        return Path(self.config.folder or Path(self.entries[0].config.out) / "studies" / self.config.name)

    @cached_property
    def known(self) -> Known:
        """What its tables held when this was first asked."""
        return known_in(self.folder)


def expand(compose: Compose, overrides: Sequence[str]) -> Study:
    """Arms x base seeds x seeds. `compose(overrides)` gives the container of configs/study.yaml; the user's overrides
    come first, an arm's after them: an arm is a condition of the study, not a default. Raises UserError."""
    plain = dict(compose(overrides))
    study = parse_study(plain["study"])
    entries = []
    for arm in study.arms:
        for changes in study.variants(arm):
            container = {key: value for key, value in compose([*overrides, *changes]).items() if key not in STUDY_KEYS}
            for base_seed, seed in _replicates(study):
                base = {**container["base"], "seed": base_seed}
                entries.append(Entry(arm, parse({**container, "base": base, "seed": seed})))
    return Study(study, tuple(entries))


def _replicates(study: StudyConfig) -> list[tuple[int, int]]:
    """(base seed, seed) of each run of an arm."""
    if study.base_seeds == "same":
        return [(seed, seed) for seed in study.seeds]
    return [(base_seed, seed) for base_seed in study.base_seeds for seed in study.seeds]


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


def is_done(job: Job, known: Known = NOTHING) -> bool:
    """Whether the job's run stands at its step or beyond, with every evaluation asked for, or these are known."""
    config = parse(job.run)
    folder = run_folder(config.out, job.run_id)
    status = folder.status()
    if job.needs and set(job.budgets) <= known.steps(job.run_id, evaluation_id(config)):
        return True
    if status.get("state") != "done" or status["step"] < job.until:
        return False
    if not job.needs:
        return bool(list(folder.budgets.glob(f"step-{job.until:08d}/meta.json")))
    return all(folder.evaluation(evaluation_id(config), step).is_file() for step in job.budgets)


def to_do(jobs: Sequence[Job], known: Known = NOTHING) -> list[Job]:
    """Jobs that are not done, without needs that are."""
    left = {job.run_id: job for job in jobs if not is_done(job, known)}
    # A base whose runs are all done is not needed, be it there or not.
    wanted = {need for job in left.values() for need in job.needs} | {i for i, job in left.items() if job.needs}
    left = {run_id: job for run_id, job in left.items() if run_id in wanted}
    return [replace(job, needs=tuple(need for need in job.needs if need in left)) for job in left.values()]
