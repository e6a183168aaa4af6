"""Any sequence of operations on BM25 and dense indexes, against dicts of documents and vectors."""

from __future__ import annotations

import dataclasses
import random
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from dense_model import convex_scores, dense_scores, rrf_scores, text_vector, text_vectors, unit
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from model import WORDS, assert_same_documents, assert_top_k, random_document, rebuilt_scores
from toys import ToyDense, ToyEncoder, use

import cormorant as cm

NAMES = st.lists(st.sampled_from([f"d{n}" for n in range(25)]), unique=True, max_size=8)
SEEDS = st.integers(0, 2**32 - 1)
QUERIES = st.lists(st.sampled_from(WORDS[:8]), min_size=1, max_size=3).map(" ".join)
WHEN = st.sampled_from(["now", "now", "later"])
DENSE = ToyDense(dim=6)
OTHER = ToyDense(dim=5, seed=1)
FUSIONS = {"convex": (cm.Convex(), convex_scores), "rrf": (cm.RRF(), rrf_scores)}


class DenseMachine(RuleBasedStateMachine):
    """``dense`` holds vectors of texts and ready ones; ``other`` comes and goes."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        use(self.patch)
        self.directory = Path(tempfile.mkdtemp())
        self.model: dict[str, cm.Document] = {}
        self.vectors: dict[str, np.ndarray] = {}
        self.has_other = False
        self.collection: cm.Collection | None = None

    @initialize()
    def create(self) -> None:
        self.collection = cm.Collection.create(
            self.directory / "c.cm", {"bm25": cm.BM25(), "dense": DENSE}
        )

    def added(self, documents: list[cm.Document], ready: np.ndarray | None = None) -> None:
        for row, document in enumerate(documents):
            before = self.model.pop(document.id, None)
            same = before is not None and (before.title, before.text) == (
                document.title,
                document.text,
            )
            self.model[document.id] = document
            if ready is not None:
                self.vectors[document.id] = unit(ready[row]).astype(np.float32)
            elif not same:
                self.vectors[document.id] = text_vector(DENSE, document)

    @rule(names=NAMES, seed=SEEDS, when=WHEN)
    def add(self, names: list[str], seed: int, when: str) -> None:
        random_ = random.Random(seed)
        documents = [random_document(random_, name) for name in names]
        assert self.collection.add(documents, index=when) == len(documents)
        self.added(documents)
        assert self.collection.wait_indexed(30)

    @rule(names=NAMES, seed=SEEDS, when=WHEN)
    def add_ready(self, names: list[str], seed: int, when: str) -> None:
        random_ = random.Random(seed)
        documents = [random_document(random_, name) for name in names]
        ready = np.random.default_rng(seed).standard_normal((len(names), DENSE.dim)) * 3
        self.collection.add(documents, vectors={"dense": ready}, index=when)
        self.added(documents, ready)
        assert self.collection.wait_indexed(30)

    @rule(names=NAMES, year=st.integers(2000, 2005), when=WHEN)
    def change_metadata(self, names: list[str], year: int, when: str) -> None:
        """The vectors stay, those that were given as well, and nothing is encoded."""
        documents = [
            dataclasses.replace(self.model[name], metadata={"year": year, "lang": "en"})
            for name in names
            if name in self.model
        ]
        ToyEncoder.documents.clear()
        self.collection.add(documents, index=when)
        self.added(documents)
        assert self.collection.wait_indexed(30)
        assert ToyEncoder.documents == []

    @rule(names=NAMES)
    def delete(self, names: list[str]) -> None:
        assert self.collection.delete(names) == len(self.model.keys() & set(names))
        for name in names:
            self.model.pop(name, None)
            self.vectors.pop(name, None)

    @rule()
    def flush(self) -> None:
        self.collection.flush()

    @rule()
    def merge(self) -> None:
        self.collection.merge()

    @rule(read_only=st.booleans())
    def reopen(self, read_only: bool) -> None:
        self.collection.close()
        if read_only:
            with cm.Collection.open(self.directory / "c.cm", read_only=True) as self.collection:
                ToyEncoder.documents.clear()
                self.search_dense("amber", 5)
                assert ToyEncoder.documents == []
        self.collection = cm.Collection.open(self.directory / "c.cm")

    @precondition(lambda self: not self.has_other)
    @rule(when=WHEN)
    def add_other(self, when: str) -> None:
        self.collection.add_index("other", OTHER, index=when)
        assert self.collection.wait_indexed(30)
        self.has_other = True

    @precondition(lambda self: self.has_other)
    @rule()
    def drop_other(self) -> None:
        self.collection.drop_index("other")
        self.has_other = False

    @rule(query=QUERIES, k=st.integers(1, 30))
    def search_dense(self, query: str, k: int) -> None:
        expected = dense_scores(self.vectors, text_vector(DENSE, query))
        assert_top_k(self.collection.search(query, k, pipeline="dense"), expected, k)

    @rule(seed=SEEDS, k=st.integers(1, 30), n=st.integers(1, 12))
    def search_with_vectors(self, seed: int, k: int, n: int) -> None:
        queries = np.random.default_rng(seed).standard_normal((n, DENSE.dim))
        results = self.collection.search_batch(vectors=queries, k=k, pipeline="dense")
        for query, result in zip(queries, results, strict=True):
            assert_top_k(result, dense_scores(self.vectors, unit(query)), k)

    @precondition(lambda self: self.has_other)
    @rule(query=QUERIES)
    def search_other(self, query: str) -> None:
        expected = dense_scores(text_vectors(OTHER, self.model), text_vector(OTHER, query))
        assert_top_k(self.collection.search(query, 30, pipeline="other"), expected, 30)

    @rule(
        query=QUERIES,
        fusion=st.sampled_from(list(FUSIONS)),
        year=st.integers(1999, 2006),
        labels=st.none() | st.lists(st.sampled_from(["red", "green", "none"]), max_size=2),
    )
    def search_hybrid(self, query: str, fusion: str, year: int, labels: list | None) -> None:
        """Filtered, as somebody: lists, statistics and fused scores of what is visible."""
        visible = {
            name: item
            for name, item in self.model.items()
            if labels is None or set(item.labels) & set(labels)
        }
        passing = [name for name, item in visible.items() if item.metadata["year"] >= year]
        lexical = rebuilt_scores(visible, query, selected=passing)
        vectors = {name: self.vectors[name] for name in passing}
        dense = dense_scores(vectors, text_vector(DENSE, query))
        stage, twin = FUSIONS[fusion]
        result = self.collection.search(
            query,
            30,
            pipeline=cm.Pipeline(["bm25", "dense"], fuse=stage),
            filter={"year": {"gte": year}},
            as_labels=labels,
        )
        assert_top_k(result, twin(lexical, dense), 30)

    @invariant()
    def same_documents(self) -> None:
        if self.collection is not None:
            assert_same_documents(self.collection, self.model)

    def teardown(self) -> None:
        try:
            if self.collection is not None:
                self.search_dense("amber beacon", 30)
                assert self.collection.check().problems == ()
                self.collection.close()
                self.collection = cm.Collection.open(self.directory / "c.cm")
                self.search_dense("amber beacon", 30)
                assert self.collection.check().problems == ()
                self.collection.close()
        finally:
            shutil.rmtree(self.directory)
            self.patch.undo()


DenseMachine.TestCase.settings = settings(
    max_examples=12,
    stateful_step_count=16,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestDenseCollection = DenseMachine.TestCase


@pytest.mark.parametrize("ann", [None, cm.HNSW(m=8), cm.IVF(lists=4, probes=4)])
def test_a_long_life_with_an_approximate_structure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ann: cm.HNSW | cm.IVF | None
) -> None:
    """Segments with a structure, without one and a tail, deletes and merges: exact scores."""
    use(monkeypatch)
    dense = ToyDense(dim=12, ann=ann, ann_rows=256)
    random_ = random.Random(2)
    model: dict[str, cm.Document] = {}
    with cm.Collection.create(tmp_path / "c.cm", {"dense": dense}) as collection:
        for step in range(5):
            documents = [
                random_document(random_, f"d{n}") for n in range(step * 250, step * 250 + 320)
            ]
            model |= {document.id: document for document in documents}
            collection.add(documents)
            collection.flush()
            gone = random_.sample(sorted(model), 60)
            collection.delete(gone)
            model = {name: item for name, item in model.items() if name not in gone}
            if step == 3:
                collection.merge()
        collection.add([cm.Document(id="tail", text="amber tail", metadata={"year": 2001})])
        model["tail"] = collection.get("tail")
        assert collection.describe()["indexes"]["dense"]["segments"] >= 2
        vectors = text_vectors(dense, model)
        queries = [" ".join(random_.sample(WORDS, 3)) for _ in range(20)]
        found = total = 0
        for year in (None, 2001):
            filter = None if year is None else {"year": year}
            for query, result in zip(
                queries, collection.search_batch(queries, 10, filter=filter), strict=True
            ):
                wanted = {
                    name: vector
                    for name, vector in vectors.items()
                    if year is None or model[name].metadata["year"] == year
                }
                scores = dense_scores(wanted, text_vector(dense, query))
                assert len(result) == 10
                for name, score in zip(result.ids, result.scores, strict=True):
                    assert abs(scores[name] - score) < 1e-6
                tenth = sorted(scores.values())[-10]
                found += sum(score >= tenth - 1e-6 for score in result.scores)
                total += 10
        assert found >= 0.99 * total, (found, total)
        assert collection.check().problems == ()
