"""A damaged file of a finished study is named, set aside and made again: the same launch ends with the same results."""

import json
import shutil
from contextlib import nullcontext

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from harness.core.files import damaged_copy, read_json
from harness.study import table_files
from harness.study.execute import report_study
from harness.study.tables import build_tables, write_tables
from tests.study.test_expand_and_tables import study
from tests.toys import printed, run_all

ARMS = {"true_reward": [], "frozen": ["objective=frozen"]}


def launch(out, report=False):
    """What `scripts/study.py` does, in this process. Returns the ids of the jobs that were run."""
    found = study(out, ARMS)
    jobs = found.pending()
    run_all(jobs)
    printed(report_study, found, []) if report else write_tables(found)
    return [job.run_id for job in jobs]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("finished")
    launch(out, report=True)
    assert launch(out) == []
    return out


@pytest.fixture
def out(finished, tmp_path):
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    return tmp_path


def tables(out):
    return [pl.read_parquet(out / "studies" / "toy" / name) for name in table_files.TABLES]


def check_tables(out, finished):
    for mine, whole in zip(tables(out), tables(finished), strict=True):
        assert_frame_equal(mine, whole, check_exact=True)


def flip(data):
    place = len(data) // 2
    return data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :]


DAMAGES = {"truncated": lambda data: data[: len(data) // 2], "emptied": lambda data: b"", "flipped": flip}
OF_RUNS = ["status.json", "labels.json", "config.json", "evaluations/*/step-00000002.json"]
OF_STUDY = [*table_files.TABLES, "manifest.json"]
ANALYSED = ["analysis.json", "verdicts.json", "transfer.json", "report.html"]
FILES = [f"runs/{kind}-*/{name}" for name in OF_RUNS for kind in ("base", "rl") if not (kind == "base" and "/" in name)]


def damage(out, pattern, how):
    path = next(iter(sorted(out.glob(pattern))))
    before = path.read_bytes()
    path.write_bytes(DAMAGES[how](before))
    return path, before


CASES = [("studies/toy/report.html", "emptied")]
CASES += [pytest.param(f"studies/toy/{name}", "flipped", marks=pytest.mark.slow) for name in ANALYSED]
CASES += [(pattern, how) for pattern in (*FILES, *(f"studies/toy/{name}" for name in OF_STUDY)) for how in DAMAGES]


@pytest.mark.parametrize(("pattern", "how"), CASES)
def test_a_damaged_file_is_named_set_aside_and_made_again(out, finished, pattern, how, capfd):
    path, before = damage(out, pattern, how)
    damaged = path.read_bytes()
    launch(out, report=path.name in ANALYSED)
    assert capfd.readouterr().err.count(f"damaged file {path}: ") == 1
    assert damaged_copy(path).read_bytes() == damaged
    check_tables(out, finished)
    assert path.stat().st_size > len(before) / 2
    if path.name == "status.json":
        assert read_json(path)["state"] == "done"
    elif path.name not in ("config.json", "report.html", "analysis.json"):  # these name the output folder
        assert path.read_bytes() == before
    assert launch(out) == []
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("how", ["truncated", "flipped"])
@pytest.mark.parametrize("kind", ["base", "rl"])
def test_damaged_metrics_change_no_number_of_the_tables(out, finished, kind, how, capfd):
    path, _ = damage(out, f"runs/{kind}-*/metrics.jsonl", how)
    launch(out)
    assert capfd.readouterr().err.count(f"damaged file {path}: ") == 1
    assert damaged_copy(path).exists()
    check_tables(out, finished)
    shutil.rmtree(out / "studies")
    launch(out)
    check_tables(out, finished)


def test_half_of_the_metrics_of_an_older_base_are_not_taken_for_all_of_them(out, finished, monkeypatch, capfd):
    """Its weights do not say how they were trained, and its status has no hash: whole rows are missing at the end."""
    (path,) = out.glob("runs/base-*/metrics.jsonl")
    status = read_json(path.with_name("status.json"))
    path.with_name("status.json").write_text(json.dumps({k: v for k, v in status.items() if k != "metrics"}))
    monkeypatch.setattr("harness.study.tables.read_meta", lambda folder: None)
    launch(out)
    check_tables(out, finished)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-1]))
    launch(out)  # the tables have what the metrics had
    check_tables(out, finished)
    shutil.move(damaged_copy(path), path)
    shutil.rmtree(out / "studies")
    launch(out)
    assert tables(out)[0]["pretrain_tokens"].null_count() == tables(out)[0].height
    assert capfd.readouterr().err.count(f"damaged file {path}: its rows end at step") == 2


def test_evaluations_come_back_from_the_weights_and_where_these_are_gone_from_the_tables(out, finished):
    path, before = damage(out, "runs/rl-*/evaluations/*/step-00000002.json", "flipped")
    assert launch(out) == [path.parts[-4]]
    assert path.read_bytes() == before
    damage(out, "runs/rl-*/evaluations/*/step-00000002.json", "flipped")
    shutil.rmtree(out / "runs" / path.parts[-4] / "budgets")
    assert launch(out) == []
    check_tables(out, finished)


def test_results_whose_runs_are_gone_are_set_aside_rather_than_overwritten_when_their_manifest_is_damaged(out, capfd):
    whole = tables(out)
    shutil.rmtree(out / "runs")
    damage(out, "studies/toy/manifest.json", "flipped")
    launch(out)
    for name, frame in zip(table_files.TABLES, whole):
        kept = out / "studies" / "toy" / f"{name}.damaged"
        assert kept.is_file()
        assert_frame_equal(pl.read_parquet(kept), frame)


class Killed(Exception):
    """In the place of a signal."""


@pytest.mark.parametrize("writes", [1, 2, 3, 4])
def test_a_process_killed_between_any_two_files_leaves_the_old_tables_or_the_new(out, monkeypatch, writes, capfd):
    folder = out / "studies" / "toy"
    ids = [run["run_id"] for run in read_json(folder / "manifest.json")["runs"]]
    left = [writes]

    def dying(step):
        def act(*args):
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return step(*args)

        return act

    fewer = study(out, ARMS, seeds=(0,))
    manifest = {"runs": [{"run_id": entry.run_id, "evaluation_id": ""} for entry in fewer.entries]}
    new = dict(zip(table_files.TABLES, build_tables(fewer))), manifest
    for name in ("write_whole", "write_hashed_json", "_use_new_tables"):
        monkeypatch.setattr(table_files, name, dying(getattr(table_files, name)))
    with pytest.raises(Killed) if writes < 4 else nullcontext():
        table_files.write_table_files(folder, *new)
    monkeypatch.undo()
    manifest = table_files.read_manifest(folder)
    kept = {run["run_id"] for run in manifest["runs"]}
    assert kept == (set(ids) if writes < 3 else {e.run_id for e in fewer.entries})
    assert set(tables(out)[0]["run_id"]) == kept
    assert capfd.readouterr().err == ""


def test_tables_of_older_versions_have_no_hashes_and_open(out, capfd):
    folder = out / "studies" / "toy"
    manifest = read_json(folder / "manifest.json")
    del manifest["files"]
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1))
    assert launch(out) == []
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1))
    damage(out, "studies/toy/problems.parquet", "truncated")
    write_tables(study(out, ARMS))
    assert capfd.readouterr().err.count("damaged file") == 1
