"""A dense index by itself, against numpy: whatever the split, the same rows and scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cormorant as cm
from cormorant.contracts import EVERYTHING, Allowed, Encodes, HasVectors, Searchable
from cormorant.documents import Chunk
from cormorant.errors import InputError
from cormorant.indexers.dense import ann
from cormorant.indexers.dense.index import DenseIndex
from cormorant.indexers.dense.segment import DenseSegment
from cormorant.indexers.dense.vectors import pack, unpack
from cormorant.indexers.table import index_settings
from cormorant.retrieval.segments import MemorySink
from cormorant.tagged import to_json


class Files(MemorySink):
    """As if it were for files."""

    lasting = True


def segment_of(
    index: DenseIndex, vectors: np.ndarray, rows: np.ndarray, cut: np.ndarray | None = None
) -> DenseSegment:
    """A segment of given rows; ``vectors`` holds those of all rows."""
    marks = np.zeros(len(vectors), np.bool_) if cut is None else cut
    chunks = [
        Chunk(row, row, f"d{row}", "", "")._replace(encoding=encoding)
        for row, encoding in zip(rows.tolist(), pack(vectors[rows], marks[rows]), strict=True)
    ]
    sink = Files()
    return index.open(sink.arrays, index.build(chunks, sink))


def truth(
    vectors: np.ndarray, queries: np.ndarray, held: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and scores; of equal scores the lower row first."""
    scores = (queries.astype(float) @ vectors.astype(float).T).astype(np.float32)
    scores[:, ~held] = -np.inf
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    best = np.take_along_axis(scores, order, axis=1)
    rows = np.where(best > -np.inf, order, -1)
    missing = ((0, 0), (0, k - rows.shape[1]))
    return (
        np.pad(rows, missing, constant_values=-1),
        np.pad(best, missing, constant_values=-np.inf),
    )


@st.composite
def splits(draw: st.DrawFn) -> tuple[np.ndarray, list[np.ndarray], int]:
    """Vectors of small integers (so that scores tie, and are exact), and rows for each segment."""
    n, dim = draw(st.integers(0, 40)), draw(st.integers(1, 6))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    vectors = random.integers(-2, 3, (n, dim)).astype(np.float32)
    owner = random.integers(-1, draw(st.integers(1, 4)), n)  # -1: a row that no segment holds
    return (
        vectors,
        [np.flatnonzero(owner == number) for number in range(4)],
        draw(st.integers(1, 50)),
    )


@given(splits(), st.integers(0, 2**32 - 1), st.sampled_from([1, 3, 9]))
@settings(deadline=None, max_examples=120)
def test_any_split_any_mask_any_batch(
    split: tuple[np.ndarray, list[np.ndarray], int], seed: int, n_queries: int
) -> None:
    vectors, parts, k = split
    random = np.random.default_rng(seed)
    index = DenseIndex(cm.Dense(model=None, similarity="dot"))
    segments = [segment_of(index, vectors, rows) for rows in parts]
    queries = random.integers(-2, 3, (n_queries, vectors.shape[1])).astype(np.float32)
    n = len(vectors)
    held = np.zeros(n, np.bool_)
    held[np.concatenate(parts)] = True
    visible, selected = random.random(n) < 0.7, random.random(n) < 0.6
    for allowed, passing in (
        (EVERYTHING, held),
        (Allowed(visible, None), held & visible),
        (Allowed(visible, selected), held & visible & selected),
        (Allowed(None, np.zeros(n, np.bool_)), np.zeros(n, np.bool_)),
    ):
        rows, scores = truth(vectors, queries, passing, k)
        ranking = index.search(segments, queries, k, allowed)
        assert ranking.rows.tolist() == rows.tolist()
        assert ranking.scores.tolist() == scores.tolist()
    asked = random.integers(-1, n + 3, (n_queries, 8))
    expected = (queries @ vectors.T).astype(np.float32)
    scored = index.score(segments, queries, asked, Allowed(visible, selected))
    for query, column in np.ndindex(asked.shape):
        row = asked[query, column]
        there = 0 <= row < n and held[row] and visible[row]
        assert scored[query, column] == (expected[query, row] if there else -np.inf)


@given(splits(), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=60)
def test_a_merge_holds_what_its_segments_held(
    split: tuple[np.ndarray, list[np.ndarray], int], seed: int
) -> None:
    vectors, parts, _ = split
    random = np.random.default_rng(seed)
    index = DenseIndex(cm.Dense(model=None, similarity="dot"))
    cut = random.random(len(vectors)) < 0.3
    segments = [segment_of(index, vectors, rows, cut) for rows in parts]
    keep = [None if seed % 3 == 0 else random.random(len(rows)) < 0.5 for rows in parts]
    sink = MemorySink()
    merged = index.open(sink.arrays, index.merge(segments, keep, sink))
    kept = [r if m is None else r[m] for r, m in zip(parts, keep, strict=True)]
    rows = np.sort(np.concatenate(kept))
    assert merged.rows.tolist() == rows.tolist()
    assert index.check(merged) == []
    if len(rows):
        assert np.array_equal(merged.vectors, vectors[rows])
        assert np.array_equal(merged.cut, cut[rows])
    every = np.arange(len(vectors))
    packed = index.encodings([merged], every)
    assert [item is not None for item in packed] == np.isin(every, rows).tolist()
    assert [item for item in packed if item is not None] == pack(vectors[rows], cut[rows])


def random_vectors(n: int, dim: int, seed: int = 0) -> np.ndarray:
    """Clustered, of length 1."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((20, dim))
    vectors = centres[random.integers(0, 20, n)] + 0.7 * random.standard_normal((n, dim))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32)


def recall(index: DenseIndex, segments: Sequence[DenseSegment], vectors: np.ndarray) -> float:
    """Of the ten best of 50 queries."""
    queries = random_vectors(50, vectors.shape[1], seed=9)
    _, scores = truth(vectors, queries, np.ones(len(vectors), np.bool_), 10)
    ranking = index.search(segments, queries, 10, EVERYTHING)
    exact = (queries.astype(float) @ vectors.astype(float).T).astype(np.float32)
    for query in range(50):
        assert np.allclose(ranking.scores[query], exact[query, ranking.rows[query]], atol=1e-7)
    return float(np.mean(ranking.scores >= scores[:, -1:] - 1e-7))


@pytest.mark.parametrize(
    ("structure", "least"),
    [
        (cm.HNSW(), 0.98),
        (cm.HNSW(m=4, ef_construction=20, ef_search=10), 0.3),
        (cm.IVF(lists=16, probes=16), 1.0),
        (cm.IVF(lists=16, probes=16, quantizer="fp16"), 0.98),
        (cm.IVF(lists=16, probes=16, quantizer="sq8"), 0.98),
        (cm.IVF(lists=16, probes=16, quantizer="sq6"), 0.95),
        (cm.IVF(lists=16, probes=16, quantizer="sq4"), 0.9),
        (cm.IVF(lists=16, probes=4), 0.7),
    ],
    ids=repr,
)
def test_every_structure_built_opened_and_merged(structure: cm.HNSW | cm.IVF, least: float) -> None:
    """True scores whatever found the rows; the same structure after a merge."""
    vectors = random_vectors(1200, 24)
    index = DenseIndex(cm.Dense(model=None, ann=structure, ann_rows=256))
    parts = [np.arange(0, 1200, 2), np.arange(1, 1200, 2)]
    segments = [segment_of(index, vectors, rows) for rows in parts]
    assert all("ann" in segment.summary for segment in segments)
    assert recall(index, segments, vectors) >= least
    sink = Files()
    merged = index.open(sink.arrays, index.merge(segments, [None, None], sink))
    assert merged.summary["ann"]["kind"] == structure.kind
    assert index.check(merged) == []
    assert recall(index, [merged], vectors) >= least


def test_a_product_quantiser() -> None:
    vectors = random_vectors(10_200, 16)
    structure = cm.IVF(lists=16, probes=16, quantizer="pq", pq_bytes=4, refine=40)
    index = DenseIndex(cm.Dense(model=None, ann=structure, ann_rows=256))
    segment = segment_of(index, vectors, np.arange(10_200))
    assert segment.arrays["ivf_codes"].shape == (10_200, 4)
    assert recall(index, [segment], vectors) >= 0.9
    bad = cm.IVF(quantizer="pq", pq_bytes=7)
    with pytest.raises(InputError, match="divides the dimension 16, got 7"):
        other = DenseIndex(cm.Dense(model=None, ann=bad, ann_rows=256))
        segment_of(other, vectors, np.arange(10_200))


def test_a_tail_is_searched_exactly() -> None:
    """Building a graph in memory is work that every reader would do again."""
    index = DenseIndex(cm.Dense(model=None, ann=cm.HNSW(), ann_rows=256))
    vectors = random_vectors(300, 8)
    sink = MemorySink()
    encodings = pack(vectors, np.zeros(300, np.bool_))
    chunks = [Chunk(row, row, "", "", "", encoding) for row, encoding in enumerate(encodings)]
    assert index.build(chunks, sink).keys() == {"n_rows", "largest_norm"}


@pytest.mark.parametrize("structure", [cm.HNSW(), cm.IVF()])
@pytest.mark.parametrize("n_queries", [1, 20])
def test_a_filter_that_lets_nothing_through_near_the_query(
    structure: cm.HNSW | cm.IVF, n_queries: int
) -> None:
    """The walk ended among rows that the filter hides: one hit, or none, where there were ten."""
    n = 6_000
    random = np.random.default_rng(0)
    vectors = 0.3 * random.standard_normal((n, 16))
    vectors[: n // 2, 0] += 3
    vectors[n // 2 :, 0] -= 3
    vectors = (vectors / np.linalg.norm(vectors, axis=1)[:, None]).astype(np.float32)
    index = DenseIndex(cm.Dense(model=None, ann=structure, ann_rows=256))
    segment = segment_of(index, vectors, np.arange(n))
    far = np.arange(n) >= n // 2
    queries = vectors[:n_queries]
    _, scores = truth(vectors, queries, far, 10)
    found = index.search([segment], queries, 10, Allowed(None, far))
    assert np.allclose(found.scores, scores, atol=1e-6)
    near = index.search([segment], queries, 10, Allowed(None, ~far))
    assert near.rows[:, 0].tolist() == list(range(n_queries))


def test_other_settings_than_a_segment_was_built_with() -> None:
    """A structure of another kind is left alone, and an opened one is opened once."""
    vectors = random_vectors(600, 8)
    built = DenseIndex(cm.Dense(model=None, ann=cm.HNSW(), ann_rows=256))
    segment = segment_of(built, vectors, np.arange(600))
    for other in (None, cm.IVF()):
        index = DenseIndex(cm.Dense(model=None, ann=other, ann_rows=256))
        assert recall(index, [segment], vectors) == 1.0
    assert ann.problems_of(segment.arrays, segment.summary) == []


def test_vectors_of_another_length_never_reach_a_kernel() -> None:
    """Kernels read as many numbers as the query has."""
    index = DenseIndex(cm.Dense(model=None))
    segment = segment_of(index, random_vectors(5, 8), np.arange(5))
    for queries in (np.ones((1, 9), np.float32), np.ones((1, 7), np.float32)):
        with pytest.raises(ValueError, match="queries"):
            index.search([segment], queries, 3, EVERYTHING)
        with pytest.raises(ValueError, match="queries"):
            index.score([segment], queries, np.zeros((1, 1), np.int64), EVERYTHING)
    with pytest.raises(TypeError, match="searched with vectors"):
        index.search([segment], ["amber"], 3, EVERYTHING)


def test_stored_vectors_by_row() -> None:
    index = DenseIndex(cm.Dense(model=None))
    vectors = random_vectors(20, 4)
    segments = [segment_of(index, vectors, rows) for rows in (np.arange(3, 9), np.arange(12, 20))]
    found = index.vectors(segments, np.array([5, 1, 19, 12]))
    assert np.array_equal(found[[0, 2, 3]], vectors[[5, 19, 12]])
    assert np.isnan(found[1]).all()
    assert index.vectors([], np.array([1])).shape == (1, 0)


@given(st.integers(0, 20), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_encodings_round_trip(n: int, dim: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    vectors = random.standard_normal((n, dim)).astype(np.float32)
    cut = random.random(n) < 0.5
    unpacked, marks = unpack(pack(vectors, cut))
    assert np.array_equal(unpacked.reshape(n, dim), vectors)
    assert np.array_equal(marks, cut)


def test_settings_travel_as_json_and_the_contracts_hold() -> None:
    for value in (
        cm.Dense(),
        cm.Dense(model=None, dim=4, similarity="dot", ann=cm.HNSW(m=8), ann_rows=300),
        cm.Dense(ann=cm.IVF(lists=3, quantizer="pq", pq_bytes=4)),
    ):
        assert index_settings(to_json(value)) == value
        index = value.index()
        assert isinstance(index, Searchable)
        assert isinstance(index, Encodes)
        assert isinstance(index, HasVectors)
        assert index.lowest_score == (-1.0 if value.similarity == "cosine" else None)


@pytest.mark.parametrize(
    ("settings_", "field"),
    [
        ({"model": " "}, "model"),
        ({"dim": 0}, "dim"),
        ({"dim": True}, "dim"),
        ({"similarity": "euclid"}, "similarity"),
        ({"ann": "hnsw"}, "ann"),
        ({"ann_rows": 255}, "ann_rows"),
        ({"precision": "half"}, "precision"),
    ],
)
def test_settings_that_cannot_be(settings_: dict, field: str) -> None:
    with pytest.raises(InputError, match=f"field '{field}'"):
        cm.Dense(**settings_)


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (cm.HNSW, "m", 1),
        (cm.HNSW, "ef_search", 0),
        (cm.IVF, "lists", 0),
        (cm.IVF, "probes", -1),
        (cm.IVF, "quantizer", "sq5"),
        (cm.IVF, "refine", 0),
    ],
)
def test_structures_that_cannot_be(kind: type, field: str, value: object) -> None:
    with pytest.raises(InputError, match=f"field '{field}'"):
        kind(**{field: value})


@pytest.mark.soak
@pytest.mark.parametrize("structure", [cm.HNSW(), cm.IVF()], ids=repr)
def test_recall_under_filters_over_a_hundred_thousand(
    shared_data: Path, structure: cm.HNSW | cm.IVF
) -> None:
    """Enough rows that a graph is walked under a filter of 12%, where fewer are passed by."""
    folder = shared_data / "sentences"
    rounded = np.load(folder / "minilm_int8.npy", mmap_mode="r")
    scale = np.load(folder / "scale.npy")
    vectors, queries = rounded[:100_000] * scale, rounded[-200:] * scale
    index = DenseIndex(cm.Dense(model=None, similarity="dot", ann=structure, ann_rows=10_000))
    segment = segment_of(index, vectors, np.arange(100_000))
    rank = np.random.default_rng(0).permutation(100_000)
    print()
    for share in (1.0, 0.5, 0.2, 0.12, 0.1, 0.01, 0.001):
        mask = rank < share * 100_000
        allowed = EVERYTHING if share == 1 else Allowed(None, mask)
        _, scores = truth(vectors, queries, mask, 10)
        batch = index.search([segment], queries, 10, allowed).scores
        single = [index.search([segment], query[None], 10, allowed).scores[0] for query in queries]
        found = [float(np.mean(np.array(s) >= scores[:, -1:] - 1e-6)) for s in (batch, single)]
        walked = ann._walk(segment, index.settings, queries[:1], 10, segment.passing(allowed))
        how = "exact" if walked is None else structure.kind
        print(f"{structure.kind} {share:6.1%} batch {found[0]:.4f} single {found[1]:.4f} ({how})")
        assert min(found) >= (0.95 if structure.kind == "hnsw" else 0.85)
