"""Allocation: the gain of each decade is the planted one, by measurement and by the laws."""

import json

import numpy as np
import polars as pl
import pytest

from harness.analysis.data.curves import curves
from harness.analysis.data.options import default_options
from harness.analysis.data.table import check_table
from harness.analysis.stats.allocation import allocation, marginal_gain
from tests.analysis.study_tables import study_frame, study_table

OPTIONS = default_options()


def test_measured_decades_are_the_planted_slope_and_laws_agree_on_a_line():
    c = curves(study_table(seeds=6, problems=4000, seed_sd=0.002), "true_reward", role="verified")
    found = marginal_gain(c, OPTIONS)
    assert len(found["measured"]) == 2
    assert all(0.05 < one["gain"]["mean"] < 0.10 for one in found["measured"])
    line = found["next_decade"]["log_linear"]
    slope = np.polyfit(np.log10(c.x), c.accuracy.mean(axis=0), 1)[0]
    assert line["gain"] == pytest.approx(slope, abs=0.003)
    assert line["low"] < slope < line["high"]


def test_both_roles_of_a_study_have_a_record_in_strict_json():
    found = allocation(study_table(), OPTIONS)
    json.dumps(found, allow_nan=False)
    assert set(found["marginal_gain"]) == {"verified", "unverified"}
    others = study_frame().filter(pl.col("arm") != "true_reward")
    assert allocation(check_table(others), OPTIONS) == {"marginal_gain": {}}
