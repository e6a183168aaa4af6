"""A Ray cluster of three small nodes on this machine, whose nodes can be killed."""

from __future__ import annotations

import gc
import os
import secrets
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cormorant.retrieval.cluster.executor import Executor

NODES = 3
QUIET = [
    # Ray leaves it to the garbage collector to close its log files, sockets and child processes:
    # not ours to close, and found wherever the collector runs next.
    pytest.mark.filterwarnings("ignore:unclosed (file|.*socket):ResourceWarning"),
    pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
"""Marks for what starts Ray: ``pytestmark = QUIET``."""

_SIZE = {"num_cpus": 1, "object_store_memory": 100 << 20, "include_dashboard": False}
_HERE = {"node_ip_address": "127.0.0.1"}
_NOTICES_DEATHS = {"health_check_period_ms": 500, "health_check_failure_threshold": 3}


class Nodes:
    """The nodes; the first one is the head, to which this process is connected."""

    def __init__(self, cluster: Any) -> None:
        self._cluster = cluster

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    def fill_up(self) -> None:
        """Start as many as are missing."""
        for _ in range(NODES - len(self._cluster.list_all_nodes())):
            self._cluster.add_node(**_SIZE, **_HERE)
        self._cluster.wait_for_nodes()

    def kill(self, node_id: str) -> None:
        """Kill every process of a node at once, as a machine that loses power does."""
        [node] = [item for item in self._cluster.list_all_nodes() if item.node_id == node_id]
        self._cluster.remove_node(node, allow_graceful=False)

    def is_head(self, node_id: str) -> bool:
        return bool(self._cluster.head_node.node_id == node_id)


@pytest.fixture(scope="module")
def ray_folder() -> Iterator[None]:
    """Ray's files in a folder of their own: its sockets need short paths, and pytest's are long."""
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    (folder / "ray").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", str(folder))
        yield
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def ray_nodes(ray_folder: None) -> Iterator[Nodes]:
    """The nodes, which take tokens only."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    from cormorant.retrieval.cluster.ray_connection import connect

    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    ray._raylet.Config.initialize("")
    cluster = Cluster(
        initialize_head=True,
        head_node_args={**_SIZE, **_HERE, "_system_config": _NOTICES_DEATHS},
    )
    try:
        nodes = Nodes(cluster)
        nodes.fill_up()
        connect(nodes.address)
        yield nodes
    finally:
        ray.shutdown()
        cluster.shutdown()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


@pytest.fixture
def on_ray(ray_nodes: Nodes) -> Callable[[], Executor]:
    """Makes an executor over three living nodes."""
    from cormorant.retrieval.cluster.ray import Ray

    ray_nodes.fill_up()
    return lambda: Ray(ray_nodes.address)
