"""Three Ray nodes on this machine, and what is left when one of them is killed."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from ray_nodes import QUIET, Nodes, ray_folder, ray_nodes

import cormorant as cm
from cormorant.errors import CormorantError, ShardUnavailableError

pytest.importorskip("ray")
from cormorant.retrieval.cluster.cluster import Cluster  # noqa: E402
from cormorant.retrieval.cluster.collection import ShardedCollection  # noqa: E402
from cormorant.retrieval.cluster.ray import Ray  # noqa: E402

pytestmark = [pytest.mark.soak, *QUIET]
__all__ = ["ray_folder", "ray_nodes"]

WORDS = ["amber", "beacon", "cedar", "delta", "ember", "falcon", "garnet", "harbor"]
QUERIES = ["amber falcon", "cedar", "delta ember harbor"]


def documents(first: int, count: int) -> list[cm.Document]:
    return [
        cm.Document(
            id=f"d{number}",
            text=" ".join(WORDS[(number * step) % len(WORDS)] for step in range(1, 2 + number % 7)),
        )
        for number in range(first, first + count)
    ]


@pytest.fixture
def nodes(ray_nodes: Nodes) -> Nodes:  # noqa: F811
    """Three of them, whatever the test before killed."""
    ray_nodes.fill_up()
    return ray_nodes


@contextmanager
def serving(path: Path, nodes: Nodes, replicas: int) -> Iterator[tuple[Cluster, Ray]]:
    executor = Ray(nodes.address)
    with Cluster.create(path, shards=2, replicas=replicas, executor=executor) as cluster:
        cluster.create_collection("papers")
        yield cluster, executor


def victim(executor: Ray, nodes: Nodes) -> str:
    """A node that holds a replica, and not the one that this process is connected to."""
    there = {worker.node for worker in executor._workers if not worker.gone}
    return next(node for node in sorted(there) if not nodes.is_head(node))


def expected(path: Path, held: list[cm.Document]) -> list[dict[str, float]]:
    """What one collection of these documents answers: every hit with its score."""
    with cm.Collection.create(path) as single:
        single.add(held)
        return [scores(single.search(query, k=len(held))) for query in QUERIES]


def scores(result: cm.Result) -> dict[str, float]:
    return dict(zip(result.ids, np.float32(result.scores).tolist(), strict=True))


def answers(papers: ShardedCollection, k: int) -> list[dict[str, float]]:
    return [scores(papers.search(query, k=k)) for query in QUERIES]


@contextmanager
def meanwhile(step: Callable[[int], object]) -> Iterator[list[object]]:
    """A thread that steps again and again: what it returned, or the error that it met."""
    told: list[object] = []
    over = threading.Event()

    def run() -> None:
        for number in itertools.count():
            if over.is_set():
                return
            try:
                told.append(step(number))
            except CormorantError as error:
                told.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield told
    finally:
        over.set()
        thread.join()


def wait_for(told: list[object], more: int) -> None:
    until = time.monotonic() + 60
    target = len(told) + more
    while len(told) < target:
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_node_killed_under_searches_changes_no_answer(tmp_path: Path, nodes: Nodes) -> None:
    held = documents(0, 300)
    right = expected(tmp_path / "single.cm", held)
    with serving(tmp_path / "cluster", nodes, replicas=2) as (cluster, executor):
        papers = cluster["papers"]
        papers.add(held)
        by_shard = {worker.shard: set() for worker in executor._workers}
        for worker in executor._workers:
            by_shard[worker.shard].add(worker.node)
        assert {len(where) for where in by_shard.values()} == {2}
        assert answers(papers, len(held)) == right
        with meanwhile(lambda _: answers(papers, len(held))) as told:
            wait_for(told, 3)
            nodes.kill(victim(executor, nodes))
            wait_for(told, 10)
        assert all(answer == right for answer in told), told
        cluster.repair()
        assert answers(papers, len(held)) == right
        assert all(
            replica["up"] and replica["in_step"]
            for shard in papers.describe()["shards"]
            for replica in shard["replicas"]
        )


def test_what_was_added_while_nodes_died_is_in_both_replicas(tmp_path: Path, nodes: Nodes) -> None:
    acknowledged: list[cm.Document] = []

    with serving(tmp_path / "cluster", nodes, replicas=2) as (cluster, executor):
        papers = cluster["papers"]

        def add(number: int) -> None:
            batch = documents(number * 5, 5)
            papers.add(batch)
            acknowledged.extend(batch)

        with meanwhile(add) as told:
            wait_for(told, 5)
            nodes.kill(victim(executor, nodes))
            wait_for(told, 20)
        assert not any(told), told
        assert all(papers.get(item.id) == item for item in acknowledged)
        cluster.repair()
        # The replicas that were whole all along go too: what is left was repaired.
        nodes.fill_up()
        nodes.kill(victim(executor, nodes))
        assert all(papers.get(item.id) == item for item in acknowledged)
        right = expected(tmp_path / "single.cm", acknowledged)
        assert answers(papers, len(acknowledged)) == right


def test_a_node_killed_under_a_build_loses_nothing(tmp_path: Path, nodes: Nodes) -> None:
    held = documents(0, 400)
    with serving(tmp_path / "cluster", nodes, replicas=2) as (cluster, executor):
        papers = cluster["papers"]
        papers.add(held)

        def build(number: int) -> None:
            papers.add_index("again", cm.BM25(k1=1.5))
            papers.add(documents(400 + number, 1))
            papers.merge()
            papers.drop_index("again")

        with meanwhile(build) as told:
            wait_for(told, 2)
            nodes.kill(victim(executor, nodes))
            wait_for(told, 5)
        assert not any(told), told
        now = len(papers)
        cluster.repair()
        right = expected(tmp_path / "single.cm", documents(0, now))
        assert [scores(papers.search(query, k=now, pipeline="bm25")) for query in QUERIES] == right
        papers.add_index("again", cm.BM25(k1=1.5))
        assert papers.search("cedar", pipeline="again").ids
        assert papers.check().ok


def test_without_replicas_a_part_is_flagged_and_the_shard_comes_back(
    tmp_path: Path, nodes: Nodes
) -> None:
    held = documents(0, 200)
    right = expected(tmp_path / "single.cm", held)
    with serving(tmp_path / "cluster", nodes, replicas=1) as (cluster, executor):
        papers = cluster["papers"]
        papers.add(held)
        [lost] = [worker for worker in executor._workers if worker.node == victim(executor, nodes)]
        number = int(lost.shard.name.rpartition("-")[2])
        nodes.kill(lost.node)
        with pytest.raises(ShardUnavailableError, match=f"shard {number}"):
            papers.search("cedar")
        part = papers.search("cedar", k=200, partial=True)
        assert any(f"shard {number}" in flag for flag in part.flags)
        assert part.shards == (1 - number,)
        assert 0 < len(part) < len(right[1])
        with pytest.raises(ShardUnavailableError, match=f"shard {number}"):
            papers.add(documents(200, 20))
        cluster.repair()
        # What was not acknowledged may be there or not; what was is.
        assert all(papers.get(item.id) == item for item in held)
        papers.delete([item.id for item in documents(200, 20)])
        assert answers(papers, 200) == right


def test_answers_of_megabytes_are_those_of_one_collection(tmp_path: Path, nodes: Nodes) -> None:
    """They come through Ray's shared memory, which nobody may write to."""
    held = documents(0, 300)
    queries = [f"{one} {other}" for one in WORDS for other in WORDS] * 12
    pipeline = cm.Pipeline("bm25", feedback=cm.RM3(depth=5))
    with (
        serving(tmp_path / "cluster", nodes, replicas=1) as (cluster, _),
        cm.Collection.create(tmp_path / "single.cm") as single,
    ):
        cluster["papers"].add(held)
        single.add(held)
        for asked in ("bm25", pipeline):
            found = cluster["papers"].search_batch(queries, k=300, pipeline=asked)
            known = single.search_batch(queries, k=300, pipeline=asked)
            assert list(map(scores, found)) == list(map(scores, known))
        assert found[0][0].document == single.get(found[0].ids[0])


@pytest.mark.parametrize("token", [None, "0" * 64])
def test_a_caller_without_the_token_is_refused(
    token: str | None, tmp_path: Path, nodes: Nodes
) -> None:
    environment = {key: value for key, value in os.environ.items() if "RAY_AUTH" not in key}
    environment |= {"HOME": str(tmp_path)}  # where Ray keeps a token, too
    if token is not None:
        environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    asked = f"from ray._raylet import GcsClient; GcsClient({nodes.address!r})"
    done = subprocess.run(
        [sys.executable, "-c", asked], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "InvalidAuthToken" in done.stderr
