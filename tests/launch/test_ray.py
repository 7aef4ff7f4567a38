"""The Ray launcher, on a cluster of this machine and on a loopback cluster of two nodes."""

import signal

import pytest

from harness.config.schema import RayConfig
from harness.core.errors import UserError
from tests.launch.works import job, launching, results

ray = pytest.importorskip("ray")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning", "ignore::DeprecationWarning"),
]


def config(address=None, retries=0, grace=20.0, cpus=1.0, gpus=0.0):
    return RayConfig("ray", address, None, cpus, gpus, retries, grace)


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of one CPU each. Shut down by itself alone: `ray stop` would stop every Ray process of the machine."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def test_failures_kills_and_needs_end_as_on_the_local_launcher(cluster, tmp_path):
    jobs = [job("good"), job("bad", "raise"), job("after", needs=["bad"]), job("dies", "die")]
    jobs += [job("dies_once", "die_once", flag=str(tmp_path / "flag")), job("second", needs=["good"])]
    rows = []
    ended = results(jobs, config(retries=1), lambda job, row: rows.append((job.run_id, row)))
    done = {run_id: result.attempts for run_id, result in ended.items() if result.status == "done"}
    assert done == {"good": 1, "dies_once": 2, "second": 1}
    others = {run_id: (result.status, result.attempts) for run_id, result in ended.items() if run_id not in done}
    assert others == {"bad": ("failed", 1), "after": ("skipped", 0), "dies": ("killed", 2)}
    assert "ValueError: planted in bad" in ended["bad"].error
    assert ended["good"].value["until"] == 7
    assert ("good", {"step": 7}) in rows


def test_a_job_that_fits_no_node_is_refused_at_once(cluster):
    with pytest.raises(UserError, match=r"launcher.gpus=1.*largest node of the cluster has 0"):
        results([job("a")], config(gpus=1.0))


def test_a_sweep_survives_the_loss_of_a_node(cluster):
    """20 jobs; a node is killed while it runs one. All end well, that one on another node."""
    doomed = cluster.add_node(num_cpus=1)
    hit = []

    def kill_its_node(job, row):
        if not hit and row["node"] == doomed.node_id:
            hit.append(job.run_id)
            cluster.remove_node(doomed, allow_graceful=False)

    ended = results([job(f"{i}", "say_node") for i in range(20)], config(retries=3), kill_its_node)
    assert [result.status for result in ended.values()] == ["done"] * 20
    assert ended[hit[0]].attempts > 1
    assert ended[hit[0]].value != doomed.node_id


def test_a_stop_reaches_ray_tasks_and_they_save(tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    jobs = [job("runs", "save_when_stopped", saved=str(tmp_path / "saved")), job("waits", needs=["runs"])]
    with launching(jobs, config()) as parent:
        assert "ready" in parent.stdout.readline()
        parent.send_signal(signal.SIGTERM)
        printed, _ = parent.communicate(timeout=60)
    assert (tmp_path / "saved").read_text() == "whole step"
    assert "runs cancelled stopped by SIGINT" in printed
    assert "waits cancelled" in printed
    assert printed.endswith("status 143\n")


def test_an_address_where_nothing_listens_is_said():
    with launching([job("a")], config(address="127.0.0.1:9")) as parent:
        printed, _ = parent.communicate(timeout=60)
    assert "launcher.address=127.0.0.1:9: no Ray cluster answers" in printed
