"""The cluster of these tests, once without accounting and once with it."""

import pytest

from tests.launch.slurm.cluster import Cluster, missing, wait_until

KINDS = ["without accounting", "with accounting"]


def pytest_collection_modifyitems(items):
    for item in items:
        if "cluster" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="module", params=KINDS)
def cluster(request, tmp_path_factory):
    pytest.importorskip("submitit")
    accounting = request.param == "with accounting"
    if lacking := missing(accounting):
        packages = "slurm-wlm munge" + " slurmdbd mariadb-server" * accounting
        pytest.skip(f"no Slurm {request.param} here ({', '.join(lacking)} missing): apt-get install {packages}")
    cluster = Cluster(tmp_path_factory.mktemp("slurm"))
    try:
        cluster.start(accounting)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SLURM_CONF", cluster.env["SLURM_CONF"])
            yield cluster
    finally:
        cluster.stop()


@pytest.fixture(autouse=True)
def idle(cluster):
    """Every test ends with an idle cluster."""
    yield
    cluster.run("scancel", "--me")
    wait_until(lambda: cluster.queue() == {} and cluster.is_idle())
