"""What `action=breadth` writes: the numbers, and their figure."""

from collections.abc import Mapping
from pathlib import Path

import altair as alt

from harness.analysis.data.options import Options
from harness.analysis.data.table import Table
from harness.analysis.report.answer_files import write_answer
from harness.analysis.report.chart_style import Chart, arm_channels, inline, level
from harness.analysis.report.figures import Figure
from harness.analysis.report.gain_charts import interval_marks
from harness.analysis.stats.formatting import Record
from harness.analysis.transfer.breadth import MODES, breadth, markdown
from harness.analysis.verdict.primary import PrimaryRecord, interval_answer

MEASURE = (
    "the slope per doubling of the number of families of the mean change on the held-out tasks, at the same compute, "
    "by scripts/analyze.py action=breadth"
)
SMALLEST_SLOPE = 0.005  # per doubling, that matters: .02 from one family to sixteen


def write_breadth(table: Table, out: Path, options: Options) -> str:
    """Writes `out/breadth.json`, `out/primary.json` and `out/figures/breadth.png, .pdf`.

    Returns the tables as Markdown. Raises TableError.
    """
    found = breadth(table, options.real_arm, options.primary_control)
    write_answer(out, "breadth", found, breadth_primary(found), breadth_figure(found))
    return markdown(found)


def breadth_primary(found: Record) -> PrimaryRecord:
    """The measure that configs/study/breadth.yaml registers, which is no sum of means."""
    slope = found["modes"]["compute"]["slope"]
    return interval_answer(
        slope,
        SMALLEST_SLOPE,
        more="More seeds and orders.",
        study="breadth",
        question=MEASURE,
        metric="change in accuracy per doubling",
        notes=(f"The interval takes seeds and {slope['columns']} orders both as drawn.",),
    )


def breadth_figure(found: Record) -> Figure:
    """Change on held-out families by number of families rewarded; beside it on those that an order leaves out."""
    panels = {"Held out of all arms": families_chart({mode: found["modes"][mode] for mode in MODES})}
    if found["left_out"]:
        panels["Rewarded in no arm of an order"] = families_chart(found["left_out"])
    caption = "Mean over tasks with 95% intervals that take seeds and orders both as drawn."
    return Figure(breadth_title(found), caption, panels, columns=2)


def breadth_title(found: Record) -> str:
    """What a doubling of the families brought at matched compute."""
    slope = found["modes"]["compute"]["slope"]
    if slope["low"] is None or slope["low"] <= 0 <= slope["high"]:
        return "Rewarding more families does not clearly change families that are never rewarded"
    word = "raises" if slope["mean"] > 0 else "lowers"
    return f"Each doubling of the families rewarded {word} families never rewarded by {abs(slope['mean']):.3f}"


def families_chart(modes: Mapping[str, Record]) -> Chart:
    """Change against the number of families on a log axis, a line for each mode; intervals beside one another."""
    rows = [
        {
            "label": label,
            "families": row["families"] * (1.04 if i else 1 / 1.04),  # so that no interval hides another
            **{name: row[name] for name in ("mean", "low", "high")},
        }
        for i, (mode, label) in enumerate(MODES.items())
        for row in modes[mode]["by_families"]
    ]
    counts = sorted({row["families"] for row in modes["compute"]["by_families"]})
    channels = arm_channels(list(MODES.values()))
    x = alt.X(
        "families:Q",
        title="families rewarded",
        scale=alt.Scale(type="log", base=2, nice=False, padding=12),
        axis=alt.Axis(values=counts, format="d"),
    )
    base = alt.Chart(inline(rows)).encode(x, tooltip=["label:N", alt.Tooltip("mean:Q", format="+.3f")])
    y = alt.Y("mean:Q", title="change in accuracy")
    return alt.layer(level(), *interval_marks(base, y, channels)).properties(height=260)
