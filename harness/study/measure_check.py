"""The registered measure, checked against the study before anything is spent, and against what its bases can reach
before any RL is."""

import re
from collections.abc import Sequence
from dataclasses import replace

from harness.analysis.data.difficulty_times import FEWEST_DIFFICULTIES, is_difficulty
from harness.config.roles import cells_there, roles_of
from harness.config.schema import Config, StudyConfig
from harness.config.schema.study import DIFFICULTY_EXPONENT, MeasureTerm
from harness.core.errors import UserError, nearest
from harness.run.evaluations import evaluation_suite
from harness.study.expand import Entry, ExpandedStudy
from harness.study.reach import Reach, cell_names, out_of_reach

COUNTED = re.compile(r"(pass_all|pass|majority)_at_(\d+)")
MOST_OUT_OF_REACH = 0.25  # of a primary measure's cells


def require_measurable(study: ExpandedStudy) -> None:
    """Raises UserError where the registered measure names an arm, a step or cells that the study will not measure, or
    needs more samples of a problem than are drawn."""
    measure = study.config.registered.measure if study.config.registered else None
    if measure is None:
        return
    for term in (*measure.terms, *measure.per):
        entries = [entry for entry in study.entries if entry.arm == term.arm]
        if not entries:
            arms = list(study.config.arms)
            fix = f"did you mean {near[0]}?" if (near := nearest(term.arm, arms)) else f"there are {', '.join(arms)}"
            raise UserError(f"study.registered.measure: arm {term.arm}", "the study has no such arm", fix)
        _require_step(term, entries)
        _require_cells(term, measure.metric, entries)
        _require_samples(measure.metric, term.arm, entries[0].config)


def _require_step(term: MeasureTerm, entries: Sequence[Entry]) -> None:
    budgets = sorted({step for entry in entries for step in entry.budgets})
    if isinstance(term.at, int) and term.at not in budgets:
        fix = f"its budgets are {', '.join(map(str, budgets))}"
        raise UserError(f"study.registered.measure: step {term.at} of arm {term.arm}", "nothing is measured there", fix)


def _require_cells(term: MeasureTerm, metric: str, entries: Sequence[Entry]) -> None:
    """That the term selects cells of the arm's runs; of enough difficulties where the metric is their exponent."""
    first = entries[0].config
    of_a_seed = [e.config for e in entries if (e.config.seed, e.config.base.seed) == (first.seed, first.base.seed)]
    cells = [cell for config in of_a_seed for cell in _cells(config)]
    chosen = [cell for cell in cells if term.selects(*cell)]
    thing = f"study.registered.measure: a term of arm {term.arm}"
    if not chosen:
        raise UserError(thing, "it selects no cell", cells_there(cells))
    difficulties = {str(difficulty) for _, _, difficulty, _ in chosen if is_difficulty(str(difficulty))}
    if metric == DIFFICULTY_EXPONENT and len(difficulties) < FEWEST_DIFFICULTIES:
        reason = f"{metric} needs {FEWEST_DIFFICULTIES} difficulties, and it selects {len(difficulties)}"
        raise UserError(thing, reason, cells_there(cells))


def _cells(config: Config) -> list[tuple[str, str, int | str, str]]:
    """(role, task, difficulty, setting) of what a run evaluates."""
    role_and_task = roles_of(config)
    suite = evaluation_suite(replace(config, evaluation=replace(config.evaluation, problems=1)))
    return [(*role_and_task(cell.task, cell.difficulty), cell.difficulty, cell.setting) for cell in suite]


def _require_samples(metric: str, arm: str, config: Config) -> None:
    counted, asked = COUNTED.fullmatch(metric), config.evaluation
    if counted is None:
        return
    if counted[1] == "pass_all":
        possible, what = range(1, asked.samples + 1), f"evaluation.samples={asked.samples}"
    else:
        possible, what = asked.ks, f"evaluation.ks={list(asked.ks)}"
    if int(counted[2]) not in possible:
        thing = f"study.registered.measure: metric {metric}"
        raise UserError(thing, f"arm {arm} has {what}", "choose another K, or set it")


def may_be_refused(study: StudyConfig) -> bool:
    """Whether a study's bases decide if its RL runs at all."""
    return study.registered is not None and not study.accept_out_of_reach


def refuse_out_of_reach(study: StudyConfig, reaches: Sequence[Reach]) -> None:
    """Raises UserError for a registered primary measure with more than a quarter of its cells out of reach."""
    registered = study.registered
    if registered is None or not may_be_refused(study):
        return
    role = registered.primary_role
    for reach in reaches:
        cells = reach.of_first_arm(role)
        dead = out_of_reach(cells)
        if len(dead) > MOST_OUT_OF_REACH * len(cells):
            tasks = f"{role} tasks" if role else "all tasks"
            raise UserError(
                f"study {study.name}: {len(dead)} of {len(cells)} cells of its primary measure ({tasks})",
                f"out of reach: the base ({reach.policy}) got none of their completions right, so that no arm can gain "
                f"there. They are {cell_names(dead)}",
                "lower tasks.difficulties, choose other tasks, or pretrain further (base.steps); "
                "study.accept_out_of_reach=true runs it as it is",
            )
