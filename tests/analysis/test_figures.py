"""Figures: what is drawn is what was measured, on every axis, with budget 0 in its own place."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from harness.analysis.data.curves import curves
from harness.analysis.data.table import check_table
from harness.analysis.report import budget_charts as charts
from harness.analysis.report.chart_style import colour_of, inline, readable
from harness.analysis.report.curve_series import arm_series, fill_missing_axes, series_of, shared_axes, tick_label
from harness.analysis.report.figures import Figure, printed, write_figures
from harness.analysis.report.report_page import role_series
from harness.analysis.report.sections import accuracy_title
from harness.analysis.report.transfer_section import forest_figure
from harness.analysis.stats.intervals import estimate
from harness.analysis.transfer.transfer_report import transfer_report
from tests.analysis.pages import chart_rows, default_options, layers
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
    assert series[0].points["accuracy"][6] == pytest.approx((own["n_correct"] / own["n_problems"]).mean())
    assert series[0].points["tokens"][6] == 64 * 6000


def test_budget_zero_lies_left_of_every_budget_on_every_axis(series):
    for axis in shared_axes(series):
        first = min(one.points[axis.name].min() for one in series)
        assert 10 ** axis.range[0] < axis.zero < axis.gap < first
        assert axis.ticks[0] == (axis.zero, "0")
        assert all(value >= first * 0.99 for value, _ in axis.ticks[1:])


def test_every_row_can_be_switched_to_every_axis_of_the_page(series):
    axes = shared_axes(series)
    names = [axis.name for axis in axes]
    assert names == ["x", "step", "completions", "tokens", "flops", "seconds"]
    for chart in (
        charts.learning_curves(series, axes, "verified"),
        charts.law_fits(series[0], axes, FITS),
        charts.residuals(series[0], axes, FITS),
        charts.cell_panel(series, axes),
    ):
        rows = [row for row in chart_rows(chart) if "level" not in row]
        assert all(np.isfinite([row[name] for name in names]).all() for row in rows)


def test_the_axis_that_x_is_takes_its_name():
    table = check_table(study_frame().with_columns(x=study_frame()["flops"].cast(float)))
    assert shared_axes(role_series(table, "true_reward", "verified"))[0].title == "RL FLOPs as spent"


def test_an_arm_that_spends_nothing_is_drawn_where_the_real_arm_spends():
    frame = study_frame()
    free = frame.with_columns(flops=frame["flops"] * (frame["arm"] != "frozen").cast(int))
    drawn = {one.arm: one for one in role_series(check_table(free), "true_reward", "verified")}
    assert np.allclose(drawn["frozen"].points["flops"], drawn["true_reward"].points["flops"])


def test_budgets_map_between_axes_as_in_the_table(series):
    assert series[0].on("tokens", np.array([2.4e9 * 3])) == pytest.approx([6000 * 3])


def test_residuals_are_measured_minus_law(series):
    chart = charts.residuals(series[0], shared_axes(series), {"log_linear": FITS["log_linear"]})
    drawn = [row["residual"] for row in chart_rows(chart) if "residual" in row]
    law = -0.2 + 0.06 * np.log10(series[0].points["x"])
    assert drawn == pytest.approx((series[0].points["accuracy"] - law).to_list(), rel=1e-4)


def test_points_hidden_by_the_extrapolation_are_open(series):
    chart = charts.law_fits(series[0], shared_axes(series), FITS)
    hidden = [row for row in chart_rows(chart) if row.get("kind") == "hidden"]
    assert [row["step"] for row in hidden] == [128, 256]  # of 1 … 256: the last factor of four
    (points,) = layers(chart, "point")
    assert points["encoding"]["fill"]["condition"]["test"] == "datum.kind == 'measured'"
    assert points["encoding"]["fill"]["value"] == "transparent"


@pytest.mark.parametrize(("arms", "spread"), [(4, 4), (5, 2)])
def test_of_many_arms_the_first_two_alone_show_their_spread(series, arms, spread):
    many = [replace(series[0], label=f"arm {i}") for i in range(arms)]
    rows = chart_rows(charts.learning_curves(many, shared_axes(many), "verified"))
    assert (
        len({row["label"] for row in rows if "low" in row})
        == len({row["label"] for row in rows if "seed" in row})
        == spread
    )


def test_a_band_ends_where_accuracies_do_and_needs_three_replicates():
    table = study_table()
    c = curves(table, "true_reward", role="verified")
    band = series_of(table, replace(c, accuracy=c.accuracy * np.linspace(-9, 9, len(c.accuracy))[:, None]), None, "")
    assert (band.points["low"].min(), band.points["high"].max()) == (0, 1)
    low, _ = estimate(c.accuracy[:, 3]).interval()
    assert series_of(table, c, None, "").points["low"][3] == pytest.approx(low)
    two = replace(c, **{name: getattr(c, name)[:2] for name in ("accuracy", "r0", "seeds", "bases")})
    assert series_of(table, two, None, "").points["low"].null_count() == len(c.x)


def test_no_two_arms_share_a_colour():
    assert len({colour_of(i) for i in range(60)}) == 60


def test_the_title_says_what_the_real_arm_and_the_control_did(series):
    title = accuracy_title({"verified": series})
    first, last = series[0].start, series[0].points["accuracy"][-1]
    assert f"True reward takes verified accuracy from {first:.2f} to {last:.2f}" in title
    assert readable("shuffled_within_group") in title


def test_a_printed_figure_holds_all_panels_and_the_measured_numbers(series, tmp_path):
    axes = shared_axes(series)
    panels = {role: charts.learning_curves(series, axes, role) for role in ("verified", "unverified")}
    spec = printed(Figure("A title <b> of $x_1$ that is " + "long " * 30, "", panels, columns=2))
    assert [panel["title"] for panel in spec["concat"]] == ["verified", "unverified"]
    assert len(spec["title"]["text"]) > 1
    measured = [row["accuracy"] for rows in spec["datasets"].values() for row in rows if row.get("step") == 256]
    last = series[0].points["accuracy"][-1]
    assert last == pytest.approx(min(measured, key=lambda y: abs(y - last)), rel=1e-5)
    paths = write_figures(tmp_path, {"one": Figure("$a_b$ <!--<script>", "", {"": panels["verified"]})})
    assert [path.read_bytes()[:4] for path in paths] == [b"\x89PNG", b"%PDF"]


def test_what_is_not_finite_is_a_gap():
    data = inline(pl.DataFrame({"y": [1.0, float("nan"), float("inf")]}))
    assert [row["y"] for row in data.to_dict()["values"]] == [1.0, None, None]


def test_the_forest_has_a_row_for_each_gain():
    report = transfer_report(study_table(), default_options())
    drawn = [row for row in chart_rows(forest_figure(report).panels[""]) if row.get("label") == "verified"]
    names = ["all verified", "addition symbolic", "reversal symbolic", "sorting symbolic"]
    gains = [report["verified"]["pooled"], *report["verified"]["tasks"]]
    assert [row["row"] for row in drawn] == names
    assert [row["mean"] for row in drawn] == pytest.approx([one["gain"]["mean"] for one in gains], rel=1e-5)


@pytest.mark.parametrize(("exponent", "text"), [(0, "1"), (np.log10(20), "20"), (3, "1k"), (12, "10¹²"), (-3, "0.001")])
def test_tick_labels_use_prefixes_and_powers(exponent, text):
    assert tick_label(exponent) == text


def test_a_single_budget_and_seed_can_be_drawn(tmp_path):
    table = check_table(starred(study_frame(seeds=1, budgets=(0, 4))))
    one = arm_series(table, "true_reward", table.tasks("true_reward", "verified"))
    assert one is not None
    chart = charts.learning_curves(fill_missing_axes([one]), shared_axes([one]), "verified")
    write_figures(tmp_path, {"one": Figure("One", "", {"": chart})})
