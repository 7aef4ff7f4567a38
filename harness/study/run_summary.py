"""What one run brought, for a terminal of 80 columns: accuracy before RL and after it, and completions to read."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table as RichTable
from rich.text import Text

from harness.config.identity import run_id
from harness.config.roles import ROLES, roles_of
from harness.config.schema import Config
from harness.core.accuracy import accuracy
from harness.core.groups import grouped
from harness.core.samples import Sample, before_and_after
from harness.run.evaluations import kept_evaluations, mean_by, pooled_accuracy
from harness.run.folder import run_folder

Rows = Sequence[Mapping[str, Any]]  # of the run table, at one budget
LONGEST_TEXT = 60  # characters of a prompt or completion that are shown
TASKS_SHOWN = 3  # of each role


def first_and_last(config: Config) -> dict[int, Rows]:
    """Step -> rows of the run table at the first and the last step that were measured; {} if none was."""
    found = {step: content["rows"] for step, content in kept_evaluations(config).items()}
    return {step: found[step] for step in dict.fromkeys([*found][:1] + [*found][-1:])}


def accuracy_table(config: Config) -> RichTable:
    """Accuracy at the first and the last budget and its change: the means of both roles first, then each task, mean@1
    over its cells; below a task that was scored in several settings, each of them."""
    by_step = first_and_last(config)
    table = RichTable(title=f"held-out accuracy ({config.evaluation.split})", title_justify="left")
    table.add_column("task", overflow="fold")
    for name in (*(f"step {step}" for step in by_step), "change"):
        table.add_column(name, justify="right", no_wrap=True)
    pooled = [pooled_accuracy(config, rows) for rows in by_step.values()]
    tasks = [_by_task(config, rows) for rows in by_step.values()]
    for role in ROLES:
        table.add_row(f"all {role} tasks", *_numbers([each.get(role) for each in pooled]), style="bold")
    table.add_section()
    for role, task, setting in sorted(tasks[-1] if tasks else (), key=lambda key: (ROLES.index(key[0]), key[1:])):
        label = f"  {setting}" if setting else f"{task} ({role})"
        table.add_row(label, *_numbers([each.get((role, task, setting)) for each in tasks]))
    return table


def _by_task(config: Config, rows: Rows) -> dict[tuple[str, str, str], float]:
    """(role, task, "") -> accuracy, and (role, task, setting) where a task was scored in several."""
    role_and_task = roles_of(config)
    cells = [(*role_and_task(row["task"], row["difficulty"]), row["setting"], accuracy(row)) for row in rows]
    by_setting = mean_by(((role, task, setting), value) for role, task, setting, value in cells)
    settings = Counter(key[:2] for key in by_setting)
    several = {key: mean for key, mean in by_setting.items() if settings[key[:2]] > 1}
    return several | mean_by(((role, task, ""), value) for role, task, _, value in cells)


def _numbers(values: Sequence[float | None]) -> list[str]:
    """Each value, and the last minus the first."""
    known = [value for value in values if value is not None]
    change = f"{known[-1] - known[0]:+.3f}" if len(known) > 1 else "–"
    return [*("–" if value is None else f"{value:.3f}" for value in values), change]


def samples_table(config: Config) -> RichTable | None:
    """What the policy wrote to the same problems before RL and at the last budget: of the first tasks of each role one
    problem each, of the middle of its difficulties, with the most frequent completion. None without both."""
    steps = list(first_and_last(config))
    if len(steps) < 2 or steps[0] != 0:
        return None
    role_and_task = roles_of(config)
    found = before_and_after(run_folder(config.out, run_id(config)).path, steps[1])
    by_task = grouped(found, lambda pair: role_and_task(pair[0].task, pair[0].difficulty))
    table = RichTable(
        title="the same problems before RL and after it, most frequent completion (✓: the expected answer)",
        title_justify="left",
    )
    for name in ("task", "problem", "before RL", f"step {steps[1]}"):
        table.add_column(name, overflow="fold")
    for role in ROLES:
        for (_, task), pairs in [each for each in by_task.items() if each[0][0] == role][:TASKS_SHOWN]:
            before, after = pairs[len(pairs) // 2]
            table.add_row(f"{task} ({role})", Text(_short(before.prompt)), _completion(before), _completion(after))
    return table


def _completion(sample: Sample) -> Text:
    """The most frequent completion, and how often it was sampled."""
    text, times = sample.most_common()[0]
    right = text == sample.answer
    return Text(f"{_short(text)}{' ✓' if right else ''} {times}/{len(sample.completions)}", "green" if right else "")


def _short(text: str) -> str:
    text = text.replace("\n", "⏎")
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…"
