"""The design of a study, as far as it decides which verdicts can be reached."""

import math
from collections.abc import Sequence

from envs.registry import select
from harness.analysis.data.options import default_options
from harness.analysis.verdict.design import Design, reachable_verdicts
from harness.run.evaluations import evaluation_suite
from harness.study.expand import Entry, Study
from harness.study.tables import task_and_role


def verdict_note(study: Study) -> str:
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
    window = [step for step in above if step >= 2 * config.schedule.warmup]
    window = window if len(window) > 1 else above  # as tables.warmup_x does
    verified = {task.name for task in select(config.tasks.verified)}
    completions = {"verified": 0, "unverified": 0}
    for cell in evaluation_suite(config):
        _, role = task_and_role(config, {"task": cell.task, "difficulty": cell.difficulty}, verified)
        completions[role] += len(cell.problems) * config.evaluation.samples
    return Design(
        replicates=len(entries),
        bases=len({entry.replicate[0] for entry in entries}),
        budgets=len(window),
        decades=math.log10(window[-1] / window[0]),
        completions={role: count for role, count in completions.items() if count},
    )
