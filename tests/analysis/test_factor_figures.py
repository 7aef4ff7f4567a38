"""Figures of gains: heat maps over two factors, pass@k, hidden budgets, parameters by arm."""

import numpy as np
import polars as pl
import pytest

from harness.analysis.data.table import check_table
from harness.analysis.report.gain_charts import heat_maps
from harness.analysis.report.gain_maps import factor_figures, gain_by_factors
from harness.analysis.report.law_section import hidden_predictions, law_parameters
from harness.analysis.transfer.problems import pass_curves
from tests.analysis.pages import chart_rows, layers
from tests.analysis.study_tables import study_frame


def planted(gain) -> pl.DataFrame:
    """A study in which accuracy is .25 before RL and .25 + gain(family, difficulty, step) after."""
    frame = study_frame(budgets=(0, 4, 16))
    rows = zip(frame["family"], frame["difficulty"], frame["step"])
    counts = [round(256 * (0.25 + gain(*row) * (row[2] > 0))) for row in rows]
    return frame.with_columns(n_correct=pl.Series(counts), n_correct_sq=pl.Series(counts))


def test_the_gain_of_two_factors_is_the_planted_one():
    table = check_table(planted(lambda family, difficulty, step: 0.125 * difficulty * (family == "sorting")))
    rows = gain_by_factors(table, "true_reward", "verified", "family", "difficulty")
    found = {(row["y"], row["x"]): (row["gain"], row["shown"][-1] == "*") for row in rows}
    assert found["sorting", "3"] == (pytest.approx(0.375), True)
    assert found["addition", "3"] == (pytest.approx(0.0), False)
    assert len(found) == 9


def test_a_factor_of_steps_shows_the_gain_at_each_budget():
    frame = planted(lambda family, difficulty, step: step / 64).with_columns(setting=pl.lit("thinking=8"))
    both = pl.concat([frame, frame.with_columns(setting=pl.lit(""))])
    rows = gain_by_factors(check_table(both), "true_reward", "verified", "setting", "step")
    assert [(row["y"], row["x"], row["gain"]) for row in rows[:2]] == [
        ("–", "4", pytest.approx(4 / 64)),
        ("–", "16", pytest.approx(16 / 64)),
    ]
    assert "gain_by_setting_and_step" in factor_figures(check_table(both), "true_reward")


def test_settings_stand_in_the_order_of_their_numbers():
    frame = planted(lambda family, difficulty, step: step / 64)
    several = pl.concat([frame.with_columns(setting=pl.lit(f"thinking={n}")) for n in (0, 12, 4, 18)])
    rows = gain_by_factors(check_table(several), "true_reward", "verified", "setting", "step")
    assert list(dict.fromkeys(row["y"] for row in rows)) == [f"thinking={n}" for n in (0, 4, 12, 18)]


def test_the_longer_side_of_a_heat_map_stands_upright():
    rows = [{"y": "one", "x": f"family {i}", "gain": 0.1 * i, "shown": ""} for i in range(5)]
    (drawn,) = layers(heat_maps({"": rows}, x_title="families")[""], "rect")
    assert drawn["encoding"]["y"]["field"] == "x"
    assert drawn["encoding"]["y"]["axis"]["title"] == "families"


def test_pass_at_k_is_the_unbiased_estimate():
    table = check_table(study_frame(seeds=2, budgets=(0, 2, 4)).filter(pl.col("arm") == "true_reward"))
    runs = table.frame.select("run_id", "x", "task").unique()
    correct = pl.when(pl.col("x") > 0).then(2).otherwise(1)  # of 4
    problems = runs.with_columns(problem=pl.lit("p"), k=pl.lit(4), n_correct=correct, setting=pl.lit(""))
    rows = pass_curves(check_table(table.frame, problems), "true_reward", None)
    found = {(row["role"], row["label"], row["k"]): row["value"] for row in rows}
    assert [found["verified", "before RL", k] for k in (1, 2, 4)] == pytest.approx([1 / 4, 1 / 2, 1])
    assert [found["unverified", "after RL", k] for k in (1, 2, 4)] == pytest.approx([1 / 2, 1 - 1 / 6, 1])
    assert pass_curves(table, "true_reward", None) == []
    before = problems.filter(pl.col("x") < problems["x"].max())  # of what was scored later nothing is known
    assert pass_curves(check_table(table.frame, before), "true_reward", None) == []


def test_a_line_predicts_hidden_budgets_of_a_line_and_the_last_value_does_not():
    x = np.array([1.0, 2, 4, 8, 16, 32, 64])
    values = 0.1 + 0.2 * np.log10(x)
    at, line, last = hidden_predictions(x, values)
    assert list(at) == [32, 64]
    assert line == pytest.approx(values[-2:])
    assert last == pytest.approx([values[-3]] * 2)
    assert hidden_predictions(x[-3:], values[-3:]) is None


def test_parameters_that_are_not_identified_are_not_drawn():
    def pool(arm, x_mid):
        hill = {
            "parameters": {"A": 0.6, "B": 1.0, "x_mid": 1e9},
            "intervals": {"A": [0.5, 0.7], "B": None, "x_mid": x_mid},
        }
        shared = {"task": "all", "role": "verified", "model_params": None, "slope_per_decade": 0.1}
        return {**shared, "arm": arm, "slope_ci": [0.05, 0.15], "laws": {"hill": hill}}

    pools = [pool("true_reward", [1e8, 1e10]), pool("frozen", "not identified")]
    figure = law_parameters(pools, pools[:1])
    assert set(figure.panels) == {"Slope per decade", "Ceiling A", "x at half of the gain"}
    assert [row["row"] for row in chart_rows(figure.panels["x at half of the gain"])] == ["true reward"]
    assert law_parameters(pools[:1], pools[:1]) is None
