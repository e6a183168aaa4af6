"""Whatever searches exactly, the answer is the same: FAISS, torch, half precision, a GPU's path."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cormorant.contracts import EVERYTHING, Allowed
from cormorant.documents import Chunk
from cormorant.indexers.dense import exact, gpu
from cormorant.indexers.dense.index import DenseIndex
from cormorant.indexers.dense.segment import DenseSegment
from cormorant.indexers.dense.settings import HNSW, IVF, Dense
from cormorant.retrieval.segments import MemorySink

ROWS, DIM, K = 12_000, 24, 10


class Lasting(MemorySink):
    """Memory that counts as files, so that structures are built."""

    lasting = True


def _segment(ann: HNSW | IVF | None = None) -> tuple[DenseIndex, DenseSegment]:
    random = np.random.default_rng(7)
    vectors = random.standard_normal((ROWS, DIM)).astype(np.float32)
    vectors[5_000:] = vectors[: ROWS - 5_000]  # every tie there can be
    index = DenseIndex(Dense(model=None, ann=ann, ann_rows=256))
    data = index.accept(vectors).data
    sink = Lasting()
    chunks = (Chunk(row, row, str(row), "", "", encoding) for row, encoding in enumerate(data))
    return index, index.open(sink.arrays, index.build(chunks, sink))


def _queries(n: int) -> np.ndarray:
    return np.random.default_rng(8).standard_normal((n, DIM)).astype(np.float32)


def _refuse(*_: Any) -> None:
    raise AssertionError("this engine was not to be asked")


@pytest.fixture(params=["faiss", "torch", "half"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """One engine, and no other."""
    monkeypatch.setattr(exact, "has_bfloat16", lambda device: request.param == "half")
    if request.param == "torch":
        monkeypatch.setattr(exact, "has_faiss", lambda: False)
        monkeypatch.setitem(sys.modules, "faiss", None)
    if request.param == "faiss":
        monkeypatch.setattr(exact, "_nearest_by_torch", _refuse)
    if request.param == "half":
        monkeypatch.setattr(exact, "_nearest", _refuse)
    return str(request.param)


@pytest.mark.parametrize("share", [None, 0.8])
def test_every_engine_gives_the_exact_answer(engine: str, share: float | None) -> None:
    index, segment = _segment()
    queries = index.accept_queries(_queries(100)).vectors
    allowed = EVERYTHING
    if share is not None:
        allowed = Allowed(None, np.random.default_rng(9).random(ROWS) < share)
    found = index.search([segment], queries, K, allowed)
    scores = (queries.astype(float) @ segment.vectors.T.astype(float)).astype(np.float32)
    if allowed.selected is not None:
        scores[:, ~allowed.selected] = -np.inf
    expected = -np.sort(-scores, axis=1)[:, :K]
    assert np.allclose(found.scores, expected, rtol=1e-6, atol=1e-7), engine
    named = np.take_along_axis(scores, found.rows, axis=1)
    assert np.allclose(named, found.scores, rtol=1e-6, atol=1e-7)


def test_one_query_and_many_agree() -> None:
    index, segment = _segment()
    queries = index.accept_queries(_queries(100)).vectors
    together = index.search([segment], queries, K, EVERYTHING)
    for number in range(0, 100, 17):
        alone = index.search([segment], queries[number : number + 1], K, EVERYTHING)
        assert np.array_equal(alone.scores[0], together.scores[number])


def test_copies_of_one_document_are_searched_all_the_same() -> None:
    index = DenseIndex(Dense(model=None))
    vectors = np.repeat(np.eye(4, dtype=np.float32), 5_000, axis=0)
    sink = MemorySink()
    data = index.accept(vectors).data
    chunks = [Chunk(row, row, str(row), "", "", encoding) for row, encoding in enumerate(data)]
    segment = index.open(sink.arrays, index.build(chunks, sink))
    queries = np.tile(np.eye(4, dtype=np.float32)[:1], (80, 1))
    found = index.search([segment], queries, K, EVERYTHING)
    assert (found.scores == 1.0).all()
    assert (found.rows < 5_000).all()


def test_without_faiss_an_approximate_index_is_searched_exactly_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    index, segment = _segment(HNSW())
    assert "ann" in segment.summary
    monkeypatch.setattr(exact, "has_faiss", lambda: False)
    found = index.search([segment], index.accept_queries(_queries(3)).vectors, K, EVERYTHING)
    assert found.flags == ("faiss is not installed: searched exactly",)
    assert (found.rows >= 0).all()


@pytest.mark.parametrize("ann", [None, IVF(lists=20, probes=20), HNSW()])
def test_what_goes_to_a_gpu(
    ann: HNSW | IVF | None, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """FAISS's own GPU calls, in the place of a GPU that this machine lacks: who is sent there.

    Unfiltered searches of flat vectors and of lists are; graphs and filtered searches are not.
    """
    import faiss

    sent: list[str] = []

    def to_gpu(resources: object, device: int, index: Any) -> Any:
        assert (resources, device) == ("resources", 0)
        sent.append(type(index).__name__)
        return index

    gpu.resources.cache_clear()
    request.addfinalizer(gpu.resources.cache_clear)
    monkeypatch.setattr(faiss, "StandardGpuResources", lambda: "resources", raising=False)
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1, raising=False)
    monkeypatch.setattr(faiss, "index_cpu_to_gpu", to_gpu, raising=False)
    monkeypatch.setattr(gpu, "LEAST_ROWS", 1_000)
    index, segment = _segment(ann)
    queries = index.accept_queries(_queries(100)).vectors
    search: Callable[[Allowed], Any] = lambda allowed: index.search([segment], queries, K, allowed)  # noqa: E731
    search(Allowed(None, np.arange(ROWS) % 2 == 0))
    assert sent == []
    first, again = search(EVERYTHING), search(EVERYTHING)
    expected = {HNSW: [], IVF: ["IndexIVFFlat"], type(None): ["IndexFlatIP"]}[type(ann)]
    assert sent == expected  # once, and kept there
    assert np.array_equal(first.rows, again.rows)


def test_a_merge_goes_on_with_the_first_segments_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    import faiss

    inserted: list[int] = []
    add = faiss.IndexHNSWFlat.add

    def counted(self: Any, vectors: np.ndarray) -> None:
        inserted.append(len(vectors))
        add(self, vectors)

    random = np.random.default_rng(1)
    vectors = random.standard_normal((4_000, DIM)).astype(np.float32)
    index = DenseIndex(Dense(model=None, ann=HNSW(), ann_rows=256))
    data = index.accept(vectors).data

    def segment(first: int, last: int) -> DenseSegment:
        sink = Lasting()
        chunks = (Chunk(row, row, str(row), "", "", data[row]) for row in range(first, last))
        return index.open(sink.arrays, index.build(chunks, sink))

    first, second = segment(0, 2_500), segment(2_500, 4_000)
    monkeypatch.setattr(faiss.IndexHNSWFlat, "add", counted)

    def merged(keep: list[np.ndarray | None]) -> DenseSegment:
        sink = Lasting()
        return index.open(sink.arrays, index.merge([first, second], keep, sink))

    whole = merged([None, None])
    assert inserted == [1_500]
    kept = whole.arrays["hnsw_levels"][:2_500]
    assert np.array_equal(kept, first.arrays["hnsw_levels"])
    assert index.check(whole) == []
    queries = index.accept_queries(_queries(50)).vectors
    found = index.search([whole], queries, K, EVERYTHING)
    truth = np.argsort(-(queries @ whole.vectors.T), axis=1)[:, :K]
    recall = np.mean([len(set(a) & set(b)) / K for a, b in zip(found.rows, truth, strict=True)])
    assert recall >= 0.97
    some = np.ones(2_500, np.bool_)
    some[7] = False
    merged([some, None])  # a hole in the first: every number after it moves, so built anew
    assert inserted == [1_500, 3_999]


@pytest.mark.parametrize("noise", [0.0, 1e-4, 1e-3])
def test_near_copies_are_told_apart_whatever_the_batch(noise: float) -> None:
    """Rounding in a product once decided among them, differently for each size of batch."""
    random = np.random.default_rng(5)
    vectors = random.standard_normal((9_000, 64)).astype(np.float32)
    copies = vectors[0] + noise * random.standard_normal((3_000, 64)).astype(np.float32)
    vectors[2_000:5_000] = copies
    index = DenseIndex(Dense(model=None))
    data = index.accept(vectors).data
    sink = MemorySink()
    chunks = [Chunk(row, row, str(row), "", "", encoding) for row, encoding in enumerate(data)]
    segment = index.open(sink.arrays, index.build(chunks, sink))
    query = index.accept_queries(vectors[:1]).vectors
    true = (segment.vectors.astype(np.float64) @ query[0].astype(np.float64)).astype(np.float32)
    expected = np.lexsort((np.arange(9_000), -true))[:K]
    for batch in (1, 8, 32, 64, 100):
        found = index.search([segment], np.repeat(query, batch, axis=0), K, EVERYTHING)
        assert (found.rows == expected).all(), batch
