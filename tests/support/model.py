"""The slow, obvious twin of a collection: a dict, and an index rebuilt from it for every search."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

import cormorant as cm
from cormorant.contracts import Allowed
from cormorant.documents import Chunk
from cormorant.retrieval.segments import MemorySink

WORDS = [
    "amber", "beacon", "cedar", "delta", "ember", "falcon", "garnet", "harbor", "island",
    "juniper", "kestrel", "lantern", "meadow", "nectar", "orchid", "pebble", "quartz", "river",
    "saffron", "thistle",
]  # fmt: skip


def random_document(random_: random.Random, name: str) -> cm.Document:
    """A short document over a small vocabulary, so that queries hit and scores tie."""
    length = random_.randint(0, 12)
    words = [WORDS[min(int(random_.expovariate(0.25)), len(WORDS) - 1)] for _ in range(length)]
    labels = random_.sample(["red", "green", "blue"], random_.randint(0, 2))
    metadata = {"year": random_.randint(2000, 2005), "lang": random_.choice(["en", "de"])}
    return cm.Document(id=name, text=" ".join(words), metadata=metadata, labels=labels)


def rebuilt_scores(
    documents: Mapping[str, cm.Document],
    query: str,
    *,
    selected: Iterable[str] | None = None,
    settings: cm.BM25 | None = None,
) -> dict[str, float]:
    """The score of every document that matches, from an index built of these documents alone."""
    if not documents:
        return {}
    index = (settings or cm.BM25()).index()
    names = list(documents)
    chunks = [
        Chunk(row, row, name, documents[name].title, documents[name].text)
        for row, name in enumerate(names)
    ]
    sink = MemorySink()
    segment = index.open(sink.arrays, index.build(chunks, sink))
    mask = None
    if selected is not None:
        wanted = set(selected)
        mask = np.array([name in wanted for name in names])
    ranking = index.search([segment], [query], len(names), Allowed(None, mask))
    return {
        names[row]: float(score)
        for row, score in zip(ranking.rows[0], ranking.scores[0], strict=True)
        if row >= 0
    }


def assert_top_k(result: cm.Result, expected: Mapping[str, float], k: int) -> None:
    """The result is a top k of the expected scores: any member of a tie at rank k will do."""
    assert len(result) == min(k, len(expected))
    best = sorted(expected.values(), reverse=True)[: len(result)]
    assert np.allclose(result.scores, best, rtol=0, atol=1e-5)
    for name, score in zip(result.ids, result.scores, strict=True):
        assert abs(expected[name] - score) < 1e-5, (name, expected[name], score)
    pairs = list(zip(result.scores, result.ids, strict=True))
    assert pairs == sorted(pairs, key=lambda pair: (-pair[0], pair[1]))


def assert_same_documents(collection: cm.Collection, documents: Mapping[str, cm.Document]) -> None:
    """The collection holds exactly these documents."""
    assert len(collection) == len(documents)
    assert {item.id: item.as_json() for item in collection.scroll()} == {
        name: item.as_json() for name, item in documents.items()
    }


def assert_searches_agree(
    collection: cm.Collection,
    documents: Mapping[str, cm.Document],
    queries: Sequence[str] = ("amber beacon", "cedar", "thistle falcon amber"),
) -> None:
    """Searches give what an index built of these documents alone would give."""
    for query in queries:
        assert_top_k(collection.search(query, 10), rebuilt_scores(documents, query), 10)
