"""The analysis as an object: typed records, one frame of them, and a schema that the docs hold."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from harness.analysis.analysis import analyze, verdict_frame
from harness.analysis.calibration.simulate import KINDS, StudyDesign, draw_table
from harness.analysis.data.json_files import json_schema, strict
from harness.analysis.data.table import load_table
from harness.analysis.data.table_checks import TableError
from harness.analysis.verdict.primary import PrimaryRecord
from harness.analysis.verdict.record import SCHEMA_VERSION, VerdictRecord, typed_records
from harness.analysis.verdict.verdicts import verdicts
from tests.analysis.study_tables import study_frame

ROOT = Path(__file__).parents[2]
COMMITTED = sorted(ROOT.glob("docs/results/*/verdicts.json"))


@pytest.fixture(scope="module")
def analysis():
    arms = {"true_reward": (0.2, 0.12), "frozen": (0.0, 0.0)}
    return analyze(study_frame(arms, budgets=(0, 1, 4, 16, 64), seeds=3), bootstraps=20, min_budgets=4)


@pytest.fixture(scope="module")
def plain(analysis):
    return strict(verdicts(analysis.table, analysis.options))


def test_records_are_typed_and_say_the_same_as_verdicts_json(analysis, plain):
    assert all(isinstance(record, VerdictRecord) for record in analysis.records)
    for record, written in zip(analysis.records, plain, strict=True):
        typed = json.loads(json.dumps(asdict(record)))
        assert {name: typed[name] for name in written} == written
        assert record.schema_version == SCHEMA_VERSION
    pool = analysis.records[0]
    assert pool.task == "all"
    assert pool.curve.x[-1] == pool.x_last
    assert pool.laws["log_linear"].parameters.keys() == {"a", "b"}
    assert pool.task_shares is not None


@pytest.mark.parametrize(
    "kind", ["line_steep", "hill_levels_off", "power_up", "knee", "hill_shallow", "flat", "falling"]
)
@pytest.mark.parametrize("seeds", [1, 8])
def test_records_of_every_shape_have_the_type(kind, seeds):
    frame = draw_table(KINDS[kind], StudyDesign(seeds=seeds), np.random.default_rng(0))
    (pool, *_) = analyze(frame, bootstraps=20, warmup=1.0).records
    assert isinstance(pool, VerdictRecord)
    assert (pool.verdict == "insufficient_data") == (seeds == 1)


def test_an_unknown_entry_of_a_record_is_refused(plain):
    with pytest.raises(ValidationError, match="new_entry"):
        typed_records([plain[0] | {"new_entry": 1}])


@pytest.mark.parametrize(("kind", "name"), [(list[VerdictRecord], "verdicts"), (PrimaryRecord, "primary")])
def test_the_schema_in_the_docs_is_the_one_of_the_types(kind, name):
    """python scripts/analyze.py action=schema out=docs/reference"""
    written = json.loads((ROOT / f"docs/reference/{name}.schema.json").read_text())
    assert written == json_schema(kind, f"{name}.json")


def test_the_frame_has_a_row_a_record_with_intervals_in_two_columns(analysis):
    frame = analysis.verdicts
    assert frame.height == len(analysis.records)
    row = frame.row(0, named=True)
    assert (row["slope_low"], row["slope_high"]) == analysis.records[0].slope_ci
    assert row["verdict"] == analysis.records[0].verdict
    assert not any(isinstance(kind, pl.List | pl.Struct) for kind in frame.schema.values())


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.parent.name)
def test_committed_verdicts_make_a_frame_though_they_are_short(path):
    frame = verdict_frame(json.loads(path.read_text()))
    assert {"arm", "task", "verdict", "slope_low"} <= set(frame.columns)


def test_a_frame_a_file_and_a_table_are_the_same(analysis, tmp_path):
    analysis.table.frame.write_parquet(tmp_path / "table.parquet")
    for source in (tmp_path, str(tmp_path / "table.parquet"), load_table(tmp_path), analysis.table.frame):
        assert analyze(source).table.frame.equals(analysis.table.frame)
    assert analysis.transfer["real_arm"] == "true_reward"


def test_figures_are_objects_that_a_notebook_shows(analysis):
    assert {"accuracy", "laws_verified"} <= analysis.figures.keys()
    figure = analysis.figures["accuracy"]
    assert figure.title
    assert all(chart.to_dict()["$schema"] for chart in figure.panels.values())
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_mistakes_are_named():
    with pytest.raises(TableError, match="the table has no rows"):
        analyze(study_frame().head(0))
    with pytest.raises((ValidationError, TypeError), match="margn"):
        analyze(study_frame(), margn=0.1)
