"""A study runs what its own folder lacks; results of another folder count only where the user names it."""

import json
import shutil

import polars as pl
import pytest
from hydra import initialize_config_module

from harness.config.compose import Composer
from harness.core.errors import UserError
from harness.core.files import read_json
from harness.study import cached_results
from harness.study.execute import run_study
from harness.study.expand import expand
from harness.study.plan import reuse_notice
from harness.study.status import status_table
from harness.study.tables import write_tables
from tests.study.test_expand_and_tables import launched, study
from tests.toys import CONFIGS, printed, run_all

RESULTS = CONFIGS.parent / "docs" / "results"
VARIANTS = {"true_reward": [[], ["optim.lr=1e-3"]], "frozen": ["objective=frozen"]}


@pytest.fixture(scope="module")
def committed(tmp_path_factory):
    """The folder of a finished study whose runs are gone."""
    out = tmp_path_factory.mktemp("finished")
    found = launched(study(out, VARIANTS))
    folder = tmp_path_factory.mktemp("docs") / "results"
    shutil.move(write_tables(found), folder)
    return folder


def test_results_of_another_folder_count_only_if_the_user_names_it(committed, tmp_path):
    plain, reusing = study(tmp_path, VARIANTS), study(tmp_path, VARIANTS, reuse=str(committed))
    assert len(plain.pending()) == len(plain.jobs) == 7
    assert reusing.pending() == []
    assert reuse_notice(plain) == ""
    assert reuse_notice(reusing) == f"6 runs taken from {committed}"


def test_reused_scores_never_pass_for_those_of_another_evaluation(committed, tmp_path):
    """One of six runs was evaluated otherwise, and its tables name the others, which were not measured yet."""
    other = ["evaluation.samples=8"]
    begun = study(tmp_path, VARIANTS, user=other)
    run_all(begun.jobs[:2])  # the base and the first run
    write_tables(begun)
    left = {job.run_id for job in study(tmp_path, VARIANTS, user=other, reuse=str(committed)).pending()}
    assert {entry.run_id for entry in begun.entries[1:]} <= left


def test_a_run_whose_problems_are_missing_counts_as_not_measured(committed, tmp_path):
    folder = shutil.copytree(committed, tmp_path / "damaged")
    problems = pl.read_parquet(folder / "problems.parquet")
    lost = problems["run_id"][0]
    problems.filter(pl.col("run_id") != lost).write_parquet(folder / "problems.parquet")
    manifest = read_json(folder / "manifest.json")  # as older versions wrote it, without hashes of the tables
    (folder / "manifest.json").write_text(
        json.dumps({k: v for k, v in manifest.items() if k not in ("files", "sha256")})
    )
    pending = {job.run_id for job in study(tmp_path / "out", VARIANTS, reuse=str(folder)).pending() if not job.is_base}
    assert pending == {lost}


def test_own_tables_with_fewer_steps_do_not_hide_reused_ones(committed, tmp_path):
    short = launched(study(tmp_path, VARIANTS, user=["rl.steps=2"]))
    write_tables(short)
    shutil.rmtree(tmp_path / "runs")
    assert study(tmp_path, VARIANTS, reuse=str(committed)).pending() == []


def test_the_plan_and_the_status_count_what_is_reused_and_what_is_to_run(committed, tmp_path):
    """One seed more than the committed study: its base and its three runs are to run, and nothing else."""
    found = study(tmp_path, VARIANTS, seeds=(0, 1, 2), reuse=str(committed), user=["plan=true"])
    text = printed(run_study, found, [])
    assert "4 to do, 6 done" in text
    assert f"6 runs taken from {committed}" in text
    assert str(status_table(found).title).startswith("4 to do, 6 done")


def test_a_base_whose_runs_are_all_reused_is_not_to_do_in_the_status_either(committed, tmp_path):
    found = study(tmp_path, VARIANTS, reuse=str(committed))
    assert status_table(found).title == "1 not needed, 6 done"


def test_reused_results_are_written_into_the_output_folder_alone(committed, tmp_path):
    before = {path: path.read_bytes() for path in committed.iterdir()}
    folder = write_tables(study(tmp_path, VARIANTS, reuse=str(committed)))
    assert folder == tmp_path / "studies" / "toy"
    assert before == {path: path.read_bytes() for path in committed.iterdir()}
    for name in ("table", "problems"):
        new, old = (pl.read_parquet(where / f"{name}.parquet") for where in (folder, committed))
        assert new.select(sorted(new.columns)).equals(old.select(sorted(old.columns)))


def test_results_under_identities_of_another_version_cannot_be_reused(committed, tmp_path, monkeypatch):
    monkeypatch.setattr(cached_results, "SCHEMA_VERSION", 99)
    with pytest.raises(UserError, match="identities of version 2, and this is version 99"):
        study(tmp_path, VARIANTS, reuse=str(committed))


def test_a_folder_without_tables_cannot_be_reused(tmp_path):
    with pytest.raises(UserError, match=r"reuse=.*holds no manifest.json"):
        study(tmp_path, reuse=str(tmp_path))


def test_a_study_without_a_trained_arm_is_done_once_it_is_measured_before_rl(tmp_path):
    """As study=mup: its frozen runs have no run whose budgets they could stand at."""
    found = study(tmp_path, {"narrow": ["objective=frozen"]})
    assert {job.until for job in found.jobs if job.needs} == {0}
    launched(found)
    write_tables(found)
    assert study(tmp_path, {"narrow": ["objective=frozen"]}).pending() == []
    shutil.rmtree(tmp_path / "runs")
    assert study(tmp_path, {"narrow": ["objective=frozen"]}).pending() == []


@pytest.mark.parametrize("name", sorted(path.parent.name for path in RESULTS.glob("*/manifest.json")))
def test_committed_results_are_reused_whole_and_count_for_nothing_otherwise(name, tmp_path):
    with initialize_config_module("configs", version_base="1.3"):
        asked = [f"study={name}", f"out={tmp_path}", "tracker=none", "device=cpu"]
        plain = expand(Composer("study"), asked)
        reusing = expand(Composer("study"), [*asked, f"reuse={RESULTS / name}"])
    assert len(plain.pending()) == len(plain.jobs)
    assert reusing.pending() == []
    assert reusing.folder == tmp_path / "studies" / name
