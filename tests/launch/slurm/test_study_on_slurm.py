"""A study of 20 jobs on a real Slurm: its tables are those of the local launcher."""

import re
import subprocess

from tests.launch.slurm.cluster import WAIT_SECONDS, wait_until
from tests.launch.whole_study import check_same, command, study
from tests.test_scripts import runs_of

RUNS = ["rl.steps=32", "study.seeds=[0,1,2]", "study.base_seeds=[0,1]"]
SLURM = [*RUNS, "launcher=submitit", "launcher.pack=4", "launcher.memory_gb=0.5", "launcher.minutes=5"]


def test_a_study_waited_for_with_a_requeue_and_one_queued_and_left_give_the_tables_of_a_local_one(cluster, tmp_path):
    here, waited, left = (tmp_path / name for name in ("here", "waited", "left"))
    study(here, *RUNS, "launcher.jobs=2")
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
    again = study(left, *SLURM, "launcher.wait=false")  # some runs have ended meanwhile, on a slow machine many
    queued = re.search(r"(\d+) jobs are in the queue", again)
    assert queued is None or int(queued[1]) <= 18, again
    assert len(cluster.queue()) <= 5  # none twice
    study(left, *SLURM)
    for out in (waited, left):
        check_same(out, here)
