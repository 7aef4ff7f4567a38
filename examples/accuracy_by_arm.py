"""Where each arm of a study ends: python examples/accuracy_by_arm.py docs/results/conditioning OUT.png [ROLE…]

For studies of many arms, whose curves hide each other: accuracy at the last budget, a point for each seed, and a panel
for each role (verified, unverified) named; without one, verified tasks.
"""

import sys

import altair as alt
import polars as pl

from harness import load_study


def ends(table: pl.DataFrame, role: str = "verified") -> pl.DataFrame:
    """Accuracy [arm, seed] on tasks of the role at each arm's last budget, arms in the order of the table."""
    last = table.filter(pl.col("role") == role, pl.col("step") == pl.col("step").max().over("arm"))
    return last.group_by("arm", "seed", maintain_order=True).agg(pl.mean("accuracy"))


def figure(frame: pl.DataFrame, title: str, role: str = "verified") -> alt.LayerChart:
    order = frame["arm"].unique(maintain_order=True).to_list()
    y = alt.Y("arm:N", title=None, sort=order).axis(labelLimit=240, grid=True, gridColor="#eeeeee")
    words = f"accuracy on {role} tasks at the last budget"
    base = alt.Chart(frame).encode(y=y)
    seeds = base.mark_point(size=36, color="#0072b2").encode(x=alt.X("accuracy:Q", title=words).scale(domain=[0, 1]))
    mean = base.mark_tick(thickness=3, size=14, color="#d55e00").encode(x=alt.X("mean(accuracy):Q", title=words))
    return (seeds + mean).properties(width=460, title=alt.Title(title, anchor="start", fontSize=15))


if __name__ == "__main__":
    folder, out, *roles = sys.argv[1:]
    table, title = load_study(folder).table, "Accuracy at the end by arm: points are seeds, ticks means"
    panels = [figure(ends(table, role), title if i == 0 else "", role) for i, role in enumerate(roles or ["verified"])]
    alt.hconcat(*panels).save(out, ppi=110)
    print(out)
