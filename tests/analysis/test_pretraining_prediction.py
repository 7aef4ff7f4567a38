"""The largest, longest runs are predicted by the law of the others, and a law that bends is seen to fail."""

import json

import numpy as np
import polars as pl
import pytest

from harness.analysis.data.table_checks import TableError
from harness.analysis.report.study_answers import law_primary, write_pretraining_law
from harness.analysis.stats.pretraining_prediction import predict_largest, pretraining_losses, with_part
from harness.core.files import read_json

SIZES, TOKENS = (2e4, 6e4, 1.5e5, 4e5, 1e6), 2.5e5 * 2.0 ** np.arange(7)


def run_table(noise=0.003, bend=0.0, seeds=3) -> pl.DataFrame:
    """A study's run table under L = 1 + 20/N^.35 + 60/D^.4; bend: what is added at the largest size alone."""
    rng, rows = np.random.default_rng(0), []
    for i, n in enumerate(SIZES):
        for seed in range(seeds):
            own = {"run_id": f"{i}-{seed}", "seed": seed, "arm": f"size{i}"}
            wobble = np.exp(rng.normal(scale=noise))
            for step, tokens in enumerate(TOKENS, start=1):
                loss = (1 + 20 / n**0.35 + 60 / tokens**0.4) * wobble + bend * (i == len(SIZES) - 1)
                spent = {"step": step, "tokens": int(tokens), "flops_convention": 6 * n * tokens}
                rows += [own | spent | {"loss": loss, "task": task} for task in ("a", "b")]
            rows.append(own | {"step": 0, "tokens": 0, "flops_convention": 0.0, "loss": 4.7, "task": "a"})
    return pl.DataFrame(rows, infer_schema_length=None)


def test_a_run_table_gives_one_loss_for_each_run_and_budget():
    losses = pretraining_losses(run_table())
    assert losses.height == len(SIZES) * 3 * len(TOKENS)
    assert sorted(losses["params"].unique()) == [int(n) for n in SIZES]


def test_the_law_is_fitted_to_neither_the_largest_size_nor_the_longest_budget():
    parts = with_part(pretraining_losses(run_table()))
    fitted = parts.filter(part="fitted")
    assert (fitted["params"].max(), fitted["tokens"].max()) == (4e5, TOKENS[-2])
    assert parts.filter(part="predicted").height == 3
    assert parts.filter(part="hidden").height == 3 * (len(SIZES) - 1 + len(TOKENS) - 1)


@pytest.mark.parametrize(("bend", "answer"), [(0.0, "yes"), (0.3, "no")])
def test_a_law_that_holds_predicts_the_largest_runs_and_one_that_bends_does_not(bend, answer):
    found = predict_largest(pretraining_losses(run_table(bend=bend)), draws=200)
    assert law_primary(found).answer == answer
    assert found["low"] <= found["error"] <= found["high"] or bend == 0
    if answer == "yes":
        assert found["error"] < found["error_without_law"] / 2


def test_what_the_hidden_runs_lost_moves_no_parameter():
    here, there = (predict_largest(pretraining_losses(run_table(bend=bend)), draws=10) for bend in (0.0, 0.5))
    assert here["theta"] == there["theta"]
    assert here["measured"] != there["measured"]


def test_law_answer_and_figure_are_written(tmp_path):
    write_pretraining_law(run_table(), tmp_path)
    assert read_json(tmp_path / "primary.json")["n"] == 3
    law = json.loads((tmp_path / "pretraining_law.json").read_text())
    assert law["n_clusters"] == 15
    assert law["prediction"]["hidden_params"] == 1e6
    assert (tmp_path / "figures" / "pretraining_law.png").stat().st_size > 10_000


def test_a_run_table_without_losses_is_refused_with_the_fix():
    with pytest.raises(TableError, match=r"columns loss.*\n?.*evaluation\.documents"):
        pretraining_losses(run_table().drop("loss"))
