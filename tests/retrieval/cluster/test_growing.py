"""Shards are added while others search and write, and nobody sees anything of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cormorant as cm
from cormorant.retrieval.cluster import growing
from cormorant.retrieval.cluster.executor import Executor

INDEXES = {"bm25": cm.BM25(), "dense": cm.Dense(model=None)}
WORDS = ["amber", "beacon", "cedar", "delta", "ember"]
VECTORS = np.random.default_rng(8).normal(size=(20_000, 8)).astype(np.float32)
ASKED = VECTORS[-1:]
ALL = 20_000
FIRST, CHANGING = range(200), range(10_000, 10_040)
"""Numbers of the documents that are deleted one after the other, and of those that are replaced."""


def document(number: int, version: int) -> cm.Document:
    text = f"fish {' '.join(WORDS[: 1 + (number + version) % 5])}"
    return cm.Document(id=f"d{number}", text=text, metadata={"version": version})


def add(collection: Any, documents: Sequence[cm.Document]) -> None:
    """A document has the vector of its number, whatever its version."""
    vectors = VECTORS[[int(document.id[1:]) for document in documents]]
    collection.add(documents, vectors={"dense": vectors})


def by_words(collection: Any) -> cm.Result:
    found: cm.Result = collection.search("fish amber delta", ALL, pipeline="bm25")
    return found


def by_vector(collection: Any) -> cm.Result:
    [found] = collection.search_batch(vectors=ASKED, k=ALL, pipeline="dense")
    return found


def scores(result: cm.Result) -> dict[str, float]:
    return dict(zip(result.ids, np.float32(result.scores).tolist(), strict=True))


class Writer:
    """Adds, replaces and deletes; what was acknowledged is replaced whole, for others to read."""

    def __init__(self, fish: Any) -> None:
        self.fish = fish
        self.held: dict[str, cm.Document] = {}
        """Acknowledged, and in no delete that was acknowledged."""
        self.leaving: frozenset[str] = frozenset()
        """In a delete that has begun."""
        self.gone: frozenset[str] = frozenset()
        """In a delete that was acknowledged: these do not come back."""
        self.add([document(number, 0) for number in (*FIRST, *CHANGING)])

    def add(self, documents: Sequence[cm.Document]) -> None:
        add(self.fish, documents)
        self.held = self.held | {each.id: each for each in documents}

    def step(self, number: int) -> None:
        """Four new documents, a newer version of two, and the four oldest deleted."""
        own = range(4 * number, 4 * number + 4)
        self.add([document(len(FIRST) + new, 0) for new in own])
        changed = [CHANGING[(7 * number + n) % len(CHANGING)] for n in range(2)]
        self.add([document(each, number + 1) for each in changed])
        names = {f"d{old}" for old in own}  # the first pages have copied them
        self.leaving |= names
        assert self.fish.delete(names) == len(names)
        self.held = {id: each for id, each in self.held.items() if id not in names}
        self.gone |= names

    def look(self, search: Callable[[Any], cm.Result]) -> cm.Result:
        """A search, which must show what was acknowledged before it began, and that once."""
        held, gone = self.held, self.gone
        found = search(self.fish)
        ids = {*found.ids}
        assert len(ids) == len(found)
        assert not ids & gone
        assert held.keys() - self.leaving <= ids
        assert found.flags == ()
        return found

    def look_for_words(self, number: int) -> None:
        held = self.held
        for hit in self.look(by_words):
            if hit.id in held:
                assert hit.metadata["version"] >= held[hit.id].metadata["version"]


def test_shards_are_added_under_searches_and_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, executor: Callable[[], Executor]
) -> None:
    monkeypatch.setattr(growing, "PAGE", 12)  # many pages, and writes between them
    over = threading.Event()

    def keep_on(step: Callable[[int], object]) -> int:
        for number in count():
            if over.wait(0.02):
                return number
            step(number)
        raise AssertionError

    with (
        cm.Cluster.create(tmp_path / "sea", shards=2, replicas=2, executor=executor()) as cluster,
        cm.Collection.create(tmp_path / "one.cm", INDEXES) as one,
    ):
        still = cluster.create_collection("still", INDEXES)
        fish = cluster.create_collection("fish", INDEXES)
        for each in (still, one):
            add(each, [document(number, 0) for number in FIRST[:100]])
        right = scores(by_words(one)), scores(by_vector(one))
        writer = Writer(fish)
        seen: list[dict[str, float]] = []

        def look_at_what_is_still(number: int) -> None:
            assert (scores(by_words(still)), scores(by_vector(still))) == right

        def look_for_vectors(number: int) -> None:
            seen.append(scores(writer.look(by_vector)))

        steps = (writer.step, writer.look_for_words, look_for_vectors, look_at_what_is_still)
        with ThreadPoolExecutor(len(steps)) as threads:
            working = [threads.submit(keep_on, step) for step in steps]
            try:
                for added in (1, 2):
                    cluster.add_shards(added)
            finally:
                over.set()
            rounds = [work.result() for work in working]
        assert min(rounds) >= 5, "somebody hardly came to work meanwhile"

        assert {each.id: each for each in fish.scroll()} == writer.held
        assert all(fish.get(id) == each for id, each in writer.held.items())
        every = (*range(len(FIRST) + 4 * rounds[0]), *CHANGING)
        add(one, [document(number, 0) for number in every])
        always = scores(by_vector(one))
        assert all(own.items() <= always.items() for own in seen)
        add(one, list(writer.held.values()))
        one.delete(writer.gone)
        assert scores(by_words(fish)) == scores(by_words(one))
        assert scores(by_vector(fish)) == scores(by_vector(one))
        for collection in (fish, still):
            assert collection.router.layout.n_shards == 5
            assert collection.check().problems == ()
