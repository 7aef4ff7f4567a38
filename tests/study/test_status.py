"""A study's runs are told apart by what became of them, and pruning deletes nothing that is needed."""

import json
from dataclasses import replace

import pytest

from harness.config.identity import run_id
from harness.config.schema import StudyConfig
from harness.run.checkpoint import saved_steps
from harness.run.folder import run_folder
from harness.run.lock import hold_lock
from harness.study.expand import Entry, ExpandedStudy, is_done
from harness.study.status import job_state, prune, status_table
from tests.toys import rl_job, tiny, train


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    config = tiny("rl.steps=4", out=tmp_path_factory.mktemp("out"))
    train(config)
    return config


def test_each_state_is_told(done):
    job = rl_job(done)
    assert job_state(job) == ("done", 4, "")
    assert job_state(replace(job, until=8, budgets=(0, 4, 8)))[:2] == ("stopped", 4)
    other = tiny("rl.steps=4", "seed=7", out=done.out)
    assert job_state(rl_job(other)) == ("to do", 0, "")
    folder = run_folder(other.out, run_id(other))
    folder.path.mkdir()
    folder.set_status("failed", 2, error="ValueError: no such thing")
    assert job_state(rl_job(other)) == ("failed", 2, "ValueError: no such thing")
    with hold_lock(folder):
        assert job_state(rl_job(other))[0] == "running"


def test_a_run_that_was_killed_counts_as_stopped(done):
    other = tiny("rl.steps=4", "seed=8", out=done.out)
    folder = run_folder(other.out, run_id(other))
    folder.path.mkdir()
    folder.set_status("running", 3)
    assert job_state(rl_job(other)) == ("stopped", 3, "")


def test_the_table_counts_states_and_says_what_is_left(done):
    about = StudyConfig("toy", "?", (0, 9), (0,), "step", {"a": ()})
    entries = (Entry("a", done), Entry("a", tiny("rl.steps=4", "seed=9", out=done.out)))
    table = status_table(ExpandedStudy(about, entries))
    assert str(table.title).startswith("2 done, 1 to do; about 0.")
    assert table.row_count == 3


def test_pruning_keeps_the_newest_checkpoint_and_the_weights_of_budgets(done):
    job = replace(rl_job(done), budgets=(0, 4))
    folder = run_folder(done.out, job.run_id)
    before = saved_steps(folder.checkpoints)
    deleted, freed = prune([job])
    assert deleted == 2
    assert freed > 0
    assert saved_steps(folder.budgets) == [0, 4]
    assert saved_steps(folder.checkpoints) == before[-1:]
    assert is_done(job)
    assert prune([job]) == (0, 0)


def test_what_is_not_done_is_not_pruned(done):
    folder = run_folder(done.out, run_id(done))
    status = folder.path / "status.json"
    kept = status.read_text()
    status.write_text(json.dumps({**json.loads(kept), "state": "running"}))
    assert prune([replace(rl_job(done), budgets=(0,))]) == (0, 0)
    status.write_text(kept)
