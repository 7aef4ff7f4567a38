"""The longest chain done: horizons with planted truth, and accuracy beside the product of its steps."""

import numpy as np
import polars as pl
import pytest

from harness.analysis.data.options import default_options
from harness.analysis.data.table import check_table
from harness.analysis.report.chain_section import chain_section
from harness.analysis.verdict.chain_length import chain_lengths, doubling, falling, fit_product, horizons, sentence

LENGTHS = np.arange(1.0, 7.0)
ENDLESS = 10**6  # problems, so that rounding is all the noise there is


def chain_table(accuracy, seeds=4, trained=3, lengths=6, budgets=(0, 1, 10, 100, 1000), guess=0.0):
    """A table of `accuracy(budget, length)`; lengths above `trained` are those of a task of their own."""
    rows = [
        {
            "run_id": f"a{seed}", "arm": "true_reward", "seed": seed, "base_id": f"b{seed}", "x": float(x), "step": x,
            "task": "chain" + " longer" * (d > trained), "role": "unverified" if d > trained else "verified",
            "difficulty": d, "n_problems": ENDLESS, "k": 1, "guess_rate": guess,
            "n_correct": round(ENDLESS * accuracy(x * (1 + 0.01 * seed), d)),
        }
        for seed in range(seeds) for x in budgets for d in range(1, lengths + 1)
    ]  # fmt: skip
    return check_table(pl.DataFrame(rows))


def test_a_horizon_is_where_accuracy_crosses_the_level_and_is_censored_beyond_the_difficulties():
    accuracy = np.array([[1, 1, 0.9, 0.1, 0, 0], [0.4, 0, 0, 0, 0, 0], [1, 1, 1, 1, 0.9, 0.6]])
    length, short, long = horizons(falling(accuracy), LENGTHS, 0.5)
    assert length.tolist() == pytest.approx([3.5, 1, 6])
    assert short.tolist() == [False, True, False]
    assert long.tolist() == [False, False, True]
    assert horizons(falling(accuracy[:1]), LENGTHS, 0.8)[0] == pytest.approx(3 + 0.1 / 0.8)


def test_a_harder_difficulty_that_does_better_by_chance_is_pooled_with_the_easier_one():
    length, *_ = horizons(falling(np.array([1.0, 0.45, 0.65, 0.0])), LENGTHS[:4], 0.5)
    assert length == pytest.approx(3 + 0.05 / 0.55)


def test_the_planted_doubling_of_a_horizon_comes_back():
    x = 10.0 ** np.linspace(0, 2, 41)
    length = np.stack([2 * x**exponent for exponent in (0.45, 0.5, 0.55)])  # doubles with 4 times the compute
    found = doubling(length, x)
    assert found["mean"] == pytest.approx(4, rel=0.02)
    assert found["low"] < 4 < found["high"]
    assert doubling(np.full((3, 41), 2.0), x) is None


def test_a_horizon_that_rises_with_the_log_of_compute_has_its_planted_rise():
    def accuracy(x, d):  # half at d = 1.5 + log10 x
        return 1 / (1 + np.exp(8 * (d - 1.5 - np.log10(max(x, 1)))))

    (record,) = chain_lengths(chain_table(accuracy), default_options())
    half = record["horizons"][0]
    assert half["mean"][1:] == pytest.approx([1.5, 2.5, 3.5, 4.5], abs=0.02)
    assert half["rise_per_decade"]["mean"] == pytest.approx(1, abs=0.01)
    assert record["trained"] == 3
    assert "from 1.5 to 4.5" in sentence(record)


@pytest.mark.parametrize("guess", [0.0, 0.1])
def test_steps_that_are_independent_give_the_product_and_a_wall_falls_short_of_it(guess):
    def steps(x, d):
        return guess + (1 - guess) * 0.9 * (0.5 + 0.4 * x / (x + 10)) ** d

    def wall(x, d):
        return steps(x, d) if d <= 3 else guess

    (record,) = chain_lengths(chain_table(steps, guess=guess), default_options())
    assert [over["value"] for over in record["product"]["over"]] == pytest.approx([1] * 5, abs=0.02)
    assert record["product"]["p"][-1] == pytest.approx(0.896, abs=0.003)
    (record,) = chain_lengths(chain_table(wall, guess=guess), default_options())
    assert record["product"]["over_at_last"][-1]["value"] < 0.3


def test_the_fit_of_a_product_stays_within_probabilities():
    p, c = fit_product(np.array([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [0.2, 0.5, 0.9]]), np.array([1.0, 2, 3]))
    assert ((p >= 0) & (p <= 1) & (c >= 0) & (c <= 1)).all()
    assert (p[0], c[0]) == (1.0, 1.0)


def test_where_budgets_to_one_half_grow_with_difficulty_they_are_drawn():
    def accuracy(x, d):
        return float(np.clip(0.5 + np.log10(max(x, 0.1) / (2 * d)), 0, 1))

    (record,) = chain_lengths(chain_table(accuracy), default_options())
    solved = [one["x"] for one in record["solved"]]
    assert solved[1:4] == pytest.approx([4, 6, 8], rel=0.3)
    assert list(chain_section([record], "true_reward").figures)[-1] == "x_at_half_by_difficulty"


def test_too_few_difficulties_give_no_record_and_nothing_longer_no_product():
    def accuracy(x, d):
        return 0.9**d

    assert chain_lengths(chain_table(accuracy, lengths=3), default_options()) == []
    (record,) = chain_lengths(chain_table(accuracy, trained=6), default_options())
    assert record["product"] is None
    section = chain_section([record], "true_reward")
    assert list(section.figures) == ["horizon"]
    assert chain_section([], "true_reward") is None
