"""A study on a Ray cluster of two nodes, one of which is killed: its tables are those of the local launcher."""

import subprocess
from pathlib import Path

import pytest

from tests.launch.slurm.cluster import wait_until
from tests.launch.whole_study import check_same, command, study

pytest.importorskip("ray")
psutil = pytest.importorskip("psutil")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning", "ignore::DeprecationWarning"),
]
RUNS = ["rl.steps=64", "study.seeds=[0]"]


@pytest.fixture
def cluster(monkeypatch):
    """A head that runs no jobs, for it is not killed, and two nodes of one CPU that do."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_worker_niceness", "0")  # 15 by default: on a busy machine they hardly start
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    yield cluster
    cluster.shutdown()


def files_of(out: Path) -> dict[Path, int]:
    """When each file of the runs was last written."""
    return {path: path.stat().st_mtime_ns for path in (out / "runs").rglob("*") if path.is_file()}


def run_on(node, out: Path) -> Path | None:
    """The folder of the RL run that a worker of this node holds open, once it has a checkpoint."""
    raylet = next(info.process.pid for kind, infos in node.all_processes.items() if kind == "raylet" for info in infos)
    for worker in psutil.Process(raylet).children(recursive=True):
        for file in worker.open_files():
            folder = Path(file.path).parent
            if folder.name.startswith("rl-") and folder.is_relative_to(out) and any(folder.glob("checkpoint*/*")):
                return folder
    return None


def test_a_study_that_loses_the_node_of_a_run_gives_the_tables_of_a_local_one_and_is_then_done(cluster, tmp_path):
    here, on_ray = tmp_path / "here", tmp_path / "on_ray"
    study(here, *RUNS, "launcher.jobs=2")
    doomed, hit = next(iter(cluster.worker_nodes)), set()

    def runs_on_it() -> bool:
        hit.update(filter(None, [run_on(doomed, on_ray)]))
        return bool(hit)

    settings = [*RUNS, "launcher=ray", f"launcher.address={cluster.address}", "launcher.retries=3"]
    with subprocess.Popen(command(on_ray, *settings), cwd=on_ray, stdout=subprocess.PIPE, text=True) as launching:
        wait_until(runs_on_it)
        cluster.remove_node(doomed, allow_graceful=False)
        printed, _ = launching.communicate(timeout=600)
    assert launching.returncode == 0, printed
    check_same(on_ray, here)

    before = files_of(on_ray)
    assert "all 4 jobs are done already" in study(on_ray, *settings)
    assert files_of(on_ray) == before
