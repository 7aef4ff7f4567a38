"""Where each arm of a study ends: python examples/accuracy_by_arm.py docs/results/conditioning OUT.png

For studies of many arms, whose curves hide each other: verified accuracy at the last budget, a point for each seed.
"""

import sys

import altair as alt
import polars as pl

from harness import load_study


def ends(table: pl.DataFrame) -> pl.DataFrame:
    """Accuracy [arm, seed] on verified tasks at each arm's last budget, arms in the order of the table."""
    last = table.filter(pl.col("role") == "verified", pl.col("step") == pl.col("step").max().over("arm"))
    return last.group_by("arm", "seed", maintain_order=True).agg(pl.mean("accuracy"))


def figure(frame: pl.DataFrame, title: str) -> alt.LayerChart:
    order = frame["arm"].unique(maintain_order=True).to_list()
    y = alt.Y("arm:N", title=None, sort=order).axis(labelLimit=240, grid=True, gridColor="#eeeeee")
    words = "accuracy on verified tasks at the last budget"
    base = alt.Chart(frame).encode(y=y)
    seeds = base.mark_point(size=36, color="#0072b2").encode(x=alt.X("accuracy:Q", title=words).scale(domain=[0, 1]))
    mean = base.mark_tick(thickness=3, size=14, color="#d55e00").encode(x=alt.X("mean(accuracy):Q", title=words))
    return (seeds + mean).properties(width=460, title=alt.Title(title, anchor="start", fontSize=15))


if __name__ == "__main__":
    folder, out = sys.argv[1:3]
    study = load_study(folder)
    figure(ends(study.table), "Accuracy at the end by arm: points are seeds, ticks means").save(out, ppi=150)
    print(out)
