"""A cluster's collections behind the server: the same calls, the same answers."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from serving import BIRDS, Log, on_a_port

import cormorant as cm
from cormorant.errors import ForbiddenError, InputError, UnknownNameError

pytest.importorskip("fastapi", reason="the server's packages are not installed")


@pytest.fixture
def flock(tmp_path: Path) -> Path:
    """A closed cluster of two collections."""
    with cm.Cluster.create(tmp_path / "flock.cm", shards=3, replicas=2) as cluster:
        cluster.create_collection("birds").add(BIRDS)
        cluster.create_collection("empty")
    return tmp_path / "flock.cm"


@contextlib.contextmanager
def server(**settings: Any) -> Iterator[str]:
    from cormorant.api.server.app import create_app
    from cormorant.api.server.settings import Settings

    app = create_app(Settings(warm=False, threads=2, **settings), log=Log().logger)
    with on_a_port(app) as url:
        yield url


@contextlib.contextmanager
def client(**settings: Any) -> Iterator[cm.Client]:
    with server(**settings) as url, cm.Client(url) as made:
        yield made


def names(served: cm.Client) -> list[str]:
    return sorted(entry["name"] for entry in served.collections())


def test_a_cluster_is_served_as_its_collections(flock: Path, tmp_path: Path) -> None:
    with cm.Collection.create(tmp_path / "one.cm") as one:
        one.add(BIRDS)
    with client(collections=(flock, tmp_path / "one.cm")) as served:
        assert names(served) == ["birds", "empty", "one"]
        birds, single = served["birds"], served["one"]
        for query in ("bird fish", "night", "nothing of the kind"):
            found, known = birds.search(query, explain=True), single.search(query, explain=True)
            assert (found.ids, found.scores) == (known.ids, known.scores)
            assert [hit.explanation for hit in found] == [hit.explanation for hit in known]
        assert len(birds) == 3
        assert birds.get("c") == BIRDS[0]
        assert birds.delete(["h"]) == 1
        birds.add([cm.Document(id="g", text="A gull takes fish from others.")])
        assert set(birds.search("fish").ids) == {"c", "g"}
        assert {document.id for document in birds.scroll()} == {"c", "o/1 ü", "g"}
        assert birds.check().ok
        with pytest.raises(ForbiddenError, match="root"):
            served.drop("birds")
        with pytest.raises(UnknownNameError):
            served["flock"].search("x")
    # What was written through the server is in the cluster.
    with cm.Cluster.open(flock) as cluster:
        assert len(cluster["birds"]) == 3
        assert cluster["birds"].get("g") is not None


def test_prometheus_is_told_of_each_shard(flock: Path) -> None:
    def told(name: str, text: str) -> dict[str, float]:
        found = re.findall(rf'^cormorant_shard_{name}{{shard="(\d)"}} (\S+)$', text, re.MULTILINE)
        return {shard: float(value) for shard, value in found}

    with server(collections=(flock,)) as url, cm.Client(url) as served:
        before = told("calls_total", httpx2.get(f"{url}/metrics").text)
        for _ in range(3):
            served["birds"].search("fish")
        text = httpx2.get(f"{url}/metrics").text
    calls, seconds = told("calls_total", text), told("seconds_total", text)
    assert set(calls) == set(seconds) == {"0", "1", "2"}
    assert all(calls[shard] >= before[shard] + 3 for shard in calls)
    assert min(seconds.values()) > 0
    assert told("replicas", text) == {"0": 4.0, "1": 4.0, "2": 4.0}  # two of two collections
    assert told("failures_total", text) == {"0": 0.0, "1": 0.0, "2": 0.0}


def test_a_cluster_in_the_root_is_found(flock: Path) -> None:
    with client(root=flock.parent) as served:
        assert names(served) == ["birds", "empty"]
        served.create("new").add(BIRDS)
        assert served["new"].search("night").ids == ["o/1 ü"]


def test_a_cluster_needs_a_server_that_writes(flock: Path) -> None:
    read_only = client(collections=(flock,), read_only=True)
    with pytest.raises(InputError, match="--read-only"), read_only:
        pass


def test_two_collections_of_one_name_are_refused(flock: Path, tmp_path: Path) -> None:
    with cm.Collection.create(tmp_path / "birds.cm"):
        pass
    paths = (flock, tmp_path / "birds.cm")
    with pytest.raises(InputError, match="'birds'"), client(collections=paths):
        pass
