"""The product of smooth letter accuracies rises over fewer decades than the letters do, by what a closed form gives."""

import numpy as np
import polars as pl
import pytest

from harness.analysis.command import run
from harness.analysis.data.rise import rise
from harness.analysis.data.table_checks import TableError
from harness.analysis.report.study_answers import EMERGENCE, sharpness_primary
from harness.analysis.stats.sharpness import metric_curves, sharpness
from harness.core.files import read_json
from tests.analysis.test_command import CONFIG, settings

X = np.concatenate([[0], np.geomspace(1, 1e6, 61)])
WIDTH, MIDDLE, TOTAL = 0.5, 3.0, 100_000  # decades; of the letters' logistic
SEEDS = (0, 1, 2)


def letter_accuracy(x, shift=0.0):
    with np.errstate(divide="ignore"):
        return 1 / (1 + np.exp(-(np.log10(x) - MIDDLE - shift) / WIDTH))


def planted(difficulties=(1, 3, 6), x=X, sharp=True) -> pl.DataFrame:
    """A run table whose letters are right with letter_accuracy, each seed shifted a little; sharp: all must be."""
    rows = []
    for seed in SEEDS:
        for d in difficulties:
            for at, p in zip(x, letter_accuracy(x, 0.05 * seed)):
                run = {"run_id": f"r{seed}", "arm": "codes", "seed": seed, "task": "c", "role": "verified"}
                correct = round(TOTAL * p ** (d if sharp else 1))
                counts = {"x": float(at), "difficulty": d, "n_problems": TOTAL, "k": 1, "n_correct": correct}
                rows.append(run | counts | {"answer_edit_distance": 1 - p, "answer_logprob": d * np.log(p + 1e-3)})
    return pl.DataFrame(rows)


def closed_form(d):
    """Decades from .1 to .9 of p^d, p logistic in log10 x."""
    low, high = (np.log(q / (1 - q)) * WIDTH for q in (0.1 ** (1 / d), 0.9 ** (1 / d)))
    return high - low


def test_decades_of_a_product_are_those_of_the_closed_form():
    found = {(r["difficulty"], r["seed"], r["metric"]): r for r in sharpness(metric_curves(planted()))["rises"]}
    for d in (1, 3, 6):
        assert found[d, 1, "accuracy"]["decades"] == pytest.approx(closed_form(d), abs=0.01)
        assert found[d, 1, "edit_similarity"]["decades"] == pytest.approx(closed_form(1), abs=0.01)


@pytest.mark.parametrize(("sharp", "answer"), [(True, "yes"), (False, "no")])
def test_the_soft_metric_rises_over_more_decades_only_where_all_letters_must_be_right(sharp, answer):
    (found,) = sharpness(metric_curves(planted(sharp=sharp)))["arms"]
    assert found["contrast"]["mean"] == pytest.approx(closed_form(1) - closed_form(6 if sharp else 1), abs=0.02)
    assert sharpness_primary(found).answer == answer
    assert (found["later"]["accuracy"]["low"] > 0.1) == sharp
    assert found["later"]["edit_similarity"]["mean"] == pytest.approx(0, abs=1e-9)
    assert found["first_gain"]["low"] > 0


def test_a_rise_outside_the_budgets_is_not_known_and_its_seed_is_counted():
    short, late = (sharpness(metric_curves(planted(x=x)))["arms"][0] for x in (X[X < 3e3], X[(X == 0) | (X > 1e3)]))
    for found in (short, late):
        assert (found["contrast"]["n"], found["contrast"]["n_missing"]) == (0, 3)
        assert sharpness_primary(found).answer == "undecided"
        assert "3 seeds are left out" in sharpness_primary(found).notes[0]


def test_a_fall_after_a_rise_changes_nothing():
    values = [0.0, 0.0, 0.5, 1.0, 1.0]
    dipped = [0.0, 0.0, 0.5, 1.0, 0.3]
    x = [0, 1, 10, 100, 1000]
    assert rise(x, values, 1.0) == rise(x, dipped, 1.0)
    assert rise(x, values, 1.0)["decades"] == pytest.approx(1.6)


def test_a_table_without_soft_metrics_is_refused_with_the_fix():
    with pytest.raises(TableError, match=r"answer_edit_distance[^$]*run the study again"):
        metric_curves(planted().drop("answer_edit_distance"))


def test_one_command_writes_numbers_answer_and_figure(tmp_path, capsys):
    planted().write_parquet(tmp_path / "table.parquet")
    run(settings(action="sharpness", table=str(tmp_path), out=str(tmp_path / "out")))
    assert capsys.readouterr().out.startswith("Yes: +0.558")
    assert read_json(tmp_path / "out" / "primary.json")["n"] == 3
    assert read_json(tmp_path / "out" / "sharpness.json")["arms"][0]["difficulty"] == 6
    assert (tmp_path / "out" / "figures" / "sharpness.png").stat().st_size > 10_000


def test_the_measure_is_the_one_that_the_study_registers():
    assert EMERGENCE["question"] in " ".join((CONFIG.parent / "study" / "emergence.yaml").read_text().split())
