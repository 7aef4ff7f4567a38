"""How wide curves are against the spread of learning times: python examples/width_by_spread.py OUT.png FOLDER…

Of each arm that rises, in each study folder: decades of x from a tenth to nine tenths of the rise seen, seed by seed,
and decades from the tenth to the ninetieth percentile of the times at which its cells (task x difficulty) are half
learned.
"""

import sys
from pathlib import Path

import altair as alt
import polars as pl

from harness import analyze, load_study
from harness.analysis.data.rise import rise_decades
from harness.analysis.stats.contrasts import mean_record


def widths(folder: str, controls: tuple[str, ...] = ("frozen", "shuffled_within_group")) -> pl.DataFrame:
    """[study, arm, spread, width, low, high], a row for each arm with learning times; 95% t-intervals over seeds."""
    verified = load_study(folder).table.filter(pl.col("role") == "verified").with_columns(value=pl.col("accuracy"))
    rows = []
    for record in analyze(folder, bootstraps=20).records:
        if record.task != "all" or record.role != "verified" or record.arm in controls or not record.learning_times:
            continue
        own = verified.filter(pl.col("arm") == record.arm).with_columns(base=pl.col("base_seed").cast(pl.String))
        width = mean_record(rise_decades(own)["value"].to_numpy())
        spread = record.learning_times.spread_decades
        rows.append((Path(folder).name, record.arm, spread, width["mean"], width["low"], width["high"]))
    names = ["study", "arm", "spread", "width", "low", "high"]
    return pl.DataFrame(rows, schema=names, orient="row").drop_nulls(["spread", "width"])


def figure(frame: pl.DataFrame) -> alt.LayerChart:
    ends, title = [0.0, 3.2], "from a tenth to nine tenths of the rise seen, decades"
    x = alt.X("spread:Q", title="spread of learning times, decades").scale(domain=ends, nice=False)
    y = alt.Y("width:Q", title=title).scale(domain=ends, nice=False)
    colour = alt.Color("study:N", title=None, legend=alt.Legend(orient="bottom"))
    rows = frame.sort("spread").with_row_index("place").with_columns(arm=pl.col("arm").str.replace_all("_", " "))
    base = alt.Chart(rows).encode(x=x, color=colour)
    interval = base.mark_rule().encode(y=alt.Y("low:Q", title=title), y2="high:Q")
    points = base.mark_point(filled=True, size=70, opacity=1).encode(y=y)
    above = base.transform_filter("datum.place % 2").mark_text(align="right", dx=-8, dy=-6, fontSize=11)
    below = base.transform_filter("!(datum.place % 2)").mark_text(align="left", dx=8, dy=8, fontSize=11)
    names = [text.encode(y=y, text="arm:N") for text in (above, below)]
    equal = alt.Chart(pl.DataFrame({"spread": ends, "width": ends})).mark_line(color="#bbbbbb", strokeDash=[4, 4])
    whole = alt.layer(equal.encode(x=x, y=y), interval, points, *names).properties(width=460, height=360)
    return whole.configure_axis(gridColor="#eeeeee")


if __name__ == "__main__":
    out, *folders = sys.argv[1:]
    frame = pl.concat([widths(folder) for folder in folders])
    with pl.Config(tbl_rows=-1, float_precision=2):
        print(frame)
    figure(frame).save(out, ppi=110)
    print(out)
