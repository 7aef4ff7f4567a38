"""What the repository keeps of a study: every row of its tables, the verdicts in short, and small files only."""

import json

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from harness import analyze
from harness.analysis.data.options import default_options
from harness.analysis.data.registered import as_its_study, registered_measure
from harness.analysis.data.table import load_table
from harness.analysis.verdict.primary import answer_to, primary_record, typed_primary
from harness.core.files import read_json
from scripts import family_pages
from scripts.atlas_page import atlas_page
from scripts.commit_results import PROBLEM_ORDER, commit, compress, rounded, short
from scripts.results_page import all_claims, distance, results_page
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


@pytest.mark.parametrize("name", ["chains.json", "reliability.json"])
def test_records_of_an_analysis_are_kept_where_a_study_has_them(tmp_path, name):
    pl.DataFrame({"arm": ["true_reward"]}).write_parquet(tmp_path / "table.parquet")
    commit(tmp_path, tmp_path / "before", [])
    assert not (tmp_path / "before" / name).exists()
    (tmp_path / name).write_text('[{"arm": "true_reward", "mean": 0.123456789}]')
    commit(tmp_path, tmp_path / "after", [])
    assert json.loads((tmp_path / "after" / name).read_text()) == [{"arm": "true_reward", "mean": 0.123457}]


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*/verdicts.json")), ids=lambda path: path.parent.name)
def test_committed_verdicts_are_short_and_name_a_verdict_for_every_task(path):
    records = json.loads(path.read_text())
    assert records == [rounded(short(record)) for record in records]
    assert all({"arm", "task", "role", "verdict", "slope_per_decade"} <= set(record) for record in records)
    assert all("laws" in record for record in records if record["task"] == "all")


@pytest.fixture(scope="module")
def claims():
    return all_claims(RESULTS)


def test_the_pages_of_all_claims_are_made_from_the_pages_beside_them(claims):
    """`python scripts/results_page.py` after a study is committed."""
    assert (RESULTS / "README.md").read_text() == results_page(claims)
    assert (RESULTS / "atlas.html").read_text() == atlas_page(claims)
    assert len(atlas_page(claims)) < 200_000


def test_claims_with_a_registered_measure_come_first_by_strength(claims):
    measured = [one.primary is not None for one in claims]
    assert measured == sorted(measured, reverse=True)
    strengths = [one.strength for one in claims if one.primary]
    assert strengths == sorted(strengths, reverse=True)


def test_strength_is_the_distance_to_the_margin_in_half_widths():
    assert distance(0.3, 0.2, 0.4, margin=0.1) == pytest.approx(2)
    assert distance(0.3, 0.2, 0.4) == pytest.approx(3)
    assert distance(None, None, None, margin=0.1) == 0


def test_a_folder_with_a_page_alone_has_a_row_without_numbers(tmp_path):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "README.md").write_text("# Does it?\n\n**Yes, by .1. Twice.** More.\n")
    (one,) = all_claims(tmp_path)
    assert (one.claim, one.question, one.found) == ("", "Does it?", "Yes, by .1.")
    assert "| – | [Does it?](new/README.md) | – | Yes, by .1. | – | 0 runs |" in results_page([one])
    assert "<h2>Does it?</h2>" in atlas_page([one])


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*/primary.json")), ids=lambda path: path.parent.name)
def test_a_committed_answer_is_that_of_its_table_and_registered_words(path):
    record = typed_primary(read_json(path))
    assert record.answer == answer_to(record.low, record.high, record.margin, record.yes_if)
    if (registered := registered_measure(path.parent)) is not None:
        found = primary_record(load_table(path.parent), registered, default_options().min_bases)
        assert (found.answer, found.n, found.margin) == (record.answer, record.n, record.margin)
        assert (found.effect, found.low, found.high) == pytest.approx((record.effect, record.low, record.high))


@pytest.mark.parametrize("name", family_pages.FAMILIES)
def test_the_page_of_a_family_is_made_from_its_study(name):
    """`python scripts/family_pages.py` after its study is committed."""
    assert (family_pages.PAGES / f"{name}.md").read_text() == family_pages.page(name, family_pages.FAMILIES[name])


def test_a_committed_table_is_analysed_with_the_options_of_its_study():
    folder = RESULTS / "specimens"
    found = analyze(folder).options
    assert (found.real_arm, found.warmup) == ("fold", read_json(folder / "manifest.json")["warmup"])
    assert found.warmup > 0
    assert analyze(folder, warmup=0.0).options.warmup == 0
    assert as_its_study(default_options(), [folder]) == found
    assert as_its_study(default_options(warmup=3.0), folder).warmup == 3
    assert as_its_study(default_options(), [folder, folder]) == analyze(load_table(folder)).options == default_options()
