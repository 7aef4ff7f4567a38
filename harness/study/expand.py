"""A study: arms x seeds x budgets, expanded into runs and jobs, and what of them is done."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.config.identity import base_id, evaluation_id, run_id
from harness.config.parse import dump, parse, parse_size, parse_study
from harness.config.run_names import BASE_ARM
from harness.config.schema import Config, StudyConfig
from harness.config.schema.study import Overrides
from harness.core.errors import UserError
from harness.launch.jobs import Job
from harness.run.remaining import remaining_work
from harness.study.cached_results import EMPTY, CachedResults, read_cached_results, read_reused_results
from harness.study.size import limited_run, limited_study

# What configs/study.yaml adds to configs/train.yaml.
STUDY_KEYS = ("study", "studies", "studies_at_once", "size", "status", "report", "prune", "reuse")
Compose = Callable[[Sequence[str]], Mapping[str, Any]]


@dataclass(frozen=True)
class Entry:
    """One run under one label. Two studies may share a run. overrides: those of its variant of the arm.
    before_rl: measured at budget 0 alone."""

    arm: str
    config: Config
    overrides: Overrides = ()
    before_rl: bool = False

    @property
    def budgets(self) -> tuple[int, ...]:
        return (0,) if self.before_rl else self.config.budget_steps()

    @property
    def run_id(self) -> str:
        return run_id(self.config)

    @property
    def replicate(self) -> tuple[str, int]:
        return base_id(self.config), self.config.seed


@dataclass(frozen=True)
class ExpandedStudy:
    """A study, expanded. reuse: the folder whose results it takes, which are `reused`."""

    config: StudyConfig
    entries: tuple[Entry, ...]
    reuse: str | None = None
    reused: CachedResults = EMPTY

    @property
    def folder(self) -> Path:
        """Where its tables, verdicts and report are written."""
        return Path(self.entries[0].config.out) / "studies" / self.config.name

    @cached_property
    def own(self) -> CachedResults:
        """What its own tables held when this was first read."""
        return read_cached_results(self.folder)

    @cached_property
    def cached(self) -> CachedResults:
        """Its own results, and those that it reuses."""
        return self.reused | self.own

    @cached_property
    def jobs(self) -> list[Job]:
        """As `expand_to_jobs` gives them."""
        return expand_to_jobs(self.entries, {"study": self.config.name})

    def pending(self) -> list[Job]:
        """Those of `jobs` that are to be done now."""
        return pending_jobs(self.jobs, self.cached)


def expand(compose: Compose, overrides: Sequence[str]) -> ExpandedStudy:
    """Arms x base seeds x seeds. `compose(overrides)` gives the container of configs/study.yaml; the user's overrides
    come first, an arm's after them: an arm is a condition of the study, not a default. Raises UserError."""
    container = compose(overrides)
    if several := container.get("studies"):
        raise UserError(f"studies={list(several)}", "this is a list of studies", "choose one of them: study=NAME")
    reuse, size = container.get("reuse"), parse_size(container.get("size", {}))
    study = limited_study(parse_study(container["study"]), size)
    entries = []
    for arm in study.arms:
        for changes in study.variants(arm):
            try:
                composed = compose([*overrides, *changes])
            except UserError as error:
                thing, reason, fix = error.args
                raise UserError(f"study.arms.{arm}: {thing}", reason, fix) from None
            container = {key: value for key, value in composed.items() if key not in STUDY_KEYS}
            for base_seed, seed in _replicates(study):
                base = {**container["base"], "seed": base_seed}
                run = limited_run({**container, "base": base, "seed": seed}, size.at_most)
                entries.append(Entry(arm, parse(run), changes))
    if size.at_most:
        entries = _kept_apart(_distinct(entries))
    _check_one_arm_a_run(entries)
    if all(entry.config.objective == "frozen" for entry in entries):
        # A frozen run stands at the budgets of a trained one. Without any it has but one place: before RL.
        entries = [replace(entry, before_rl=True) for entry in entries]
    return ExpandedStudy(study, tuple(entries), reuse, read_reused_results(Path(reuse)) if reuse else EMPTY)


def _distinct(entries: Iterable[Entry]) -> list[Entry]:
    """Each run of an arm once, at its most steps: variants that differ only above a trial's limits are one run."""
    found: dict[tuple[str, str], Entry] = {}
    for entry in entries:
        same = found.setdefault((entry.arm, entry.run_id), entry)
        found[entry.arm, entry.run_id] = max(same, entry, key=lambda each: each.config.rl.steps)
    return list(found.values())


def _kept_apart(entries: Iterable[Entry]) -> list[Entry]:
    """Arms that a trial's limits made alike draw a problem a step more than the one before, so that each has runs."""
    arms: dict[str, str] = {}
    apart = []
    for entry in entries:
        draws = entry.config.objective not in ("frozen", "pretraining")  # else the problems are no part of the run
        while arms.setdefault(entry.run_id, entry.arm) != entry.arm and draws:
            rl = replace(entry.config.rl, problems=entry.config.rl.problems + 1)
            entry = replace(entry, config=replace(entry.config, rl=rl))
        apart.append(entry)
    return apart


def _check_one_arm_a_run(entries: Iterable[Entry]) -> None:
    """A run stands once in the run table, under one arm. Raises UserError where two arms, or two variants of one, have
    the same."""
    arms: dict[str, str] = {}
    for entry in entries:
        if other := arms.get(entry.run_id):
            two = f"{other} and {entry.arm}" if other != entry.arm else f"two variants of {other}"
            raise UserError(
                f"study.arms: {two} are the same run",
                "they differ in nothing that determines its weights (a longer run continues the shorter one)",
                "leave one out; to compare lengths, give the longer rl.steps alone: every budget before is in it",
            )
        arms[entry.run_id] = entry.arm


def _replicates(study: StudyConfig) -> list[tuple[int, int]]:
    """(base seed, seed) of each run of an arm."""
    if study.base_seeds == "same":
        return [(seed, seed) for seed in study.seeds]
    return [(base_seed, seed) for base_seed in study.base_seeds for seed in study.seeds]


def expand_to_jobs(entries: Sequence[Entry], labels: Mapping[str, Any]) -> list[Job]:
    """Bases first, then runs; a run that several entries share is one job with all their budgets."""
    bases: dict[str, Job] = {}
    runs: dict[str, Job] = {}
    for entry in entries:
        config, base = entry.config, base_id(entry.config)
        needs = () if config.objective == "pretraining" else (base,)
        if needs and base not in bases:
            bases |= {job.run_id: job for job in base_jobs(config, labels)}
        budgets = entry.budgets
        shared = runs.get(entry.run_id)
        if shared:
            _check_shared(entry, shared)
            budgets = tuple(sorted({*budgets, *shared.budgets}))
        labelled = {**labels, "arm": shared.labels["arm"] if shared else entry.arm}
        runs[entry.run_id] = Job(entry.run_id, dump(config), budgets[-1], budgets, needs, labelled)
    return [*bases.values(), *runs.values()]


def base_jobs(config: Config, labels: Mapping[str, Any]) -> list[Job]:
    """Of each generation up to the configuration's own base, which needs the one before."""
    jobs: list[Job] = []
    for each in config.generations:
        needs = tuple(job.run_id for job in jobs[-1:])
        jobs.append(Job(base_id(each), dump(each), each.base.steps, needs=needs, labels={**labels, "arm": BASE_ARM}))
    return jobs


def _check_shared(entry: Entry, shared: Job) -> None:
    """A run is evaluated one way in a study. Raises UserError where two arms would have it scored in two."""
    other = shared.labels["arm"]
    if evaluation_id(entry.config) != evaluation_id(shared.config):
        raise UserError(
            f"arms {other} and {entry.arm} are the same run, evaluated differently",
            "a study scores a run once: with one list of tasks and one set of evaluation settings",
            "give both arms the same evaluation and unverified tasks, or put them into two studies",
        )


def is_done(job: Job, cached: CachedResults = EMPTY) -> bool:
    """Whether nothing of the job remains: its run has come to its step or its early end and has all evaluations up to
    there, or these are cached and no file of it was set aside as damaged that can be made again without training."""
    work = remaining_work(job)
    if work.is_empty:
        return True
    end = cached.end(job.run_id)
    within = {step for step in job.budgets if end is None or step <= end}
    is_cached = not job.is_base and within <= cached.steps(job.run_id, evaluation_id(job.config))
    return is_cached and not work.only_mends


def pending_jobs(jobs: Sequence[Job], cached: CachedResults = EMPTY) -> list[Job]:
    """Jobs that are not done, without needs that are."""
    left = {job.run_id: job for job in jobs if not is_done(job, cached)}
    # A base whose runs are all done is not needed, whether it exists or not, nor is one that only such a base needs.
    wanted: set[str] = set()
    for job in reversed(left.values()):  # a job stands after those that it needs
        if not job.is_base or job.run_id in wanted or remaining_work(job).only_mends:
            wanted |= {job.run_id, *job.needs}
    left = {run_id: job for run_id, job in left.items() if run_id in wanted}
    return [replace(job, needs=tuple(need for need in job.needs if need in left)) for job in left.values()]
