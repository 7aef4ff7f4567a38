"""Transfer: planted gains come back, the control is subtracted, and no claim goes beyond the table."""

import json

import numpy as np
import polars as pl
import pytest

from harness.analysis.data.grids import align_pair, arm_grids
from harness.analysis.data.options import default_options
from harness.analysis.data.table import check_table
from harness.analysis.stats.contrasts import fieller_ratio, two_way_record
from harness.analysis.stats.intervals import estimate
from harness.analysis.transfer.sentences import transfer_finding
from harness.analysis.transfer.transfer_report import interquartile_mean, transfer_report
from tests.analysis.study_tables import QUICKSTART, starred, study_frame, study_table

OPTIONS = default_options()
WHOLE = {"true_reward": (0.2, 0.15), "shuffled_within_group": (0.05, 0.05), "frozen": (0.0, 0.0), "direct": (0.2, 0.25)}


SHARP = {"seeds": 8, "problems": 4000, "seed_sd": 0.002}


def report_of(frame=None, **drawn):
    """Of a frame, or of one drawn as `study_frame` draws it."""
    return transfer_report(study_table(**drawn) if frame is None else check_table(frame), OPTIONS)


def gain(report, role="unverified"):
    return report[role]["pooled"]["gain"]


def drop(frame: pl.DataFrame, arm: str) -> pl.DataFrame:
    return frame.filter(pl.col("arm") != arm)


def test_planted_gains_lie_in_their_intervals_with_the_controls_drift_subtracted():
    """The ratio to direct training subtracts the control above and below, the share of the way there does not."""
    report = report_of(rises=WHOLE, seeds=8, problems=2000)
    pooled, direct = report["unverified"]["pooled"], report["unverified"]["direct"]
    for found, planted in (
        (pooled["gain"], 0.15 - 0.05),
        (gain(report, "verified"), 0.2 - 0.05),
        (pooled["change"], 0.15),
        (direct["ratio"], (0.15 - 0.05) / (0.25 - 0.05)),
        (direct["share_of_gap"], 0.15 / 0.25),
    ):
        assert found["low"] < planted < found["high"]
    assert transfer_finding(report) == "transfers"


def test_a_gain_against_a_control_that_fell_is_no_transfer_unless_the_tasks_rose():
    """The shuffled control lost .1; the real arm stands still on unverified tasks."""
    fell = {**WHOLE, "true_reward": (0.2, 0.0), "shuffled_within_group": (-0.1, -0.1)}
    report = report_of(rises=fell, seeds=8, problems=2000)
    assert gain(report)["low"] > 0
    assert transfer_finding(report) == "undecided"
    assert "which fell; by themselves" in report["sentences"][0]
    assert "part of it the control's own fall" in report["sentences"][1]
    rose = {**fell, "true_reward": (0.2, 0.1)}
    assert transfer_finding(report_of(rises=rose, seeds=8, problems=2000)) == "transfers"


def test_a_task_keeps_the_role_it_has_for_the_real_arm():
    """In the direct arm the targets are verified; they are still the unverified tasks of the study."""
    report = report_of(rises=WHOLE)
    assert {row["task"].split("_")[1] for row in report["unverified"]["tasks"]} == {"worded"}


def test_pairing_by_seed_removes_what_a_seed_does_to_both_arms():
    frame = study_frame(problems=100_000, seed_sd=0.0)
    tilt = pl.col("seed").replace_strict({0: -0.1, 1: 0.0, 2: 0.05, 3: 0.15}, return_dtype=pl.Float64)
    moved = (pl.col("n_correct") + pl.when(pl.col("x") > 0).then(tilt * pl.col("n_problems")).otherwise(0)).round(0)
    shifted = frame.with_columns(n_correct=moved.cast(pl.Int64), n_correct_sq=moved.cast(pl.Int64))
    report = report_of(shifted)
    own = report["unverified"]["pooled"]["change"]
    assert own["high"] - own["low"] > 10 * (gain(report)["high"] - gain(report)["low"])


@pytest.mark.parametrize(
    ("real", "drawn", "finding", "sentence"),
    [
        ((0.4, 0.0), SHARP, "none", "No transfer"),
        ((0.4, 0.0), {"seeds": 3, "problems": 20}, "undecided", "Undecided"),
        ((0.0, 0.0), SHARP, "no_verified_gain", "Transfer cannot be judged"),
        ((0.2, -0.15), {}, "harms", "RL harmed"),
    ],
)
def test_no_transfer_needs_an_interval_inside_the_margin_and_a_verified_gain(real, drawn, finding, sentence):
    report = report_of(rises={"true_reward": real, "shuffled_within_group": (0.0, 0.0)}, **drawn)
    assert transfer_finding(report) == finding
    assert report["sentences"][0].startswith(sentence)
    assert (report["unverified"]["pooled"]["no_transfer_p"] < 0.05) == (drawn == SHARP)


def test_without_the_control_a_change_is_not_called_transfer():
    report = report_of(drop(study_frame(), "shuffled_within_group"))
    assert transfer_finding(report) == "uncontrolled"
    assert any("no control arm shuffled_within_group" in lack for lack in report["missing"])


@pytest.mark.parametrize("seeds", [1, 2, 4])
def test_the_starred_columns_alone_give_an_answer_in_strict_json(seeds):
    report = report_of(starred(study_frame(seeds=seeds)))
    text = json.dumps(report, allow_nan=False)
    assert json.loads(text) == report
    assert len(report["sentences"]) >= 3
    assert (transfer_finding(report) == "undecided") == (seeds == 1)


@pytest.mark.parametrize(
    ("cut", "step", "budget", "replicates"),
    [("shuffled_within_group-", 32, 32, 4), ("shuffled_within_group-2", 4, 256, 3)],
)
def test_an_unfinished_control_costs_budgets_and_a_single_run_its_replicate(cut, step, budget, replicates):
    late = pl.col("run_id").str.starts_with(cut) & (pl.col("step") > step)
    report = report_of(study_frame().filter(~late))
    assert (report["unverified"]["budget"], report["unverified"]["n_replicates"]) == (budget, replicates)
    assert gain(report)["low"] is not None


def test_a_control_without_budget_zero_takes_the_base_it_shares():
    unstarted = (pl.col("arm") == "shuffled_within_group") & (pl.col("x") == 0)
    whole, cut = (report_of(f) for f in (study_frame(), study_frame().filter(~unstarted)))
    assert gain(cut)["mean"] == pytest.approx(gain(whole)["mean"], abs=0.03)


def test_a_table_without_budget_zero_or_the_real_arm_lists_what_is_missing():
    started = report_of(study_frame().filter(pl.col("x") > 0))
    other = report_of(drop(study_frame(), "true_reward"))
    for report in (started, other):
        assert report["unverified"] is None
        assert "cannot be judged: the arm true_reward" in report["sentences"][0]
    lacks = "\n".join(other["missing"])
    assert "no runs of the arm true_reward" in lacks
    assert "study.analysis.real_arm" in lacks
    assert "0 replicates" not in lacks


def test_runs_of_one_base_count_once_where_there_are_enough_bases():
    report = report_of(seeds=8, bases=4)
    assert report["unverified"]["n_replicates"] == report["unverified"]["n_bases"] == 4


def test_other_arms_are_holm_corrected_and_the_direct_arm_is_no_control():
    rows = report_of(rises=WHOLE | {"random_reward": (0.1, 0.1)})["contrasts"]
    assert {row["arm"] for row in rows} == {"frozen", "random_reward"}
    assert all(row["real_minus_arm"]["p_holm"] >= row["real_minus_arm"]["p"] for row in rows)


def test_at_matched_verified_gain_a_faster_arm_is_not_a_better_one():
    """Both arms carry half of their verified gain over; one is merely twice as fast."""
    rises = {"true_reward": (0.3, 0.15), "rejection_sampling": (0.15, 0.075), "frozen": (0.0, 0.0)}
    report = report_of(rises=rises, **SHARP)
    row, still = report["matched_verified_gain"]
    assert (still["arm"], still["difference"]) == ("frozen", None)  # never gains, so cannot be matched
    assert row["verified_gain"] == pytest.approx(0.135, abs=0.01)
    assert abs(row["difference"]["mean"]) < 0.01
    assert report["contrasts"][0]["real_minus_arm"]["low"] > 0.05


def test_slope_ratio_is_the_ratio_of_planted_rises():
    ratio = report_of(seeds=8, problems=2000)["slope_ratio"]["ratio"]
    assert ratio["low"] < 0.6 < ratio["high"]


def test_slopes_are_compared_on_cells_in_the_mid_range_of_another_split():
    """One cell stands at 1 in the validation split: it is left out, whatever it does in the test split."""
    frame = study_frame(seeds=3)
    full = (pl.col("task") == "addition_worded") & (pl.col("difficulty") == 1)
    n = pl.col("n_problems")
    correct = pl.when(full).then(n).otherwise(pl.col("n_correct"))
    validation = frame.with_columns(split=pl.lit("validation"), n_correct=correct, n_correct_sq=correct)
    alone = report_of(frame)
    both = report_of(pl.concat([frame, validation]))
    assert (alone["slope_ratio"]["judged_on"], both["slope_ratio"]["judged_on"]) == (None, "validation")
    assert (alone["slope_ratio"]["cells_used"], both["slope_ratio"]["cells_used"]) == (18, 17)
    assert both["verified"] == alone["verified"]
    assert "by the scores themselves, for want of another split" in " ".join(alone["sentences"])
    assert "by split 'validation'" in " ".join(both["sentences"])


def test_cells_near_guessing_are_not_compared():
    """Cells of difficulty 1 start at .45: beyond guessing at .42 they stay below .1 for most of the window."""
    frame = study_frame(rises={"true_reward": (0.02, 0.02)}, seeds=3, seed_sd=0.0)
    guess = pl.when(pl.col("difficulty") == 1).then(0.42).otherwise(0.0)
    plain = report_of(frame)["slope_ratio"]
    corrected = report_of(frame.with_columns(guess_rate=guess))["slope_ratio"]
    assert (plain["cells_used"], corrected["cells_used"]) == (18, 12)


def test_the_matrix_has_a_row_for_each_learning_arm_and_its_trained_families():
    rises = QUICKSTART | {"placebo_domain": (0.1, 0.0)}
    frame = study_frame(rises=rises)
    frame = frame.with_columns(
        role=pl.when((pl.col("arm") == "placebo_domain") & (pl.col("family") != "sorting"))
        .then(pl.lit("unverified"))
        .otherwise(pl.col("role"))
    )
    matrix = report_of(frame)["matrix"]
    assert {row["arm"]: row["trained"] for row in matrix["rows"]} == {
        "true_reward": ["addition", "reversal", "sorting"], "placebo_domain": ["sorting"],
    }  # fmt: skip
    assert matrix["several_trained_sets"]


def sharpened(table_problems: int = 40) -> tuple[pl.DataFrame, pl.DataFrame]:
    """RL turns problems solved half of the time into solved ones, the control to three of four, none finds more."""
    frame = study_frame(seeds=4, problems=table_problems).with_columns(k=pl.lit(4), pass_at_4=pl.lit(0.5))
    rows = []
    for run, arm, x, task in frame.select("run_id", "arm", "x", "task").unique().sort("run_id", "x", "task").rows():
        after = {"true_reward": 4, "shuffled_within_group": 3}.get(arm, 2) if x > 0 else 2
        for problem in range(table_problems):
            solved = after if problem < table_problems // 2 else 0
            rows.append((run, x, task, "", problem, 4, solved))
    names = ["run_id", "x", "task", "setting", "problem", "k", "n_correct"]
    return frame.with_columns(n_correct_sq=None), pl.DataFrame(rows, schema=names, orient="row")


def test_sharpening_is_seen_as_mean_without_coverage_and_gains_are_paired_by_problem():
    report = transfer_report(check_table(*sharpened()), OPTIONS)
    rows = {(row["measure"], row["role"]): row["change"]["mean"] for row in report["sharpening"]}
    measures = ("pass@4", "coverage at 0.1", "coverage at 0.9")
    assert [rows[measure, "unverified"] for measure in measures] == [0, 0, 0.5]
    assert any("consistent with sharpening" in sentence for sentence in report["sentences"])
    other = report["unverified"]["pooled"]["gain_new_problems"]
    assert other["mean"] == pytest.approx(0.125)  # half of the problems gain .5, of which the control has half
    assert other["problems"] == 120
    assert other["low"] < 0.125 < other["high"]


def test_chance_correction_uses_the_guess_rate_column():
    frame = study_frame().with_columns(guess_rate=pl.lit(0.2))
    rows = {row["measure"]: row for row in report_of(frame)["sharpening"]}
    assert rows["mean@1 beyond guessing"]["change"]["mean"] == pytest.approx(rows["mean@1"]["change"]["mean"] / 0.8)


def test_several_sizes_are_reported_apart():
    small = study_frame()
    large = study_frame(rng_seed=1).with_columns(model_params=1_000_000, run_id=pl.col("run_id") + "-large")
    report = report_of(pl.concat([small, large], how="vertical_relaxed"))
    assert set(report["by_size"]) == {"100000", "1000000"}
    assert report["size"] == 1_000_000
    json.dumps(report)


def test_pairing_keeps_replicates_budgets_and_columns_in_step():
    arms = arm_grids(study_table())
    one, two = align_pair(arms["true_reward"], arms["frozen"])
    assert (one.units, one.columns, list(one.budgets)) == (two.units, two.columns, list(two.budgets))


def test_fieller_agrees_with_the_plain_ratio_and_refuses_a_denominator_around_zero():
    rng = np.random.default_rng(0)
    a, b = rng.normal(1, 0.1, 8), rng.normal(2, 0.1, 8)
    ratio = fieller_ratio(a, b)
    assert ratio.value == pytest.approx(a.mean() / b.mean())
    assert ratio.low < ratio.value < ratio.high
    assert fieller_ratio(a, rng.normal(0, 1, 8)).value is None
    assert fieller_ratio(a, -b).reason == "the denominator is negative"


def test_at_the_ends_of_fiellers_interval_the_t_interval_of_the_difference_touches_zero():
    rng = np.random.default_rng(3)
    shared = rng.normal(0, 0.02, 7)
    a, b = 0.1 + shared + rng.normal(0, 0.01, 7), 0.2 + shared + rng.normal(0, 0.01, 7)
    found = fieller_ratio(a, b)
    for end in (found.low, found.high):
        low, high = estimate(a - end * b).interval()
        assert min(abs(low), abs(high)) == pytest.approx(0, abs=1e-9)


def test_interquartile_mean_ignores_the_outer_quarters():
    assert interquartile_mean(np.array([[-100.0, 1.0], [2.0, 100.0]])) == 1.5


@pytest.mark.slow
def test_fieller_and_crossed_intervals_cover():
    rng = np.random.default_rng(1)
    ratios, means = [], []
    for _ in range(2000):
        shared = rng.normal(0, 0.02, 6)
        found = fieller_ratio(0.1 + shared + rng.normal(0, 0.02, 6), 0.2 + shared + rng.normal(0, 0.02, 6))
        ratios.append(found.value is None or found.low <= 0.5 <= found.high)
        table = 0.02 * (rng.normal(size=(6, 1)) + rng.normal(size=(1, 8)) + rng.normal(size=(6, 8)))
        interval = two_way_record(table)
        means.append(interval["low"] <= 0 <= interval["high"])
    assert 0.93 < np.mean(ratios) < 0.97
    assert 0.93 < np.mean(means) < 0.985
