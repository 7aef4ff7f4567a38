"""Reach: what the bases of a study do before any RL, and so which cells RL can raise.

A cell in which no completion is right gives no reward, so no group carries signal; a cell that is solved has no room.
Successes are those of the evaluations at budget 0, where the study has them, else of a probe of the bases there are.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from rich.console import Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from harness.analysis.stats.formatting import counted
from harness.config.identity import base_id, evaluation_id
from harness.config.roles import roles_of
from harness.config.schema import Config
from harness.core.files import read_json
from harness.core.groups import signal_share
from harness.core.seeding import keys
from harness.evaluate import Cell, cell_row, evaluate
from harness.run.checkpoint import load_weights, step_folder
from harness.run.evaluations import evaluation_suite
from harness.run.folder import run_folder
from harness.run.job import new_state
from harness.study.cached_results import EMPTY, CachedResults
from harness.study.expand import Entry

PROBE_PROBLEMS, PROBE_SAMPLES = 16, 4  # of each cell, all bases together: about what one run's evaluation takes
SOLVED = 0.95
MOST_NAMED = 3  # of the bases that are not pretrained yet
STYLES = {"out of reach": "red", "solved": "green", "within reach": ""}


class CellName(NamedTuple):
    """task as the run table has it: " longer" follows where the difficulty is only evaluated."""

    task: str
    difficulty: int
    setting: str


@dataclass(frozen=True)
class CellReach:
    """A cell before RL: `correct` of `completions` completions. arm: the first that evaluates it; its role is there."""

    name: CellName
    arm: str
    role: str
    correct: int
    completions: int

    @property
    def success(self) -> float:
        return self.correct / self.completions

    @property
    def state(self) -> str:
        """out of reach, solved, or within reach."""
        if self.correct == 0:
            return "out of reach"
        return "solved" if self.success >= SOLVED else "within reach"


@dataclass(frozen=True)
class Reach:
    """Of bases that differ in their seeds alone. source: where the successes were counted. cells: () where no base is
    pretrained yet."""

    policy: str
    source: str
    group_size: int
    cells: tuple[CellReach, ...]

    def of_first_arm(self, role: str | None) -> list[CellReach]:
        """The cells of the study's roles, those of its first arm; of one role or of both."""
        return [cell for cell in self.cells if cell.arm == self.cells[0].arm and role in (None, cell.role)]

    def record(self) -> dict[str, Any]:
        """Plain, for JSON and the report."""
        cells = [
            {**asdict(cell), **cell.name._asdict(), "success": cell.success, "state": cell.state,
             "signal": signal_share(cell.success, self.group_size)}
            for cell in self.cells
        ]  # fmt: skip
        return {**asdict(self), "cells": cells, "sentences": reach_sentences(self)}


def reach_of(entries: Sequence[Entry], cached: CachedResults = EMPTY) -> list[Reach]:
    """One Reach for each kind of base that RL runs of `entries` start from; the group size is its first arm's."""
    kinds: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.config.objective == "rl" and not entry.before_rl:
            kinds.setdefault(_without_seed(entry.config), []).append(entry)
    models = [alike[0].config.model.name for alike in kinds.values()]
    return [_reach_of_kind(alike, cached, models.count(alike[0].config.model.name) > 1) for alike in kinds.values()]


def _without_seed(config: Config) -> str:
    return base_id(replace(config, base=replace(config.base, seed=0)))


def _reach_of_kind(entries: Sequence[Entry], cached: CachedResults, named_by_arm: bool) -> Reach:
    first = entries[0]
    policy = f"{first.config.model.name} of arm {first.arm}" if named_by_arm else first.config.model.name
    there = _bases_there(entries)
    measured = _measured(entries, cached, there.keys())
    cells, source = measured, "evaluated at budget 0"
    if there and not measured:
        cells, source = _probe(entries, list(there.values())), f"a probe of {len(there)} of its bases"
    elif not measured:
        source = "no base is pretrained yet"
    return Reach(policy, source, first.config.rl.group_size, tuple(cells))


def _pooled(counts: Iterable[CellReach]) -> list[CellReach]:
    """Summed over each cell; the first arm and role count."""
    found: dict[CellName, CellReach] = {}
    for one in counts:
        known = found.get(one.name, replace(one, correct=0, completions=0))
        summed = {name: getattr(known, name) + getattr(one, name) for name in ("correct", "completions")}
        found[one.name] = replace(known, **summed)
    return list(found.values())


def _counts(entry: Entry, rows: Iterable[Mapping[str, Any]]) -> Iterator[CellReach]:
    role_and_task = roles_of(entry.config)
    for row in rows:
        role, task = role_and_task(row["task"], row["difficulty"])
        name = CellName(task, row["difficulty"], row["setting"])
        yield CellReach(name, entry.arm, role, row["n_correct"], row["n_problems"] * row["k"])


def _measured(entries: Sequence[Entry], cached: CachedResults, there: Set[str]) -> list[CellReach]:
    """From evaluations at budget 0; [] unless every arm has one, on each of its bases that is `there`. Arms that share
    base and seed drew the same completions there, which count once."""
    counts: dict[tuple, CellReach] = {}
    wanted = {entry.arm: set[str]() for entry in entries}
    evaluated: dict[str, set[str]] = {}
    for entry in entries:
        base, _ = replicate = entry.replicate  # an identity takes a millisecond
        wanted[entry.arm] |= {base} & there
        for count in _counts(entry, _rows_before_rl(entry, cached)):
            evaluated.setdefault(entry.arm, set()).add(base)
            counts.setdefault((count.name, replicate), count)
    complete = all(wanted[arm] <= evaluated.get(arm, set()) != set() for arm in wanted)
    return _pooled(counts.values()) if complete else []


def _rows_before_rl(entry: Entry, cached: CachedResults) -> Sequence[Mapping[str, Any]]:
    which = evaluation_id(entry.config)
    own = read_json(run_folder(entry.config.out, entry.run_id).evaluation(which, 0))
    return own["rows"] if own else cached.rows_before_rl(entry.run_id, which)


def _bases_there(entries: Sequence[Entry]) -> dict[str, Config]:
    """Of each base whose weights are kept, by its id."""
    configs = {base_id(entry.config): entry.config for entry in entries}
    return {
        name: config
        for name, config in configs.items()
        if step_folder(run_folder(config.out, name).budgets, config.base.steps).is_dir()
    }


def _probe(entries: Sequence[Entry], bases: Sequence[Config]) -> list[CellReach]:
    """Few problems of the validation split, so that what is planned by them is not what is reported."""
    settings = replace(
        bases[0].evaluation,
        split="validation",
        problems=min(PROBE_PROBLEMS, bases[0].evaluation.problems),
        samples=max(1, PROBE_SAMPLES // len(bases)),
        ks=(1,),
    )
    variants: dict[tuple, Entry] = {}
    for entry in entries:
        variants.setdefault((entry.arm, entry.overrides), entry)
    suite: dict[tuple, tuple[Cell, Entry]] = {}
    for entry in variants.values():
        for cell in evaluation_suite(replace(entry.config, evaluation=settings)):
            suite.setdefault((cell.task, cell.difficulty, cell.thinking), (cell, entry))
    cells, owners = zip(*suite.values())
    by_thinking = sorted(range(len(cells)), key=lambda i: cells[i].thinking or 0)  # those alike are evaluated together
    seeds = tuple(config.base.seed for config in bases)
    state = new_state(bases[0], bases[0].optim, seeds)
    sources = [run_folder(config.out, base_id(config)) for config in bases]
    load_weights([folder.weights for folder in sources], state.policy, bases[0].base.steps)
    some = [cells[i] for i in by_thinking]
    results = evaluate(state.backend, state.policy, some, settings, keys("evaluation", seeds, 0))
    of_cell = dict(zip(by_thinking, zip(*results)))  # each cell's, of every base
    in_order = ((owners[i], [cell_row(each, settings.ks) for each in of_cell[i]]) for i in range(len(cells)))
    return _pooled(count for owner, rows in in_order for count in _counts(owner, rows))


def out_of_reach(cells: Iterable[CellReach]) -> list[CellReach]:
    """Those without a success."""
    return [cell for cell in cells if cell.state == "out of reach"]


def reach_sentences(reach: Reach) -> list[str]:
    """What is out of reach and what is solved, named."""
    groups: dict[tuple[str, str], list[CellReach]] = {}
    for cell in reach.cells:
        groups.setdefault((cell.arm, cell.role), []).append(cell)
    sentences = []
    for (arm, role), cells in groups.items():
        where = "" if arm == reach.cells[0].arm else f" of arm {arm}"
        sentences += _sentences_of(f"{role} tasks{where}", cells)
    return sentences or ["Every cell is within reach, and none is solved."] * bool(reach.cells)


def _sentences_of(what: str, cells: Sequence[CellReach]) -> Iterator[str]:
    tasks, dead = {cell.name.task for cell in cells}, out_of_reach(cells)
    whole = tasks - {cell.name.task for cell in cells if cell.correct}
    if whole:
        names = cell_names([cell for cell in dead if cell.name.task in whole])
        yield f"{len(whole)} of {len(tasks)} {what} are out of reach, no completion right: {names}."
    if rest := [cell for cell in dead if cell.name.task not in whole]:
        yield f"Out of reach{' too' * bool(whole)}: {counted(len(rest), 'cell')} of {what}: {cell_names(rest)}."
    if solved := [cell for cell in cells if cell.state == "solved"]:
        yield f"Solved ({SOLVED:.0%} right or more): {counted(len(solved), 'cell')} of {what}: {cell_names(solved)}."


def cell_names(cells: Sequence[CellReach]) -> str:
    """The cells by task, with their difficulties and settings: "gcd.worded (1, 3 to 5)"."""
    tasks: dict[str, dict[str, list[int]]] = {}
    for cell in cells:
        tasks.setdefault(cell.name.task, {}).setdefault(cell.name.setting, []).append(cell.name.difficulty)
    found = {
        task: ", ".join(f"{spans(each)} {setting}".strip() for setting, each in by_setting.items())
        for task, by_setting in tasks.items()
    }
    return ", ".join(f"{task} ({each})" for task, each in found.items())


def spans(numbers: Iterable[int]) -> str:
    """Numbers in order, three or more in a row as a span: "1, 2, 4 to 6"."""
    rows: list[list[int]] = []
    for number in sorted(numbers):
        if rows and number == rows[-1][-1] + 1:
            rows[-1].append(number)
        else:
            rows.append([number])
    return ", ".join(f"{row[0]} to {row[-1]}" if len(row) > 2 else ", ".join(map(str, row)) for row in rows)


def reach_tables(reaches: Sequence[Reach]) -> Iterator[RenderableType]:
    """A table of each reach that is known, and a line on all of which no base is pretrained yet."""
    yield from (reach_table(reach) for reach in reaches if reach.cells)
    if unknown := [reach for reach in reaches if not reach.cells]:
        names = [reach.policy for reach in unknown]
        of = ", ".join(names) if len(names) <= MOST_NAMED else f"{len(names)} kinds of base"
        yield Text(f"reach of {of}: unknown, {unknown[0].source}; a launch shows it once it is", style="yellow")


def reach_table(reach: Reach) -> RenderableType:
    """Success before RL by difficulty, below a verified task the share of its groups that will carry signal, and in
    words what is out of reach and what is solved."""
    fewest, most = (f(cell.completions for cell in reach.cells) for f in (min, max))
    counted = f"{most:,}" if fewest == most else f"{fewest:,} to {most:,}"
    title = f"success before RL of {reach.policy} ({reach.source}; {counted} completions a cell)"
    table = RichTable(box=None, padding=(0, 1), pad_edge=False)
    difficulties = sorted({cell.name.difficulty for cell in reach.cells})
    table.add_column("difficulty")
    for difficulty in difficulties:
        table.add_column(str(difficulty), justify="right")
    for label, by_difficulty in _by_task(reach):
        cells = [by_difficulty.get(difficulty) for difficulty in difficulties]
        table.add_row(label, *(_success(cell) for cell in cells))
        if any(cell and cell.role == "verified" for cell in cells):
            shares = ("" if c is None else f"{signal_share(c.success, reach.group_size):.0%}" for c in cells)
            table.add_row("  groups with signal", *shares, style="dim")
    return Group(Text(title), table, *(Text(sentence) for sentence in reach_sentences(reach)))


def _by_task(reach: Reach) -> Iterator[tuple[str, dict[int, CellReach]]]:
    rows: dict[str, dict[int, CellReach]] = {}
    for cell in reach.cells:
        setting = f", {cell.name.setting}" if cell.name.setting else ""
        label = f"{cell.name.task}{setting}" + (" (unverified)" if cell.role == "unverified" else "")
        rows.setdefault(label, {})[cell.name.difficulty] = cell
    yield from rows.items()


def _success(cell: CellReach | None) -> Text:
    if cell is None:
        return Text("")
    text = f"{cell.success:.2f}".removeprefix("0") if cell.success >= 0.01 else "<.01"
    return Text(text if cell.correct else "0", style=STYLES[cell.state])
