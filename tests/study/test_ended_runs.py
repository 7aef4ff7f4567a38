"""A study whose runs end early by rl.stop_at: its tables, its manifest, its report, and that nothing is run again."""

import json
import shutil

import polars as pl
import pytest

from harness.study.execute import notice_of, report_study
from harness.study.expand import is_done
from harness.study.run_summary import accuracy_table, first_and_last
from harness.study.tables import ended_step, write_tables
from tests.study.test_expand_and_tables import launched, study
from tests.toys import printed

ARMS = {"true_reward": [], "frozen": ["objective=frozen"]}
STOPS = ["rl.steps=24", "rl.stop_at.accuracy=0.7"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("ended")
    found = launched(study(out, ARMS, user=STOPS, analysis={"bootstraps": 20}))
    return found, write_tables(found)


def test_the_table_ends_where_a_run_ended_and_says_so(finished):
    found, folder = finished
    table = pl.read_parquet(folder / "table.parquet").filter(pl.col("arm") == "true_reward")
    ends = {entry.config.seed: ended_step(found, entry) for entry in found.entries if entry.arm == "true_reward"}
    assert all(0 < end < 24 for end in ends.values())
    for seed, end in ends.items():
        rows = table.filter(pl.col("seed") == seed)
        assert set(rows["ended_step"]) == {end}
        assert set(rows["step"]) == {step for step in (0, 1, 2, 4, 8, 16, 24) if step <= end}


def test_a_frozen_run_stands_at_the_budgets_that_its_run_came_to(finished):
    _, folder = finished
    table = pl.read_parquet(folder / "table.parquet")
    per_seed = table.group_by("arm", "seed").agg(pl.col("step").max()).sort("arm", "seed")
    assert per_seed.filter(pl.col("arm") == "frozen")["step"].to_list() == (
        per_seed.filter(pl.col("arm") == "true_reward")["step"].to_list()
    )
    assert table.filter(pl.col("arm") == "frozen")["ended_step"].null_count() > 0


def test_what_ended_is_done_and_from_the_tables_alone_too(finished, tmp_path):
    found, folder = finished
    jobs = found.jobs
    assert all(is_done(job) for job in jobs)
    shutil.copytree(folder, tmp_path / "studies" / "toy")
    moved = study(tmp_path, ARMS, user=STOPS)
    assert moved.pending() == []
    manifest = json.loads((write_tables(moved) / "manifest.json").read_text())
    ends = [ended_step(found, entry) for entry in found.entries if entry.arm == "true_reward"]
    assert [run["ended_step"] for run in manifest["runs"]] == 2 * ends  # frozen: their references
    columns = ("run_id", "step", "task", "n_correct", "ended_step")
    old, new = (pl.read_parquet(where / "table.parquet").select(columns) for where in (folder, moved.folder))
    assert old.equals(new)


def test_report_and_terminal_say_first_that_runs_ended(finished):
    found, _ = finished
    text, notice = printed(report_study, found, [], width=300), notice_of(found)
    assert notice.startswith("rl.stop_at ended 2 of 4 runs, the first at step ")
    assert notice in text
    assert notice in (found.folder / "report.html").read_text()


def test_a_single_run_shows_its_end(finished):
    found, _ = finished
    entry = found.entries[0]
    end = ended_step(found, entry)
    assert [*first_and_last(entry.config)] == [0, end]
    assert f"step {end}" in [column.header for column in accuracy_table(entry.config).columns]
