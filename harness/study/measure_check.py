"""The registered measure, held against the study before anything is spent."""

import re
from collections.abc import Sequence
from dataclasses import replace

from harness.config.roles import cells_there, roles_of
from harness.config.schema import Config
from harness.config.schema.study import MeasureTerm
from harness.core.errors import UserError, nearest
from harness.run.evaluations import evaluation_suite
from harness.study.expand import Entry, Study

COUNTED = re.compile(r"(pass_all|pass|majority)_at_(\d+)")


def require_measurable(study: Study) -> None:
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
        _require_cells(term, entries[0].config)
        _require_samples(measure.metric, term.arm, entries[0].config)


def _require_step(term: MeasureTerm, entries: Sequence[Entry]) -> None:
    budgets = sorted({step for entry in entries for step in entry.budgets})
    if isinstance(term.at, int) and term.at not in budgets:
        fix = f"its budgets are {', '.join(map(str, budgets))}"
        raise UserError(f"study.registered.measure: step {term.at} of arm {term.arm}", "nothing is measured there", fix)


def _require_cells(term: MeasureTerm, config: Config) -> None:
    role_and_task = roles_of(config)
    suite = evaluation_suite(replace(config, evaluation=replace(config.evaluation, problems=1)))
    cells = [(*role_and_task(cell.task, cell.difficulty), cell.difficulty, cell.setting) for cell in suite]
    if not any(term.selects(*cell) for cell in cells):
        thing = f"study.registered.measure: a term of arm {term.arm}"
        raise UserError(thing, "it selects no cell", cells_there(cells))


def _require_samples(metric: str, arm: str, config: Config) -> None:
    counted = COUNTED.fullmatch(metric)
    if counted is None:
        return
    kind, k, asked = counted[1], int(counted[2]), config.evaluation
    possible = range(1, asked.samples + 1) if kind == "pass_all" else asked.ks
    if k not in possible:
        what = f"evaluation.samples={asked.samples}" if kind == "pass_all" else f"evaluation.ks={list(asked.ks)}"
        thing = f"study.registered.measure: metric {metric}"
        raise UserError(thing, f"arm {arm} has {what}", "choose another K, or set it")
