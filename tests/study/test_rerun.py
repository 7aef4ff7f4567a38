"""Committed results can be made again: a run of each registered study, from nothing, gives the rows of its tables."""

import warnings
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from hydra import initialize_config_module
from polars.testing import assert_frame_equal
from rich.console import Console

from harness.config.compose import Composer
from harness.core.files import read_json, write_hashed_json
from harness.study.execute import require_done, run_missing
from harness.study.expand import Entry, ExpandedStudy, expand
from harness.study.tables import build_tables
from tests.toys import CONFIGS

RESULTS = CONFIGS.parent / "docs" / "results"
FIRST_VERSION = (0, 2)  # whose numbers the code still gives; the tables of 0.1 were made by other kernels
CELL = ["task", "role", "difficulty", "setting", "step"]
MEASURED = ["n_problems", "k", "n_correct", "n_correct_sq", "n_scorable", "answer_logprob", "completions", "tokens"]
PROBLEM = ["task", "difficulty", "setting", "problem", "x"]
Tables = tuple[pl.DataFrame, pl.DataFrame]  # run table, problems table
ERRORS = 3.0  # standard errors of the difference of two runs, at every budget


def made_by(folder: Path) -> tuple[int, ...]:
    """The oldest version of the package, (major, minor), that computed a row of a folder's table."""
    names = pl.read_parquet(folder / "table.parquet", columns=["code_version"])["code_version"].drop_nulls().unique()
    return min((tuple(int(part) for part in name.split("+")[0].split(".")[:2]) for name in names), default=(0, 0))


def repeatable(results: Path) -> list[str]:
    """The studies in `results` that were registered and whose whole tables were made since FIRST_VERSION."""
    manifests = {path.parent: read_json(path) for path in sorted(results.glob("*/manifest.json"))}
    registered = [folder for folder, manifest in manifests.items() if manifest["study"].get("registered")]
    return [folder.name for folder in registered if made_by(folder) >= FIRST_VERSION]


def first_run(study: ExpandedStudy) -> Entry:
    """Of the arm true_reward, or of the first arm where there is none, at the first seed."""
    arm = "true_reward" if "true_reward" in study.config.arms else study.entries[0].arm
    return next(entry for entry in study.entries if entry.arm == arm)


def whole_study(name: str, *settings: str) -> ExpandedStudy:
    with initialize_config_module("configs", version_base="1.3"):
        return expand(Composer("study"), [f"study={name}", "tracker=none", "device=cpu", *settings])


def run_again(name: str, out: Path) -> tuple[Entry, Tables]:
    """The study's first run, made in `out` by one process with one thread, and its tables."""
    study = whole_study(name, f"out={out}", "launcher=local", "launcher.jobs=1", "launcher.threads=1")
    entry = first_run(study)
    study = replace(study, entries=(entry,))
    missing = study.pending()
    require_done(run_missing(missing, entry.config, Console(quiet=True)))
    return entry, build_tables(study)


def rows_of(frame: pl.DataFrame, entry: Entry, key: list[str], values: list[str]) -> pl.DataFrame:
    """The rows of a run in the arm of `entry`, in the order of `key`."""
    mine = frame.filter(pl.col("run_id") == entry.run_id, pl.col("arm") == entry.arm)
    return mine.select(*key, *values).sort(key)


def curves(table: pl.DataFrame, arm: str) -> pl.DataFrame:
    """Accuracy of the runs of an arm and its number of completions n, by role and step."""
    counts = table.filter(pl.col("arm") == arm).group_by("base_seed", "seed", "role", "step")
    return counts.agg(accuracy=pl.col("n_correct").sum() / pl.col("n_scorable").sum(), n=pl.col("n_scorable").sum())


def largest_distance(found: pl.DataFrame, committed: pl.DataFrame, arm: str) -> float:
    """The largest difference, over roles and budgets, between the accuracy of the run in `found` and that of the same
    seed in `committed`, in standard errors: of two draws of the completions, or of two seeds of the arm where these
    vary more. Rounding sends a run another way, as another seed does, and at most as far."""
    every, mine = curves(committed, arm), curves(found, arm)
    spread = every.group_by("role", "step").agg(of_seeds=pl.col("accuracy").var().fill_null(0.0))
    both = mine.join(every, on=["base_seed", "seed", "role", "step"], suffix="_kept", validate="1:1")
    assert len(both) == len(mine) > 0
    p = (pl.col("accuracy") + pl.col("accuracy_kept")) / 2
    variance = pl.max_horizontal("of_seeds", p * (1 - p) / pl.col("n"), 1 / pl.col("n") ** 2)
    difference = (pl.col("accuracy") - pl.col("accuracy_kept")).abs() / (2 * variance).sqrt()
    return both.join(spread, on=["role", "step"]).select(difference.max()).item()


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """Empty at first; studies that share a base or a run share it here too."""
    return tmp_path_factory.mktemp("again")


def check_same_run(found: Tables, committed: Tables, entry: Entry) -> None:
    """Rows are equal to the number where the base has the committed loss to the last bit: then both were rounded alike.
    Else, on another kind of CPU or where the table was made by seeds in one model, which shares sums among them (as of
    older stacks on any backend), accuracies are within ERRORS."""
    mine = pl.col("run_id") == entry.run_id
    loss, kept_loss = (frame.filter(mine)["pretrain_loss"][0] for frame, _ in (found, committed))
    if loss == kept_loss:
        for key, values, frames in zip((CELL, PROBLEM), (MEASURED, ["k", "n_correct"]), zip(found, committed)):
            left, right = (rows_of(frame, entry, key, values) for frame in frames)
            assert_frame_equal(left, right, check_exact=True, check_dtypes=False)
    else:
        assert loss == pytest.approx(kept_loss, rel=0.03)
        assert largest_distance(found[0], committed[0], entry.arm) < ERRORS
        warnings.warn(f"{entry.run_id}: rounded otherwise than the committed run", stacklevel=2)


def tables(name: str) -> Tables:
    return pl.read_parquet(RESULTS / name / "table.parquet"), pl.read_parquet(RESULTS / name / "problems.parquet")


@pytest.mark.slow
@pytest.mark.parametrize("name", repeatable(RESULTS))
def test_a_run_made_again_from_nothing_has_its_committed_rows(name, out):
    """1.5 to 4 minutes each on one quiet core; pytest -k NAME runs one study's."""
    entry, found = run_again(name, out)
    runs = read_json(RESULTS / name / "manifest.json")["runs"]
    assert entry.run_id in {run["run_id"] for run in runs if run["arm"] == entry.arm}
    check_same_run(found, tables(name), entry)


@pytest.fixture(scope="module")
def committed():
    """A registered study's tables, its first run, and the rows of that run."""
    kept, entry = tables("when_log_linear"), first_run(whole_study("when_log_linear", "study.seeds=[0]"))
    return kept, entry, tuple(frame.filter(pl.col("run_id") == entry.run_id) for frame in kept)


def test_one_completion_more_or_less_is_not_the_same_run(committed):
    kept, entry, (table, problems) = committed
    check_same_run((table, problems), kept, entry)
    more = pl.col("n_correct") + (pl.int_range(pl.len()) == 7).cast(pl.Int64)
    for changed in ((table.with_columns(more), problems), (table, problems.with_columns(more)), (table[1:], problems)):
        with pytest.raises(AssertionError):
            check_same_run(changed, kept, entry)


def standing_for(entry, table, arm, seed):
    """The rows of another run under the labels of `entry`, its base's loss in the last bits another."""
    rows = table.filter(pl.col("arm") == arm, pl.col("seed") == seed)
    labels = {"arm": entry.arm, "run_id": entry.run_id, "seed": entry.config.seed, "base_seed": entry.config.base.seed}
    loss = table.filter(pl.col("run_id") == entry.run_id)["pretrain_loss"][0] * (1 + 1e-6)
    typed = {name: pl.lit(value, dtype=table.schema[name]) for name, value in labels.items()}
    return rows.with_columns(**typed, pretrain_loss=pl.lit(loss))


def test_where_rounding_differs_a_run_may_be_another_seed_but_not_another_arm(committed):
    kept, entry, (_, problems) = committed
    with pytest.warns(UserWarning, match="rounded otherwise"):
        check_same_run((standing_for(entry, kept[0], entry.arm, seed=1), problems), kept, entry)
    with pytest.raises(AssertionError):
        check_same_run((standing_for(entry, kept[0], "shuffled_within_group", seed=0), problems), kept, entry)


def test_studies_of_an_older_version_or_not_registered_are_not_made_again(tmp_path):
    for name, version, words in (("new", "0.2.0+a", "?"), ("old", "0.1.0+a", "?"), ("free", "0.3.0", None)):
        (tmp_path / name).mkdir()
        registered = {"primary": words} if words else None
        write_hashed_json(tmp_path / name / "manifest.json", {"study": {"registered": registered}})
        pl.DataFrame({"code_version": [version, "0.3.0"]}).write_parquet(tmp_path / name / "table.parquet")
    assert repeatable(tmp_path) == ["new"]
