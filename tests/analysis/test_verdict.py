"""Planted truths get their answers and verdict; poor tables get insufficient_data; controls, mixtures and bases are
heeded."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from harness.analysis.calibration.simulate import KINDS, Kind, StudyDesign, draw_table, line
from harness.analysis.data.curves import Curves, cell_curves, curves
from harness.analysis.data.json_files import strict, write_json
from harness.analysis.data.options import default_options
from harness.analysis.data.table import check_table
from harness.analysis.data.table_checks import TableError
from harness.analysis.stats.covariance import MeanCurve, mean_curve
from harness.analysis.stats.intervals import Estimate, estimate
from harness.analysis.stats.line_tests import extrapolation, goodness_of_fit, likelihood_ratio_p
from harness.analysis.verdict import robustness
from harness.analysis.verdict.decide import decide, widest_line_window
from harness.analysis.verdict.power import _distance, _seeds_for
from harness.analysis.verdict.rules import missing_data
from harness.analysis.verdict.verdicts import verdicts

OPTIONS = default_options(bootstraps=60)
DESIGN = StudyDesign()


def planted(
    kind: str | Kind = "line_steep", design: StudyDesign = DESIGN, seed: int = 0, **labels: str
) -> pl.DataFrame:
    chosen = KINDS[kind] if isinstance(kind, str) else kind
    return draw_table(chosen, design, np.random.default_rng(seed), **labels)


def arm_of(frame: pl.DataFrame) -> Curves:
    return curves(check_table(frame), "true_reward")


def only(frame: pl.DataFrame, task: str = "all", arm: str = "true_reward") -> dict:
    return next(r for r in verdicts(check_table(frame), OPTIONS) if r["task"] == task and r["arm"] == arm)


@pytest.mark.parametrize(
    ("kind", "rises", "log_linear", "verdict"),
    [
        ("line_steep", "yes", "yes", "log_linear"),
        ("hill_levels_off", "yes", "no", "saturating"),
        ("hill_early", "yes", "no", "accelerating"),
        ("power_up", "yes", "no", "accelerating"),
        ("hill_middle", "yes", "no", "sigmoidal"),
        ("changepoint", "yes", "no", "sigmoidal"),
        ("knee", "yes", "no", "not_log_linear"),
        ("hill_shallow", "yes", "undecided", "indistinguishable"),
        ("error_power", "yes", "undecided", "indistinguishable"),
        ("rise_and_fall", "yes", "no", "non_monotone"),
        ("flat", "no", "no", "flat"),
        ("flat_near_zero", "no", "no", "flat"),
        ("falling", "no", "no", "declining"),
    ],
)
def test_a_planted_curve_gets_its_three_answers(kind: str, rises: str, log_linear: str, verdict: str) -> None:
    record = only(planted(kind))
    assert (record["rises"], record["is_log_linear"], record["verdict"]) == (rises, log_linear, verdict)
    assert f"Does RL raise it: {rises}. Log-linear over this window: {log_linear}" in record["sentences"][2]


def test_a_record_holds_the_planted_numbers() -> None:
    record = only(planted("line_steep"))
    low, high = record["slope_ci"]
    assert low < 0.1 < high
    assert record["rise"] == pytest.approx(3 * record["slope_per_decade"])
    assert record["decades"] == pytest.approx(3.0)
    assert (record["n_seeds"], record["n_budgets"], record["n_bases"]) == (8, 10, 1)
    assert record["laws"]["log_linear"]["parameters"]["b"] == pytest.approx(0.1, abs=0.01)
    assert max(record["rejections"].values()) < 0.05
    assert "given one base" in record["sentences"][0]
    assert (record["controls"], record["withheld"]) == (None, False)
    assert json.loads(json.dumps(strict(record), allow_nan=False))["verdict"] == "log_linear"


@pytest.mark.parametrize(
    ("design", "lack"),
    [
        (StudyDesign(seeds=4), "1 more seed (has 4)"),
        (StudyDesign(budgets=6), "2 more budgets"),
        (StudyDesign(decades=1.5), "0.5 more decades"),
    ],
)
def test_too_little_data_lists_what_is_missing_and_still_reports_the_slope(design: StudyDesign, lack: str) -> None:
    record = only(planted(design=design))
    assert (record["verdict"], record["rises"], record["is_log_linear"]) == ("insufficient_data", *["undecided"] * 2)
    assert lack in record["reason"]
    assert record["slope_ci"][0] < 0.3 / design.decades < record["slope_ci"][1]
    assert "log_linear" in record["laws"]


def test_one_seed_gives_numbers_without_intervals() -> None:
    record = only(planted(design=StudyDesign(seeds=1)))
    assert record["verdict"] == "insufficient_data"
    assert record["slope_ci"] is None
    assert record["slope_per_decade"] > 0
    assert record["laws"]["hill"]["intervals"]["A"] == "not identified"


@pytest.mark.parametrize("budgets", [1, 2, 3])
def test_a_few_budgets_are_insufficient_not_an_error(budgets: int) -> None:
    record = only(planted().filter(pl.col("x").is_in([0.0, *(10.0 ** np.linspace(0, 3, 10))[:budgets]])))
    assert record["verdict"] == "insufficient_data"
    assert json.dumps(strict(record), allow_nan=False)


@pytest.mark.parametrize("share", [0, 1])
def test_all_wrong_and_all_right_are_flat(share: int) -> None:
    frame = planted().with_columns(
        (pl.col("n_problems") * pl.col("k") * share).alias("n_correct"),
        (pl.col("n_problems") * pl.col("k") ** 2 * share).alias("n_correct_sq"),
    )
    record = only(frame)
    assert record["verdict"] == "flat"
    assert record["accuracy_last"] == share


def test_budget_zero_alone_gives_no_record() -> None:
    frame = pl.concat([planted(), planted(arm="frozen").filter(pl.col("x") == 0)])
    assert {r["arm"] for r in verdicts(check_table(frame), OPTIONS)} == {"true_reward"}


def test_without_budget_zero_a_shallow_sigmoid_cannot_be_excluded() -> None:
    frame = planted(Kind(line(0.18), "log_linear"), StudyDesign(seeds=16))
    with_zero, without = only(frame), only(frame.filter(pl.col("x") > 0))
    assert with_zero["rejections"]["hill"] < 0.05 < without["rejections"]["hill"]
    assert without["verdict"] == "indistinguishable"
    assert "budget 0 was not evaluated" in without["reason"]
    assert strict(without["r0"]) is None


def test_seeds_that_lack_budgets_are_counted_in_the_record() -> None:
    frame = planted().filter(~((pl.col("seed") == 7) & (pl.col("x") > 100)))
    record = only(frame)
    assert record["n_seeds"] == 7
    assert any("missing" in note for note in record["notes"])


def test_a_collapsed_seed_stays_in_and_its_share_is_recorded() -> None:
    frame = planted().with_columns(
        pl.when((pl.col("seed") == 3) & (pl.col("x") > 50)).then(0).otherwise(pl.col(name)).alias(name)
        for name in ("n_correct", "n_correct_sq")
    )
    record = only(frame)
    assert record["n_seeds"] == 8
    assert record["collapsed_share"] == pytest.approx(1 / 8)
    assert record["verdict"] == "indistinguishable"


def test_a_control_that_rises_too_withholds_the_claim() -> None:
    rising = pl.concat([planted(), planted("line_steep", arm="random_reward", seed=1)])
    still = pl.concat([planted(), planted("flat", arm="random_reward", seed=1)])
    assert only(still)["withheld"] is False
    assert only(still)["controls"]["random_reward"]["slope_difference"] == pytest.approx(0.1, abs=0.02)
    withheld = only(rising)
    assert withheld["withheld"]
    assert (withheld["verdict"], withheld["rises"]) == ("log_linear", "undecided")
    assert "random_reward" in withheld["withheld_reason"]
    assert "withheld" in withheld["sentences"][1]


def test_slopes_of_controls_are_paired_by_seed() -> None:
    """A seed effect common to both arms cancels in the difference."""
    arm = arm_of(planted(Kind(line(0.3), "log_linear", scatter=0.5)))
    control = replace(arm, accuracy=arm.accuracy - 0.05 * np.log10(arm.x))
    found, _ = robustness.compare_with_controls(arm, {"random_reward": control})
    assert found["random_reward"]["slope_difference_ci"] == pytest.approx([0.05, 0.05])


def test_a_control_too_noisy_to_differ_withholds_the_claim() -> None:
    arm = arm_of(planted())
    steps = np.linspace(-3, 3, 8)[:, None] * np.log10(arm.x) * 0.1
    noisy = replace(arm, accuracy=0.3 + steps)
    found, reasons = robustness.compare_with_controls(arm, {"random_reward": noisy})
    assert found["random_reward"]["rise_ci"][0] < 0
    assert len(reasons) == 1
    assert "not above that of random_reward" in reasons[0]


def test_enough_bases_become_the_replicates() -> None:
    frame = pl.concat(
        planted(design=StudyDesign(seeds=3), seed=i).with_columns(
            pl.lit(f"base{i}").alias("base_id"), (pl.col("run_id") + f"-{i}").alias("run_id")
        )
        for i in range(4)
    )
    record = only(frame)
    assert (record["n_seeds"], record["n_bases"], record["given"]) == (12, 4, "")
    per_base = [only(frame.filter(pl.col("base_id") == f"base{i}"))["slope_per_decade"] for i in range(4)]
    assert record["slope_per_decade"] == pytest.approx(np.mean(per_base))
    half = (record["slope_ci"][1] - record["slope_ci"][0]) / 2
    assert half == pytest.approx(3.182 * np.std(per_base, ddof=1) / 2, rel=1e-3)


def mixture_table(cells: int = 8) -> pl.DataFrame:
    """Sharp sigmoids whose middles are spread evenly over the window and beyond: their mean is a line."""
    middles = np.linspace(-0.5, 3.5, cells)

    def cell(middle: float) -> Kind:
        def law(z: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            return 0.05 + 0.8 / (1 + 10.0 ** np.clip(-3 * (z - middle), -300, 300))

        return Kind(law, "other", scatter=0.03)

    return pl.concat(
        planted(cell(m), seed=i).with_columns(pl.lit(str(i)).alias("difficulty")) for i, m in enumerate(middles)
    )


def test_a_line_made_of_sharp_sigmoids_is_flagged_and_a_line_of_lines_is_not() -> None:
    lines = pl.concat(planted(seed=i).with_columns(pl.lit(str(i)).alias("difficulty")) for i in range(4))
    for frame, flag in ((mixture_table(), True), (lines, False)):
        table = check_table(frame)
        found = robustness.mixture_artefact(curves(table, "true_reward"), cell_curves(table, "true_reward"))
        assert found is not None
        assert found["flag"] is flag


def test_hidden_budgets_expose_a_curve_that_levels_off() -> None:
    line_ = mean_curve(arm_of(planted()))
    hill = mean_curve(arm_of(planted("hill_levels_off")))
    assert extrapolation(line_, math.log10(4))["passed"]
    assert not extrapolation(hill, math.log10(4))["passed"]
    assert extrapolation(hill, 1.5)["line"] > extrapolation(line_, 1.5)["line"]


def test_a_line_that_misses_the_hidden_budgets_does_not_cover_them() -> None:
    """A dip in the hidden part: the line is nearer than both baselines, and still wrong."""
    mean = mean_curve(arm_of(planted()))
    dip = np.where(mean.z > mean.z[-1] - math.log10(4), -0.02, 0.0)
    found = extrapolation(replace(mean, replicates=mean.replicates + np.append(0.0, dip)), math.log10(4))
    assert found["beats_last_value"]
    assert not found["loses_to_last_slope"]
    assert not found["covers"]
    assert not found["passed"]


def test_the_law_that_made_a_curve_is_not_rejected_against_the_line() -> None:
    mean = mean_curve(arm_of(planted("hill_shallow")))
    steep = mean_curve(arm_of(planted()))
    rng = np.random.default_rng(0)
    assert likelihood_ratio_p("hill", mean, 60, rng) > 0.05
    assert likelihood_ratio_p("hill", steep, 60, rng) < 0.05


def test_warmup_moves_the_window_and_a_cut_needs_its_decades() -> None:
    frame = planted(design=StudyDesign(decades=3.5, budgets=14))
    record = next(r for r in verdicts(check_table(frame), replace(OPTIONS, warmup=2.0)) if r["task"] == "all")
    assert record["x_first"] >= 4.0
    assert set(record["warmup_cuts"]) == {"1x", "2x", "4x"}
    with pytest.raises(TableError, match="leaves no budget"):
        verdicts(check_table(frame), replace(OPTIONS, warmup=1e6))


def test_each_task_and_each_pool_has_a_record_and_holm_counts_the_tasks() -> None:
    frame = pl.concat(
        [planted(seed=i, task=f"t{i}") for i in range(3)] + [planted("flat", task="u", role="unverified")]
    )
    records = verdicts(check_table(frame), OPTIONS)
    assert [(r["task"], r["role"]) for r in records] == [
        *((task, "verified") for task in ("all", "t0", "t1", "t2")), ("all", "unverified"), ("u", "unverified")
    ]  # fmt: skip
    assert records[0]["leave_one_task_out"]["slope_rmse"] < 0.3
    for record in records[1:4]:
        assert record["p_claim_holm"] >= record["p_claim"]


def test_the_analysis_repeats_itself_and_does_not_depend_on_row_order() -> None:
    frame = pl.concat([planted(task="a"), planted("hill_shallow", task="b", seed=1)])
    first = verdicts(check_table(frame), OPTIONS)
    again = verdicts(check_table(frame.sample(fraction=1.0, shuffle=True, seed=0)), OPTIONS)
    assert [r["verdict"] for r in first] == [r["verdict"] for r in again]
    assert [r["rejections"] for r in first] == [r["rejections"] for r in again]


def test_undecided_curves_list_what_would_decide_them() -> None:
    record = only(planted("line_small", StudyDesign(seeds=6, problems=64)))
    assert record["verdict"] == "indistinguishable"
    assert record["would_decide"]["seeds"] > 6
    assert f"About {record['would_decide']['seeds']} seeds in all" in record["sentences"][1]


def test_data_that_would_not_decide_are_not_recommended() -> None:
    """A shape of no name: flat, then a straight rise."""
    record = only(planted(replace(KINDS["knee"], scatter=0.0), StudyDesign(problems=20_000)))
    assert record["verdict"] == "not_log_linear"
    assert (record["rises"], record["is_log_linear"]) == ("yes", "no")
    assert "no line" in record["reason"]
    assert record["would_decide"] is None
    assert "would decide" not in record["sentences"][1]


def test_the_recommended_number_of_seeds_does_decide() -> None:
    """The advice is tried: a contrast that fell short is clear, in about every second trial, with that many."""
    rng = np.random.default_rng(0)
    contrast = Estimate(0.4, 1.0, 6)
    needed = _seeds_for(contrast)
    assert needed is not None
    assert contrast.interval(0.9)[0] <= 0
    enough = [estimate(rng.normal(contrast.mean, contrast.sd, needed)).interval(0.9)[0] > 0 for _ in range(400)]
    assert 0.4 < np.mean(enough) < 0.7


def test_a_longer_window_bends_a_sigmoid_away_from_a_line() -> None:
    mean = mean_curve(arm_of(planted("line_from_afar")))
    distances = [_distance("hill", mean, extra) for extra in (0.0, 1.0, 2.0)]
    assert distances == sorted(distances)


def test_leaving_out_a_size_predicts_its_slope_from_the_others() -> None:
    found = robustness.leave_one_size_out({10**5: 0.05, 10**6: 0.06, 10**7: 0.07})
    assert found is not None
    assert found[10**6]["predicted_slope"] == pytest.approx(0.06)
    assert robustness.leave_one_size_out({10**5: 0.05, 10**6: 0.06}) is None


def test_written_json_is_strict(tmp_path: Path) -> None:
    write_json(tmp_path / "v.json", [{"slope": math.nan, "ci": (math.inf, 1.0)}])
    assert json.loads((tmp_path / "v.json").read_text()) == [{"slope": None, "ci": [None, 1.0]}]


def test_the_default_options_are_those_of_the_configuration_file() -> None:
    with pytest.raises(ValueError, match="margn"):
        default_options(margn=0.1)
    assert default_options().margin == 0.03


Z = np.linspace(0.0, 3.0, 13)


def mean_of(truth: np.ndarray, replicates: int = 8, sd: float = 0.005, seed: int = 0) -> MeanCurve:
    each = truth + np.random.default_rng(seed).normal(0, sd, (replicates, len(truth)))
    both = np.column_stack([np.full(replicates, np.nan), each])
    covariance = np.eye(len(truth) + 1) * sd**2 / replicates
    return MeanCurve(Z, both.mean(0), covariance, both)


def test_the_line_is_rejected_at_its_nominal_rate() -> None:
    rng = np.random.default_rng(0)
    p = [goodness_of_fit(mean_of(0.3 + 0.1 * Z, seed=i), rng, draws=400).p for i in range(300)]
    # The covariance is planted, not estimated, so the multivariate t of the test makes it careful.
    assert np.mean(np.array(p) < 0.05) < 0.06
    assert np.mean(np.array(p) < 0.5) > 0.2


def test_a_curve_with_a_bend_is_rejected_and_its_deviation_measured() -> None:
    fit = goodness_of_fit(mean_of(0.3 + 0.1 * np.maximum(Z - 1, 0)), np.random.default_rng(0))
    assert fit is not None
    assert fit.rejects
    bend = np.maximum(Z - 1, 0)
    assert fit.deviation == pytest.approx(np.abs(bend - np.polyval(np.polyfit(Z, bend, 1), Z)).max() / 2, abs=0.03)
    small = goodness_of_fit(mean_of(0.3 + 0.1 * Z + 0.004 * Z**2, sd=0.0005), np.random.default_rng(0))
    assert small is not None
    assert small.p < 0.01
    assert not small.rejects  # the deviation does not matter


def test_the_widest_line_of_a_bent_curve_is_its_straight_part() -> None:
    bent = 0.25 + 0.15 * np.clip(Z - 0.5, 0, 1.75)
    window = _window_of(bent)
    assert window is not None
    assert window["decades"] == pytest.approx(1.75, abs=0.3)
    assert window["accuracy_first"] == pytest.approx(0.25, abs=0.04)
    assert window["accuracy_last"] == pytest.approx(0.51, abs=0.04)


def test_a_line_stands_over_the_whole_window_and_a_flat_curve_has_no_line() -> None:
    assert _window_of(0.25 + 0.1 * Z)["decades"] == pytest.approx(3.0)
    assert _window_of(np.full(len(Z), 0.4)) is None
    assert _window_of(0.3 + 0.3 * (Z > 1.5)) is None


def _window_of(truth: np.ndarray) -> dict | None:
    rng = np.random.default_rng(0)
    frame = draw_table(KINDS["flat"], StudyDesign(budgets=len(Z), problems=4096), rng)
    mean_by_x = dict(zip(np.concatenate([[0.0], 10.0**Z]).round(6).tolist(), np.concatenate([[truth[0]], truth])))
    level = frame["x"].round(6).replace_strict(mean_by_x, return_dtype=pl.Float64).to_numpy()
    total = (frame["n_problems"] * frame["k"]).to_numpy()
    counts = rng.binomial(total, level)
    c = arm_of(frame.with_columns(pl.Series("n_correct", counts)).drop("n_correct_sq"))
    return widest_line_window(c, mean_curve(c), rng)


@pytest.mark.parametrize(
    ("decades", "lacks"),
    [
        (1.5, ["0.5 more decades (has 1.5)"]),
        (1.96, ["2 decades (has 1.960)"]),
        (1.9747, ["2 decades (has 1.975)"]),
        (1.995, []),  # budgets are rounded to whole steps
        (2.0, []),
    ],
)
def test_a_near_miss_of_the_window_is_printed_as_it_is_and_one_by_rounding_counts(decades, lacks) -> None:
    assert missing_data(9, decades, 8, OPTIONS) == lacks


@pytest.mark.slow
def test_few_tables_are_judged_falsely() -> None:
    """A short calibration on seeds of its own: at most 2 false claims in 20 tables of any kind."""
    for name, kind in KINDS.items():
        found = []
        for i in range(20):
            rng = np.random.default_rng(np.random.SeedSequence(99, spawn_key=(i,)))
            c = arm_of(draw_table(kind, DESIGN, rng))
            found.append(decide(c, OPTIONS, rng).judgement.verdict)
        false = [v for v in found if kind.is_false(v)]
        assert len(false) <= 2, (name, false)
