"""Shares of laws over tasks undo the confusion that the calibration measured."""

from pathlib import Path

import pytest

from harness.analysis.calibration import confusion
from harness.analysis.calibration.code_hash import JUDGES, code_hash, without_docstrings
from harness.analysis.calibration.confusion import Case
from harness.analysis.data.options import default_options
from harness.analysis.verdict.power import shape_power
from harness.analysis.verdict.rules import VERDICTS
from harness.analysis.verdict.task_shares import calibration, confusion_by_truth, task_shares


def row(**chances: float) -> list[float]:
    return [chances.get(verdict, 0.0) for verdict in VERDICTS]


CONFUSION = {
    "log_linear": row(log_linear=0.5, indistinguishable=0.5),
    "saturating": row(saturating=1.0),
    "other": row(indistinguishable=1.0),
}


def test_half_recognised_lines_count_twice() -> None:
    found = task_shares(["log_linear"] * 3 + ["indistinguishable"] * 3 + ["saturating"] * 6, CONFUSION)
    assert found["corrected"] == pytest.approx({"log_linear": 0.5, "saturating": 0.5}, abs=0.01)
    assert found["observed"]["log_linear"] == 0.25


def test_unjudged_tasks_count_for_nothing() -> None:
    assert task_shares(["insufficient_data"] * 4, CONFUSION)["tasks"] == 0
    assert task_shares(["insufficient_data", "saturating"], CONFUSION)["corrected"] == pytest.approx(
        {"saturating": 1.0}
    )


def test_the_committed_calibration_has_every_part_and_few_false_claims() -> None:
    found = calibration()
    assert set(found) == {"confusion", "coverage", "power", "window", "seeds", "judged_by"}
    for name, case in found["confusion"].items():
        assert case["tables"] >= 200, name
        for claim in ("false", "false_rises", "false_log_linear", "false_windows"):
            assert case[claim] <= 4, (name, claim)
    for chances in confusion_by_truth(found["confusion"]).values():
        assert sum(chances) == pytest.approx(1.0)


def test_the_committed_calibration_was_made_by_the_code_that_judges() -> None:
    """Rules that changed need a new calibration: python scripts/analyze.py action=calibrate."""
    assert calibration()["judged_by"] == code_hash(JUDGES)


def test_comments_and_docstrings_do_not_change_what_a_calibration_holds_for() -> None:
    plain, dressed = "def f(x):\n    return 2 * x\n", 'def f(x):\n    """Twice."""\n    return 2 * x  # doubled\n'
    assert without_docstrings(plain) == without_docstrings(dressed)
    assert without_docstrings(plain) != without_docstrings(plain.replace("2", "3"))


def test_a_stopped_calibration_goes_on_from_its_finished_cases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = [Case("flat", 5, 2, (0, 0, 0)), Case("power_up", 5, 2, (0, 0, 1))]
    monkeypatch.setattr(confusion, "cases", lambda tables, seed: few)
    first = confusion.confusion(2, 0, default_options(), tmp_path / "progress.jsonl")
    assert first["power_up, 5 seeds"]["rises"] == {"yes": 2}
    monkeypatch.setattr(confusion, "judge_case", None)
    assert confusion.confusion(2, 0, default_options(), tmp_path / "progress.jsonl") == first


def test_power_grows_with_slope_and_is_never_extrapolated() -> None:
    assert shape_power(0.2, 10_000, 16) == max(row["power"] for row in calibration()["power"])
    assert shape_power(0.12, 2048, 8) >= shape_power(0.05, 2048, 8)
    assert shape_power(0.001, 2048, 8) is None
    assert shape_power(0.12, 2048, 3) is None
