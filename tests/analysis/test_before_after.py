"""Before and after by arm, from planted counts."""

import polars as pl
import pytest

from harness.analysis.data.table import check_table
from harness.analysis.transfer.before_after import before_after_rows, markdown

COUNTS = {  # arm -> seed -> correct of 100 at steps 0, 1, 2
    "true_reward": {0: (20, 30, 40), 1: (20, 24, 46)},
    "shuffled_within_group": {0: (20, 10, 22), 1: (20, 12, 20)},
}


def planted():
    rows = [
        {"run_id": f"{arm}{seed}", "arm": arm, "seed": seed, "task": task, "role": role, "x": float(step), "step": step,
         "n_problems": 100, "k": 1, "n_correct": n, "model_params": 1000}
        for arm, seeds in COUNTS.items() for seed, counts in seeds.items() for step, n in enumerate(counts)
        for task, role in (("a", "verified"), ("b", "unverified"))
    ]  # fmt: skip
    return check_table(pl.from_dicts(rows))


def test_each_arm_has_its_accuracy_before_and_after_its_change_and_its_deepest_fall():
    true, shuffled = before_after_rows(planted(), "verified")
    assert (true["before"], true["after"]) == pytest.approx((0.20, 0.43))
    assert true["change"]["mean"] == pytest.approx(0.23)
    # Two runs, changes .20 and .26: the mean plus or minus 12.706 x .03 (t with one degree of freedom).
    assert true["change"]["high"] - true["change"]["mean"] == pytest.approx(12.706 * 0.03, rel=1e-3)
    assert true["fall"] == 0
    assert shuffled["fall"] == pytest.approx(0.09)


def test_the_table_has_a_line_for_each_arm():
    lines = markdown(before_after_rows(planted(), "unverified")).splitlines()
    assert len(lines) == 4
    assert lines[2].startswith("| true_reward | 2 | 0.200 | 0.430 | +0.230 |")
    assert len({line.count("|") for line in lines}) == 1


def test_tasks_can_be_named_and_changes_compared_with_a_control():
    true, shuffled = before_after_rows(planted(), "verified", ["b*"], "shuffled_within_group")
    assert (true["before"], true["after"]) == pytest.approx((0.20, 0.43))
    # Paired by seed: .20 - .02 and .26 - .00.
    assert true["gain"]["mean"] == pytest.approx(0.22)
    assert true["gain"]["high"] - true["gain"]["mean"] == pytest.approx(12.706 * 0.04, rel=1e-3)
    assert shuffled["gain"] is None
    lines = markdown([true, shuffled]).splitlines()
    assert "| +0.220 | -0.288 to +0.728 |" in lines[2]
    assert len({line.count("|") for line in lines}) == 1
    assert before_after_rows(planted(), "verified", ["c*"]) == []


def test_changes_on_different_tasks_are_not_compared():
    lacking = planted().frame.filter((pl.col("arm") == "true_reward") | (pl.col("task") == "a"))
    rows = before_after_rows(check_table(lacking), "verified", ["*"], "shuffled_within_group")
    assert [row["gain"] for row in rows] == [None, None]
