"""The registered measure of a table is what its words say, paired by seed, and its answer which side of the margin."""

import json
from dataclasses import asdict, replace
from functools import partial
from itertools import combinations

import numpy as np
import polars as pl
import pytest

from harness.analysis.analysis import analyze
from harness.analysis.data.measure import measure_values
from harness.analysis.data.registered import Registered, registered_measure
from harness.analysis.data.table import check_table, hours_of_replicate, hours_of_runs
from harness.analysis.data.table_checks import TableError
from harness.analysis.report.analyze import primary_of
from harness.analysis.report.verdict_cards import primary_card
from harness.analysis.verdict.primary import answer_to, n_needed, primary_record, typed_primary
from harness.config.schema.study import Measure, MeasureTerm
from harness.study.load import Study
from tests.toys import CONFIGS

K, PROBLEMS = 4, 10
# accuracy of each arm and seed in a cell, before and after; a cell is (task, difficulty)
RIGHT = {
    "real": {0: (4, 20), 1: (8, 32), 2: (4, 24)},
    "control": {0: (4, 4), 1: (8, 6), 2: (4, 6), 3: (40, 40)},  # seed 3 has no partner
}


def rows(arm, seed, step, correct, task="a", difficulty=1, role="verified", setting="", **more):
    about = {"run_id": f"{arm}-{seed}", "arm": arm, "seed": seed, "base_id": f"{arm}-base{seed}", "base_seed": seed}
    cell = {"task": task, "difficulty": difficulty, "role": role, "setting": setting}
    counts = {"n_problems": PROBLEMS, "k": K, "n_correct": correct}
    return about | cell | counts | {"step": step, "x": float(step), "seconds": 60.0 * step} | more


def table(problems=None, extra=(), **more):
    ends = ((arm, seed, end) for arm, seeds in RIGHT.items() for seed, end in seeds.items())
    found = [rows(arm, seed, step, n, **more) for arm, seed, end in ends for step, n in zip((0, 8), end)]
    return check_table(pl.DataFrame([*found, *extra], infer_schema_length=None), problems)


CHANGE = (MeasureTerm("real"), MeasureTerm("real", at="first", weight=-1))
GAIN = Measure((*CHANGE, MeasureTerm("control", weight=-1), MeasureTerm("control", at="first")), margin=0.1)


def record(found, measure=GAIN):
    return primary_record(found, Registered("toy", "the gain", measure), min_bases=3)


def test_the_effect_is_the_weighted_sum_seed_by_seed_and_seeds_without_a_partner_are_counted():
    values = measure_values(table(), GAIN, min_bases=3)
    assert np.allclose(values.numerator, [0.4, 0.65, 0.45])  # arms have bases of their own, paired by base_seed
    assert values.denominator is None
    assert values.notes == ("1 of 4 replicates left out, which not every arm has there: seeds [3]",)
    found = record(table())
    assert found.effect == pytest.approx(0.5)
    half = 4.30265 * np.std([0.4, 0.65, 0.45], ddof=1) / np.sqrt(3)
    assert (found.low, found.high) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-5)
    assert (found.answer, found.n, found.unit) == ("yes", 3, "seeds")


def test_per_divides_by_fieller_and_below_turns_the_answer():
    ratio = replace(GAIN, terms=GAIN.terms[2:], per=GAIN.terms[:2], margin=0.4, yes_if="below")
    found = record(table(), ratio)
    assert found.effect == pytest.approx((0 + 0.05 - 0.05) / 3 / np.mean([0.4, 0.6, 0.5]))
    assert found.answer == "yes"
    assert record(table(), replace(ratio, yes_if="above")).answer == "no"
    unknown = record(table(), replace(ratio, per=GAIN.terms[2:]))
    assert (unknown.answer, unknown.effect, unknown.seeds_needed) == ("undecided", None, None)
    assert "denominator's interval covers 0" in unknown.notes[-1]


@pytest.mark.parametrize(
    ("interval", "yes_if", "answer"),
    [
        ((0.2, 0.3), "above", "yes"),
        ((0.2, 0.3), "below", "no"),
        ((-0.1, 0.05), "above", "no"),
        ((-0.1, 0.05), "below", "yes"),
        ((0.05, 0.3), "above", "undecided"),
        ((0.1, 0.3), "above", "undecided"),
        ((None, None), "above", "undecided"),
    ],
)
def test_an_answer_needs_the_whole_interval_on_one_side(interval, yes_if, answer):
    assert answer_to(*interval, 0.1, yes_if) == answer


def test_what_would_decide_is_as_many_seeds_as_bring_the_interval_to_the_margin():
    assert n_needed(0.2, 0.0, 0.4, 0.1, n=5) == 20  # half the width needs four times the seeds
    assert n_needed(0.0, -0.2, 0.4, 0.1, n=5) == 80  # the half that covers the margin
    assert n_needed(0.1, 0.0, 0.2, 0.1, n=5) is None
    found = record(table(), replace(GAIN, margin=0.4))
    assert found.answer == "undecided"
    each = 2 * 8 / 60  # two arms of eight minutes
    assert found.hours_needed == pytest.approx((found.seeds_needed - 3) * each, rel=0.5)
    assert found.what_would_decide.startswith(f"{found.seeds_needed} seeds in all")


def test_runs_of_one_base_are_averaged_first():
    more = [
        {**rows("real", 10 + seed, step, correct), "base_seed": seed, "base_id": f"real-base{seed}"}
        for seed in range(3)
        for step, correct in ((0, 0), (8, 8))
    ]
    measure = Measure(CHANGE, margin=0.0)
    values = measure_values(table(extra=more), measure, min_bases=3)
    assert np.allclose(values.numerator, np.mean([[0.4, 0.6, 0.5], [0.2] * 3], axis=0))
    assert values.unit == "bases"
    assert len(measure_values(table(extra=more), measure, min_bases=4).numerator) == 6


def test_cells_count_alike_or_tasks_do():
    extra = [rows(arm, s, step, 40, "b", d) for arm in RIGHT for s in RIGHT[arm] for step in (0, 8) for d in (1, 2, 3)]
    last = Measure((MeasureTerm("control"),), margin=0.0)
    of_a = np.mean([4, 6, 6, 40]) / 40
    assert record(table(extra=extra), last).effect == pytest.approx((of_a + 3) / 4)
    assert record(table(extra=extra), replace(last, alike="tasks")).effect == pytest.approx((of_a + 1) / 2)


def test_terms_choose_by_role_task_difficulty_setting_and_step():
    extra = [
        rows("real", s, step, 10 * d, "b.worded", d, "unverified", "thinking=4")
        for s in RIGHT["real"]
        for step in (0, 4, 8)
        for d in (1, 2)
    ]
    found = table(extra=extra)
    for chosen, effect in (
        ({"role": "verified"}, np.mean([20, 32, 24]) / 40),
        ({"tasks": ("b.*",), "difficulties": (2,)}, 0.5),
        ({"setting": "thinking=4", "at": 4}, 0.375),
    ):
        assert record(found, Measure((MeasureTerm("real", **chosen),), margin=0.0)).effect == pytest.approx(effect)


def test_all_of_k_samples_right_is_unbiased():
    counts = [4, 2, 1]
    same = {"x": 8.0, "task": "a", "difficulty": 1, "setting": "", "k": K}
    of_runs = [(f"real-{seed}", str(i), c) for seed in RIGHT["real"] for i, c in enumerate(counts)]
    problems = pl.DataFrame([same | dict(zip(("run_id", "problem", "n_correct"), one)) for one in of_runs])
    drawn = [np.mean([min(pair) for pair in combinations([1] * c + [0] * (K - c), 2)]) for c in counts]
    measure = Measure((MeasureTerm("real"),), margin=0.0, metric="pass_all_at_2")
    assert record(table(problems), measure).effect == pytest.approx(np.mean(drawn))
    with pytest.raises(TableError, match=r"pass_all_at_5: the table has 4 samples"):
        record(table(problems), replace(measure, metric="pass_all_at_5"))
    with pytest.raises(TableError, match="needs the counts of each problem"):
        record(table(), measure)
    with pytest.raises(TableError, match="have none"):
        record(table(problems), replace(measure, terms=(MeasureTerm("control"),)))


def test_any_numeric_column_is_a_metric():
    last = Measure((MeasureTerm("real"),), margin=0.0, metric="answer_logprob")
    assert record(table(answer_logprob=-1.5), last).effect == -1.5
    with pytest.raises(TableError, match=r"answer_logprop: the run table has no such[^$]*did you mean answer_logprob"):
        record(table(answer_logprob=-1.5), replace(last, metric="answer_logprop"))


@pytest.mark.parametrize(
    ("term", "message"),
    [
        (MeasureTerm("reel"), "arm reel.*has no rows of it\n  there are real, control"),
        (MeasureTerm("real", at=4), "step 4 of arm real.*\n  there are 0, 8"),
        (MeasureTerm("real", setting="thinking=8"), "selects no cell\n  there are roles 'verified'; tasks 'a'"),
    ],
)
def test_a_term_that_the_table_cannot_give_is_refused_with_what_there_is(term, message):
    with pytest.raises(TableError, match=message):
        record(table(), Measure((term,), margin=0.0))


def test_replicates_that_did_not_come_to_the_arms_last_budget_are_left_out():
    late = [rows("real", 4, step, 8) for step in (0, 4)]
    measure = Measure(CHANGE, margin=0.0)
    found = record(table(extra=late), measure)
    assert found.n == 3
    assert "seeds [4]" in found.notes[0]


def test_frozen_runs_spend_nothing():
    frozen = [{**rows("real", s, step, 8), "arm": "frozen", "run_id": f"f{s}"} for s in range(3) for step in (0, 8)]
    alone = table().frame.filter(pl.col("arm") == "real")
    both = table(extra=frozen).frame.filter(pl.col("arm") != "control")
    assert hours_of_runs(alone) == hours_of_runs(both) == pytest.approx(3 * 8 / 60)
    assert hours_of_replicate(both) == pytest.approx(8 / 60)
    assert hours_of_runs(alone.drop("seconds")) is None


@pytest.fixture
def folder(tmp_path):
    table().frame.write_parquet(tmp_path / "table.parquet")
    terms = [{"arm": "real"}, {"arm": "real", "at": "first", "weight": -1}]
    measure = {"terms": terms, "margin": 0.1}
    study = {"name": "toy", "registered": {"primary": "the change", "measure": measure}, "analysis": {"bootstraps": 20}}
    (tmp_path / "manifest.json").write_text(json.dumps({"study": study, "runs": []}))
    return tmp_path


def test_the_measure_of_a_folder_is_that_of_its_manifest_and_a_frames_is_none(folder):
    found = registered_measure(folder)
    assert found == registered_measure(folder / "table.parquet")
    assert (found.study, found.question, found.measure.terms[1].weight) == ("toy", "the change", -1)
    assert registered_measure([folder, folder]) is None
    assert analyze(table()).primary is None
    assert analyze(folder).primary.answer == Study(folder).primary.answer == "yes"


def test_a_manifest_without_a_form_takes_the_shipped_one_of_the_same_words(tmp_path):
    committed = CONFIGS.parent / "docs/results/thinking"
    found = registered_measure(committed)
    assert found.measure.terms[0].setting == "thinking=18"
    manifest = json.loads((committed / "manifest.json").read_text())
    manifest["study"]["registered"]["margins"] = "another"
    (tmp_path / "manifest.json").write_text(json.dumps({"study": manifest["study"]}))
    assert registered_measure(tmp_path) is None


def test_what_an_unfinished_study_lacks_is_no_error(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["study"]["registered"]["measure"]["terms"][0]["arm"] = "to_come"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    options = analyze(folder).options
    assert primary_of(table(), folder, options, unfinished=True) is None
    with pytest.raises(TableError, match="to_come"):
        primary_of(table(), folder, options)


def test_the_card_shows_answer_numbers_and_what_would_decide():
    found = record(table(), replace(GAIN, margin=0.4))
    html = primary_card(found)
    assert all(text in html for text in ("Undecided", "the gain", "+0.500", "above 0.4", found.what_would_decide))
    assert typed_primary(json.loads(json.dumps(asdict(found)))) == found


def curve_rows(seed, gamma, arm="real", solved=(1, 2, 4, 8)):
    """Rows of a replicate whose difficulty d is solved, .5, at x = 10 d^gamma exactly."""
    for d in solved:
        for step in 2.0 ** np.arange(14):
            accuracy = np.clip(0.5 + np.log10(step / (10 * d**gamma)), 0, 1)
            yield rows(arm, seed, int(step), round(accuracy * K * 1000), difficulty=d, n_problems=1000)


def rising_rows(seed, decades, arm="real", top=0.8):
    """Rows of a replicate that rises from .1 at x = 4, straight in log x: from a tenth to nine tenths in `decades`."""
    for step in (0, *2.0 ** np.arange(15)):
        share = np.clip(0.8 * np.log10(max(step, 1e-9) / 4) / decades, 0, 1)
        yield rows(arm, seed, int(step), round((0.1 + (top - 0.1) * share) * K * 1000), n_problems=1000)


whole_rows = partial(rising_rows, top=1.0)


@pytest.mark.parametrize(
    ("metric", "of_seed", "planted", "without", "note"),
    [
        ("difficulty_exponent", curve_rows, (1.0, 1.2, 1.4), {"solved": (1, 2)}, "solve fewer than 3 difficulties"),
        ("rise_decades", rising_rows, (1.5, 1.6, 1.7), {"top": 0.1}, "do not rise"),
        ("rise_to_one_decades", whole_rows, (1.5, 1.6, 1.7), {"top": 0.8}, "do not pass a tenth and nine tenths"),
    ],
)
def test_a_metric_of_curves_is_measured_seed_by_seed_and_a_curve_without_it_is_counted(
    metric, of_seed, planted, without, note
):
    whole = [row for seed, value in enumerate(planted) for row in of_seed(seed, value)]
    frame = pl.DataFrame([*whole, *of_seed(3, 1.6, **without)])
    measure = Measure((MeasureTerm("real"),), margin=2.0, metric=metric, yes_if="below")
    found = record(check_table(frame), measure)
    assert (found.answer, found.effect, found.n) == ("yes", pytest.approx(planted[1], abs=0.03), 3)
    assert f"1 of 4 replicates {note}" in found.notes[0]


def test_without_three_difficulties_there_is_no_exponent_and_no_answer():
    measure = Measure((MeasureTerm("real"),), margin=2.0, metric="difficulty_exponent")
    found = record(table(), measure)
    assert (found.answer, found.effect, found.n) == ("undecided", None, 0)
    assert "no replicate has the measure" in found.notes
    assert "Undecided" in found.sentence
