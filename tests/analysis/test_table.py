"""What a run table must be, and what the curves pooled from it are."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from harness.analysis.data.curves import cell_curves, complete_block, curves
from harness.analysis.data.table import check_table, load_table
from harness.analysis.data.table_checks import REQUIRED, TableError


def toy(
    seeds: int = 2, budgets: tuple[float, ...] = (0, 1, 2, 4), tasks: tuple[str, ...] = ("add", "sort")
) -> pl.DataFrame:
    """A complete table: add is correct 10 + 2 budgets of 40 times, sort twice as often."""
    rows = [
        {
            "run_id": f"run{seed}", "arm": "true_reward", "seed": seed, "task": task, "role": "verified", "x": float(x),
            "n_problems": 10, "k": 4, "n_correct": (10 + 2 * i) * (1 + j), "n_correct_sq": (10 + 2 * i) * (1 + j) * 2,
        }
        for seed in range(seeds) for i, x in enumerate(budgets) for j, task in enumerate(tasks)
    ]  # fmt: skip
    return pl.DataFrame(rows)


def with_value(row: int, **values: object) -> pl.DataFrame:
    rows = toy().to_dicts()
    rows[row].update(values)
    return pl.DataFrame(rows, strict=False, infer_schema_length=None)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        *((toy().drop(column), column) for column in REQUIRED),
        (toy().rename({"n_correct": "n_corect"}), r"n_correct \(is it 'n_corect'\?\)"),
        (pl.concat([toy(), toy()[:1]]), r"row 1 .*more than once \(2 such rows"),
        (pl.concat([toy(), toy(seeds=1).with_columns(pl.lit("other").alias("run_id"))]), "its own seed"),
        (with_value(3, x=-1.0), r"'x', row 4.*negative"),
        (with_value(3, x=float("nan")), r"'x', row 4.*finite"),
        (with_value(3, n_correct=None), r"'n_correct', row 4.*empty"),
        (with_value(3, n_correct=41), r"'n_correct', row 4.*exceeds"),
        (with_value(3, n_correct=3.5), r"'n_correct', row 4.*whole number"),
        (with_value(3, n_problems=0), r"'n_problems', row 4.*below 1"),
        (with_value(3, role="verifed"), r"'role', row 4"),
        (with_value(3, n_correct_sq=1), r"'n_correct_sq', row 4"),
    ],
)
def test_a_missing_column_a_bad_value_and_a_second_measurement_are_named(frame: pl.DataFrame, message: str) -> None:
    with pytest.raises(TableError, match=message):
        check_table(frame)


def test_csv_parquet_and_study_folder_load_alike(tmp_path: Path) -> None:
    frame = toy()
    frame.write_csv(tmp_path / "runs.csv")
    frame.write_parquet(tmp_path / "table.parquet")
    loaded = [load_table(path).frame for path in (tmp_path / "runs.csv", tmp_path / "table.parquet", tmp_path)]
    order = sorted(loaded[0].columns)
    assert loaded[0].select(order).equals(loaded[1].select(order))
    assert loaded[1].equals(loaded[2])


def test_a_file_that_is_no_table_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("")
    for path in (tmp_path / "empty.csv", tmp_path / "absent.csv", tmp_path):
        with pytest.raises(TableError, match=r"absent|empty|table\.parquet"):
            load_table(path)


def test_the_other_split_is_counted_when_left_out() -> None:
    both = pl.concat([toy().with_columns(pl.lit(name).alias("split")) for name in ("test", "validation")])
    table = check_table(both)
    assert table.frame.height == 16
    assert any("16 of 32 rows" in note for note in table.notes)


def test_tasks_count_equally_whatever_their_number_of_problems() -> None:
    frame = toy().with_columns(
        pl.when(pl.col("task") == "sort").then(pl.col(name) * 100).otherwise(pl.col(name)).alias(name)
        for name in ("n_problems", "n_correct", "n_correct_sq")
    )
    pooled = curves(check_table(frame), "true_reward")
    np.testing.assert_allclose(pooled.accuracy[0], [(0.25 + 0.05 * i) * 1.5 for i in (1, 2, 3)])
    np.testing.assert_allclose(pooled.r0, 0.375)


def test_a_task_with_more_difficulties_does_not_count_more() -> None:
    """add is solved at .3 at difficulty 1 and always at difficulty 2; sort, at one difficulty, at .6."""
    first = toy().with_columns(pl.lit("1").alias("difficulty"))
    second = first.filter(pl.col("task") == "add").with_columns(
        pl.lit("2").alias("difficulty"), n_correct=pl.lit(40, pl.Int64), n_correct_sq=pl.lit(160, pl.Int64)
    )
    pooled = curves(check_table(pl.concat([first, second])), "true_reward")
    assert pooled.accuracy[0, 0] == pytest.approx(((0.3 + 1.0) / 2 + 0.6) / 2)


def test_noise_matches_repeated_evaluation_of_the_same_problems() -> None:
    """The estimate from n_correct_sq is unbiased for the variance given the problems, not inflated by their spread."""
    rng = np.random.default_rng(0)
    p = rng.beta(0.3, 0.3, 400)  # most problems always or never solved
    counts = rng.binomial(8, p, (3000, 400))
    truth = np.sum(p * (1 - p)) / 8 / 400**2
    assert np.var(counts.mean(1) / 8) == pytest.approx(truth, rel=0.1)
    runs = {"run_id": [f"r{i}" for i in range(50)], "seed": range(50)}
    same = {"arm": "a", "task": "t", "role": "verified", "x": 1.0, "n_problems": 400, "k": 8}
    sums = {"n_correct": counts[:50].sum(1), "n_correct_sq": (counts[:50] ** 2).sum(1)}
    frame = pl.DataFrame(runs | same | sums)
    exact = curves(check_table(frame), "a")
    bound = curves(check_table(frame.drop("n_correct_sq")), "a")
    assert exact.noise.mean() == pytest.approx(truth, rel=0.05)
    assert exact.problem_noise.mean() == pytest.approx(np.var(p) / 400, rel=0.2)
    assert bound.noise.mean() > 2 * truth


def test_budgets_that_a_replicate_lacks_are_counted() -> None:
    frame = toy(seeds=4).filter(~((pl.col("seed") == 3) & (pl.col("x") == 4)))
    pooled = curves(check_table(frame), "true_reward")
    assert pooled.accuracy.shape == (3, 3)
    assert any("1 of 12" in note and "3 of 4 replicates" in note for note in pooled.notes)


def test_budgets_align_by_step_where_flops_differ_between_seeds() -> None:
    frame = toy().with_columns(pl.col("x").cast(pl.Int64).alias("step"), pl.col("x") * (1 + 0.04 * pl.col("seed")))
    pooled = curves(check_table(frame), "true_reward")
    np.testing.assert_allclose(pooled.x, [1.02, 2.04, 4.08])
    assert any("differs" in note for note in pooled.notes)


def test_independent_budgets_pair_the_rth_seed_of_each_budget() -> None:
    frame = toy(budgets=(1, 2)).with_columns(
        pl.lit("independent").alias("budgets_mode"), pl.col("seed") + (pl.col("x") * 10).cast(pl.Int64)
    )
    assert curves(check_table(frame), "true_reward").accuracy.shape == (2, 2)


def test_several_model_sizes_must_be_chosen_between() -> None:
    frame = pl.concat([toy().with_columns(pl.lit(size).alias("model_params")) for size in (100, 200)])
    table = check_table(frame)
    with pytest.raises(TableError, match="several model sizes"):
        curves(table, "true_reward")
    assert curves(table, "true_reward", size=100).accuracy.shape == (2, 3)


def test_each_cell_has_its_own_curve() -> None:
    found = cell_curves(check_table(toy()), "true_reward")
    assert list(found) == [("add", "", ""), ("sort", "", "")]
    np.testing.assert_allclose(found["sort", "", ""].accuracy, 2 * found["add", "", ""].accuracy)


def test_the_complete_block_is_all_present() -> None:
    present = np.array([[1, 1, 1, 1], [1, 1, 1, 0], [1, 0, 0, 0]], bool)
    rows, columns = complete_block(present)
    assert rows.tolist() == [0, 1]
    assert columns.tolist() == [0, 1, 2]
