"""L(N, D): the planted law comes back, intervals cover it, and designs that cannot identify it are refused."""

import json

import numpy as np
import polars as pl
import pytest
from scipy.optimize import minimize

from harness.analysis.data.table_checks import TableError
from harness.analysis.report.study_answers import write_pretraining_law
from harness.analysis.stats import pretraining_law as law

SIZES, TOKENS = np.logspace(5, 7, 6), np.logspace(6, 9, 6)


def losses(noise: float, seed: int = 0, E=1.2, A=60.0, alpha=0.4, B=200.0, beta=0.35) -> pl.DataFrame:
    params, tokens = (grid.ravel() for grid in np.meshgrid(SIZES, TOKENS))
    wobble = np.exp(noise * np.random.default_rng(seed).normal(size=params.size))
    return pl.DataFrame(
        {"params": params, "tokens": tokens, "loss": (E + A / params**alpha + B / tokens**beta) * wobble}
    )


def test_noiseless_losses_give_the_planted_law_back():
    found = law.named(law.fit(law.points(losses(0.0)))[0])
    assert {name: round(float(value), 6) for name, value in found.items()} == {
        "E": 1.2, "A": 60.0, "alpha": 0.4, "B": 200.0, "beta": 0.35,
    }  # fmt: skip


def test_the_batched_descent_reaches_the_minimum_of_scipy():
    data = law.points(losses(0.01))
    theta, value = law.fit(data)
    one = law.huber_loss(data, np.ones((1, len(data.log_loss))))

    def scalar(point):
        values, gradients = one(point[None], np.zeros(1, int))
        return values[0], gradients[0]

    starts = theta + np.random.default_rng(1).normal(scale=0.5, size=(20, 5))
    best = min(minimize(scalar, start, jac=True, method="L-BFGS-B", options={"ftol": 1e-15}).fun for start in starts)
    assert value <= best * (1 + 1e-4)


def test_the_gradient_is_the_derivative_of_the_loss():
    data = law.points(losses(0.01))
    loss = law.huber_loss(data, np.ones((1, len(data.log_loss))))
    theta = np.array([[4.0, 5.0, 0.1, 0.3, 0.3]])
    numeric = [(loss(theta + step, [0])[0] - loss(theta - step, [0])[0])[0] / 2e-6 for step in 1e-6 * np.eye(5)]
    assert loss(theta, [0])[1][0] == pytest.approx(numeric, rel=1e-5)


def test_one_wild_point_hardly_moves_the_fit():
    """Huber: a diverged run must not decide the law."""
    clean = losses(0.002)
    wild = clean.with_columns(loss=pl.when(pl.int_range(pl.len()) == 7).then(9.0).otherwise(pl.col("loss")))
    assert law.pretraining_law(wild, draws=20)["alpha"]["value"] == pytest.approx(0.4, abs=0.05)


def test_exponents_and_optimum_agree_with_a_search_over_sizes():
    theta = law.fit(law.points(losses(0.0)))[0]
    best = law.optimum(theta, 6e15)
    sizes = np.logspace(4, 9, 4001)
    searched = sizes[np.argmin(law.log_law(theta[None], np.log(sizes), np.log(1e15 / sizes))[0][0])]
    assert best["params"] == pytest.approx(searched, rel=0.01)
    grown = law.optimum(theta, 6e16)["params"] / best["params"]
    assert np.log10(grown) == pytest.approx(float(law.exponents(theta)["params"]))


def test_a_parameter_without_information_is_not_identified():
    """Losses that do not depend on size do not identify A and alpha."""
    report = law.pretraining_law(losses(0.01, A=1e-12), draws=200)
    assert {"A", "alpha"} & set(report["not_identified"])
    assert "beta" not in report["not_identified"]


def test_runs_are_resampled_whole():
    """Ten points of each of few runs give no more certainty than the runs do."""
    frame = losses(0.0).with_columns(run_id=pl.col("params").round(0).cast(pl.String))
    shift = np.exp(0.02 * np.random.default_rng(0).normal(size=len(SIZES)))
    by_size = dict(zip(np.unique(frame["run_id"]), shift))
    frame = frame.with_columns(loss=pl.col("loss") * pl.col("run_id").replace_strict(by_size))
    alone = law.pretraining_law(frame.drop("run_id"), draws=300)["E"]["interval"]
    whole = law.pretraining_law(frame, draws=300)["E"]["interval"]
    assert whole[1] - whole[0] > alone[1] - alone[0]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (losses(0.0).drop("tokens"), "tokens"),
        (losses(0.0).with_columns(loss=pl.lit(-1.0)), r"row 1: .*'loss': -1.0"),
        (losses(0.0).with_columns(loss=pl.lit("lost")), r"row 1: .*'loss': nan"),
        (losses(0.0).with_columns(params=pl.lit(1e6)), "3 different values of params"),
    ],
)
def test_a_table_that_cannot_identify_the_law_is_refused_with_the_fix(frame, message):
    with pytest.raises(TableError, match=message):
        law.pretraining_law(frame)


def test_the_written_law_is_strict_json_and_repeats(tmp_path):
    first = write_pretraining_law(losses(0.01), tmp_path / "a").read_text()
    second = write_pretraining_law(losses(0.01), tmp_path / "b").read_text()
    assert first == second
    report = json.loads(first, parse_constant=lambda constant: pytest.fail(f"{constant} is not JSON"))
    assert set(report) >= {"E", "A", "alpha", "B", "beta", "compute_optimal_exponents", "n_bootstraps"}
    assert report["n_bootstraps"] == 4000


@pytest.mark.slow
def test_intervals_cover_the_planted_exponents():
    covered = []
    for seed in range(60):
        report = law.pretraining_law(losses(0.01, seed), draws=300)
        covered.append([low <= truth <= high for truth, (low, high) in
                        ((0.4, report["alpha"]["interval"]), (0.35, report["beta"]["interval"]))])  # fmt: skip
    assert np.mean(covered) > 0.85
