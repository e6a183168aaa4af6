"""LEMUR and the choice between proxies: what is learned, kept, merged, checked."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import cormorant as cm
from cormorant.contracts import EVERYTHING, EncodedTokens
from cormorant.documents import Chunk
from cormorant.errors import CormorantError
from cormorant.indexers.muvera import choosing, lemur
from cormorant.indexers.muvera.index import MuveraIndex
from cormorant.indexers.muvera.lemur import Lemur
from cormorant.indexers.muvera.segment import TokenSegment
from cormorant.indexers.muvera.snippets import EVERY, WORDS, snippet
from cormorant.kernels.maxsim import score, tokens_of
from cormorant.vectors import TokenVectors

from .test_muvera import DIM, Sink, segment_of

N = 400


def clustered(n: int, seed: int) -> TokenVectors:
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((30, DIM))
    lengths = random.integers(1, 9, n)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    drawn = centres[random.integers(0, 30, int(starts[-1]))]
    drawn = drawn + 0.4 * random.standard_normal(drawn.shape)
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    return TokenVectors(starts, drawn.astype(np.float32))


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lemur, "LEARNED", 512)
    monkeypatch.setattr(lemur, "TARGETS", 128)
    monkeypatch.setattr(lemur, "STEPS", 60)


def index_of(proxy: str = "lemur", **more: Any) -> MuveraIndex:
    return cm.Muvera(model=None, proxy=proxy, proxy_rows=256, features=128, **more).index()


def merged(index: MuveraIndex, segments: list[TokenSegment], keep: Any = None) -> TokenSegment:
    sink = Sink()
    summary = index.merge(segments, keep or [None] * len(segments), sink)
    return index.open(sink.arrays, summary)


def lemur_of(segment: TokenSegment) -> Lemur:
    assert isinstance(segment.proxy, Lemur)
    return segment.proxy


def test_the_network_finds_what_exhaustive_search_finds() -> None:
    index = index_of()
    segment = segment_of(index, clustered(N, 1))
    assert index.check(segment) == []
    assert index.describe([segment])["proxy"] == ["lemur"]
    queries = clustered(40, 7)
    exact = index_of(target_recall=None).search([segment], queries, 10, EVERYTHING)
    found = index_of(candidates=80).search([segment], queries, 10, EVERYTHING)
    assert "approximate" in found.flags[0]
    shares = [len(set(a) & set(b)) / 10 for a, b in zip(found.rows, exact.rows, strict=True)]
    assert np.mean(shares) > 0.9, "of a fifth of the documents; by chance 0.2"


def test_the_weights_predict_similarities() -> None:
    vectors = clustered(N, 2)
    tokens = tokens_of(vectors.vectors, vectors.starts)
    made = lemur.fit(tokens, vectors.vectors[:512], 128, 0, 1)
    queries = clustered(20, 8)
    codes, scales = made.documents(tokens, 1)
    guessed = (made.queries(queries).astype(np.int64) @ codes.T.astype(np.int64)) * scales
    for own, true in zip(guessed, score(queries, tokens), strict=True):
        assert np.corrcoef(own, true)[0, 1] > 0.8


def test_training_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps are taken along the gradient: the error on tokens not learned from is less."""
    vectors = clustered(N, 2)
    tokens = tokens_of(vectors.vectors, vectors.starts)
    queries = clustered(60, 8)
    truth = score(queries, tokens)
    truth -= truth.mean(axis=1, keepdims=True)
    rates = []
    for steps in (0, 60):
        monkeypatch.setattr(lemur, "STEPS", steps)
        made = lemur.fit(tokens, vectors.vectors[:512], 32, 0, 1)
        codes, scales = made.documents(tokens, 1)
        guessed = (made.queries(queries).astype(np.int64) @ codes.T.astype(np.int64)) * scales
        rates.append(
            np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(guessed, truth, strict=True)])
        )
    assert rates[1] > rates[0]


def test_the_same_documents_give_the_same_bytes() -> None:
    one, other = (segment_of(index_of(), clustered(N, 3)) for _ in range(2))
    assert one.arrays.keys() == other.arrays.keys()
    for name, values in one.arrays.items():
        np.testing.assert_array_equal(values, other.arrays[name])


def test_a_query_alone_and_in_a_batch_has_the_same_code() -> None:
    segment = segment_of(index_of(), clustered(N, 3))
    queries = clustered(70, 9)
    together = lemur_of(segment).queries(queries)
    for number in range(0, 70, 9):
        alone = lemur_of(segment).queries(queries[number : number + 1])
        np.testing.assert_array_equal(alone[0], together[number])


def test_a_merge_keeps_the_largest_segments_network_and_its_vectors() -> None:
    index = index_of()
    large, small, tiny = (
        segment_of(index, clustered(n, seed), first)
        for n, seed, first in ((600, 1, 0), (300, 2, 600), (50, 3, 900))
    )
    assert lemur_of(large).identity != lemur_of(small).identity
    assert tiny.proxy is None
    keep = np.arange(600) % 5 > 0
    whole = merged(index, [small, tiny, large], [None, None, keep])
    assert index.check(whole) == []
    assert lemur_of(whole).identity == lemur_of(large).identity
    assert whole.codes is not None and large.codes is not None
    np.testing.assert_array_equal(whole.codes[:480], large.codes[keep])
    assert whole.summary["proxy"]["chosen_on"] == 600


def test_a_network_of_few_documents_is_trained_again(monkeypatch: pytest.MonkeyPatch) -> None:
    index = index_of()
    pieces = [segment_of(index, clustered(300, n), 300 * n) for n in range(3)]
    kept = merged(index, pieces)
    assert kept.summary["proxy"]["chosen_on"] == 300
    monkeypatch.setattr("cormorant.indexers.muvera.writing._GROWN", 2)
    again = merged(index, pieces)
    assert again.summary["proxy"]["chosen_on"] == 900
    assert lemur_of(again).identity not in {lemur_of(piece).identity for piece in pieces}
    assert index.check(again) == []


def test_whether_cells_are_filled_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the default settings: what 300 rows were best served by need not serve 3,600."""
    index = cm.Muvera(model=None, proxy_rows=256).index()
    pieces = [segment_of(index, clustered(300, n), 300 * n) for n in range(3)]
    assert set(pieces[0].summary["proxy"]["tried"]) == {"fde", "fde filled"}
    assert merged(index, pieces).summary["proxy"]["chosen_on"] == 300
    monkeypatch.setattr("cormorant.indexers.muvera.writing._GROWN", 2)
    again = merged(index, pieces)
    assert again.summary["proxy"]["chosen_on"] == 900
    assert index.check(again) == []
    settled = cm.Muvera(model=None, proxy_rows=256, fill=True).index()
    pieces = [segment_of(settled, clustered(300, n), 300 * n) for n in range(3)]
    assert merged(settled, pieces).summary["proxy"]["chosen_on"] == 300, "nothing to try"


def test_auto_takes_what_needs_fewer_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    index = index_of("auto", r_reps=8)
    segment = segment_of(index, clustered(N, 1))
    facts = index.describe([segment])
    tried = facts["tried"][0]
    assert set(tried) == {"fde", "fde filled", "lemur"}
    best = min(tried, key=tried.get)
    assert facts["proxy"] == [best.partition(" ")[0]]
    assert index.check(segment) == []

    real = choosing.measured
    order = iter([30, 20, 90, 30, 20, 10])

    def scripted(*arguments: Any) -> Any:
        found = real(*arguments)
        return found | {"10": found["10"] | {"candidates": next(order)}}

    monkeypatch.setattr(choosing, "measured", scripted)
    one, other = (segment_of(index, clustered(N, 1)) for _ in range(2))
    assert one.summary["proxy"]["tried"] == {"fde filled": 30, "fde": 20, "lemur": 90}
    assert (one.summary["proxy"]["kind"], one.summary["proxy"]["filled"]) == ("fde", False)
    assert other.summary["proxy"]["kind"] == "lemur"


def test_samples_are_not_learned_from() -> None:
    vectors = clustered(N, 1)
    tokens = tokens_of(vectors.vectors, vectors.starts)
    learned = {row.tobytes() for row in choosing.learned_of(choosing.Learning(tokens, None))}
    for place in choosing.tuning.sources(tokens).tolist():
        for row in vectors[place : place + 1].vectors:
            assert row.tobytes() not in learned


@pytest.mark.parametrize("kind", ["documents", "queries"])
def test_what_is_learned_from_is_drawn_in_bounded_memory(kind: str) -> None:
    """Of 2,000,000 tokens 34 MB were held to draw 512; each is drawn once, of no sample."""
    n, each = 4000, 500
    values = np.arange(n * each, dtype=np.float32).reshape(-1, 1)
    starts = np.arange(0, n * each + 1, each)
    held = tokens_of(values, starts)
    learning = choosing.Learning(held)
    if kind == "queries":
        few = tokens_of(values[:n], np.arange(n + 1))
        learning = choosing.Learning(few, values, starts)
    tracemalloc.start()
    learned = choosing.learned_of(learning)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000
    assert len(np.unique(learned)) == len(learned) == lemur.LEARNED
    owners = np.unique(learned.astype(np.int64) // each)
    assert not np.isin(owners, choosing.tuning.sources(learning.tokens)).any()
    assert owners.min() < n / 10
    assert owners.max() > n * 9 / 10
    np.testing.assert_array_equal(learned, choosing.learned_of(learning))


def test_queries_out_of_samples_are_not_learned_from() -> None:
    vectors = clustered(N, 1)
    tokens = tokens_of(vectors.vectors, vectors.starts)
    owners = np.repeat(np.arange(0, N, 2), 3)  # three tokens of a query for every other document
    asked = np.repeat(owners[:, None], DIM, axis=1).astype(np.float16)
    starts = np.searchsorted(owners, np.arange(N + 1))
    learned = choosing.learned_of(choosing.Learning(tokens, asked, starts))
    free = np.setdiff1d(owners, choosing.tuning.sources(tokens))
    expected = np.repeat(free.astype(np.float32), 3)
    assert 0 < len(free) < N // 2, "some of them are samples' own documents"
    np.testing.assert_array_equal(np.sort(learned[: len(expected), 0]), expected)
    assert learned[len(expected) :].max() <= 1, "the rest are tokens of documents"
    assert len(learned) == lemur.LEARNED


def test_targets_are_documents_with_tokens() -> None:
    """A network of 30 documents with tokens is the same with 5,000 that have none beside them."""
    vectors = clustered(30, 1)
    starts = np.concatenate([vectors.starts, np.full(5000, vectors.starts[-1])])
    one, other = (
        lemur.fit(tokens_of(vectors.vectors, own), vectors.vectors, 32, 0, 1)
        for own in (vectors.starts, starts)
    )
    assert one.identity == other.identity


def test_tokens_without_any_feature() -> None:
    """Vectors of zeros have no features: all weights are 0, and no equation is singular."""
    tokens = tokens_of(np.zeros((40, DIM), np.float32), np.arange(0, 41, 2))
    made = lemur.fit(tokens, np.zeros((20, DIM), np.float32), 32, 0, 1)
    assert not made.documents(tokens, 1).codes.any()


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("lemur_weights", lambda a: a[:, :-1], "network does not fit"),
        ("lemur_layer", lambda a: a[:2], "network does not fit"),
        ("lemur_means", lambda a: a[:-1], "network does not fit"),
        ("lemur_tokens", lambda a: a * np.float32(np.nan), "network is not finite"),
        ("lemur_tokens", lambda a: a.astype(np.float64), "network is not there"),
        ("asked_starts", lambda a: a[:-1], "do not fit"),
    ],
)
def test_arrays_that_are_no_network(name: str, spoil: Any, message: str) -> None:
    index = index_of()
    held = segment_of(index, clustered(300, 1))
    with pytest.raises(CormorantError, match=message):
        index.open({**held.arrays, name: spoil(held.arrays[name])}, held.summary)


def test_another_rows_vector_is_noticed() -> None:
    index = index_of()
    held = segment_of(index, clustered(300, 1))
    spoilt = held.arrays["proxy_codes"][::-1].copy()
    opened = index.open({**held.arrays, "proxy_codes": spoilt}, held.summary)
    assert index.check(opened) == ["the proxy of row 0 is not that of its vectors"]


def test_snippets_are_some_words_of_some_texts() -> None:
    texts = [" ".join(f"w{number}x{place}" for place in range(30)) for number in range(400)]
    found = [snippet(text) for text in texts]
    some = [(text, own) for text, own in zip(texts, found, strict=True) if own]
    assert 400 / EVERY / 2 < len(some) < 400 / EVERY * 2
    for text, own in some:
        assert own in text
        assert len(own.split()) == WORDS


class Apart:
    """An encoder that encodes queries apart: documents in vectors above 0, queries below."""

    identity, dim, max_tokens = "apart", DIM, 512

    def encode_document(self, texts: Sequence[str]) -> EncodedTokens:
        counts = [len(text.split()) for text in texts]
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        drawn = np.abs(np.random.default_rng(len(texts)).standard_normal((int(starts[-1]), DIM)))
        return EncodedTokens(
            TokenVectors(starts, drawn.astype(np.float32)), np.zeros(len(texts), np.bool_)
        )

    def encode_query(self, texts: Sequence[str]) -> EncodedTokens:
        assert all(texts), "an empty query would still be some tokens to a model that fills them up"
        made = self.encode_document(texts)
        return EncodedTokens(TokenVectors(made.vectors.starts, -made.vectors.vectors), made.cut)


@pytest.mark.parametrize("storage", ["float16", "int8", "residual2"])
def test_tokens_of_queries_travel_with_the_documents(
    monkeypatch: pytest.MonkeyPatch, storage: str
) -> None:
    index = cm.Muvera(
        model="x", proxy="lemur", proxy_rows=256, features=32, storage=storage
    ).index()
    monkeypatch.setattr(index, "_encoder", Apart)
    texts = [" ".join(f"w{n % (number + 2)}" for n in range(number % 20)) for number in range(400)]
    chunks = [Chunk(number, number, f"d{number}", "", text) for number, text in enumerate(texts)]
    made = index.encode(chunks)
    assert made.made_by == {"model": "apart", "dim": DIM}
    sink = Sink()
    summary = index.build(
        [chunk._replace(encoding=data) for chunk, data in zip(chunks, made.data, strict=True)], sink
    )
    segment = index.open(sink.arrays, summary)
    asked = segment.arrays["asked"]
    assert len(asked) == sum(len(snippet(text).split()) for text in texts) > 100
    assert (asked <= 0).all()
    assert segment.tokens is not None
    free = np.setdiff1d(np.arange(400), choosing.tuning.sources(segment.tokens))
    own = np.isin(np.repeat(np.arange(400), np.diff(segment.arrays["asked_starts"])), free)
    learned = lemur_of(segment).arrays()["lemur_tokens"]
    np.testing.assert_array_equal(learned[: own.sum()], asked[own].astype(np.float32))
    assert (learned[own.sum() :].mean(axis=1) > 0).all(), "the rest are tokens of documents"
    assert index.encodings([segment], np.arange(400)) == list(made.data)
    keep = np.arange(400) % 3 > 0
    whole = merged(index, [segment], [keep])
    assert index.check(whole) == []
    rows = np.flatnonzero(keep)
    assert index.encodings([whole], rows) == [made.data[row] for row in rows]
