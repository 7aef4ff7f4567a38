"""Accuracy of bases by generation: python examples/accuracy_by_generation.py docs/results/self_training OUT.png

Arms are named NAME_1, NAME_2, ...: bases pretrained on what the generation before wrote. The arm `corpus` is
generation 0 of all of them.
"""

import sys

import altair as alt
import polars as pl

from harness import load_study

COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00"]


def by_generation(table: pl.DataFrame) -> pl.DataFrame:
    """Accuracy [line, generation, role, seed]; `corpus` begins each line."""
    cells = table.group_by("arm", "role", "seed", maintain_order=True).agg(pl.mean("accuracy"))
    later = cells.filter(pl.col("arm") != "corpus").with_columns(
        line=pl.col("arm").str.replace(r"_\d+$", ""), generation=pl.col("arm").str.extract(r"_(\d+)$").cast(pl.Int64)
    )
    first = cells.filter(pl.col("arm") == "corpus").drop("arm").with_columns(generation=pl.lit(0, pl.Int64))
    lines = later.select("line").unique(maintain_order=True)
    return pl.concat([lines.join(first, how="cross"), later.drop("arm")], how="diagonal_relaxed")


def figure(frame: pl.DataFrame, title: str) -> alt.FacetChart:
    order = frame["line"].unique(maintain_order=True).to_list()
    colour = alt.Color("line:N", title="documents kept", scale=alt.Scale(domain=order, range=COLOURS[: len(order)]))
    x = alt.X("generation:O", title="generation (0: the corpus)", axis=alt.Axis(labelAngle=0))
    y = alt.Y("mean(accuracy):Q", title="accuracy", scale=alt.Scale(domain=[0, 1]))
    base = alt.Chart().encode(x=x, color=colour)
    mean = base.mark_line(strokeWidth=2.5).encode(y=y)
    seeds = base.mark_point(size=30, opacity=0.7).encode(
        y="accuracy:Q", shape=alt.Shape("line:N", title="documents kept", scale=alt.Scale(domain=order))
    )
    chart = alt.layer(mean, seeds, data=frame).properties(width=300, height=240)
    return chart.facet(
        column=alt.Column("role:N", sort=["verified", "unverified"], title=None),
        title=alt.Title(title, anchor="start", fontSize=15),
    )


if __name__ == "__main__":
    folder, out = sys.argv[1:3]
    study = load_study(folder)
    figure(by_generation(study.table), "Bases on documents that the base before them wrote").save(out, ppi=130)
    print(out)
