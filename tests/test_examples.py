"""The examples that need no training; those that do have tests beside what they show."""

from examples import figure
from harness import load_study


def test_a_figure_of_ones_own_is_drawn_from_a_committed_table(tmp_path):
    frame = figure.curves(load_study(figure.RESULTS).table)
    assert set(frame["arm"]) == set(figure.ARMS.values())
    figure.figure(frame).save(tmp_path / "figure.svg")
    assert "sigmoid" in (tmp_path / "figure.svg").read_text()
