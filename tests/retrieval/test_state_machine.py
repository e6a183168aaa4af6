"""Any sequence of operations, against a dict: nothing lost, nothing left over, the same scores."""

from __future__ import annotations

import random
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from model import (
    WORDS,
    assert_same_documents,
    assert_top_k,
    random_document,
    rebuilt_scores,
)

import cormorant as cm
from cormorant.retrieval import policy

NAMES = st.sampled_from([f"d{number}" for number in range(25)])
SEEDS = st.integers(0, 2**32 - 1)
QUERIES = st.lists(st.sampled_from(WORDS[:8]), min_size=1, max_size=3).map(" ".join)


class CollectionMachine(RuleBasedStateMachine):
    """Add, upsert, delete, flush, merge, reopen, filter and labels against a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.model: dict[str, cm.Document] = {}
        self.collection: cm.Collection | None = None

    @initialize()
    def create(self) -> None:
        self.collection = cm.Collection.create(self.directory / "c.cm")

    @rule(names=st.lists(NAMES, unique=True, max_size=6), seed=SEEDS)
    def add(self, names: list[str], seed: int) -> None:
        random_ = random.Random(seed)
        documents = [random_document(random_, name) for name in names]
        assert self.collection.add(documents) == len(documents)
        for document in documents:
            self.model.pop(document.id, None)
            self.model[document.id] = document

    @rule(names=st.lists(NAMES, unique=True, max_size=6))
    def delete(self, names: list[str]) -> None:
        expected = len(self.model.keys() & set(names))
        assert self.collection.delete(names) == expected
        for name in names:
            self.model.pop(name, None)

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
            with cm.Collection.open(self.directory / "c.cm", read_only=True) as reader:
                assert_same_documents(reader, self.model)
        self.collection = cm.Collection.open(self.directory / "c.cm")

    @rule(query=QUERIES, k=st.integers(1, 30))
    def search(self, query: str, k: int) -> None:
        assert_top_k(self.collection.search(query, k), rebuilt_scores(self.model, query), k)

    @rule(query=QUERIES, year=st.integers(1999, 2006), lang=st.sampled_from(["en", "de"]))
    def search_filtered(self, query: str, year: int, lang: str) -> None:
        condition = {"$or": [{"year": {"gte": year}}, {"lang": lang}]}
        passing = [
            name
            for name, item in self.model.items()
            if item.metadata["year"] >= year or item.metadata["lang"] == lang
        ]
        result = self.collection.search(query, 10, filter=condition)
        assert_top_k(result, rebuilt_scores(self.model, query, selected=passing), 10)

    @rule(query=QUERIES, labels=st.lists(st.sampled_from(["red", "green", "none"]), max_size=2))
    def search_as(self, query: str, labels: list[str]) -> None:
        """Scores under labels are those of a collection that holds the visible documents alone."""
        visible = {
            name: item for name, item in self.model.items() if set(item.labels) & set(labels)
        }
        result = self.collection.search(query, 10, as_labels=labels)
        assert_top_k(result, rebuilt_scores(visible, query), 10)

    @invariant()
    def same_documents(self) -> None:
        if self.collection is not None:
            assert_same_documents(self.collection, self.model)

    def teardown(self) -> None:
        if self.collection is not None:
            assert self.collection.check().problems == ()
            self.collection.close()
            with cm.Collection.open(self.directory / "c.cm") as again:
                assert_same_documents(again, self.model)
                assert again.check().problems == ()
        shutil.rmtree(self.directory)


CollectionMachine.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestCollection = CollectionMachine.TestCase


def test_the_merge_policy_bounds_the_number_of_segments() -> None:
    segments: list[policy.SegmentSize] = []
    rewritten = 0
    for number in range(1, 400):
        segments.append(policy.SegmentSize(number * 1000, 5_000, 0))
        while chosen := policy.choose_merge(segments):
            merged = [segment for segment in segments if segment.number in chosen]
            rows = sum(segment.rows for segment in merged)
            rewritten += rows
            segments = [segment for segment in segments if segment.number not in chosen]
            segments.append(policy.SegmentSize(number * 1000 + len(chosen), rows, 0))
    assert len(segments) <= 16
    assert rewritten <= 6 * 400 * 5_000


def test_a_segment_with_many_deleted_rows_is_rewritten_alone() -> None:
    sizes = [policy.SegmentSize(1, 100_000, 10), policy.SegmentSize(2, 1_000, 300)]
    assert policy.choose_merge(sizes) == [2]
    assert policy.choose_merge([sizes[0]]) == []


def test_merges_are_as_large_as_they_may_be() -> None:
    sizes = [policy.SegmentSize(number, 1000, 100 * (number == 2)) for number in range(6)]
    assert policy.choose_merge(sizes, 2_900) == [0, 1, 2]
    assert policy.choose_merge(sizes, 1_900) == [0, 2]
    assert policy.choose_merge(sizes, 1_000) == []
    assert policy.in_groups([5, 3, 9, 2, 1], 6) == [[0, 4], [1, 3], [2]]
    assert policy.in_groups([5, 3, 9], None) == [[0, 1, 2]]
    assert policy.in_groups([], 6) == []
