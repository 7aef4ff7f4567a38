"""A figure of one's own from a committed run table: python examples/figure.py [OUT.png]

`load_study(…).table` has one row per run, budget, task and difficulty; polars pools it, Altair draws it.
"""

import sys
from pathlib import Path

import altair as alt
import polars as pl

from harness import load_study

RESULTS = Path(__file__).resolve().parent.parent / "docs" / "results" / "when_log_linear"
ARMS = {
    "true_reward": "drawn log-uniformly over 3 decades",
    "alike": "drawn alike",
    "shuffled_within_group": "rewards shuffled (control)",
}
COLORS = ("#0072b2", "#d55e00", "#767676")


def curves(table: pl.DataFrame) -> pl.DataFrame:
    """Mean accuracy [arm, x] over tasks and seeds, and one standard deviation over seeds; a log axis has no x = 0."""
    kept = table.filter(pl.col("arm").is_in(list(ARMS)), pl.col("x") > 0, pl.col("role") == "verified")
    seeds = kept.group_by("arm", "step", "seed").agg(pl.mean("accuracy"), pl.mean("x"))
    pooled = seeds.group_by("arm", "step").agg(pl.mean("x"), pl.mean("accuracy"), sd=pl.std("accuracy"))
    bounds = {"low": pl.col("accuracy") - pl.col("sd"), "high": pl.col("accuracy") + pl.col("sd")}
    return pooled.with_columns(arm=pl.col("arm").replace_strict(ARMS), **bounds).sort("arm", "x")


def figure(frame: pl.DataFrame) -> alt.LayerChart:
    color = alt.Color("arm", title=None, scale=alt.Scale(domain=list(ARMS.values()), range=COLORS)).legend(
        orient="top-left", labelFontSize=13, labelLimit=400, symbolOpacity=1
    )
    x = alt.X("x", title="RL compute (FLOPs by convention)").scale(type="log").axis(format="~e", tickCount=4)
    y = alt.Y("accuracy", title="accuracy").scale(domain=[0, 1]).axis(tickCount=6)
    base = alt.Chart(frame).encode(x=x, color=color)
    band = base.mark_area(opacity=0.15).encode(y=alt.Y("low", title="accuracy"), y2="high")
    line = base.mark_line(strokeWidth=3, point={"size": 50}).encode(y=y)
    title = alt.Title(
        "RL is log-linear where learning times are spread, a sigmoid where they are alike",
        subtitle="24 skills on the same 8 bases; only how often RL draws each differs. Bands: one sd of seeds.",
        anchor="start",
        fontSize=16,
        subtitleFontSize=12,
    )
    return (
        (band + line)
        .properties(width=620, height=360, title=title)
        .configure_view(stroke=None)
        .configure_axis(gridColor="#e5e5e5")
    )


if __name__ == "__main__":
    out = sys.argv[1] if len(sys.argv) > 1 else "when_log_linear.png"
    figure(curves(load_study(RESULTS).table)).save(out, ppi=150)
    print(out)
