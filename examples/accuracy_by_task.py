"""What an arm and its control do to each task: python examples/accuracy_by_task.py RESULTS OUT.png ARM CONTROL …

For studies of unlike tasks, whose mean says little: for each task accuracy before RL and after it, and after the
control; a panel for each pair of arms, tasks that RL rewards first.
"""

import sys

import altair as alt
import polars as pl

from harness import load_study

BEFORE = "before RL"
COLOURS = ["#999999", "#0072b2", "#d55e00"]


def ends(table: pl.DataFrame, arm: str, control: str) -> pl.DataFrame:
    """Accuracy [task, when], mean over seeds: before RL and at the last budget of each of two arms."""
    rows = table.filter(pl.col("arm").is_in([arm, control]))
    first, last = pl.col("step") == 0, pl.col("step") == pl.col("step").max().over("arm")
    when = pl.when(first & (pl.col("arm") == arm)).then(pl.lit(BEFORE)).when(last).then("arm").alias("when")
    means = rows.with_columns(when).drop_nulls("when").group_by("task", "role", "when").agg(pl.mean("accuracy"))
    return means.sort(pl.col("role") != "verified", "task", "when")


def panel(frame: pl.DataFrame, arm: str, control: str) -> alt.Chart:
    names = {task: f"{task} (rewarded)" for task in frame.filter(pl.col("role") == "verified")["task"]}
    frame = frame.with_columns(pl.col("task").replace(names))
    y = alt.Y("task:N", title=None, sort=frame["task"].unique(maintain_order=True).to_list()).axis(labelLimit=260)
    x = alt.X("accuracy:Q").scale(domain=[0, 1])
    kinds = alt.Scale(domain=[BEFORE, arm, control], range=COLOURS)
    colour = alt.Color("when:N", title=None, scale=kinds)
    shape = alt.Shape("when:N", title=None, scale=alt.Scale(domain=kinds.domain, range=["circle", "circle", "square"]))
    chart = alt.Chart(frame).mark_point(filled=True, size=70, opacity=0.9).encode(x=x, y=y, color=colour, shape=shape)
    return chart.properties(width=420, title=alt.Title(f"{arm}, beside {control}", anchor="start", fontSize=14))


if __name__ == "__main__":
    folder, out, *arms = sys.argv[1:]
    table = load_study(folder).table
    panels = [panel(ends(table, *pair), *pair) for pair in zip(arms[::2], arms[1::2], strict=True)]
    alt.vconcat(*panels).resolve_scale(color="independent", shape="independent").save(out, ppi=110)
    print(out)
