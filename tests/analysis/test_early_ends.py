"""The end of a run is censoring: an arm is read up to its first end, and its slower runs never stand for it beyond."""

import numpy as np
import polars as pl
import pytest

from harness.analysis.data.curves import curves
from harness.analysis.data.table import check_table
from harness.analysis.data.table_checks import TableError

STEPS = (0, 1, 2, 4, 8, 16)
ENDS = {0: 5, 1: 9, 2: None, 3: None}  # seed -> where it was ended: the faster, the earlier


def accuracy(seed, step):
    return (20 + (8 - 2 * seed) * np.log2(1 + step)) / 100


def frame(ends=None, arm="true_reward"):
    """Four seeds at budgets up to their ends."""
    ends = ENDS if ends is None else ends
    rows = [
        {"run_id": f"{arm}-{seed}", "arm": arm, "seed": seed, "task": "a", "role": "verified", "x": float(step),
         "step": step, "n_problems": 100, "k": 1, "n_correct": round(100 * accuracy(seed, step)), "ended_step": end}
        for seed, end in ends.items() for step in STEPS if end is None or step <= end
    ]  # fmt: skip
    return pl.DataFrame(rows, schema_overrides={"ended_step": pl.Int64})


def test_an_arm_is_read_up_to_its_first_end_with_all_its_seeds():
    table = check_table(frame())
    found = curves(table, "true_reward")
    assert found.seeds == (0, 1, 2, 3)
    assert found.x.tolist() == [1, 2, 4]
    assert table.frame.height == 4 * 4  # no row is made up


def test_without_the_cut_the_slower_runs_would_stand_for_the_arm():
    """What the rule prevents: with more budgets behind the end, the largest complete block leaves the fast runs out."""
    ends = dict.fromkeys((0, 1), 1) | dict.fromkeys((2, 3, 4, 5))
    blind = frame(ends).with_columns(ended_step=pl.lit(None, pl.Int64))
    assert curves(check_table(blind), "true_reward").seeds == (2, 3, 4, 5)
    assert curves(check_table(frame(ends)), "true_reward").seeds == (0, 1, 2, 3, 4, 5)


def test_other_arms_keep_their_budgets_and_the_table_says_what_was_left_out():
    both = pl.concat([frame(), frame(dict.fromkeys(range(4)), "shuffled_within_group")])
    table = check_table(both)
    assert curves(table, "shuffled_within_group").x.tolist() == [1, 2, 4, 8, 16]
    (note,) = (note for note in table.notes if "stop_at" in note)
    # Of seed 1 the row at 8, of seeds 2 and 3 those at 8 and 16.
    assert note == (
        "arm 'true_reward': rl.stop_at ended 2 of 4 runs, the first at step 5; 5 rows of other runs beyond it left out"
    )


def test_ends_need_steps():
    with pytest.raises(TableError, match="ended_step"):
        check_table(frame().drop("step"))
