"""Allocation: planted optima come back with their intervals, and what the data do not identify is called so."""

import json

import numpy as np
import polars as pl
import pytest

from harness.analysis.data.curves import curves
from harness.analysis.data.options import default_options
from harness.analysis.data.table import check_table
from harness.analysis.stats.allocation import allocation, marginal_gain, quadratic_peak, within_rl
from tests.analysis.study_tables import study_frame, study_table

OPTIONS = default_options()
BUDGETS = 10.0 ** np.arange(9, 13)


def row(run: str, arm: str, base: int, seed: int, x: float, accuracy: float, **more) -> dict:
    problems = 20_000
    return {"run_id": run, "arm": arm, "seed": seed, "base_id": f"b{base}", "task": "t", "role": "verified", "x": x,
            "n_problems": problems, "k": 1, "n_correct": round(float(accuracy) * problems), "model_params": 10**5,
            **more}  # fmt: skip


def bases(b_pretraining: float, b_rl: float, tokens: tuple[float, ...] = (1e4, 1e5, 1e6, 1e4, 1e5, 1e6)):
    """Bases of different pretraining, each trained by RL; accuracy is the plane plus a wobble per base."""
    rng = np.random.default_rng(0)
    rows = []
    for base, amount in enumerate(tokens):
        level = 0.4 + b_pretraining * np.log10(amount / 1e5) + 0.003 * rng.normal()
        rows += [
            row(f"r{base}", "true_reward", base, base, x, level + b_rl * np.log10(x / 1e10) + 0.001 * rng.normal(),
                flops=x, pretrain_tokens=int(amount))
            for x in BUDGETS
        ]  # fmt: skip
    return check_table(pl.DataFrame(rows))


def test_the_best_split_is_the_share_of_the_planted_slopes():
    found = allocation(bases(0.06, 0.03), OPTIONS)["pretraining_or_rl"]
    assert found["identified"], found["reason"]
    share = found["share_of_flops_for_rl"]
    assert share["low"] < 1 / 3 < share["high"]
    assert share["value"] == pytest.approx(1 / 3, abs=0.05)


@pytest.mark.parametrize(
    ("table", "why"),
    [
        (bases(0.06, 0.03, tokens=(1e5,) * 6), "1 pretraining budgets"),
        (bases(0.0, 0.03), "pretraining is not clearly above 0"),
        (bases(0.06, 0.03, tokens=(1, 10, 100) * 2), "outside the splits"),
        (study_table(), "lacks pretrain_tokens"),
    ],
    ids=["one budget", "no slope", "far away", "no column"],
)
def test_a_split_that_the_data_do_not_show_is_not_identified(table, why):
    found = allocation(table, OPTIONS)["pretraining_or_rl"]
    assert not found["identified"]
    assert why in found["reason"]


def test_measured_decades_are_the_planted_slope_and_laws_agree_on_a_line():
    c = curves(study_table(seeds=6, problems=4000, seed_sd=0.002), "true_reward", role="verified")
    found = marginal_gain(c, OPTIONS)
    assert len(found["measured"]) == 2
    assert all(0.05 < one["gain"]["mean"] < 0.10 for one in found["measured"])
    line = found["next_decade"]["log_linear"]
    slope = np.polyfit(np.log10(c.x), c.accuracy.mean(axis=0), 1)[0]
    assert line["gain"] == pytest.approx(slope, abs=0.003)
    assert line["low"] < slope < line["high"]


def grid_of_settings(noise: float = 0.003):
    """Nine settings of problems a step and group size; accuracy peaks at 32 problems and groups of 8."""
    rng = np.random.default_rng(1)
    rows = []
    for problems in (8, 32, 128):
        for group in (2, 8, 32):
            for seed in range(4):
                away = np.log10(problems / 32) ** 2 + np.log10(group / 8) ** 2
                for x in BUDGETS:
                    accuracy = 0.5 + 0.03 * np.log10(x / 1e12) - 0.1 * away + noise * rng.normal()
                    rows.append(row(f"{problems}-{group}-{seed}", f"p{problems}g{group}", 0, seed, x, accuracy,
                                    problems_per_step=problems, group_size=group, completions=int(x)))  # fmt: skip
    return check_table(pl.DataFrame(rows))


def test_the_best_group_size_and_problems_a_step_are_found_at_matched_completions():
    found = within_rl(grid_of_settings(), OPTIONS)
    assert found["identified"], found["reason"]
    assert found["best"]["problems_per_step"]["low"] < 32 < found["best"]["problems_per_step"]["high"]
    assert found["best"]["group_size"]["low"] < 8 < found["best"]["group_size"]["high"]


def test_settings_are_matched_at_their_completions_where_what_a_step_costs_differs_by_seed():
    by_x = grid_of_settings().frame
    number = pl.col("x").rank("dense").over("arm").cast(pl.Int64)
    spread = by_x.with_columns(step=number, x=pl.col("x") * (1 + 0.01 * pl.col("seed")))
    assert within_rl(check_table(spread), OPTIONS)["best"] == within_rl(check_table(by_x), OPTIONS)["best"]


def test_a_surface_without_a_peak_inside_the_range_has_no_optimum():
    u = np.linspace(0, 1, 5)[:, None]
    assert quadratic_peak(u, (u[:, 0] - 0.4) ** 2) is None
    assert quadratic_peak(u, -((u[:, 0] - 3) ** 2)) is None
    assert quadratic_peak(u, -((u[:, 0] - 0.4) ** 2)) == pytest.approx([0.4])


def test_a_study_of_one_setting_records_what_is_lacking_in_strict_json():
    found = allocation(check_table(study_frame()), OPTIONS)
    json.dumps(found, allow_nan=False)
    assert not found["within_rl"]["identified"]
    assert set(found["marginal_gain"]) == {"verified", "unverified"}
