"""The design of a study, as far as it decides which verdicts can be reached."""

import math
from collections.abc import Sequence

from harness.analysis.data.options import default_options
from harness.analysis.verdict.power import Design, reachable_verdicts
from harness.config.roles import roles_of
from harness.run.evaluations import evaluation_suite
from harness.study.expand import Entry, ExpandedStudy


def verdict_note(study: ExpandedStudy) -> str:
    """Which verdicts the first arm that trains can reach by its size, in lines; "" where no arm trains."""
    trained = [entry for entry in study.entries if entry.config.objective != "frozen"]
    alike = [entry for entry in trained if (entry.arm, entry.overrides) == (trained[0].arm, trained[0].overrides)]
    if not alike:
        return ""
    return "\n".join(reachable_verdicts(design_of(alike), default_options(**study.config.analysis)))


def design_of(entries: Sequence[Entry]) -> Design:
    """Of runs that differ in seeds alone. Decades are of steps, which cost about the same each."""
    config = entries[0].config
    above = [step for step in config.budget_steps() if step > 0]
    window = [step for step in above if step >= 2 * config.trained_schedule.warmup]
    window = window if len(window) > 1 else above  # as tables.warmup_x does
    role_and_task = roles_of(config)
    completions = {"verified": 0, "unverified": 0}
    for cell in evaluation_suite(config):
        role, _ = role_and_task(cell.task, cell.difficulty)
        completions[role] += len(cell.problems) * config.evaluation.samples
    return Design(
        replicates=len(entries),
        bases=len({entry.replicate[0] for entry in entries}),
        budgets=len(window),
        decades=math.log10(window[-1] / window[0]),
        completions={role: count for role, count in completions.items() if count},
    )
