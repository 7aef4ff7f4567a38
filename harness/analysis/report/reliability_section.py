"""The section on reliability: all of k completions right beside the mean, calibration, confident wrong answers."""

from collections.abc import Sequence

from harness.analysis.report.chart_style import readable
from harness.analysis.report.figures import Figure, single
from harness.analysis.report.gain_charts import interval_lines, interval_rows
from harness.analysis.report.html import Section, html_table, paragraphs
from harness.analysis.stats.formatting import Record, format_number

MOST = 6  # tasks that get a line
SHOWN = {
    "mean": "mean", "all": "all right", "brier": "Brier", "ece": "calibration error", "ece_floor": "… if calibrated",
    "confident_wrong": "confident and wrong",
}  # fmt: skip


def reliability_section(records: Sequence[Record], real: str) -> Section | None:
    """Of `reliability`, with figures of the real arm and a table of all. None without records of the real arm."""
    own = [one for one in records if one["arm"] == real]
    if not own:
        return None
    rows = [[one["arm"], one["role"], one["task"], *(_change(one[name]["mean"]) for name in SHOWN)] for one in records]
    caption = "First budget → last. Calibration error over few problems exceeds 0 for a calibrated policy too."
    table = html_table(caption, ["arm", "role", "task", *SHOWN.values()], rows, 3)
    words = paragraphs([_sentence(one) for one in own if one["task"] == "all"])
    return Section("reliability", "Reliability and confidence", words, reliability_figures(records, real), table)


def reliability_figures(records: Sequence[Record], real: str) -> dict[str, Figure]:
    """All right beside the mean, calibration error by arm, confident wrong answers by task."""
    own = [one for one in records if one["arm"] == real]
    pool = next(one for one in own if one["task"] == "all")
    k, role = pool["k"], pool["role"]
    lines = {f"any of {k} right": "any", "mean": "mean", f"all {k} right": "all"}
    right = [row for label, name in lines.items() for row in interval_rows(label, pool["x"], pool[name])]
    pools = [one for one in records if one["task"] == "all" and one["role"] == role]
    error = [row for one in pools for row in interval_rows(readable(one["arm"]), one["x"], one["ece"])]
    tasks = sorted((one for one in own if one["task"] != "all"), key=lambda one: -one["confident_wrong"]["mean"][-1])
    wrong = [
        row for one in tasks[:MOST] for row in interval_rows(readable(one["task"]), one["x"], one["confident_wrong"])
    ]
    over, worst = " Means over replicates with 95% t-intervals.", tasks[0]
    return {
        "reliability": single(
            f"All {k} completions are right on {_change(pool['all']['mean'])} of the problems of {role} tasks",
            f"Share of problems, {readable(real)}, beside mean accuracy.{over}",
            interval_lines(right, "share of problems"),
        ),
        "calibration": single(
            f"The calibration error of {readable(real)} on {role} tasks goes {_change(pool['ece']['mean'])}",
            f"Confidence is the share of {k} completions that give a problem's most frequent answer.{over}",
            interval_lines(error, "expected calibration error"),
        ),
        "confident_wrong": single(
            f"Confident wrong answers on {readable(worst['task'])}: {_change(worst['confident_wrong']['mean'])}",
            f"Share whose most frequent answer has a confidence of .75 or more and is wrong, {readable(real)}.{over}",
            interval_lines(wrong, "share of problems"),
        ),
    }


def _change(values: Sequence[float]) -> str:
    return f"{format_number(values[0])} → {format_number(values[-1])}"


def _sentence(pool: Record) -> str:
    gap = [mean - every for mean, every in zip(pool["mean"]["mean"], pool["all"]["mean"])]
    every, error, wrong = (_change(pool[name]["mean"]) for name in ("all", "ece", "confident_wrong"))
    return (
        f"{pool['role'].capitalize()} tasks: all {pool['k']} completions right {every}, the mean less that "
        f"{_change(gap)} (at most {format_number(max(gap))}); calibration error {error}; confident and wrong {wrong}."
    )
