"""Candidates of a multi-vector segment out of SPANN's lists: order, recall, filters, merges."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cormorant as cm
from cormorant.contracts import EVERYTHING, Allowed
from cormorant.documents import Chunk
from cormorant.errors import CormorantError, ModelNotFoundError
from cormorant.eval.datasets import load_dataset
from cormorant.eval.measures import evaluate
from cormorant.indexers.dense.segment import Passing
from cormorant.indexers.muvera import lemur, lists, searching, tuning
from cormorant.indexers.muvera.index import MuveraIndex
from cormorant.indexers.muvera.segment import TokenSegment
from cormorant.indexers.spann.rows import Scaled
from cormorant.indexers.spann.tracing import Trace
from cormorant.indexers.table import index_settings
from cormorant.tagged import to_json
from cormorant.vectors import TokenVectors

from .test_muvera import DIM, Sink, segment_of
from .test_muvera_proxies import clustered

N = 1000
ANN = cm.Spann(posting=16, memory=1.0)
SETTINGS = cm.Muvera(model=None, proxy_rows=256, r_reps=12, ann=ANN)


@pytest.fixture(scope="module")
def built() -> tuple[MuveraIndex, TokenSegment]:
    index = SETTINGS.index()
    return index, segment_of(index, clustered(N, 1))


def merged(index: MuveraIndex, segments: list[TokenSegment], keep: Any = None) -> TokenSegment:
    sink = Sink()
    summary = index.merge(segments, keep or [None] * len(segments), sink)
    return index.open(sink.arrays, summary)


def exact(segment: TokenSegment, queries: TokenVectors, allowed: Allowed = EVERYTHING) -> Any:
    index = cm.Muvera(model=None, target_recall=None).index()
    return index.search([segment], queries, 10, allowed)


def recall(
    index: MuveraIndex, segment: TokenSegment, queries: TokenVectors, allowed: Allowed = EVERYTHING
) -> float:
    """Share of the ten best that are found; every score is looked at."""
    found, true = (
        index.search([segment], queries, 10, allowed),
        exact(segment, queries, allowed),
    )
    shares = []
    for own, best in zip(range(len(queries)), true.rows, strict=True):
        scores = index.score([segment], queries[own : own + 1], found.rows[own : own + 1], allowed)
        np.testing.assert_array_equal(scores[0], found.scores[own])
        assert np.all(np.diff(found.scores[own]) <= 0)
        assert len(set(found.rows[own])) == 10
        shares.append(len(set(found.rows[own]) & set(best)) / 10)
    return float(np.mean(shares))


def test_lists_find_what_they_promised(built: tuple[MuveraIndex, TokenSegment]) -> None:
    index, segment = built
    facts = index.describe([segment])
    assert facts["recall@10"] >= 0.95
    assert 0 < facts["lists@10"] < facts["lists"]
    assert facts["candidates@10"] < N / 2
    assert facts["memory_bytes"] > 0
    assert index.check(segment) == []
    queries = clustered(100, 9)
    assert "approximate" in index.search([segment], queries, 10, EVERYTHING).flags[0]
    assert recall(index, segment, queries) >= 0.9


def test_the_recall_is_that_of_whole_searches(built: tuple[MuveraIndex, TokenSegment]) -> None:
    """Samples that are searched for reach what was measured, their own document hidden."""
    index, segment = built
    assert segment.tokens is not None
    queries, sources = tuning.sample(segment.tokens)
    shares = []
    for number, source in enumerate(sources.tolist()):
        others = Allowed(None, np.arange(N) != source)
        query = queries[number : number + 1]
        found = index.search([segment], query, 10, others).rows[0]
        shares.append(len(set(found) & set(exact(segment, query, others).rows[0])) / 10)
    told = segment.summary["proxy"]["measured"]["10"]["recall"]
    assert np.mean(shares) == pytest.approx(told, abs=0.01)


def test_a_longer_list_begins_with_a_shorter_one(built: tuple[MuveraIndex, TokenSegment]) -> None:
    _, segment = built
    assert segment.listed is not None
    assert segment.proxy is not None
    asked = segment.proxy.queries(clustered(20, 9))
    every = Passing(None, N)
    for length, longer in itertools.pairwise([5, 40, 300, N]):
        short, long = (
            lists.best(segment.listed, asked, 5, size, every, 20, Trace())
            for size in (length, longer)
        )
        np.testing.assert_array_equal(short, long[:, :length])
    for row in lists.best(segment.listed, asked, 5, N, every, len(segment.listed.sizes), Trace()):
        assert sorted(row.tolist()) == list(range(N)), "all lists hold every row"


def test_finer_codes_order_as_the_proxy_does(built: tuple[MuveraIndex, TokenSegment]) -> None:
    """The list's first are nearly the exhaustive proxy's, more so with more bits."""
    _, segment = built
    assert segment.proxy is not None
    asked = segment.proxy.queries(clustered(40, 9))
    assert segment.codes is not None
    products = (asked.astype(np.int64) @ segment.codes.T.astype(np.int64)) * segment.code_scales
    true = np.argsort(-products, axis=1, kind="stable")[:, :50]
    shares = []
    for bits in (1, 4):
        own = cm.Muvera(
            model=None, proxy_rows=256, r_reps=12, ann=cm.Spann(posting=16, bits=bits)
        ).index()
        listed = segment_of(own, clustered(N, 1)).listed
        assert listed is not None
        assert listed.summary["spann"]["bits"] == bits
        found = lists.best(listed, asked, 50, 50, Passing(None, N), len(listed.sizes), Trace())
        shares.append(np.mean([np.isin(a, b).mean() for a, b in zip(found, true, strict=True)]))
    assert shares[1] > max(shares[0], 0.9)
    assert shares[0] > 0.6


def test_a_query_stops_where_it_stops_alone_on_any_number_of_threads(
    built: tuple[MuveraIndex, TokenSegment], monkeypatch: pytest.MonkeyPatch
) -> None:
    index, segment = built
    queries = clustered(70, 9)
    together = index.search([segment], queries, 10, EVERYTHING)
    for number in range(0, 70, 7):
        alone = index.search([segment], queries[number : number + 1], 10, EVERYTHING)
        np.testing.assert_array_equal(alone.rows[0], together.rows[number])
        np.testing.assert_array_equal(alone.scores[0], together.scores[number])
    monkeypatch.setattr(searching, "threads", lambda: 3)
    again = index.search([segment], queries, 10, EVERYTHING)
    np.testing.assert_array_equal(again.rows, together.rows)


@pytest.mark.parametrize("share", [0.5, 0.1, 0.01])
def test_filters(built: tuple[MuveraIndex, TokenSegment], share: float) -> None:
    index, segment = built
    mask = np.random.default_rng(3).random(N) < share
    assert recall(index, segment, clustered(40, 9), Allowed(None, mask)) >= 0.9


def test_more_hits_than_lists_hold(built: tuple[MuveraIndex, TokenSegment]) -> None:
    index, segment = built
    for k in (100, 400, N, N + 5):
        found = index.search([segment], clustered(3, 9), k, EVERYTHING)
        assert np.all(np.count_nonzero(found.rows >= 0, axis=1) == min(k, N))


def test_a_number_of_candidates(built: tuple[MuveraIndex, TokenSegment]) -> None:
    _, segment = built
    index = cm.Muvera(
        model=None, proxy_rows=256, r_reps=12, candidates=120, ann=cm.Spann(posting=16)
    ).index()
    own = segment_of(index, clustered(N, 1))
    effort = tuning.effort_for(own.summary["proxy"]["measured"], 10)
    assert (effort.patience, effort.candidates) == (None, 120)
    found = index.search([own], clustered(40, 9), 10, EVERYTHING)
    true = exact(segment, clustered(40, 9))
    shares = [np.isin(a, b).mean() for a, b in zip(found.rows, true.rows, strict=True)]
    assert np.mean(shares) == pytest.approx(effort.recall, abs=0.1)


def test_explained(built: tuple[MuveraIndex, TokenSegment]) -> None:
    index, segment = built
    query = clustered(1, 9)
    rows = index.search([segment], query, 10, EVERYTHING).rows[0]
    told = index.explain([segment], query, rows.tolist(), EVERYTHING)
    effort = tuning.effort_for(segment.summary["proxy"]["measured"], 10)
    for one in told:
        assert 1 <= one["listed"] <= N
        assert one["lists"] == effort.lists == one["spann"]["postings_read"]
        assert one["spann"]["vectors_reranked"] == 0
    work = told[0]["spann"]
    assert work["postings"] == work["postings_read"] + sum(work["postings_pruned"].values())


@pytest.mark.parametrize("longer", [False, True])
def test_a_merge_goes_on_with_the_lists(longer: bool) -> None:
    """Those of the largest segment; where a longer vector moves all of them, with new ones."""
    index = SETTINGS.index()
    held = clustered(900, 1)
    more = TokenVectors(held[:300].starts, held[:300].vectors * (3 if longer else 1))
    large, small = segment_of(index, held), segment_of(index, more, first=900)
    assert large.codes is not None
    assert large.code_scales is not None
    keep = np.arange(900) % 7 > 0
    keep[np.linalg.norm(Scaled(large.codes, large.code_scales)[:], axis=1).argmax()] = True
    whole = merged(index, [large, small], [keep, None])
    assert index.check(whole) == []
    assert whole.rows.tolist() == [*np.flatnonzero(keep), *range(900, 1200)]
    assert recall(index, whole, clustered(60, 9)) >= 0.9
    facts = whole.summary["proxy"]["spann"]
    assert (facts["reassigned"] >= len(whole.rows)) == longer


def test_lists_of_a_learned_proxy_are_merged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lemur, "LEARNED", 512)
    monkeypatch.setattr(lemur, "STEPS", 60)
    index = cm.Muvera(model=None, proxy_rows=256, proxy="lemur", features=128, ann=ANN).index()
    segments = [segment_of(index, clustered(600, 1)), segment_of(index, clustered(300, 2), 600)]
    whole = merged(index, segments)
    assert index.check(whole) == []
    assert whole.listed is not None
    assert recall(index, whole, clustered(60, 9)) >= 0.9


def test_a_tail_and_a_small_segment_have_no_lists() -> None:
    index = SETTINGS.index()
    segment = segment_of(index, clustered(200, 1))
    assert segment.listed is None
    assert index.check(segment) == []
    assert recall(index, segment, clustered(5, 9)) == 1.0


@pytest.mark.parametrize("ann", [None, ANN])
@pytest.mark.parametrize("candidates", [None, 40])
def test_no_tokens_at_all(ann: cm.Spann | None, candidates: int | None) -> None:
    """There is nothing to take samples from: every document is scored."""
    index = cm.Muvera(model=None, proxy_rows=256, candidates=candidates, ann=ann).index()
    none = TokenVectors(np.zeros(301, np.int64), np.zeros((0, DIM), np.float32))
    segment = segment_of(index, none)
    for depth in tuning.DEPTHS:
        effort = tuning.effort_for(segment.summary["proxy"]["measured"], depth)
        assert effort == tuning.Effort(None, 300, 1.0)
    assert index.check(segment) == []
    found = index.search([segment], clustered(2, 9), 5, EVERYTHING)
    assert found.rows.tolist() == [[0, 1, 2, 3, 4]] * 2
    assert not found.scores.any()


@pytest.mark.parametrize("k", [3, 10, 150])
def test_a_query_without_tokens_finds_the_lowest_rows(
    built: tuple[MuveraIndex, TokenSegment], k: int
) -> None:
    """All score 0, and of equal scores the lower row comes first, as without lists."""
    index, segment = built
    held = clustered(3, 9)
    starts = np.concatenate([held.starts, held.starts[-1:]])  # and a fourth of none
    queries = TokenVectors(starts, held.vectors)
    mask = np.arange(N) % 7 > 1
    for allowed in (EVERYTHING, Allowed(None, mask)):
        assert searching.effort_of(segment, index.settings, k, segment.passing(allowed).size)
        found = index.search([segment], queries, k, allowed)
        lowest = np.arange(N) if allowed is EVERYTHING else np.flatnonzero(mask)
        np.testing.assert_array_equal(found.rows[3], lowest[:k])
        assert not found.scores[3].any()
        others = index.search([segment], held, k, allowed)
        np.testing.assert_array_equal(found.rows[:3], others.rows)
        alone = index.search([segment], queries[3:4], k, allowed)
        np.testing.assert_array_equal(alone.rows[0], lowest[:k])
        reasons = index.explain([segment], queries[3:4], lowest[:2].tolist(), allowed)
        assert [reason["alignment"] for reason in reasons] == [[], []]


def test_texts_without_tokens_and_texts_that_are_alike() -> None:
    index = SETTINGS.index()
    held = clustered(300, 1)
    lengths = np.concatenate([np.diff(held.starts), np.zeros(150, np.int64), np.full(200, 3)])
    same = np.tile(held.vectors[:3], (200, 1))
    starts = np.concatenate([[0], np.cumsum(lengths)])
    segment = segment_of(index, TokenVectors(starts, np.concatenate([held.vectors, same])))
    assert segment.listed is not None
    assert index.check(segment) == []
    found = index.search([segment], clustered(5, 9), 10, EVERYTHING)
    assert np.all(found.rows >= 0)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("spann_homes", lambda a: a + 10_000, "points nowhere"),
        ("spann_offsets", lambda a: a + 10_000_000, "outside its file"),
        ("spann_postings", lambda a: a | 0x7F, "names a row that is not there"),
        ("spann_centroids", lambda a: a[:, :-1], "spann_centroids is int8"),
        ("proxy_codes", lambda a: a[:, :-1], "do not fit the rows"),
    ],
)
def test_arrays_that_do_not_fit(
    built: tuple[MuveraIndex, TokenSegment], name: str, change: Any, message: str
) -> None:
    index, segment = built
    with pytest.raises(CormorantError, match=message):
        index.open({**segment.arrays, name: change(segment.arrays[name])}, segment.summary)
    missing = {key: value for key, value in segment.arrays.items() if key != name}
    with pytest.raises(CormorantError, match=r"is no (spann|multi-vector) segment"):
        index.open(missing, segment.summary)


def test_what_check_finds(built: tuple[MuveraIndex, TokenSegment]) -> None:
    index, segment = built
    homes = np.roll(segment.arrays["spann_homes"], 7)
    opened = index.open({**segment.arrays, "spann_homes": homes}, segment.summary)
    assert index.check(opened) == ["rows do not stand where they should"]
    postings = segment.arrays["spann_postings"].copy()
    assert segment.listed is not None
    assert segment.listed.lists is not None
    last = segment.listed.lists.offsets[0] + segment.listed.sizes[0] - 1
    postings[last] ^= 1
    opened = index.open({**segment.arrays, "spann_postings": postings}, segment.summary)
    assert index.check(opened) == ["the codes of list 0 are not those of its vectors"]


@pytest.mark.parametrize(
    ("settings", "ann", "message"),
    [
        ({}, "spann", r"'ann': is Spann\(...\) or None"),
        ({}, cm.HNSW(), r"'ann': is Spann\(...\) or None"),
        ({"target_recall": None}, cm.Spann(), "'ann': target_recall=None scores every document"),
        ({}, cm.Spann(model=None), "'model': is Muvera's to say"),
        ({}, cm.Spann(similarity="l2"), "'similarity': is the proxy's"),
        ({}, cm.Spann(list_rows=512), "'list_rows': Muvera has proxy_rows"),
        ({}, cm.Spann(target_recall=0.9), "'target_recall': is measured for Muvera's"),
        ({}, cm.Spann(postings=9), "'postings': is measured for Muvera's"),
    ],
)
def test_what_does_not_apply_is_refused(settings: Any, ann: Any, message: str) -> None:
    with pytest.raises(cm.InputError, match=message):
        cm.Muvera(**settings, ann=ann)


def test_settings() -> None:
    assert index_settings(to_json(SETTINGS)) == SETTINGS
    assert index_settings({"kind": "muvera", "ann": "spann"}) == cm.Muvera(ann=cm.Spann())


@pytest.mark.soak
def test_nfcorpus_ranks_as_it_does_without_lists(shared_data: Path) -> None:
    """Beginnings of its texts; nDCG@10 of candidates by lists and by the whole proxy."""
    data = load_dataset(shared_data / "nfcorpus")
    settings = cm.Muvera(fill=False)
    index = settings.index()
    documents = list(data.documents())
    chunks = [
        Chunk(row, row, document.id, document.title or "", " ".join(document.text.split()[:60]))
        for row, document in enumerate(documents)
    ]
    try:
        encodings = index.encode(chunks).data
    except ModelNotFoundError as reason:
        pytest.skip(f"{settings.model} is not on this machine: {reason}")
    asked = index.encode_queries(list(data.queries.values())).vectors
    found = {}
    for name, own in (("whole", settings), ("lists", replace(settings, ann=cm.Spann()))):
        sink, index = Sink(), own.index()
        held = [
            chunk._replace(encoding=data) for chunk, data in zip(chunks, encodings, strict=True)
        ]
        segment = index.open(sink.arrays, index.build(held, sink))
        ranking = index.search([segment], asked, 10, EVERYTHING)
        run = {
            query: [(documents[row].id, float(score)) for row, score in zip(*pair, strict=True)]
            for query, pair in zip(
                data.queries, zip(ranking.rows, ranking.scores, strict=True), strict=True
            )
        }
        found[name] = evaluate(["nDCG@10"], data.qrels, run).means["nDCG@10"]
        print(f"nfcorpus, {name}: nDCG@10 {found[name]:.4f}, {index.describe([segment])}")
    assert found["lists"] >= found["whole"] - 0.005
