"""Shards without likely lists are not asked: whoever holds the answer is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shards import Faulty

import cormorant as cm
from cormorant.indexers.spann import tuning
from cormorant.indexers.spann.reach import Pool
from cormorant.retrieval.cluster import routing
from cormorant.retrieval.cluster.executor import Executor
from cormorant.retrieval.cluster.placement import shard_of

DIM = 24
SHARDS = 4
SPANN = cm.Spann(model=None, list_rows=256, posting=16, memory=1.0)


@pytest.fixture(autouse=True)
def one_target(monkeypatch: pytest.MonkeyPatch) -> None:
    """The effort for other targets would take most of the time of so small a build."""
    monkeypatch.setattr(tuning, "TARGETS", ())


def id_in(shard: int, number: int, n_shards: int) -> str:
    """An id that hashing places in a shard."""
    return next(name for n in count() if shard_of(name := f"{number}-{n}", n_shards) == shard)


class Sea:
    """A cluster each of whose shards holds vectors about a place of its own."""

    def __init__(self, path: Path, make: Callable[[], Executor], replicas: int = 1) -> None:
        random = np.random.default_rng(1)
        self.topics = random.integers(0, SHARDS, 1600)
        centres = np.eye(SHARDS, DIM)
        vectors = centres[self.topics] + 0.07 * random.standard_normal((len(self.topics), DIM))
        self.vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
        self.documents = [
            cm.Document(id=id_in(topic, n, SHARDS), text="", metadata={"n": n})
            for n, topic in enumerate(self.topics.tolist())
        ]
        self.faults = Faulty(make())
        self.cluster = cm.Cluster.create(
            path, shards=SHARDS, replicas=replicas, executor=self.faults
        )
        self.fish = self.cluster.create_collection("fish", {"spann": SPANN})
        self.fish.add(self.documents, vectors={"spann": self.vectors})

    def asked(self, numbers: list[int], k: int = 5, **options: Any) -> tuple[list[Any], set[int]]:
        """Results for some rows as queries, and the shards that were asked for them."""
        self.faults.calls.clear()
        vectors = self.vectors[numbers]
        found = self.fish.search_batch(vectors=vectors, k=k, pipeline="spann", **options)
        calls = {shard for shard, _, method in self.faults.calls if method == "search"}
        return found, calls

    def true(self, number: int, k: int, live: np.ndarray | None = None) -> set[str]:
        """The k best rows."""
        scores = self.vectors.astype(float) @ self.vectors[number].astype(float)
        if live is not None:
            scores = np.where(live, scores, -np.inf)
        return {self.documents[row].id for row in np.argsort(-scores)[:k].tolist()}


@pytest.fixture
def sea(tmp_path: Path, executor: Callable[[], Executor]) -> Iterator[Any]:
    made: list[Sea] = []

    def make(replicas: int = 1) -> Sea:
        made.append(Sea(tmp_path / "sea", executor, replicas))
        return made[0]

    yield make
    for each in made:
        each.cluster.close()


def test_only_shards_with_likely_lists_are_asked(sea: Any) -> None:
    sea = sea()
    numbers = [int(np.flatnonzero(sea.topics == topic)[0]) for topic in range(SHARDS)]
    _, shards = sea.asked(numbers[:1])
    assert shards == set(range(SHARDS)), "rows in the tail stand in no list"
    sea.fish.flush()
    for topic, number in enumerate(numbers):
        [found], shards = sea.asked([number], explain=True)
        assert shards == {topic}
        assert set(found.ids) == sea.true(number, 5)
        assert found.shards == tuple(range(SHARDS)), "a shard that was spared is none that is lost"
        assert found.flags == ()
        assert found[0].explanation["spann"]["shards"] == {"asked": 1, "of": SHARDS}
    # A batch with a deadline is searched in parts; each query has its own shards.
    batch = sea.asked([*range(99), numbers[0]], explain=True, timeout_ms=60_000)[0]
    for number, each in enumerate(batch):
        assert each[0].explanation["spann"]["shards"]["asked"] == 1, number
    found, shards = sea.asked(numbers[:2])
    assert shards == {0, 1}
    assert [set(each.ids) for each in found] == [sea.true(number, 5) for number in numbers[:2]]
    described = sea.fish.describe()["indexes"]["spann"]
    assert described["shards_asked"] == 1.0
    assert 0 < described["centroid_bytes"] < sea.vectors.nbytes


def test_new_rows_are_found_wherever_they_are(sea: Any) -> None:
    sea = sea()
    sea.fish.flush()
    first = int(np.flatnonzero(sea.topics == 0)[0])
    _, shards = sea.asked([first])
    assert shards == {0}
    # Rows like the query, in another shard than all others of their kind.
    alike = np.flatnonzero(sea.topics == 0)
    new = [cm.Document(id=id_in(2, 9000 + n, SHARDS), text="") for n in range(len(alike))]
    sea.fish.add(new, vectors={"spann": sea.vectors[alike]})
    same = {sea.documents[first].id, new[0].id}
    [found], shards = sea.asked([first], k=2)
    assert (set(found.ids), shards) == (same, {0, 2})
    # In lists of their own shard, they draw the query there.
    sea.fish.merge()
    [found], shards = sea.asked([first], k=2)
    assert (set(found.ids), shards) == (same, {0, 2})


def test_who_asks_for_more_than_likely_shards_have_gets_it(sea: Any) -> None:
    sea = sea()
    sea.fish.flush()
    [found], shards = sea.asked([0], k=len(sea.documents))
    assert len(found) == len(set(found.ids)) == len(sea.documents)
    assert shards == set(range(SHARDS))
    [found], shards = sea.asked([0], filter={"n": {"gte": 1590}})
    assert shards == set(range(SHARDS)), "what a filter lets through is known in the shards alone"
    assert len(found) == 5


def test_what_is_deleted_draws_no_query(sea: Any) -> None:
    sea = sea()
    sea.fish.flush()
    first = int(np.flatnonzero(sea.topics == 0)[0])
    _, shards = sea.asked([first])
    assert shards == {0}
    live = sea.topics != 0
    sea.fish.delete([document.id for document in sea.documents if shard_of(document.id, 4) == 0])
    [found], shards = sea.asked([first])
    assert set(found.ids) == sea.true(first, 5, live)
    assert shards & {1, 2, 3}


def test_what_died_draws_no_query_while_its_shard_has_a_tail(sea: Any) -> None:
    sea = sea()
    first = int(np.flatnonzero(sea.topics == 0)[0])
    away = [cm.Document(id=id_in(0, 9000 + n, SHARDS), text="") for n in range(40)]
    opposite = -sea.vectors[np.flatnonzero(sea.topics == 0)[:40]]
    sea.fish.add(away, vectors={"spann": opposite})
    sea.fish.flush()
    _, shards = sea.asked([first])
    assert shards == {0}
    live = sea.topics != 0
    sea.fish.delete([document.id for document in sea.documents if shard_of(document.id, 4) == 0])
    sea.fish.add(away[:1], vectors={"spann": opposite[:1]})
    [found], _ = sea.asked([first])
    assert set(found.ids) == sea.true(first, 5, live)


def test_replicas_that_die_or_are_cut_otherwise(sea: Any) -> None:
    """The second replica has its rows in other segments: what is known of the first is of use."""
    sea = sea(replicas=2)
    sea.fish.flush()
    first = int(np.flatnonzero(sea.topics == 1)[0])
    expected = sea.true(first, 5)
    for shard in range(SHARDS):
        sea.faults.workers[shard, 1].inner.call("merge").result()
    for _ in range(4):
        [found], shards = sea.asked([first])
        assert (set(found.ids), shards) == (expected, {1})
    assert "index" not in {method for _, _, method in sea.faults.calls}
    sea.faults.kill(1, 0)
    for _ in range(2):
        [found], shards = sea.asked([first])
        assert (set(found.ids), shards) == (expected, {1})
    sea.faults.kill(1, 1)
    [found], shards = sea.asked([first], partial=True)
    assert (found.shards, shards) == ((0, 2, 3), {0, 2, 3})
    assert any("shard 1" in flag for flag in found.flags)
    assert len(found) == 5
    sea.cluster.repair()
    [found], shards = sea.asked([first])
    assert (set(found.ids), shards) == (expected, {1})


def test_centroids_have_a_bound(sea: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sea = sea()
    sea.fish.flush()
    monkeypatch.setattr(routing, "CENTROID_BYTES", 1000)
    [found], shards = sea.asked([0])
    assert (set(found.ids), shards) == (sea.true(0, 5), set(range(SHARDS)))
    assert "centroid_bytes" not in sea.fish.describe()["indexes"]["spann"]


def test_another_index_of_the_same_name_has_its_own_lists(sea: Any) -> None:
    sea = sea()
    sea.fish.flush()
    first = int(np.flatnonzero(sea.topics == 0)[0])
    assert sea.asked([first])[1] == {0}
    sea.fish.drop_index("spann")
    sea.fish.add_index("spann", SPANN, index="later")
    sea.fish.add(sea.documents, vectors={"spann": np.roll(sea.vectors, 1, axis=0)})
    sea.fish.merge()
    [found], _ = sea.asked([first], k=1)
    assert found.ids == [sea.documents[first + 1].id]


def test_looking_ends_where_it_spares_nobody(sea: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sea = sea()
    sea.fish.flush()
    between = np.ones((20, DIM), np.float32)  # equally near to all
    looked: list[int] = []
    index = sea.fish.router.named["spann"].index

    class Counted(Pool):
        def likely(self, *args: Any) -> Any:
            looked.append(1)
            return super().likely(*args)

    monkeypatch.setattr(index, "pool", Counted)
    for _ in range(4 + 2 * routing.LOOK_EVERY):
        sea.fish.search_batch(vectors=between, k=5, pipeline="spann")
    assert len(looked) == 4 + 2


def test_recall_by_hash_is_that_of_asking_everyone(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real vectors, placed as any documents are: of the true ten best, as many as from all."""
    folder = shared_data / "sentences"
    rounded = np.load(folder / "minilm_int8.npy", mmap_mode="r")
    rows = np.concatenate([rounded[:4800], rounded[-200:]]) * np.load(folder / "scale.npy")
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    vectors, queries = rows[:4800], rows[4800:]
    truth = np.argsort(-(queries @ vectors.T), axis=1)[:, :10]
    settings = cm.Spann(model=None, list_rows=256, posting=16, memory=1.0)
    with cm.Cluster.create(tmp_path / "c", shards=8) as cluster:
        fish = cluster.create_collection("fish", {"spann": settings})
        documents = [cm.Document(id=str(n), text="") for n in range(len(vectors))]
        fish.add(documents, vectors={"spann": vectors})
        fish.flush()

        def recall() -> float:
            found = fish.search_batch(vectors=queries, k=10, pipeline="spann")
            pairs = zip(truth.tolist(), found, strict=True)
            return float(np.mean([len({*map(str, own)} & {*each.ids}) / 10 for own, each in pairs]))

        likely = recall()
        assert 0 < fish.describe()["indexes"]["spann"]["shards_asked"] <= 8
        monkeypatch.setattr(routing, "CENTROID_BYTES", 0)
        fish.router.routing.keep(())
        assert likely >= recall() - 0.01
        assert likely >= 0.93
