"""Comparing runs: every line where its own metrics place it, whatever it was loaded from."""

import json
import re

import polars as pl
import pytest

from harness.analysis.data.table import check_table
from harness.analysis.data.table_checks import TableError
from harness.analysis.report.compare import compare, pooled_curves
from harness.analysis.report.compare_charts import end_line, end_maps, group_curves, places_of
from harness.analysis.report.compare_runs import (
    arms_of,
    common_axes,
    group_curve,
    groups_of,
    load_runs,
    repeated_settings,
)
from tests.analysis.pages import chart_rows, in_browser, opened
from tests.analysis.study_tables import study_frame, study_table


def write_run(folder, lr: float, steps: int = 5, torn: str = "", seed: int = 0, **config) -> None:
    """A run whose last pooled accuracy is 0.4 on verified tasks and 0.2 on unverified ones, for each seed 0.1 more."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"optim": {"lr": lr}, "seed": seed, **config}))
    rows = [
        {"compute/step": step, "compute/tokens": 100 * step, "train/loss": lr * step,
         **({"eval/addition/mean@1": 0.1 * step} if step % 2 == 0 else {}),
         **({"eval/verified/mean@1": 0.1 * (step + seed), "eval/unverified/mean@1": 0.05 * step + 0.1 * seed}
            if step % 2 == 0 else {})}
        for step in range(steps)
    ]  # fmt: skip
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + torn)


def test_each_metric_has_the_steps_at_which_it_was_logged(tmp_path):
    write_run(tmp_path / "a", 1.0)
    (run,) = load_runs(tmp_path / "a")
    line = run.metrics["eval/addition/mean@1"].to_dict(as_series=False)
    assert line == {"value": pytest.approx([0.0, 0.2, 0.4]), "step": [0, 2, 4], "tokens": [0, 200, 400]}


def test_a_line_torn_by_a_kill_is_left_out_and_a_broken_one_is_named(tmp_path):
    write_run(tmp_path / "torn", 1.0, torn='{"compute/st')
    assert len(load_runs(tmp_path / "torn")[0].metrics["train/loss"]) == 5
    write_run(tmp_path / "broken", 1.0, torn="{oops}\n{}\n")
    with pytest.raises(TableError, match="line 6 is not JSON"):
        load_runs(tmp_path / "broken")


def test_a_folder_of_runs_gives_each_of_them(tmp_path):
    for name, lr in (("a", 1.0), ("b", 2.0)):
        write_run(tmp_path / "sweep" / name, lr)
    assert [run.label for run in load_runs(tmp_path / "sweep")] == ["a", "b"]


def write_sweep(folder, rates=(0.1, 0.2, 0.4), algorithms=("grpo",), seeds=(0, 1)):
    """The names of the folders, one for each rate, algorithm and seed."""
    for lr in rates:
        for name in algorithms:
            for seed in seeds:
                algo = {"name": name, "clip": algorithms.index(name)}  # which follows from the name
                write_run(folder / f"{name}-{lr}-{seed}", lr, seed=seed, algo=algo, out=f"{folder}/{seed}")
    return sorted(folder.iterdir())


def test_runs_that_differ_in_their_seeds_alone_are_one_line_between_its_lowest_and_its_highest_run(tmp_path):
    write_sweep(tmp_path)
    groups = groups_of(load_runs(tmp_path))
    assert [(group.label, len(group.runs)) for group in groups] == [("lr=0.1", 2), ("lr=0.2", 2), ("lr=0.4", 2)]
    curve = group_curve(groups[0], "eval/verified/mean@1")
    assert list(curve["step"]) == [0, 2, 4]
    assert [list(curve[side].round(9)) for side in ("low", "value", "high")] == [
        [0.0, 0.2, 0.4], [0.05, 0.25, 0.45], [0.1, 0.3, 0.5]
    ]  # fmt: skip


def test_runs_of_one_group_are_averaged_where_all_of_them_were_logged(tmp_path):
    write_run(tmp_path / "a", 1.0, steps=5)
    write_run(tmp_path / "b", 1.0, steps=3, seed=1)
    (group,) = groups_of(load_runs(tmp_path))
    assert list(group_curve(group, "train/loss")["step"]) == [0, 1, 2]


def test_settings_that_go_together_are_one(tmp_path):
    for i, (size, problems) in enumerate([(4, 8), (8, 4), (4, 8)]):
        write_run(tmp_path / str(i), 1.0, seed=i, rl={"group_size": size, "problems": problems})
    groups = groups_of(load_runs(tmp_path))
    assert [group.label for group in groups] == ["group_size=4", "group_size=8"]
    assert repeated_settings(groups) == ["rl.problems"]


def test_two_swept_settings_are_a_grid_of_where_they_ended(tmp_path):
    write_sweep(tmp_path, algorithms=("rloo", "grpo"))
    groups = groups_of(load_runs(tmp_path))
    maps = end_maps(groups, pooled_curves(groups))
    assert list(maps) == ["Verified tasks", "Unverified tasks"]
    cells = {(row["x"], row["y"]): row["accuracy"] for row in chart_rows(maps["Verified tasks"])}
    assert len(cells) == 6
    assert cells["algo=grpo", "lr=0.1"] == pytest.approx(0.45)
    (colour, dash), other = (places_of(groups)[f"lr=0.1, algo={name}"] for name in ("grpo", "rloo"))
    assert colour == other[0]
    assert dash != other[1]


def test_one_swept_number_is_a_line_of_where_it_ended(tmp_path):
    write_sweep(tmp_path)
    groups = groups_of(load_runs(tmp_path))
    rows = chart_rows(end_line(groups, pooled_curves(groups)))
    verified = [
        (row["setting"], row["accuracy"], row["low"], row["high"]) for row in rows if row["label"] == "verified"
    ]
    assert verified == [(lr, pytest.approx(0.45), pytest.approx(0.4), pytest.approx(0.5)) for lr in (0.1, 0.2, 0.4)]
    assert end_maps(groups, pooled_curves(groups)) == {}


def test_the_page_shows_pooled_accuracy_first_and_folds_every_metric(tmp_path):
    text = compare(write_sweep(tmp_path / "runs", algorithms=("rloo", "grpo", "ppo")), tmp_path / "out").read_text()
    assert "9 settings, 2 runs of each. Best at the end: lr=" in text
    places = [text.index(f'<section id="{name}"') for name in ("accuracy", "ends", "settings", "eval-metrics")]
    assert places == sorted(places)
    assert "Verified tasks, algo=ppo" in text
    ids = re.findall(r' id="([^"]+)"', text.partition("<script>")[0])
    assert len(ids) == len(set(ids))
    assert text.index("<details>", places[3]) < text.index('data-figure="eval-0"')


def test_an_arm_of_a_table_is_a_group_of_its_replicates():
    data = study_table()
    groups = groups_of(arms_of(data, "study"))
    assert [group.label for group in groups] == list(data.arms)
    real = next(group for group in groups if group.label == "true_reward")
    curve = group_curve(real, "eval/addition_symbolic/mean@1")
    assert curve["step"][0] == 0
    assert len(curve) == 10
    assert len(real.runs) > 1
    assert (curve["low"] < curve["high"]).any()
    assert set(real.runs[0].metrics) > {"eval/verified/mean@1", "eval/unverified/mean@1"}


def test_a_replicate_that_was_not_evaluated_in_a_role_is_compared_in_the_others(tmp_path):
    frame = study_frame().filter((pl.col("seed") > 0) | (pl.col("role") == "verified"))
    frame.write_parquet(tmp_path / "table.parquet")
    first = arms_of(check_table(frame), "study")[0]
    assert "eval/verified/mean@1" in first.metrics
    assert "eval/unverified/mean@1" not in first.metrics
    assert compare([tmp_path], tmp_path / "out").is_file()


def test_a_metric_that_is_no_number_now_and_then_keeps_its_numbers(tmp_path):
    write_run(tmp_path / "a", 1.0)
    path = tmp_path / "a" / "metrics.jsonl"
    path.write_text(path.read_text() + json.dumps({"compute/step": 6, "train/loss": "n/a", "train/ended": True}) + "\n")
    (run,) = load_runs(tmp_path)
    assert len(run.metrics["train/loss"]) == 5
    assert run.metrics["train/ended"]["value"].to_list() == [1.0]


def test_only_axes_that_every_line_has_are_offered_and_step_0_has_its_place(tmp_path):
    write_run(tmp_path / "a", 1.0)
    runs = [*load_runs(tmp_path / "a"), *arms_of(study_table(), "study")]
    axes, groups = common_axes(runs), groups_of(runs)
    assert [axis.name for axis in axes] == ["step", "tokens"]
    curves = {groups[0].label: group_curve(groups[0], "train/loss")}
    rows = chart_rows(group_curves(curves, axes, places_of(groups)))
    assert rows[0]["step"] == pytest.approx(axes[0].zero, rel=1e-5)
    assert rows[1]["step"] == 1


def test_the_page_names_the_settings_that_differ_and_no_others(tmp_path):
    for name, lr in (("a", 1.0), ("b", 2.0)):
        write_run(tmp_path / name, lr)
    text = compare([tmp_path / "a", tmp_path / "b"], tmp_path / "out").read_text()
    assert ">lr=1.0</td>" in text
    assert "seed=" not in text.partition("<script>")[0]


@pytest.mark.parametrize(("make", "message"), [(False, "does not exist"), (True, "neither metrics.jsonl")])
def test_what_is_no_run_is_refused_by_name(tmp_path, make, message):
    if make:
        (tmp_path / "nothing").mkdir()
    with pytest.raises(TableError, match=message):
        compare([tmp_path / "nothing"], tmp_path / "out")


@in_browser
def test_in_a_browser_runs_and_tables_are_drawn_over_one_another(tmp_path):
    write_run(tmp_path / "a", 1.0)
    study_frame().write_parquet(tmp_path / "runs.parquet")
    path = compare([tmp_path / "a", tmp_path / "runs.parquet"], tmp_path / "out")
    with opened(path, tmp_path / "profile") as (view, complaints):
        assert view.locator("#accuracy .plot svg").count() == 2
        assert view.locator("#eval .plot svg").count() == 0
        view.locator("#eval-metrics summary").click()
        view.wait_for_selector("#eval .plot svg")
        view.select_option("select.axes", "tokens")
        view.wait_for_function("document.body.dataset.drawn === 'tokens'")
        assert view.locator("#train .plot svg").count() == 0  # not on the axis of before either
        view.locator("#train-metrics summary").click()
        view.wait_for_selector("#train .plot svg")
        assert view.locator("#train .mark-symbol path").count() == 5
        assert complaints == []
