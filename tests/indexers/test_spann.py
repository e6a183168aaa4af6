"""A spann index by itself, against numpy: true scores, measured recall, and no row lost."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import cormorant as cm
from cormorant.contracts import EVERYTHING, Allowed, Encodes, Explains, HasVectors, Searchable
from cormorant.documents import Chunk
from cormorant.errors import CormorantError, InputError
from cormorant.indexers.dense.vectors import pack
from cormorant.indexers.spann import searching, tuning
from cormorant.indexers.spann.index import SpannIndex
from cormorant.indexers.spann.segment import SpannSegment
from cormorant.indexers.table import index_settings
from cormorant.retrieval.disk import Disk
from cormorant.retrieval.segments import FileSink, MemorySink, open_arrays
from cormorant.tagged import to_json

SETTINGS = cm.Spann(model=None, list_rows=256, posting=16, memory=1.0)


@pytest.fixture(autouse=True)
def few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measuring the effort takes most of the time of so small a build."""
    monkeypatch.setattr(tuning, "SAMPLES", 60)


class Files(MemorySink):
    """As if it were for files."""

    lasting = True


def chunks_of(vectors: np.ndarray, rows: np.ndarray) -> list[Chunk]:
    packed = pack(vectors[rows], np.zeros(len(rows), np.bool_))
    return [
        Chunk(row, row, f"d{row}", "", "")._replace(encoding=encoding)
        for row, encoding in zip(rows.tolist(), packed, strict=True)
    ]


def segment_of(
    index: SpannIndex, vectors: np.ndarray, rows: np.ndarray | None = None
) -> SpannSegment:
    sink = Files()
    rows = np.arange(len(vectors)) if rows is None else rows
    return index.open(sink.arrays, index.build(chunks_of(vectors, rows), sink))


def merged(
    index: SpannIndex, segments: Sequence[SpannSegment], keep: Sequence[np.ndarray | None]
) -> SpannSegment:
    sink = Files()
    return index.open(sink.arrays, index.merge(segments, keep, sink))


def clustered(n: int, dim: int, seed: int = 0, similarity: str = "cosine") -> np.ndarray:
    """Skewed clusters; of length 1 for the cosine."""
    random = np.random.default_rng(99)
    centres = random.standard_normal((20, dim))
    random = np.random.default_rng(seed)
    owners = np.minimum(random.geometric(0.15, n) - 1, 19)
    vectors = centres[owners] + 0.6 * random.standard_normal((n, dim))
    if similarity == "cosine":
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32)


def truth(vectors: np.ndarray, queries: np.ndarray, similarity: str) -> np.ndarray:
    """True scores, float64: (n_queries, n)."""
    asked, held = queries.astype(float), vectors.astype(float)
    products = asked @ held.T
    if similarity != "l2":
        return products
    return 2 * products - (asked**2).sum(1)[:, None] - (held**2).sum(1)


def recall(
    index: SpannIndex,
    segments: Sequence[SpannSegment],
    vectors: np.ndarray,
    allowed: Allowed = EVERYTHING,
    k: int = 10,
) -> float:
    """Share of the k best of 60 queries; every score that is given is checked."""
    similarity = index.spann.similarity
    queries = clustered(60, vectors.shape[1], seed=9, similarity=similarity)
    exact = truth(vectors, queries, similarity)
    held = np.zeros(len(vectors), np.bool_)
    held[np.concatenate([segment.rows for segment in segments])] = True
    for mask in allowed:
        if mask is not None:
            held &= mask
    ranking = index.search(segments, queries, k, allowed)
    here = ranking.rows >= 0
    assert np.all(here.sum(axis=1) == min(k, held.sum()))
    assert held[ranking.rows[here]].all()
    for row, scores, own in zip(ranking.rows, ranking.scores, exact, strict=True):
        there = row >= 0
        assert np.allclose(scores[there], own[row[there]], rtol=2e-6, atol=1e-6)
        assert len(set(row[there].tolist())) == there.sum()
        assert np.all(np.diff(scores[there]) <= 0)
    if not held.any():
        return 1.0
    best = np.sort(np.where(held, exact, -np.inf), axis=1)[:, ::-1][:, : min(k, held.sum())]
    near = ranking.scores[:, : best.shape[1]] >= best[:, -1:] - 1e-5
    return float(near.mean())


VECTORS = {kind: clustered(3000, 24, similarity=kind) for kind in ("cosine", "dot", "l2")}


@pytest.mark.parametrize("similarity", ["cosine", "dot", "l2"])
def test_every_similarity_with_filters_and_batches(similarity: str) -> None:
    vectors = VECTORS[similarity]
    index = SpannIndex(dataclasses.replace(SETTINGS, similarity=similarity))
    segment = segment_of(index, vectors)
    assert segment.lists is not None
    assert index.check(segment) == []
    assert recall(index, [segment], vectors) >= 0.9
    assert recall(index, [segment], vectors, k=100) >= 0.9
    random = np.random.default_rng(4)
    for share, least in ((0.5, 0.9), (0.1, 0.9), (0.02, 0.9), (0.001, 1.0), (0.0, 1.0)):
        mask = random.random(3000) < share
        assert recall(index, [segment], vectors, Allowed(None, mask)) >= least
        assert recall(index, [segment], vectors, Allowed(mask, mask)) >= least
    queries = clustered(21, 24, seed=5, similarity=similarity)
    together = index.search([segment], queries, 7, EVERYTHING)
    for number in range(21):
        alone = index.search([segment], queries[number : number + 1], 7, EVERYTHING)
        assert alone.rows[0].tolist() == together.rows[number].tolist()
        assert alone.scores[0].tolist() == together.scores[number].tolist()
    rows = random.integers(-1, 3003, (21, 5))
    scores = index.score([segment], queries, rows, Allowed(random.random(3000) < 0.5, None))
    exact = truth(vectors, queries, similarity)
    finite = np.isfinite(scores)
    assert np.allclose(
        scores[finite], np.take_along_axis(exact, rows.clip(0, 2999), axis=1)[finite], atol=1e-4
    )
    assert not finite[(rows < 0) | (rows >= 3000)].any()
    assert 0 < finite.sum() < finite.size


@pytest.mark.parametrize("scale", [1e-6, 1e5])
def test_the_scale_of_the_data_does_not_matter(scale: float) -> None:
    index = SpannIndex(dataclasses.replace(SETTINGS, similarity="l2"))
    vectors = VECTORS["l2"][:1500]
    queries = clustered(20, 24, seed=8, similarity="l2")
    plain = index.search([segment_of(index, vectors)], queries, 10, EVERYTHING)
    scaled = segment_of(index, (vectors * np.float32(scale)))
    found = index.search([scaled], queries * np.float32(scale), 10, EVERYTHING)
    same = [
        len(set(a.tolist()) & set(b.tolist())) for a, b in zip(plain.rows, found.rows, strict=True)
    ]
    assert np.mean(same) > 9.5


def test_small_segments_and_tails_are_exact() -> None:
    for similarity in ("cosine", "l2"):
        index = SpannIndex(dataclasses.replace(SETTINGS, similarity=similarity))
        vectors = VECTORS[similarity][:500]
        small = segment_of(index, vectors, np.arange(0, 250))
        sink = MemorySink()
        tail = index.open(sink.arrays, index.build(chunks_of(vectors, np.arange(250, 500)), sink))
        assert small.lists is None
        assert tail.lists is None
        assert recall(index, [small, tail], vectors) == 1.0
        assert recall(index, [small, tail], vectors, k=700) == 1.0


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
@pytest.mark.parametrize("memory", [0.0, 0.3])
def test_bits_and_lists_left_on_disk(bits: int, memory: float) -> None:
    vectors = VECTORS["cosine"][:1500]
    index = SpannIndex(dataclasses.replace(SETTINGS, bits=bits, memory=memory))
    segment = segment_of(index, vectors)
    assert segment.lists is not None
    assert segment.n_kept < len(segment.lists.counts)
    assert (segment.n_kept > 0) == (memory > 0)
    assert segment.lists.kept.nbytes <= memory * vectors.nbytes
    assert recall(index, [segment], vectors) >= 0.92
    assert recall(index, [segment], vectors, Allowed(None, np.arange(1500) % 3 == 0)) >= 0.9


def test_bits_follow_from_memory() -> None:
    bits = []
    for memory in (0.0, 0.85, 2.0):
        index = SpannIndex(dataclasses.replace(SETTINGS, memory=memory))
        segment = segment_of(index, VECTORS["cosine"][:1000])
        bits.append(segment.summary["spann"]["bits"])
        assert segment.lists is not None
        assert segment.lists.kept.nbytes <= memory * 1000 * 24 * 4
    assert bits[0] == 1 < bits[1] < bits[2] == 4


def test_more_identical_vectors_than_a_list_holds() -> None:
    """A split cannot tell them apart, and loses none; any of them may be a hit, each once."""
    vectors = np.concatenate([np.tile(VECTORS["cosine"][:1], (900, 1)), VECTORS["cosine"][:300]])
    index = SpannIndex(SETTINGS)
    segment = segment_of(index, vectors)
    assert index.check(segment) == []
    for k in (10, 300):
        ranking = index.search([segment], vectors[:1], k, EVERYTHING)
        assert len(set(ranking.rows[0].tolist())) == k
        assert np.allclose(ranking.scores[0], 1.0, atol=1e-6)
    more = segment_of(index, np.tile(vectors[:1], (2400, 1)), np.arange(1200, 2400))
    both = merged(index, [segment, more], [None, None])
    assert len(both.rows) == 2400
    assert index.check(both) == []
    assert recall(index, [both], np.concatenate([vectors, np.tile(vectors[:1], (1200, 1))])) >= 0.9


def test_all_vectors_equal() -> None:
    vectors = np.ones((600, 8), np.float32)
    for similarity in ("cosine", "dot", "l2"):
        index = SpannIndex(dataclasses.replace(SETTINGS, similarity=similarity))
        segment = segment_of(index, vectors / 8**0.5)
        assert index.check(segment) == []
        ranking = index.search([segment], vectors[:2] / 8**0.5, 700, EVERYTHING)
        assert np.count_nonzero(ranking.rows[0] >= 0) == 600


@pytest.mark.parametrize("similarity", ["cosine", "dot", "l2"])
def test_merging_keeps_recall_and_every_row(similarity: str) -> None:
    """Four of a size are clustered anew; a few rows more go into the lists there are."""
    vectors = VECTORS[similarity]
    index = SpannIndex(dataclasses.replace(SETTINGS, similarity=similarity))
    parts = [segment_of(index, vectors, np.arange(i, 2000, 4)) for i in range(4)]
    before = recall(index, parts, vectors)
    anew = merged(index, parts, [None] * 4)
    assert anew.rows.tolist() == list(range(2000))
    assert index.check(anew) == []
    assert recall(index, [anew], vectors) >= min(before, 0.95) - 0.03
    few = segment_of(index, vectors, np.arange(2000, 3000))
    keep = np.arange(2000) % 7 != 0
    mended = merged(index, [anew, few], [keep, None])
    assert mended.rows.tolist() == [*np.flatnonzero(keep).tolist(), *range(2000, 3000)]
    assert index.check(mended) == []
    if similarity != "dot":  # whose space may change with the longest vector
        assert mended.summary["spann"]["reassigned"] < 2500
    assert recall(index, [mended], vectors) >= 0.92


def test_a_merge_splits_what_grows_and_dissolves_what_shrinks() -> None:
    """All new rows fall into one place; nearly all rows of another are deleted."""
    vectors = VECTORS["cosine"][:2000].copy()
    random = np.random.default_rng(0)
    crowd = vectors[3] + 0.05 * random.standard_normal((900, 24))
    crowd /= np.linalg.norm(crowd, axis=1, keepdims=True)
    vectors = np.concatenate([vectors, crowd.astype(np.float32)])
    index = SpannIndex(SETTINGS)
    first = segment_of(index, vectors, np.arange(2000))
    homes = first.arrays["spann_homes"]
    gone = np.unique(homes)[::3]
    keep = ~np.isin(homes, gone)
    keep[np.flatnonzero(~keep)[::50]] = True
    both = merged(index, [first, segment_of(index, vectors, np.arange(2000, 2900))], [keep, None])
    facts = both.summary["spann"]
    assert facts["splits"] > 0
    assert facts["dissolved"] > 0
    assert index.check(both) == []
    assert both.lists is not None
    assert both.lists.counts.max() <= 4 * 16 + 2 * 16
    assert recall(index, [both], vectors) >= 0.92


def test_churn_keeps_recall() -> None:
    """Twelve rounds: 3% of rows deleted, skewed, and as many new ones."""
    vectors = clustered(3000, 24, seed=3)
    index = SpannIndex(SETTINGS)
    segment = segment_of(index, vectors, np.arange(1200))
    random = np.random.default_rng(2)
    end, worst = 1200, 1.0
    for _ in range(12):
        near = np.argsort(-(vectors[segment.rows] @ vectors[random.integers(3000)]))[:200]
        keep = np.ones(len(segment.rows), np.bool_)
        keep[random.choice(near, 36, replace=False)] = False
        new = segment_of(index, vectors, np.arange(end, end + 36))
        segment = merged(index, [segment, new], [keep, None])
        end += 36
        assert len(segment.rows) == 1200
        worst = min(worst, recall(index, [segment], vectors))
    assert index.check(segment) == []
    fresh = segment_of(index, vectors, segment.rows)
    assert worst >= min(recall(index, [fresh], vectors), 0.95) - 0.03


def test_files_and_pages(tmp_path: Path) -> None:
    """Through files: same bytes each time, and lists do not touch more pages than they must."""
    vectors = VECTORS["cosine"][:1000]
    index = SpannIndex(dataclasses.replace(SETTINGS, memory=0.2))
    contents = []
    for number in (1, 2):
        sink = FileSink(tmp_path / "segments" / "spann" / str(number), Disk())
        summary = index.build(chunks_of(vectors, np.arange(1000)), sink)
        files = sink.finish()
        contents.append([file.checksum for file in files])
    assert contents[0] == contents[1]
    segment = index.open(open_arrays(tmp_path / "segments" / "spann" / "2", files), summary)
    assert segment.lists is not None
    assert segment.posting_pages is not None
    assert segment.posting_pages.mapped
    first = 128 + segment.lists.offsets
    pages = (first + segment.sizes - 1) // 4096 - first // 4096 + 1
    assert np.all(pages <= -(-segment.sizes // 4096))
    assert recall(index, [segment], vectors) >= 0.92
    trace = searching.Trace()
    index._traced(segment, vectors[:5], 10, EVERYTHING, trace)
    assert trace.bytes_read == 4096 * trace.pages > 0
    assert index.check(segment) == []


def test_stretches_of_pages_are_joined(tmp_path: Path) -> None:
    from cormorant.indexers.spann.pages import Pages

    sink = FileSink(tmp_path / "segments" / "s" / "1", Disk())
    array = sink.create("a", np.uint8, (10 * 4096 - 128,))
    pages = Pages(array)  # begins 128 bytes into its file
    firsts = np.array([0, 4096 - 128 - 1, 3 * 4096 - 128, 7 * 4096 - 128])
    assert pages.spans(firsts, 2) == [(0, 8192), (12288, 16384), (28672, 32768)]
    assert pages.spans(firsts[:0], 2) == []
    assert Pages(np.zeros(5)).spans(firsts, 2) == []


def test_explained() -> None:
    index = SpannIndex(SETTINGS)
    vectors = VECTORS["cosine"]
    segment = segment_of(index, vectors)
    told = index.explain([segment], vectors[:1], [0, 5], EVERYTHING)
    assert [item["similarity"] for item in told] == ["cosine", "cosine"]
    assert told[0]["score"] == pytest.approx(1.0, abs=1e-6)
    (work,) = told[0]["segments"]
    assert work["postings"] == work["postings_pruned"] + work["postings_read"]
    assert work["cache_hits"] == work["postings_read"] > 0
    assert 0 < work["vectors_reranked"] <= work["codes_scanned"] <= 3600
    assert set(work["milliseconds"]) >= {"postings_chosen", "codes_scanned", "vectors_read"}
    assert index.highlights("a", "b") == []
    assert isinstance(index, Searchable | Encodes | HasVectors | Explains)


def test_recall_that_falls_short_is_said() -> None:
    index = SpannIndex(dataclasses.replace(SETTINGS, eps2=0.0, postings=1))
    segment = segment_of(index, VECTORS["cosine"])
    ranking = index.search([segment], VECTORS["cosine"][:2], 10, EVERYTHING)
    assert any("on samples, below 0.95" in flag for flag in ranking.flags)
    assert np.all(ranking.rows >= 0)
    told = index.describe([segment])
    assert told["recall"]["10"] < 0.95
    assert told["vectors"] == 3000
    assert told["memory_bytes"] == segment.kept_bytes > 0


def test_every_list_and_enough_slack_is_exact() -> None:
    index = SpannIndex(dataclasses.replace(SETTINGS, eps2=float("inf"), target_recall=1.0))
    segment = segment_of(index, VECTORS["cosine"])
    assert tuning.effort_for(segment.summary["spann"], 10).recall == 1.0
    assert recall(index, [segment], VECTORS["cosine"]) >= 0.998


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("spann_homes", lambda a: a[:-1], "spann_homes is int32"),
        ("spann_homes", lambda a: a + 10_000, "points nowhere"),
        ("spann_offsets", lambda a: a + 1_000_000, "outside its file"),
        ("spann_counts", lambda a: -a, "outside its file"),
        ("spann_centroids", lambda a: a[:, :-1], "spann_centroids is int8"),
        ("spann_postings", lambda a: a | 0x7F, "names a row that is not there"),
    ],
)
def test_arrays_that_do_not_fit(name: str, change: object, message: str) -> None:
    index = SpannIndex(SETTINGS)
    sink = Files()
    summary = index.build(chunks_of(VECTORS["cosine"][:600], np.arange(600)), sink)
    sink.arrays[name] = change(sink.arrays[name])
    with pytest.raises(CormorantError, match=message):
        index.open(sink.arrays, summary)


def test_vectors_and_lists_of_two_generations() -> None:
    """Lists made of other vectors are found out."""
    index = SpannIndex(SETTINGS)
    old, new = Files(), Files()
    index.build(chunks_of(VECTORS["cosine"][:600], np.arange(600)), old)
    summary = index.build(chunks_of(VECTORS["cosine"][600:1200], np.arange(600)), new)
    arrays = {**new.arrays, "vectors": old.arrays["vectors"]}
    problems = index.check(index.open(arrays, summary))
    assert any("not those of its vectors" in problem for problem in problems)
    homes = np.roll(new.arrays["spann_homes"], 7)
    problems = index.check(index.open({**new.arrays, "spann_homes": homes}, summary))
    assert problems == ["rows do not stand where they should"]


def test_settings() -> None:
    settings = cm.Spann(model=None, similarity="l2", bits=2, eps2=0.3)
    assert index_settings(to_json(settings)) == settings
    for wrong in (
        {"similarity": "euclid"},
        {"bits": 5},
        {"bits": True},
        {"eps1": float("nan")},
        {"eps2": -1.0},
        {"target_recall": 0.0},
        {"memory": "much"},
        {"posting": 2},
        {"replicas": 0},
        {"postings": 0},
        {"list_rows": 10},
        {"model": ""},
        {"precision": "double"},
        {"dim": 0},
    ):
        (name,) = wrong
        with pytest.raises(InputError) as caught:
            cm.Spann(**wrong)
        assert caught.value.field == name


def test_a_query_of_another_dimension() -> None:
    index = SpannIndex(SETTINGS)
    segment = segment_of(index, VECTORS["cosine"][:600])
    with pytest.raises(ValueError, match="for vectors"):
        index.search([segment], np.ones((1, 23), np.float32), 1, EVERYTHING)
    for bad in (np.full((1, 24), np.nan), np.zeros((1, 24))):
        with pytest.raises(InputError):
            index.accept_queries(bad)
