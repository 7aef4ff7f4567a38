"""Comparing runs: every line where its own metrics place it, whatever it was loaded from."""

import json

import pytest

from harness.analysis.data.table_checks import TableError
from harness.analysis.report.compare import arms_of, common_axes, compare, load_runs, overlay
from tests.analysis.pages import CHROMIUM, chart_rows, opened
from tests.analysis.study_tables import study_frame, study_table


def write_run(folder, lr: float, steps: int = 5, torn: str = "") -> None:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"optim": {"lr": lr}, "seed": 0}))
    rows = [
        {"compute/step": step, "compute/tokens": 100 * step, "train/loss": lr * step,
         **({"eval/addition/mean@1": 0.1 * step} if step % 2 == 0 else {})}
        for step in range(steps)
    ]  # fmt: skip
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + torn)


def test_each_metric_has_the_steps_at_which_it_was_logged(tmp_path):
    write_run(tmp_path / "a", 1.0)
    (run,) = load_runs(tmp_path / "a")
    x, y = run.metrics["eval/addition/mean@1"]
    assert (list(x["step"]), list(x["tokens"])) == ([0, 2, 4], [0, 200, 400])
    assert y == pytest.approx([0.0, 0.2, 0.4])


def test_a_line_torn_by_a_kill_is_left_out_and_a_broken_one_is_named(tmp_path):
    write_run(tmp_path / "torn", 1.0, torn='{"compute/st')
    assert len(load_runs(tmp_path / "torn")[0].metrics["train/loss"][1]) == 5
    write_run(tmp_path / "broken", 1.0, torn="{oops}\n{}\n")
    with pytest.raises(TableError, match="line 6 is not JSON"):
        load_runs(tmp_path / "broken")


def test_a_folder_of_runs_gives_each_of_them(tmp_path):
    for name, lr in (("a", 1.0), ("b", 2.0)):
        write_run(tmp_path / "sweep" / name, lr)
    assert [run.label for run in load_runs(tmp_path / "sweep")] == ["a", "b"]


def test_an_arm_of_a_table_carries_its_pool_under_the_names_that_runs_use():
    data = study_table()
    real = next(run for run in arms_of(data, "study") if "true_reward" in run.label)
    x, y = real.metrics["eval/addition_symbolic/mean@1"]
    assert x["step"][0] == 0
    assert len(y) == len(x["tokens"]) == 10
    assert set(real.metrics) > {"accuracy/verified", "accuracy/unverified"}


def test_only_axes_that_every_line_has_are_offered_and_step_0_has_its_place(tmp_path):
    write_run(tmp_path / "a", 1.0)
    runs = [*load_runs(tmp_path / "a"), *arms_of(study_table(), "study")]
    axes = common_axes(runs)
    assert [axis.name for axis in axes] == ["step", "tokens"]
    rows = chart_rows(overlay("train/loss", runs, axes))
    assert rows[0]["step"] == pytest.approx(axes[0].zero, rel=1e-5)
    assert rows[1]["step"] == 1


def test_the_page_names_the_settings_that_differ_and_no_others(tmp_path):
    for name, lr in (("a", 1.0), ("b", 2.0)):
        write_run(tmp_path / name, lr)
    text = compare([tmp_path / "a", tmp_path / "b"], tmp_path / "out").read_text()
    assert ">optim.lr</th>" in text
    assert ">seed</th>" not in text


@pytest.mark.parametrize(("make", "message"), [(False, "does not exist"), (True, "neither metrics.jsonl")])
def test_what_is_no_run_is_refused_by_name(tmp_path, make, message):
    if make:
        (tmp_path / "nothing").mkdir()
    with pytest.raises(TableError, match=message):
        compare([tmp_path / "nothing"], tmp_path / "out")


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium binary: apt-get install chromium")
def test_in_a_browser_runs_and_tables_are_drawn_over_one_another(tmp_path):
    write_run(tmp_path / "a", 1.0)
    study_frame().write_parquet(tmp_path / "runs.parquet")
    path = compare([tmp_path / "a", tmp_path / "runs.parquet"], tmp_path / "out")
    with opened(path, tmp_path / "profile") as (view, complaints):
        assert view.locator(".plot svg").count() == view.locator(".plot").count() == 10
        view.select_option("select.axes", "tokens")
        view.wait_for_function("document.body.dataset.drawn === 'tokens'")
        assert view.locator("#train .mark-symbol path").count() == 5
        assert complaints == []
