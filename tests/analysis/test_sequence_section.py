"""What the report says of forgetting, on a table whose accuracies are known."""

import polars as pl
import pytest

from harness.analysis.data.table import check_table
from harness.analysis.report.gain_maps import forgetting_matrix, phase_accuracies, sequence_section

# Right of 100 at the steps of the budgets: phase 1 ends at step 4, phase 2 at step 8.
RIGHT = {"first.symbolic": {0: 20, 2: 50, 4: 80, 6: 60, 8: 50}, "second.symbolic": {0: 30, 2: 30, 4: 35, 6: 60, 8: 90}}


def row(run, task, step, n_correct):
    where = {"run_id": f"r{run}", "arm": "sequence", "seed": run, "task": task, "role": "verified", "step": step}
    phases = {"phase": 1 + (task == "second.symbolic"), "phases_ended": step // 4}
    return where | phases | {"x": float(step), "n_problems": 100, "k": 1, "n_correct": n_correct + run}


def rows():
    return [
        row(run, task, step, n) for run in (0, 1, 2) for task, counts in RIGHT.items() for step, n in counts.items()
    ]


def test_the_matrix_is_the_change_from_before_rl_at_the_end_of_each_phase():
    found = {
        (one["y"][6:7], one["x"][:1]): one["gain"]
        for one in forgetting_matrix(check_table(pl.DataFrame(rows())), "sequence")
    }
    assert found == {
        key: pytest.approx(gain)
        for key, gain in {("1", "1"): 0.6, ("1", "2"): 0.05, ("2", "1"): 0.3, ("2", "2"): 0.6}.items()
    }


def test_the_report_shows_what_the_last_phase_took_from_the_first():
    section = sequence_section(check_table(pl.DataFrame(rows())))
    assert section is not None
    assert "−0.300 to −0.300" in section.render()
    assert list(section.figures["forgetting"].panels) == ["sequence"]


def test_a_run_without_a_score_before_rl_or_in_the_middle_of_a_phase_adds_nothing():
    table = check_table(pl.DataFrame([one for one in rows() if one["step"] not in (0, 8) or one["run_id"] != "r0"]))
    found = phase_accuracies(table, "sequence").filter(pl.col("run_id") == "r0", pl.col("phase") == 1)
    assert found["phases_ended"].to_list() == [1]  # neither step 2, nor step 6
    assert len(forgetting_matrix(table, "sequence")) == 4


def test_a_table_without_a_sequence_has_no_such_section():
    plain = pl.DataFrame(rows()).drop("phase", "phases_ended")
    assert sequence_section(check_table(plain)) is None
