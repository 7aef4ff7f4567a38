"""Reliability: all of k right, calibration and confident wrong answers of policies whose truth is planted."""

import numpy as np
import polars as pl
import pytest

from harness.analysis.data.options import default_options
from harness.analysis.data.table import check_table
from harness.analysis.report.reliability_section import reliability_section
from harness.analysis.transfer.reliability import calibration_error, reliability

K = 8


def tables(votes, right, correct, seeds=3):
    """A table with the problems [n] of one cell, the same at budgets 0 and 1 and for each seed."""
    rows, problems = [], []
    for seed in range(seeds):
        for x in (0.0, 1.0):
            run = {"run_id": f"a{seed}", "x": x, "task": "t", "difficulty": 1, "setting": ""}
            same = {"arm": "true_reward", "seed": seed, "role": "verified", "base_id": f"b{seed}", "step": int(x)}
            rows.append({**run, **same, "n_problems": len(votes), "k": K, "n_correct": int(sum(correct))})
            problems += [
                {**run, "problem": str(i), "k": K, "n_correct": c, "n_majority": v, "majority_correct": r}
                for i, (v, r, c) in enumerate(zip(votes, right, correct))
            ]
    return pl.DataFrame(rows), pl.DataFrame(problems)


def records(*planted):
    return reliability(check_table(*tables(*planted)), default_options())


def test_a_calibrated_policy_has_no_calibration_error_and_a_sure_and_wrong_one_has_all_of_it():
    rng = np.random.default_rng(0)
    confidence = rng.integers(1, K + 1, 100_000) / K
    error, floor = calibration_error(confidence, (rng.random(100_000) < confidence).astype(float))
    assert error < 0.005
    assert error == pytest.approx(floor, abs=0.003)
    assert calibration_error(np.ones(50), np.zeros(50)) == (1.0, 0.0)


def test_few_problems_show_an_error_of_calibration_about_the_floor_though_there_is_none():
    rng = np.random.default_rng(1)
    confidence = rng.integers(1, K, (300, 96)) / K
    found = [calibration_error(own, (rng.random(96) < own).astype(float)) for own in confidence]
    error, floor = np.mean(found, axis=0)
    assert error > 0.05
    assert error == pytest.approx(floor, rel=0.15)


def test_all_any_and_the_mean_count_completions_and_confident_wrong_answers_count_problems():
    # A problem solved always, one half, one never: sure of a wrong answer; one never: unsure.
    votes, right, correct = [8, 4, 6, 2], [1, 1, 0, 0], [8, 4, 0, 0]
    own, pool = (next(r for r in records(votes, right, correct) if r["task"] == task) for task in ("t", "all"))
    assert {name: own[name]["mean"][-1] for name in ("mean", "all", "any", "majority", "confident_wrong")} == {
        "mean": 12 / 32, "all": 0.25, "any": 0.5, "majority": 0.5, "confident_wrong": 0.25
    }  # fmt: skip
    assert own["brier"]["mean"][0] == pytest.approx((0 + 0.25 + 0.75**2 + 0.25**2) / 4)
    assert pool["all"] == own["all"]
    assert (own["k"], own["x"], own["replicates"]) == (K, [0.0, 1.0], [3, 3])
    assert "0.250 → 0.250" in reliability_section([own, pool], "true_reward").render()


def test_tables_without_the_most_frequent_answer_give_nothing():
    frame, problems = tables([8, 4], [1, 0], [8, 2])
    for older in (None, problems.drop("n_majority"), problems.with_columns(n_majority=pl.lit(None, pl.Int64))):
        assert reliability(check_table(frame, older), default_options()) == []
    assert reliability_section([], "true_reward") is None
