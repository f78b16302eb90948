"""A Ray cluster on this machine for all tests of a session; what is marked `on_ray` uses it."""

import os
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent

on_ray = [
    pytest.mark.slow,
    pytest.mark.xdist_group("ray"),  # one cluster, though there are two test workers
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::ResourceWarning", "ignore::DeprecationWarning"),
    pytest.mark.usefixtures("in_time"),
]


@pytest.fixture(scope="session")
def nodes():
    """A cluster with a node of two cores, which this process is connected to; tests may add nodes and lose them.

    Its workers find the tests' helpers.
    """
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    paths = [str(TESTS), str(TESTS.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(paths))
        patch.delenv("OMP_NUM_THREADS", raising=False)  # a worker has as many threads as it is given
        patch.setattr("ray._private.worker.print_to_stdstream", lambda *words, **more: None)  # of lost nodes
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
        ray.init(address=cluster.address, log_to_driver=False)
        yield cluster
        ray.shutdown()
        cluster.shutdown()


@pytest.fixture
def lose(nodes):
    """Add a node of so many cores; gives what takes it away, as by a power cut."""
    added = []

    def add(cores):
        node = nodes.add_node(num_cpus=cores)
        nodes.wait_for_nodes()
        added.append(node)
        return lambda: nodes.remove_node(added.pop(), allow_graceful=False)

    yield add
    for node in added:
        nodes.remove_node(node, allow_graceful=False)
