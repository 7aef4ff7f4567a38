"""Figures: what is drawn is what was measured, on every axis, with budget 0 in its own place."""

import numpy as np
import plotly.graph_objects as go
import polars as pl
import pytest

from harness.analysis.data.table import check_table
from harness.analysis.report import matplotlib_figures as figures
from harness.analysis.report import plotly_charts as charts
from harness.analysis.report.curve_series import arm_series, fill_missing_axes, shared_axes, tick_label
from harness.analysis.report.report_page import role_series
from harness.analysis.transfer.transfer_report import transfer_report
from tests.analysis.pages import default_options
from tests.analysis.study_tables import starred, study_frame, study_table

FITS = {
    "log_linear": {"parameters": {"a": -0.2, "b": 0.06}},
    "hill": {"parameters": {"R0": 0.35, "A": 0.6, "B": 0.5, "x_mid": 1e11}},
}


@pytest.fixture(scope="module")
def series():
    return role_series(study_table(), "true_reward", "verified")


def test_a_series_holds_the_mean_of_the_table_at_every_budget(series):
    own = study_frame().filter(pl.col("arm") == "true_reward", pl.col("role") == "verified", pl.col("step") == 64)
    assert series[0].mean[6] == pytest.approx((own["n_correct"] / own["n_problems"]).mean())
    assert series[0].axes["tokens"][6] == 64 * 6000


def test_budget_zero_lies_left_of_every_budget_on_every_axis(series):
    for axis in shared_axes(series):
        first = min(one.axes[axis.name].min() for one in series)
        assert 10 ** axis.range[0] < axis.zero < axis.gap < first
        assert axis.ticks[0] == (axis.zero, "0")
        assert all(value >= first * 0.99 for value, _ in axis.ticks[1:])


def test_every_trace_can_be_switched_to_every_axis_of_the_page(series):
    axes = shared_axes(series)
    assert [axis.name for axis in axes] == ["x", "step", "completions", "tokens", "flops", "seconds"]
    for spec in (charts.learning_curves(series, axes), charts.law_fits(series[0], axes, FITS)):
        for trace in spec["data"]:
            assert set(trace["meta"]["axes"]) == {axis.name for axis in axes}
            assert len({len(x) for x in trace["meta"]["axes"].values()} | {len(trace["y"])}) == 1


def test_the_axis_that_x_is_takes_its_name():
    table = check_table(study_frame().with_columns(x=study_frame()["flops"].cast(float)))
    assert shared_axes(role_series(table, "true_reward", "verified"))[0].title == "RL FLOPs as spent"


def test_an_arm_that_spends_nothing_is_drawn_where_the_real_arm_spends():
    frame = study_frame()
    free = frame.with_columns(flops=frame["flops"] * (frame["arm"] != "frozen").cast(int))
    drawn = {one.arm: one for one in role_series(check_table(free), "true_reward", "verified")}
    assert np.allclose(drawn["frozen"].axes["flops"], drawn["true_reward"].axes["flops"])


def test_budgets_map_between_axes_as_in_the_table(series):
    assert series[0].on("tokens", np.array([2.4e9 * 3])) == pytest.approx([6000 * 3])


def test_every_chart_is_valid_plotly(series):
    axes = shared_axes(series)
    report = transfer_report(study_table(), default_options())
    gains = [(row["task"], "verified", row["gain"]) for row in report["verified"]["tasks"]]
    for spec in (
        charts.learning_curves(series, axes),
        charts.law_fits(series[0], axes, FITS),
        charts.gain_forest(gains),
        charts.residuals(series[0], axes, FITS),
        charts.cell_panel(series, axes, "addition"),
    ):
        go.Figure(spec)


def test_residuals_are_measured_minus_law(series):
    (trace,) = charts.residuals(series[0], shared_axes(series), {"log_linear": FITS["log_linear"]})["data"]
    law = -0.2 + 0.06 * np.log10(series[0].x)
    assert trace["y"] == pytest.approx(series[0].mean - law, abs=1e-6)


def test_points_hidden_by_the_extrapolation_are_open(series):
    spec = charts.law_fits(series[0], shared_axes(series), FITS)
    hidden = next(trace for trace in spec["data"] if trace["name"] == "hidden")
    assert len(hidden["x"]) == 2  # budgets 128 and 256 of 1 … 256: the last factor of four
    assert hidden["marker"]["symbol"].endswith("open")


def test_matplotlib_draws_the_same_numbers(series):
    lines = figures.figure_curves(series).axes[0].get_lines()
    assert any(np.array_equal(line.get_ydata(), series[0].mean) for line in lines)


@pytest.mark.parametrize(("arms", "spread"), [(4, 4), (5, 2)])
def test_of_many_arms_the_first_two_alone_show_their_spread(series, arms, spread):
    many = (list(series) * arms)[:arms]
    traces = charts.learning_curves(many, shared_axes(series))["data"]
    assert sum(trace.get("fill") == "toself" for trace in traces) == spread
    assert len(figures.figure_curves(many).axes[0].collections) == spread


@pytest.mark.parametrize(("exponent", "text"), [(0, "1"), (np.log10(20), "20"), (3, "1k"), (12, "10¹²"), (-3, "10⁻³")])
def test_tick_labels_use_prefixes_and_powers(exponent, text):
    assert tick_label(exponent) == text


def test_a_single_budget_and_seed_can_be_drawn():
    table = check_table(starred(study_frame(seeds=1, budgets=(0, 4))))
    one = arm_series(table, "true_reward", table.tasks("true_reward", "verified"))
    assert one is not None
    go.Figure(charts.learning_curves(fill_missing_axes([one]), shared_axes([one])))
    figures.figure_curves([one])
