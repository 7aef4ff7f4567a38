"""The examples that need no training; those that do have tests beside what they show."""

import polars as pl
import pytest

from examples import accuracy_by_arm, accuracy_by_generation, accuracy_by_task, best_split, figure, width_by_spread
from harness import load_study


def test_a_figure_of_ones_own_is_drawn_from_a_committed_table(tmp_path):
    frame = figure.curves(load_study(figure.RESULTS).table)
    assert set(frame["arm"]) == set(figure.ARMS.values())
    figure.figure(frame).save(tmp_path / "figure.svg")
    assert "sigmoid" in (tmp_path / "figure.svg").read_text()


def test_the_end_of_each_arm_is_drawn_by_seed(tmp_path):
    found = accuracy_by_arm.ends(load_study(figure.RESULTS.parent / "conditioning").table)
    assert found.filter(arm="no_norm")["accuracy"].max() < 0.15 < found.filter(arm="layernorm")["accuracy"].min()
    accuracy_by_arm.figure(found, "ends").save(tmp_path / "ends.svg")
    assert "no_norm" in (tmp_path / "ends.svg").read_text()


def test_generations_begin_at_the_corpus_and_are_drawn_by_role(tmp_path):
    found = accuracy_by_generation.by_generation(load_study(figure.RESULTS.parent / "self_training").table)
    verified = found.filter(role="verified", seed=0)
    assert verified["line"].unique().len() == 4
    assert verified.filter(generation=0)["accuracy"].n_unique() == 1
    assert verified.filter(line="verifier")["generation"].sort().to_list() == [0, 1, 2, 3]
    accuracy_by_generation.figure(found, "by generation").save(tmp_path / "generations.svg")
    assert "unfiltered" in (tmp_path / "generations.svg").read_text()


def test_each_task_is_drawn_before_rl_and_after_an_arm_and_its_control(tmp_path):
    arms = ("compose", "shuffled_compose")
    found = accuracy_by_task.ends(load_study(figure.RESULTS.parent / "specimens").table, *arms)
    held_out = dict(found.filter(task="compose_held_out.symbolic").select("when", "accuracy").rows())
    assert set(held_out) == {accuracy_by_task.BEFORE, *arms}
    assert held_out["compose"] > held_out["shuffled_compose"] + 0.25
    accuracy_by_task.panel(found, *arms).save(tmp_path / "tasks.svg")
    assert "compose.symbolic (rewarded)" in (tmp_path / "tasks.svg").read_text()


def test_the_best_split_is_one_that_was_measured_and_costs_no_more_than_the_total(tmp_path):
    points = best_split.spent(load_study(figure.RESULTS.parent / "pretraining_grid").table)
    assert points.select("level", "pretraining").unique().height == 25
    total = 2e12
    found = best_split.best_splits(points, total)
    assert found.select("level", "seed").unique().height == 15
    bases = points.select("level", "pretraining", "seed", "base_flops").unique()
    assert (found.join(bases, on=["level", "pretraining", "seed"])["base_flops"] <= total).all()
    best_split.figure(points).save(tmp_path / "split.svg")
    assert "Before RL" in (tmp_path / "split.svg").read_text()


def test_of_planted_runs_the_better_split_is_found():
    """A long base that is at .5 at once, and a short one that RL takes to .9 for the same total."""
    rows = [("w1", 10, 0, 0, 0.5, 10.0, 0.0), ("w1", 2, 0, 0, 0.1, 2.0, 0.0), ("w1", 2, 0, 8, 0.9, 2.0, 8.0)]
    points = pl.DataFrame(rows, schema=[*best_split.KEY, "accuracy", "base_flops", "rl_flops"], orient="row")
    (best,) = best_split.best_splits(points, 10.0).rows(named=True)
    assert best == {"level": "w1", "seed": 0, "pretraining": 2, "accuracy": 0.9, "rl_share": 0.8}
    (early,) = best_split.best_splits(points, 6.0).rows(named=True)
    assert early["accuracy"] == pytest.approx(0.5)


def test_curves_are_as_wide_as_their_learning_times_are_spread(tmp_path):
    found = width_by_spread.widths(str(figure.RESULTS.parent / "rl_scaling_2"))
    assert found["arm"].to_list() == ["true_reward", "wide", "narrow"]
    assert ((found["low"] < found["spread"] + 0.3) & (found["spread"] - 0.3 < found["high"])).all()
    width_by_spread.figure(found).save(tmp_path / "width.svg")
    assert (tmp_path / "width.svg").stat().st_size > 1000
