"""The Slurm launcher, with submitit's local executor in the place of Slurm."""

import os
import signal

import pytest

from harness.config.schema import SubmititConfig
from harness.core.errors import UserError
from tests.launch.works import job, results, statuses

pytest.importorskip("submitit")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning")]


def config(folder, executor="local", pack=1, wait=True, retries=0):
    return SubmititConfig(
        "submitit", executor, str(folder), None, None, 5, 1, 0, 1.0, 2, pack, (), wait, retries, 10.0
    )  # fmt: skip


def test_packs_run_their_jobs_in_one_process_and_failures_stay_apart(tmp_path):
    rows = []
    jobs = [job("a"), job("bad", "raise"), job("c"), job("after", needs=["bad"]), job("d", needs=["a"])]
    ended = results(jobs, config(tmp_path, pack=3), lambda job, row: rows.append((job.run_id, row)))
    assert statuses(ended) == {"a": "done", "bad": "failed", "c": "done", "after": "skipped", "d": "done"}
    assert ended["a"].value["pid"] == ended["c"].value["pid"] != ended["d"].value["pid"]
    assert "ValueError: planted in bad" in ended["bad"].error
    assert ("a", {"step": 7}) in rows


def test_a_killed_pack_is_queued_again(tmp_path):
    ended = results([job("a", "die_once", flag=str(tmp_path / "flag"))], config(tmp_path, retries=1))
    assert (ended["a"].status, ended["a"].value, ended["a"].attempts) == ("done", "survived", 2)


def test_a_preempted_run_saves_and_goes_on_when_it_is_requeued(tmp_path):
    """The warning that Slurm sends is sent to the task; the run saves at it, and ends when it is called again."""

    def preempt(job, row):
        os.kill(row["ready"], signal.SIGUSR2)

    ended = results([job("a", "save_and_resume", saved=str(tmp_path / "saved"))], config(tmp_path), preempt)
    assert (ended["a"].status, ended["a"].value, ended["a"].attempts) == ("done", "resumed from whole step", 1)


def test_without_waiting_the_queue_is_filled_once_and_collected_later(tmp_path):
    first = [job("a", "sleep", seconds=4, dir=str(tmp_path)), job("b", needs=["a"])]
    queued = results(first, config(tmp_path, wait=False))
    assert statuses(queued) == {"a": "submitted", "b": "skipped"}
    again = results(first, config(tmp_path, wait=False))
    assert again["a"].status == "submitted"
    ended = results(first, config(tmp_path))
    assert statuses(ended) == {"a": "done", "b": "done"}
    assert len(list(tmp_path.glob("a.*[0-9]"))) == 1


def test_how_a_pack_ended_is_kept_when_slurm_no_longer_lists_it(tmp_path):
    from harness.launch.packs import QueuedPack
    from harness.launch.slurm_queue import NOT_LISTED, Listed

    pack = QueuedPack(tmp_path, "rl-scaling-1", {"a": {}})
    for listing, listed in enumerate([Listed("7", "PENDING"), Listed("7", "CANCELLED"), NOT_LISTED], start=1):
        assert not pack.is_over
        pack.look(listed, listing)
    assert pack.is_over
    assert pack.listed == Listed("7", "CANCELLED")


def test_where_there_is_no_slurm_it_is_said_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"launcher=submitit.*\n.*launcher.executor=local"):
        results([job("a")], config(tmp_path, executor="slurm"))


def test_the_slurm_script_asks_for_what_the_configuration_says(tmp_path, monkeypatch):
    """Against submitit's own text of the sbatch file, since no Slurm is at hand."""
    fake = tmp_path / "srun"
    fake.write_text("#!/bin/sh\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    from dataclasses import replace

    from harness.launch.submitit import _executor

    asked = replace(config(tmp_path, executor="slurm"), partition="short", account="lab", setup=("module load x",))
    text = _executor(asked, tmp_path)._executor._make_submission_file_text("run", "uid")
    asked = ("partition=short", "account=lab", "time=5", "cpus-per-task=1", "signal=USR2@10", "mem=1GB")
    assert [line for line in asked if f"#SBATCH --{line}" not in text] == []
    assert "module load x" in text
