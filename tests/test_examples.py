"""The examples that need no training; those that do have tests beside what they show."""

import polars as pl

from examples import figure


def test_a_figure_of_ones_own_is_drawn_from_a_committed_table(tmp_path):
    frame = figure.curves(pl.read_parquet(figure.RESULTS / "table.parquet"))
    assert set(frame["arm"]) == set(figure.ARMS.values())
    figure.figure(frame).save(tmp_path / "figure.svg")
    assert "sigmoid" in (tmp_path / "figure.svg").read_text()
