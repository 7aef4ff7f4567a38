"""What a study and its runs left behind, opened from Python."""

import shutil

import polars as pl
import pytest

import harness
from harness import load_run, load_study
from harness.config.identity import run_id
from harness.core.errors import UserError
from harness.study.tables import write_tables
from tests.study.test_expand_and_tables import launched, study


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    found = launched(study(out))
    write_tables(found)
    return out


def test_a_study_opens_by_name_or_folder_as_frames(out):
    loaded = load_study("toy", out)
    assert loaded.table.equals(load_study(out / "studies" / "toy").table)
    assert loaded.table.select("arm", "seed").unique().height == 6
    assert loaded.table["accuracy"].is_between(0, 1).all()
    assert loaded.problems.height > loaded.table.height
    assert {run.name for run in loaded.runs} >= {"toy-true_reward-s0", "toy-frozen-s1"}


def test_metrics_of_all_runs_stand_in_one_frame_with_arm_and_seed(out):
    metrics = load_study("toy", out).metrics
    trained = metrics.filter(pl.col("arm") == "true_reward", pl.col("train/loss").is_not_null())
    assert trained.group_by("run").len().sort("run").rows() == [("toy-true_reward-s0", 4), ("toy-true_reward-s1", 4)]


def test_verdicts_are_read_or_made(out):
    loaded = load_study("toy", out)
    assert set(loaded.verdicts["verdict"]) == {"insufficient_data"}
    assert loaded.analyze(margin=0.1).options.margin == 0.1


def test_a_study_without_run_folders_still_has_its_tables(out, tmp_path):
    shutil.copytree(out / "studies" / "toy", tmp_path / "results" / "toy")
    loaded = load_study(tmp_path / "results" / "toy")
    assert loaded.runs == ()
    assert loaded.metrics.is_empty()
    assert loaded.table.height == load_study("toy", out).table.height


def test_a_study_that_is_not_there_gets_the_near_names(out):
    with pytest.raises(UserError, match="did you mean toy"):
        load_study("toi", out)


def test_a_run_opens_by_name_with_metrics_evaluations_samples_and_policy(out):
    run = load_run("toy-true_reward-s1", out)
    assert run.id == run_id(study(out).entries[1].config)
    assert run.config["seed"] == 1
    assert "sha256" not in run.config
    assert run.status["state"] == "done"
    assert run.metrics["compute/step"].max() == 4
    assert set(run.table["step"]) == {0, 1, 2, 4}
    assert run.samples.filter(pl.col("step") == 4)["completions"].list.len().min() == 4
    assert run.policy(0).generate("a1=")[0]


def test_a_run_that_never_started_is_empty(out, tmp_path):
    folder = tmp_path / "runs" / "rl-a"
    shutil.copytree(load_run("toy-true_reward-s1", out).path, folder, ignore=lambda *_: ["metrics.jsonl", "samples"])
    assert load_run(folder).metrics.is_empty()
    assert load_run(folder).samples.is_empty()


def test_the_public_names_are_there():
    assert set(harness.__all__) <= set(dir(harness))
    assert all(getattr(harness, name) for name in harness.__all__)
    assert "load_study" in (harness.__doc__ or "")
    with pytest.raises(AttributeError, match="lod_study"):
        harness.lod_study  # noqa: B018
