"""Verdicts, answers and line windows of tables whose true curve is planted, counted by kind."""

import json
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from harness.analysis.calibration.code_hash import JUDGES, code_hash
from harness.analysis.calibration.simulate import KINDS, Draw, Kind, StudyDesign, draw_tables
from harness.analysis.data.options import Options
from harness.analysis.stats.covariance import mean_curve
from harness.analysis.stats.line_tests import DEVIATION_THAT_MATTERS
from harness.analysis.stats.slopes import slopes
from harness.analysis.verdict.decide import decide, widest_line_window
from harness.analysis.verdict.rules import RATIO, VERDICTS, is_log_linear, rises

OTHER_SEEDS = (5, 16)  # besides the design's 8, for one kind of each truth
KINDS_AT_OTHER_SEEDS = (
    "line_steep", "hill_levels_off", "hill_middle", "hill_shallow", "knee", "power_up", "rise_and_fall", "flat"
)  # fmt: skip
NOT_RISING = ("flat", "declining")  # truths


@dataclass(frozen=True)
class Case:
    """One cell of the confusion matrix: n tables of a kind with a number of seeds, under a key of random numbers."""

    kind: str
    seeds: int
    tables: int
    key: tuple[int, ...]

    @property
    def name(self) -> str:
        return f"{self.kind}, {self.seeds} seeds"


def cases(tables: int, seed: int) -> list[Case]:
    """Every case of the calibration, each with random numbers of its own."""
    named = [(name, StudyDesign().seeds) for name in KINDS]
    named += [(name, seeds) for seeds in OTHER_SEEDS for name in KINDS_AT_OTHER_SEEDS]
    return [Case(name, seeds, tables, (seed, 0, i)) for i, (name, seeds) in enumerate(named)]


def confusion(tables: int, seed: int, options: Options, progress: Path, workers: int = 1) -> dict[str, dict]:
    """Case -> counts, of `tables` tables each; finished cases are appended to `progress` and not judged again."""
    wanted = cases(tables, seed)
    done = _finished(progress, seed)
    left = [case for case in wanted if case.name not in done]
    progress.parent.mkdir(parents=True, exist_ok=True)
    for case, counts in _each(left, options, workers):
        done[case.name] = counts
        line = {"seed": seed, "judged_by": code_hash(JUDGES), "name": case.name, "counts": counts}
        with progress.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(case.name, counts["verdicts"], flush=True)
    return {case.name: done[case.name] for case in wanted}


def _each(left: list[Case], options: Options, workers: int) -> Iterable[tuple[Case, dict]]:
    if workers == 1:
        yield from ((case, judge_case(case, options)) for case in left)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from zip(left, pool.map(judge_case, left, [options] * len(left)))


def _finished(progress: Path, seed: int) -> dict[str, dict]:
    """Cases that the code as it is has judged already, under this seed."""
    lines = [json.loads(line) for line in progress.read_text().splitlines()] if progress.exists() else []
    code = code_hash(JUDGES)
    return {one["name"]: one["counts"] for one in lines if (one["seed"], one["judged_by"]) == (seed, code)}


def judge_case(case: Case, options: Options) -> dict:
    """Counts of verdicts and answers over the tables of a case."""
    kind, design = KINDS[case.kind], StudyDesign(seeds=case.seeds)
    judged = [judge_table(drawn, options) for drawn in draw_tables(kind, design, case.tables, case.key)]
    verdicts, answers, lines = (Counter(one[name] for one in judged) for name in ("verdict", "rises", "is_log_linear"))
    falsely = "yes" if kind.truth in NOT_RISING else "no"
    return {
        "truth": kind.truth,
        "seeds": case.seeds,
        "tables": case.tables,
        "right": sum(verdicts[v] for v in kind.right),
        "false": sum(k for v, k in verdicts.items() if kind.is_false(v)),
        "verdicts": {v: verdicts[v] for v in VERDICTS if verdicts[v]},
        "rises": dict(answers),
        "is_log_linear": dict(lines),
        "false_rises": answers[falsely],
        "false_log_linear": sum(k for answer, k in lines.items() if _contradicts(kind, answer)),
        "windows": sum(one["window"] for one in judged),
        "false_windows": sum(one["false_window"] for one in judged),
    }


def _contradicts(kind: Kind, answer: str) -> bool:
    """Whether an answer to "is it log-linear" is false: yes where no line is right, no where the truth is a line."""
    return answer == "no" if kind.truth == "log_linear" else answer == "yes" and "log_linear" not in kind.right


def judge_table(drawn: Draw, options: Options) -> dict[str, Any]:
    """Verdict, answers and window of one table, and whether the true curve over the window is no line."""
    c = drawn.curves
    decision = decide(c, options, drawn.rng)
    s = slopes(np.log10(c.x), c.accuracy)
    window = widest_line_window(c, mean_curve(c), drawn.rng.spawn(1)[0])
    return {
        "verdict": decision.judgement.verdict,
        "rises": rises(decision.judgement, s, options.margin, []),
        "is_log_linear": is_log_linear(decision.judgement, decision.line),
        "window": window is not None,
        "false_window": window is not None and not _true_line(drawn, window),
    }


def _true_line(drawn: Draw, window: dict) -> bool:
    """Whether the true curve rises over a window, its thirds at least half as steep as one another, and stays within
    the deviation that matters of its least-squares line."""
    inside = (drawn.curves.x >= window["x_first"] * (1 - 1e-9)) & (drawn.curves.x <= window["x_last"] * (1 + 1e-9))
    z, truth = np.log10(drawn.curves.x[inside]), drawn.truth[inside]
    thirds = slopes(z, truth[None]).thirds[0]
    rest = truth - np.polyval(np.polyfit(z, truth, 1), z)
    straight = np.max(np.abs(rest)) <= DEVIATION_THAT_MATTERS * np.ptp(truth)
    return bool(thirds.min() > 0 and thirds.min() >= RATIO * thirds.max() and straight)
