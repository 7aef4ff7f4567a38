"""A study of 20 jobs on a real Slurm: its tables are those of the local launcher."""

import subprocess
import sys

import polars as pl
from polars.testing import assert_frame_equal

from tests.launch.slurm.cluster import WAIT_SECONDS, wait_until
from tests.test_scripts import ROOT, SETTINGS, runs_of

STUDY = [
    "study=skills",
    *(setting for setting in SETTINGS if not setting.startswith("rl.steps")),
    "tracker=none",
    "rl.steps=32",
    "save.seconds=0.05",
    "study.seeds=[0,1,2]",
    "study.base_seeds=[0,1]",
]
SLURM = ["launcher=submitit", "launcher.pack=4", "launcher.memory_gb=0.5", "launcher.minutes=5"]


def command(out, *settings):
    out.mkdir(exist_ok=True)
    return [sys.executable, str(ROOT / "scripts" / "study.py"), *STUDY, *settings, f"out={out}"]


def study(out, *settings):
    ended = subprocess.run(command(out, *settings), cwd=out, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr + ended.stdout
    return ended.stdout


def table(out, name):
    frame = pl.read_parquet(out / "studies" / "skills" / f"{name}.parquet")
    return frame.drop("seconds", "code_version", strict=False)


def test_a_study_waited_for_with_a_requeue_and_one_queued_and_left_give_the_tables_of_a_local_one(cluster, tmp_path):
    here, waited, left = (tmp_path / name for name in ("here", "waited", "left"))
    study(here, "launcher.jobs=2")
    assert len(runs_of(here, "")) == 20

    with subprocess.Popen(command(waited, *SLURM), cwd=waited, stdout=subprocess.PIPE, text=True) as launching:
        wait_until(lambda: (waited / "runs").is_dir() and any((waited / "runs").glob("rl-*/checkpoint*")))
        running = [job_id for job_id, state in cluster.queue().items() if state == "RUNNING"]
        assert running
        cluster.run("scontrol", "requeue", running[0])
        printed, _ = launching.communicate(timeout=4 * WAIT_SECONDS)
    assert launching.returncode == 0, printed

    assert "jobs are in the queue" in study(left, *SLURM, "launcher.wait=false")  # bases
    wait_until(lambda: cluster.queue() == {})
    assert "18 jobs are in the queue" in study(left, *SLURM, "launcher.wait=false")
    again = study(left, *SLURM, "launcher.wait=false")  # a pack may have ended meanwhile
    assert any(f"{18 - 4 * ended} jobs are in the queue" in again for ended in range(3))
    assert len(cluster.queue()) <= 5
    study(left, *SLURM)
    for name in ("table", "problems"):
        for out in (waited, left):
            assert_frame_equal(table(out, name), table(here, name), check_exact=True)
