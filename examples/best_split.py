"""How a total of compute is best split between pretraining and RL: python examples/best_split.py RESULTS OUT.png

Of study=pretraining_grid, whose arms are bases, `steps<steps of pretraining>_<weight of map 0>`. Draws what bases score
before RL and after it, and accuracy against all FLOPs, and prints the best split at some totals.
"""

import sys

import altair as alt
import numpy as np
import polars as pl

from harness import load_study
from harness.analysis.stats.contrasts import mean_record

REAL = {"true_reward": "steps1500_w3"}  # the arm that has the study's own settings
SHARES = {"w01": "5%", "w03": "11%", "w1": "27%", "w3": "51%", "w10": "77%"}  # of documents that show the steps
COMMON = 1024  # RL steps that all arms have
KEY = ["level", "pretraining", "seed", "step"]


def spent(table: pl.DataFrame) -> pl.DataFrame:
    """Accuracy on verified tasks [level, pretraining, seed, step], and the FLOPs of pretraining and of RL."""
    arm = pl.col("arm").replace(REAL)
    arms = table.filter(pl.col("role") == "verified", arm.str.contains(r"^steps\d+_")).with_columns(
        level=arm.str.extract(r"^steps\d+_(.*)$"),
        pretraining=arm.str.extract(r"^steps(\d+)_").cast(pl.Int64),
        base_flops=6.0 * pl.col("model_params") * pl.col("pretrain_tokens"),
    )
    means = arms.group_by(KEY).agg(pl.mean("accuracy", "base_flops"), rl_flops=pl.mean("flops_convention"))
    return means.with_columns(total=pl.col("base_flops") + pl.col("rl_flops")).sort(KEY)


def best_splits(points: pl.DataFrame, total: float) -> pl.DataFrame:
    """For each (level, seed) the pretraining that ends highest at a total of FLOPs, what it reaches, and the share of
    the total that RL has. Between budgets accuracy is interpolated in RL's FLOPs; past the last it stays."""
    rows = []
    affordable = points.filter(pl.col("base_flops") <= total)
    for (level, pretraining, seed), run in affordable.group_by(KEY[:3], maintain_order=True):
        rest = total - run["base_flops"][0]
        accuracy = float(np.interp(rest, run["rl_flops"], run["accuracy"]))
        rows.append((level, pretraining, seed, accuracy, min(rest, run["rl_flops"].max()) / total))
    found = pl.DataFrame(rows, schema=[*KEY[:3], "accuracy", "rl_share"], orient="row")
    best = found.sort("accuracy", "rl_share", descending=[True, False]).group_by("level", "seed").first()
    return best.sort("level", "seed")


def heat_map(points: pl.DataFrame, step: int, title: str) -> alt.LayerChart:
    """Accuracy after so many steps of RL by length of pretraining and share, means over seeds."""
    means = points.filter(pl.col("step") == step).group_by("share", "pretraining").agg(pl.mean("accuracy"))
    x = alt.X("share:O", title="documents that show the steps", sort=list(SHARES.values())).axis(labelAngle=0)
    base = alt.Chart(means).encode(x=x, y=alt.Y("pretraining:O", title="steps of pretraining", sort="descending"))
    colour = alt.Color("accuracy:Q", legend=None).scale(scheme="blues", domain=[0, 1])
    text = alt.Text("accuracy:Q", format=".2f")
    white = alt.condition(alt.datum.accuracy > 0.55, alt.value("white"), alt.value("black"))
    cells = base.mark_rect().encode(color=colour) + base.mark_text(fontSize=13).encode(text=text, color=white)
    return cells.properties(width=260, height=190, title=title)


def curves(points: pl.DataFrame, share: str) -> alt.Chart:
    """Accuracy against the FLOPs of pretraining and RL together, a line for each length of pretraining."""
    shown = points.filter(pl.col("share") == share).group_by("pretraining", "step").agg(pl.mean("accuracy", "total"))
    x = alt.X("total:Q", title="FLOPs, pretraining and RL").scale(type="log", domain=[7e11, 6e12])
    y = alt.Y("accuracy:Q", title="accuracy").scale(domain=[0, 1])
    colour = alt.Color("pretraining:O", title="steps of pretraining").scale(scheme="viridis", reverse=True)
    lines = alt.Chart(shown).mark_line(point={"size": 22})
    lines = lines.encode(x=x.axis(values=[1e12, 2e12, 4e12], format=".0e"), y=y, color=colour)
    return lines.properties(width=165, height=200, title=f"{share} of documents show the steps")


def figure(points: pl.DataFrame) -> alt.VConcatChart:
    points = points.with_columns(share=pl.col("level").replace(SHARES))
    heat = [heat_map(points, 0, "Before RL"), heat_map(points, COMMON, f"After {COMMON:,} steps of RL")]
    below = [curves(points, share) for share in ("11%", "27%", "51%", "77%")]
    return alt.vconcat(alt.hconcat(*heat), alt.hconcat(*below)).resolve_scale(color="independent")


if __name__ == "__main__":
    folder, out = sys.argv[1:]
    points = spent(load_study(folder).table)
    figure(points).save(out, ppi=110)
    longest = points["base_flops"].max()
    for total in (longest / 3, longest / 2, longest, 1.3 * longest):
        for (level,), found in best_splits(points, total).group_by(["level"], maintain_order=True):
            accuracy, share = (mean_record(found[name].to_numpy()) for name in ("accuracy", "rl_share"))
            steps = " ".join(str(one) for one in found["pretraining"])
            interval = f"{share['mean']:.2f} ({share['low']:.2f} to {share['high']:.2f})"
            print(f"{total:.1e} FLOPs, {level}: {accuracy['mean']:.2f}; pretraining {steps}; share of RL {interval}")
    print(out)
