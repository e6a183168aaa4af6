"""A spann index by itself, against numpy: true scores, measured recall, and no row lost."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from spann_segments import (
    LEAST,
    SETTINGS,
    VECTORS,
    chunks_of,
    clustered,
    merged,
    recall,
    segment_of,
    truth,
)

from cormorant.contracts import EVERYTHING, Allowed
from cormorant.indexers.spann import tuning
from cormorant.indexers.spann.clustering import rounded
from cormorant.indexers.spann.index import SpannIndex
from cormorant.indexers.spann.maintaining import Partition, rebalanced
from cormorant.indexers.spann.space import Space
from cormorant.retrieval.segments import MemorySink


@pytest.fixture(autouse=True)
def one_target(monkeypatch: pytest.MonkeyPatch) -> None:
    """The effort for other targets would take most of the time of so small a build."""
    monkeypatch.setattr(tuning, "TARGETS", ())


@pytest.mark.parametrize("similarity", ["cosine", "dot", "l2"])
def test_every_similarity_with_filters_and_batches(similarity: str) -> None:
    vectors = VECTORS[similarity]
    index = SpannIndex(dataclasses.replace(SETTINGS, similarity=similarity))
    segment = segment_of(index, vectors)
    assert segment.lists is not None
    assert index.check(segment) == []
    assert recall(index, [segment], vectors) >= LEAST
    assert recall(index, [segment], vectors, k=100) >= LEAST
    random = np.random.default_rng(4)
    for share, least in ((0.5, LEAST), (0.1, LEAST), (0.02, LEAST), (0.001, 1.0), (0.0, 1.0)):
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


def test_many_lists_are_found_by_groups() -> None:
    """Their share of what is missed is in the recall measured; a filter looks at all of them."""
    vectors = clustered(14_000, 8, seed=3)
    index = SpannIndex(dataclasses.replace(SETTINGS, posting=8))
    segment = segment_of(index, vectors)
    assert segment.lists is not None
    groups, m = segment.lists.groups, len(segment.lists.counts)
    assert 0.5 * m**0.5 < len(groups.scales) <= m**0.5 + 1
    assert groups.starts[0] == 0
    assert groups.starts[-1] == m
    assert np.all(np.diff(groups.starts) > 0)
    effort = tuning.effort_for(segment.summary["spann"], 10, index.spann)
    assert 2 * (8 * effort.most + 512) < m, "or every list is compared"
    assert index.check(segment) == []
    assert recall(index, [segment], vectors) >= LEAST
    mask = np.random.default_rng(4).random(len(vectors)) < 0.05
    assert recall(index, [segment], vectors, Allowed(None, mask)) >= LEAST
    (work,) = index.explain([segment], vectors[:1], [0], EVERYTHING)[0]["segments"]
    assert work["postings"] == sum(work["postings_pruned"].values()) + work["postings_read"]
    fewer = merged(index, [segment], [np.random.default_rng(5).random(len(vectors)) < 0.9])
    assert fewer.lists is not None and len(fewer.lists.groups.scales) > 0
    assert recall(index, [fewer], vectors) >= LEAST


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
    assert recall(index, [segment], vectors) >= LEAST
    assert recall(index, [segment], vectors, Allowed(None, np.arange(1500) % 3 == 0)) >= LEAST


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
    every = np.concatenate([vectors, np.tile(vectors[:1], (1200, 1))])
    assert recall(index, [both], every) >= LEAST


@pytest.mark.parametrize("n", [600, 437])
def test_all_vectors_equal(n: int) -> None:
    """Halves of an odd number of them have the same mean."""
    vectors = np.random.default_rng(n).standard_normal((1, 8)).repeat(n, axis=0).astype(np.float32)
    for similarity in ("cosine", "dot", "l2"):
        index = SpannIndex(dataclasses.replace(SETTINGS, similarity=similarity))
        asked = vectors / np.linalg.norm(vectors[0])
        segment = segment_of(index, asked)
        assert index.check(segment) == []
        assert segment.arrays["spann_counts"].min() > 0
        ranking = index.search([segment], asked[:2], 700, EVERYTHING)
        assert np.count_nonzero(ranking.rows[0] >= 0) == n


@pytest.mark.parametrize("similarity", ["cosine", "dot", "l2"])
def test_merging_keeps_recall_and_every_row(similarity: str) -> None:
    """Four of a size are clustered anew; a few rows more go into the lists there are."""
    vectors = VECTORS[similarity]
    index = SpannIndex(dataclasses.replace(SETTINGS, similarity=similarity))
    parts = [segment_of(index, vectors, np.arange(i, 2000, 4)) for i in range(4)]
    anew = merged(index, parts, [None] * 4)
    assert anew.rows.tolist() == list(range(2000))
    assert index.check(anew) == []
    assert recall(index, [anew], vectors) >= LEAST
    few = segment_of(index, vectors, np.arange(2000, 3000))
    keep = np.arange(2000) % 7 != 0
    mended = merged(index, [anew, few], [keep, None])
    assert mended.rows.tolist() == [*np.flatnonzero(keep).tolist(), *range(2000, 3000)]
    assert index.check(mended) == []
    if similarity != "dot":  # whose space may change with the longest vector
        assert mended.summary["spann"]["reassigned"] < 2500
    assert recall(index, [mended], vectors) >= LEAST


def test_a_merge_splits_what_grows_and_dissolves_what_shrinks() -> None:
    """All new rows fall into one place; nearly all rows of another are deleted."""
    vectors = VECTORS["cosine"][:2000].copy()
    random = np.random.default_rng(0)
    crowd = vectors[3] + 0.05 * random.standard_normal((400, 24))
    crowd /= np.linalg.norm(crowd, axis=1, keepdims=True)
    vectors = np.concatenate([vectors, crowd.astype(np.float32)])
    index = SpannIndex(SETTINGS)
    first = segment_of(index, vectors, np.arange(2000))
    homes = first.arrays["spann_homes"]
    gone = np.unique(homes)[::6]
    keep = ~np.isin(homes, gone)
    keep[np.flatnonzero(~keep)[::50]] = True
    both = merged(index, [first, segment_of(index, vectors, np.arange(2000, 2400))], [keep, None])
    facts = both.summary["spann"]
    assert facts["splits"] > 0
    assert facts["dissolved"] > 0
    assert index.check(both) == []
    assert both.lists is not None
    assert both.lists.counts.max() <= 4 * 16 + 2 * 16
    assert recall(index, [both], vectors) >= LEAST


def test_lists_that_split_in_one_round_are_compared() -> None:
    """Of two neighbours the first to split loses rows to the second's new centroids."""
    random = np.random.default_rng(0)
    left = np.stack([-2 + np.arange(120) / 60, np.zeros(120)], axis=1)
    right = np.stack([np.repeat([0.05, 2.0], [40, 60]), np.zeros(100)], axis=1)
    vectors = np.concatenate([left, right + 0.001 * random.random((100, 2))]).astype(np.float32)
    space = Space("l2", 2, 2.0)
    old = rounded(space.of_vectors(np.array([[-1, 0], [1, 0]], np.float32), slice(None))).points()
    homes = np.repeat(np.array([0, 1], np.int32), [120, 100])[:, None]
    begun = Partition(old, homes)
    settings = dataclasses.replace(SETTINGS, posting=16, replicas=1)
    (points, lists), done = rebalanced(vectors, space, begun, np.zeros(220, np.bool_), settings)
    assert done.splits >= 2
    apart = np.linalg.norm(space.of_vectors(vectors, slice(None))[:, None] - points, axis=2)
    assert np.array_equal(lists[:, 0], apart.argmin(axis=1))


@pytest.mark.parametrize(
    ("rounds", "share", "every"),
    [(8, 0.04, 4), pytest.param(100, 0.01, 10, marks=pytest.mark.soak)],
)
def test_churn_keeps_recall(
    monkeypatch: pytest.MonkeyPatch, rounds: int, share: float, every: int
) -> None:
    """Skewed deletes, and as many new rows about one place: as a fresh build throughout."""
    monkeypatch.setattr(tuning, "LEAST_SAMPLES", 1024)  # or two fresh builds would differ more
    vectors = clustered(2400, 24, seed=3)
    index = SpannIndex(SETTINGS)
    random = np.random.default_rng(2)
    live = np.arange(2400) < 1200
    segment = segment_of(index, vectors, np.flatnonzero(live))
    count = int(share * 1200)
    churned, built = [], []
    for number in range(1, rounds + 1):
        there, away = np.flatnonzero(live), np.flatnonzero(~live)
        gone = there[np.argsort(-(vectors[there] @ vectors[random.choice(there)]))[:count]]
        new = np.sort(away[np.argsort(-(vectors[away] @ vectors[random.choice(away)]))[:count]])
        keep = ~np.isin(segment.rows, gone)
        segment = merged(index, [segment, segment_of(index, vectors, new)], [keep, None])
        live[gone], live[new] = False, True
        assert segment.rows.tolist() == np.flatnonzero(live).tolist()
        assert index.check(segment) == []
        if number % every == 0:
            fresh = segment_of(index, vectors, segment.rows)
            # So many queries that their choice moves the difference by .002 or so.
            built.append(recall(index, [fresh], vectors, n_queries=4000))
            churned.append(recall(index, [segment], vectors, n_queries=4000))
    # Fresh builds of so few rows scatter by .005 about what they aim at; churned ones do not drift.
    assert min(churned) >= np.mean(built) - 0.01


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


def test_more_than_was_measured_is_searched_farther_and_said() -> None:
    vectors = clustered(6000, 96, seed=3)
    index = SpannIndex(SETTINGS)
    segment = segment_of(index, vectors)
    assert recall(index, [segment], vectors, k=1000, n_queries=30) >= LEAST
    for k, flags in ((100, ()), (101, ("recall measured for the 100 best only",))):
        assert index.search([segment], vectors[:1], k, EVERYTHING).flags == flags
    capped = dataclasses.replace(SETTINGS, eps2=0.5, postings=9)
    effort = tuning.effort_for(
        segment_of(SpannIndex(capped), vectors[:600]).summary["spann"], 1000, capped
    )
    assert effort[:2] == (0.5, 9)


def test_every_list_and_enough_slack_is_exact() -> None:
    index = SpannIndex(dataclasses.replace(SETTINGS, eps2=float("inf"), target_recall=1.0))
    segment = segment_of(index, VECTORS["cosine"])
    assert tuning.effort_for(segment.summary["spann"], 10, index.spann).recall == 1.0
    assert recall(index, [segment], VECTORS["cosine"]) >= 0.9995
