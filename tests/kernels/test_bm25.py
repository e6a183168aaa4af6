"""Every version of the BM25 kernel against the reference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cormorant.kernels.bm25 import build, codes, cpu, heaps, reference, terms
from cormorant.kernels.bm25.layout import Postings, Queries, Saturation, no_best, words

NO_BITS = np.zeros(0, np.uint64)


def postings_of(documents: list[list[int]], n_terms: int, rows: np.ndarray) -> Postings:
    """Invert documents given as lists of term numbers."""
    lengths = np.array([len(document) for document in documents], np.int64)
    tokens = np.array([term for document in documents for term in document], np.int32)
    offsets = np.zeros(len(documents) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    ranks = np.arange(n_terms)
    distinct, frequencies, repeats = build.count_terms(tokens, offsets, ranks)
    numbers, positions = build.number_documents(lengths)
    lists, n_listed, n_bitmap_words = build.plan_lists(frequencies, len(documents))
    document_offsets, repeat_offsets = (
        np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        for sizes in (distinct[positions], repeats)
    )
    by_number = lengths[positions].astype(np.uint32)
    vocabulary = np.frombuffer(b"".join(b"%08d" % term for term in range(n_terms)), np.uint8)
    vocabulary_offsets = 8 * np.arange(n_terms + 1)
    postings = Postings(
        rows,
        numbers,
        positions,
        by_number,
        by_number[::64].copy(),
        document_offsets,
        np.zeros(document_offsets[-1], np.uint32),
        frequencies,
        lists,
        np.zeros(n_listed, np.uint32),
        np.zeros(n_bitmap_words, np.uint64),
        repeat_offsets,
        np.zeros(repeat_offsets[-1], np.uint32),
        np.zeros(repeat_offsets[-1], np.int32),
        np.zeros(repeat_offsets[-1], np.uint8),
        vocabulary,
        vocabulary_offsets,
        terms.prefixes(vocabulary, vocabulary_offsets),
    )
    build.invert(tokens, offsets, ranks, postings)
    codes.code_repeats(postings)
    for array in postings:
        array.flags.writeable = False
    return postings


def corpus(random: np.random.Generator, n: int, n_terms: int, shape: str) -> list[list[int]]:
    if shape == "one letter":
        return [[0] * int(length) for length in random.integers(0, 4, n)]
    lengths = {
        "equal": np.full(n, 6),
        "ragged": random.geometric(0.1, n) - 1,
        "repeated": random.integers(0, 5, n),
    }[shape]
    chances = 1.0 / np.arange(1, n_terms + 1) ** random.choice([0.0, 1.0, 2.0])
    documents = [
        random.choice(n_terms, length, p=chances / chances.sum()).tolist() for length in lengths
    ]
    if shape == "repeated":
        documents = [documents[i % 7] for i in range(n)]
    if n and random.random() < 0.3:
        documents[0] = [0] * 1000 + [n_terms - 1] * 300
    return documents


def queries_of(random: np.random.Generator, n: int, n_terms: int, least: float) -> Queries:
    sizes = random.choice([0, 1, 2, 5, 20], n)
    chosen = [random.permutation(n_terms)[:size].astype(np.int64) for size in sizes]
    offsets = np.concatenate([[0], np.cumsum([len(some) for some in chosen])]).astype(np.int64)
    numbers = np.concatenate([np.empty(0, np.int64), *chosen])
    numbers[random.random(len(numbers)) < 0.1] = -1
    weights = random.uniform(least, 3.0, len(numbers)) * random.choice(
        [0.0, 1.0, 7.5], len(numbers)
    )
    return Queries(numbers, weights, offsets, random.choice([0.0, 2.5], n))


def check(
    postings: list[Postings],
    queries: Queries,
    saturation: Saturation,
    allowed: list[np.ndarray],
    k: int,
) -> None:
    n = len(queries.offsets) - 1
    found, expected = no_best(n, k), no_best(n, k)
    for part, bits in zip(postings, allowed, strict=True):
        cpu.search(part, queries, saturation, bits, found)
        reference.search(part, queries, saturation, bits, expected)
    heaps.sort_best_first(found)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([0, 1, 63, 64, 65, 700, 5000]),
    st.sampled_from(["one letter", "equal", "ragged", "repeated"]),
    st.sampled_from([1, 3, 10, 100, 6000]),
    st.sampled_from([1.0, 0.5, 0.01, 0.001, 0.0]),
    st.booleans(),
    st.sampled_from([0.0, -1.0]),
)
def test_search_and_score_are_the_reference(
    seed: int, n: int, shape: str, k: int, share: float, linear: bool, least: float
) -> None:
    random = np.random.default_rng(seed)
    n_terms = int(random.choice([1, 4, 50, 400]))
    saturation = Saturation(
        float(random.choice([0.0, 0.3, 2.0])),
        float(random.choice([0.0, 0.05, 1.0])),
        linear,
        0.3 if linear else 0.0,
    )
    rows = np.sort(random.permutation(3 * n)[:n]).astype(np.int64)
    first = random.random(n) < 0.6
    documents = corpus(random, n, n_terms, shape)
    parts = [
        postings_of([documents[i] for i in np.flatnonzero(mask)], n_terms, rows[mask])
        for mask in (first, ~first)
    ]
    queries = queries_of(random, 5, n_terms, least)
    allowed = []
    for part in parts:
        bits = random.random(64 * words(len(part.rows))) < share
        bits[len(part.rows) :] = False
        packed = np.packbits(bits, bitorder="little").view(np.uint64)
        allowed.append(packed if share < 1.0 else NO_BITS)
    check(parts, queries, saturation, allowed, k)

    for part in parts:
        documents_asked = random.integers(-1, max(1, len(part.rows)), (5, 9))
        if not len(part.rows):
            documents_asked[:] = -1
        ours, theirs = (np.full((5, 9), 7.0, np.float32) for _ in range(2))
        cpu.score(part, queries, saturation, documents_asked, ours)
        reference.score(part, queries, saturation, documents_asked, theirs)
        np.testing.assert_array_equal(ours, theirs)


def test_more_documents_than_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(3)
    n = cpu.WINDOW + 1000
    lengths = random.integers(1, 4, n)
    tokens = (random.zipf(1.5, lengths.sum()) - 1) % 500
    cuts = np.cumsum(lengths)[:-1]
    documents = [part.tolist() for part in np.split(tokens, cuts)]
    postings = postings_of(documents, 500, np.arange(n, dtype=np.int64))
    queries = queries_of(random, 4, 500, 0.0)
    queries = queries._replace(weights=queries.weights + 0.5)
    for k in (10, 3000):
        check([postings], queries, Saturation(0.3, 0.2), [NO_BITS], k)


def test_weights_beyond_what_a_byte_can_tell_apart() -> None:
    documents = [[term, term + 1] for term in range(399)] * 3
    postings = postings_of(documents, 400, np.arange(len(documents), dtype=np.int64))
    queries = Queries(np.arange(400), np.geomspace(1e-9, 1e3, 400), np.array([0, 400]), np.zeros(1))
    check([postings], queries, Saturation(0.3, 0.2), [NO_BITS], 50)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(max_size=20), unique=True), st.lists(st.binary(max_size=20), unique=True))
def test_vocabularies(some: list[bytes], others: list[bytes]) -> None:
    def packed(names: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
        offsets = np.zeros(len(names) + 1, np.int64)
        np.cumsum([len(name) for name in names], out=offsets[1:])
        return np.frombuffer(b"".join(names), np.uint8), offsets

    def names(data: np.ndarray, offsets: np.ndarray) -> list[bytes]:
        raw = data.tobytes()
        return [raw[a:b] for a, b in zip(offsets[:-1], offsets[1:], strict=True)]

    order = terms.order(*packed(some))
    assert [some[place] for place in order] == sorted(some)
    assert names(*terms.take(*packed(some), order)) == sorted(some)
    both = terms.union(*packed(sorted(some)), *packed(sorted(others)))
    assert names(*both) == sorted({*some, *others})
    found = terms.find(
        *packed(others), *packed(sorted(some)), terms.prefixes(*packed(sorted(some)))
    )
    places = {name: place for place, name in enumerate(sorted(some))}
    assert found.tolist() == [places.get(name, -1) for name in others]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 5), max_size=6), max_size=6))
def test_distinct_terms_of_texts(texts: list[list[int]]) -> None:
    tokens = np.array([term for text in texts for term in text], np.int32)
    offsets = np.concatenate([[0], np.cumsum([len(text) for text in texts])]).astype(np.int64)
    found, counts, found_offsets = terms.distinct(tokens, offsets, 6)
    for number, text in enumerate(texts):
        own = slice(found_offsets[number], found_offsets[number + 1])
        assert found[own].tolist() == list(dict.fromkeys(text))
        assert counts[own].tolist() == [text.count(term) for term in dict.fromkeys(text)]
