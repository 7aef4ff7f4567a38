"""docs/explanation/calibration.md from the numbers of a calibration."""

from collections.abc import Iterable, Mapping, Sequence

from harness.analysis.stats.formatting import markdown_table
from harness.analysis.verdict.rules import VERDICTS

FALSE_GOAL, RIGHT_GOAL, COVER_GOAL = 4 / 200, 0.8, (0.93, 0.97)


def calibration_page(found: dict) -> str:
    """The whole page; parts that were not run are left out."""
    design = (
        "Tables drawn from known true curves (`harness/analysis/calibration/simulate.py`) and judged by the rules. "
        "10 budgets over 3 decades and budget 0; 512 problems x 4 completions, problem effects drawn once per table; "
        "seeds differ by a tenth of the rise and wander slowly. Regenerate with\n\n"
        f"    python scripts/analyze.py action=calibrate calibrate.seed={found['seeds']['confusion']}\n"
    )
    makers = {
        "confusion": _confusion, "coverage": _coverage, "power": _power, "mechanism": _mechanism, "window": _window
    }  # fmt: skip
    parts = (make(found[name]) for name, make in makers.items() if name in found)
    return "\n".join(["# Calibration: how often the analysis is right\n", design, *parts])


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    return markdown_table(head, rows) + "\n"


def _formatted(columns: Mapping[str, str], records: Iterable[dict]) -> str:
    """A table of records from each column's title and format."""
    return _table(list(columns), ([form.format(**record) for form in columns.values()] for record in records))


def _confusion(cases: dict[str, dict]) -> str:
    used = [v for v in VERDICTS if any(v in case["verdicts"] for case in cases.values())]
    rows = [
        [name, case["truth"], *(case["verdicts"].get(v, "") for v in used), case["right"], case["false"]]
        for name, case in cases.items()
    ]
    return (
        "## Confusion matrix\n\nVerdicts by kind of truth. `right` counts `indistinguishable` too where the window "
        "cannot decide (a shallow sigmoid; a line that starts so far above R0 that a shallow sigmoid is as good). The "
        "mixture is a line over this window; the mixture flag reports that its cells are none. A claim is false where "
        "it does not hold of the curve: `not_log_linear` holds of every rise that is no line, `saturating` of every "
        f"sigmoid. {_goal(cases, 'false', 'are judged falsely')}\n\n"
        + _table(["kind", "truth", *used, "right", "false"], rows)
        + "\n"
        + _answers(cases)
    )


def _goal(cases: dict[str, dict], count: str, what: str) -> str:
    """How many tables are false in a way, and whether the goal is met by every kind."""
    tables, false = (sum(case[name] for case in cases.values()) for name in ("tables", count))
    missed = [name for name, case in cases.items() if case[count] > FALSE_GOAL * case["tables"]]
    goal = "met by every kind" if not missed else f"missed by {', '.join(missed)}"
    return f"In all, {false} of {tables} tables {what}; the goal of at most 4 in 200 per kind is {goal}."


def _answers(cases: dict[str, dict]) -> str:
    """The answers "does it rise" and "is it log-linear", and the line windows."""
    answers = ("yes", "no", "undecided")
    head = ["kind", "truth", "rises: yes", *answers[1:], "log-linear: yes", *answers[1:], "windows", "false"]
    rows = []
    for name, case in cases.items():
        counts = [case[question].get(answer, "") for question in ("rises", "is_log_linear") for answer in answers]
        rows.append([name, case["truth"], *counts, case["windows"], case["false_windows"]])
    return (
        "## Answers and windows\n\n"
        f"Does it rise: {_goal(cases, 'false_rises', 'are answered falsely')} "
        f"Is it log-linear: {_goal(cases, 'false_log_linear', 'are answered falsely')} "
        "A window is false where the true curve over it is no line: a third less than half as steep as another, or "
        f"further from its least-squares line than a tenth of the gain. {_goal(cases, 'false_windows', 'have one')}\n\n"
        + _table(head, rows)
    )


def _coverage(rows: Sequence[dict]) -> str:
    columns = {
        "kind": "{kind}", "seeds": "{seeds}", "quantity": "{quantity}", "identified": "{identified} of {tables}",
        "covered": "{covered:.3f}",
    }  # fmt: skip
    low, high = COVER_GOAL
    missed = [f"{r['kind']} {r['quantity']} at {r['seeds']} seeds" for r in rows if not low <= r["covered"] <= high]
    goal = "met by all" if not missed else f"missed by {', '.join(missed)}"
    return (
        f"## Coverage of 95% intervals\n\nGoal {low:.0%} to {high:.0%}: {goal}. Intervals of slopes over seeds are "
        "given the problems; where the truth is the curve for all possible problems, having drawn 512 counts as error "
        "too. A and B are ScaleRL's, by jackknife-t, where identified; the interval of A includes having drawn the "
        "problems, and so covers more often given them.\n\n" + _formatted(columns, rows)
    )


def _power(rows: Sequence[dict]) -> str:
    designs = sorted({(r["completions"], r["seeds"]) for r in rows})
    cells = {(r["slope"], r["completions"], r["seeds"]): f"{r['power']:.2f}" for r in rows}
    shown = [[slope, *(cells[slope, *design] for design in designs)] for slope in sorted({r["slope"] for r in rows})]
    return (
        "## Power\n\nChance that a true line is called `log_linear`, all gates included: 10 budgets over 3 decades, "
        "R0 .2 to .6 decades' worth below the first budget.\n\n"
        + _table(["slope per decade", *(f"{c:,} completions x {s} seeds" for c, s in designs)], shown)
    )


def _mechanism(found: dict) -> str:
    """Learning times and exponents of difficulty."""
    common = {"seeds": "{seeds}", "censored": "{censored:.0%}", "identified": "{identified} of {tables}"}
    times = common | {
        "spread": "{ratio:.3f}", "5% to 95%": "{low:.2f} to {high:.2f}", "within a tenth": "{share:.0%}",
        "error": "{error:.3f}",
    }  # fmt: skip
    exponents = common | {
        "difficulties used": "{used:.1f}", "bias": "{bias:+.3f}", "covered": "{covered:.3f}",
        "given the problems": "{given:.3f}",
    }  # fmt: skip
    learned = [r | {"share": r["within_tenth"] / r["identified"]} for r in found["learning_times"]]
    low, high = COVER_GOAL
    missed = [f"{r['seeds']} seeds, {r['censored']:.0%}" for r in found["gamma"] if not low <= r["given"] <= high]
    goal = "met by all" if not missed else f"missed at {'; '.join(missed)} censored"
    return (
        "## Learning times and difficulty\n\n"
        "Every cell (64 problems x 4 completions, 13 budgets over 3 decades) rises from .05 to .95 within about half a "
        "decade, at a time that scatters by .1 decades over seeds, .05 over the cells of a seed, .1 over its problems "
        "(`harness/analysis/calibration/mechanism.py`). `censored`: share of the cells whose time lies beyond the "
        "window. 24 cells spread log-uniformly: the spread found over the one planted, mean and 5% to 95% of the "
        "tables; `error`: root mean square of the times within the window, in decades. Regenerate with\n\n"
        "    python scripts/analyze.py action=calibrate calibrate.tables=0 calibrate.coverage=0 calibrate.power=0\n\n"
        + _formatted(times, learned)
        + "\nT = T_1 D^1.5 over eight difficulties from 1 to 10, the exponent scattering by .1 over seeds; of "
        "difficulties that every seed solves. `given the problems`: of the exponent that the problems drawn have, "
        "which an interval over seeds promises; that for all possible problems is held less often the more seeds there "
        f"are. Goal {low:.0%} to {high:.0%} given the problems: {goal}.\n\n" + _formatted(exponents, found["gamma"])
    )


def _window(rows: Sequence[dict]) -> str:
    columns = {
        "B": "{B}",
        "window": "+-{half_window:g} decade",
        "share of gain": "{share[0]:.0%} to {share[1]:.0%}",
        "R2 of a line": "{r_squared:.4f}",
        "points that distinguish them at noise .01 / .02 of the gain": "{points[0.01]:,} / {points[0.02]:,}",
    }
    text = "## Why R2 does not decide\n\nA straight line through a window of a sigmoid around its middle.\n\n"
    return text + _formatted(columns, rows)
