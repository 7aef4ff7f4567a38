"""What the repository keeps of a study: every row of its tables, the verdicts in short, and small files only."""

import json

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from scripts.commit_results import PROBLEM_ORDER, compress, rounded, short
from scripts.results_page import results_page
from tests.toys import CONFIGS

RESULTS = CONFIGS.parent / "docs" / "results"


def test_a_file_of_the_committed_results_has_less_than_a_megabyte():
    assert {path.name for path in RESULTS.rglob("*") if path.is_file() and path.stat().st_size > 2**20} == set()


def test_compression_keeps_every_row_and_value(tmp_path):
    (source,) = RESULTS.glob("exposure/problems.parquet")
    before = pl.read_parquet(source).sample(500, seed=0)
    before.write_parquet(tmp_path / "before.parquet")
    compress(tmp_path / "before.parquet", tmp_path / "after.parquet", PROBLEM_ORDER)
    after = pl.read_parquet(tmp_path / "after.parquet")
    assert_frame_equal(before.sort(before.columns), after.sort(before.columns))


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*/verdicts.json")), ids=lambda path: path.parent.name)
def test_committed_verdicts_are_short_and_name_a_verdict_for_every_task(path):
    records = json.loads(path.read_text())
    assert records == [rounded(short(record)) for record in records]
    assert all({"arm", "task", "role", "verdict", "slope_per_decade"} <= set(record) for record in records)
    assert all("laws" in record for record in records if record["task"] == "all")


def test_the_page_of_all_claims_is_made_from_the_pages_beside_it():
    """`python scripts/results_page.py` after a study is committed."""
    assert (RESULTS / "README.md").read_text() == results_page()
