"""Ray on this machine alone: what a worker promises, and who can reach it."""

from __future__ import annotations

import ipaddress
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from ray_nodes import QUIET, ray_folder

import cormorant as cm
from cormorant.errors import (
    CorruptionError,
    InputError,
    MissingDependencyError,
    NotACollectionError,
    ShardUnavailableError,
)

pytest.importorskip("ray")
from cormorant.retrieval.cluster import ray as ours  # noqa: E402
from cormorant.retrieval.cluster.ray import Ray  # noqa: E402
from cormorant.retrieval.cluster.ray_connection import check_private  # noqa: E402

pytestmark = QUIET
__all__ = ["ray_folder"]


@pytest.mark.usefixtures("ray_folder")
def test_a_worker_answers_raises_our_errors_and_dies_as_a_shard(tmp_path: Path) -> None:
    with cm.Collection.create(tmp_path / "s.cm") as collection:
        collection.add([cm.Document(id="1", text="a cormorant dives")])
    executor = Ray()
    try:
        worker = executor.start(tmp_path / "s.cm", shard=0, replica=0)
        assert worker.call("status").result().n_documents == 1
        assert worker.call("get", "1").result().text == "a cormorant dives"
        with pytest.raises(InputError, match="expected a string") as wrong:
            worker.call("get", 7).result()
        assert wrong.value.field == "id"
        with pytest.raises(TypeError, match="argument"):
            worker.call("get").result()
        with pytest.raises(NotACollectionError, match="nothing-here"):
            executor.start(tmp_path / "nothing-here.cm", shard=1, replica=0)
        assert _reachable() == set()
        with pytest.raises(InputError, match="already"):
            Ray("127.0.0.1:1")
        worker.stop()
        worker.stop()
        with pytest.raises(ShardUnavailableError, match="shard 0 replica 0"):
            worker.call("status").result()
        # Its lock went with it.
        again = executor.start(tmp_path / "s.cm", shard=0, replica=0)
        os.kill(again.ask("process_id").result(), 9)
        with pytest.raises(ShardUnavailableError, match="died"):
            again.call("status").result(30)
        again.stop()
        assert executor.start(tmp_path / "s.cm", shard=0, replica=0).call("status").result()
    finally:
        executor.close()


def _reachable() -> set[str]:
    """The addresses, loopback apart, on which this process's children take connections."""
    import psutil

    found = set()
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it has just ended
            for connection in child.net_connections("inet"):
                if connection.status == psutil.CONN_LISTEN:
                    found.add(ipaddress.ip_address(connection.laddr.ip.removeprefix("::ffff:")))
    assert found
    return {str(address) for address in found if not address.is_loopback}


@pytest.mark.parametrize(
    "address", ["8.8.8.8:6379", "0.0.0.0:6379", "ray://127.0.0.1:10001", "no such host:1"]
)
def test_an_address_that_is_not_private_is_refused(address: str) -> None:
    with pytest.raises(InputError, match="address"):
        Ray(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "10.1.2.3", "192.168.0.1", "::1", "fd00::1"])
def test_private_addresses_are_taken(host: str) -> None:
    check_private(host)


def test_a_cluster_without_tokens_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with pytest.raises(InputError, match="RAY_AUTH_MODE"):
        Ray()


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingDependencyError, match=r"cormorant\[ray\]"):
        Ray()


def test_an_old_ray_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setattr(ray, "__version__", "2.53.1")
    with pytest.raises(MissingDependencyError, match="2.54"):
        Ray()


def test_errors_of_every_shape_are_made_again() -> None:
    for error in (
        CorruptionError("a/b.npy", "is torn"),
        MissingDependencyError("ray", "ray"),
        InputError("is bad", file="x.jsonl", line=3, field="id"),
    ):

        def fail(error: Exception = error) -> None:
            raise error

        done, parts = ours._outcome(fail)
        again = ours._rebuilt(*parts)
        assert not done
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert vars(again) == vars(error)


def test_importing_the_seam_imports_no_ray(tmp_path: Path) -> None:
    script = "import sys, cormorant.retrieval.cluster.ray; assert 'ray' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=False)
    assert done.returncode == 0
