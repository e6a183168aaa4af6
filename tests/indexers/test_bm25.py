"""BM25 as an index: the same scores however rows are split, hidden, merged or asked for."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paths import DATA
from rank_bm25 import BM25L, BM25Okapi, BM25Plus

from cormorant.contracts import EVERYTHING, Allowed, Explains, Searchable
from cormorant.documents import Chunk
from cormorant.errors import InputError
from cormorant.indexers.bm25.index import BM25Index
from cormorant.indexers.bm25.segment import BM25Segment
from cormorant.indexers.bm25.settings import BM25
from cormorant.kernels.bm25.layout import Postings

PLAIN = BM25(language="none")
VARIANTS = ("lucene", "okapi", "bm25l", "bm25+")


class Memory:
    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}

    def create(self, name: str, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
        self.arrays[name] = np.zeros(shape, dtype)
        return self.arrays[name]

    def put(self, name: str, values: np.ndarray) -> None:
        self.arrays[name] = values


def segment_of(index: BM25Index, texts: Sequence[str], rows: Sequence[int]) -> BM25Segment:
    sink = Memory()
    chunks = [Chunk(row, row, str(row), "", texts[row]) for row in rows]
    return index.open(sink.arrays, index.build(chunks, sink))


def merged(
    index: BM25Index, segments: Sequence[BM25Segment], keep: Sequence[np.ndarray | None]
) -> BM25Segment:
    sink = Memory()
    return index.open(sink.arrays, index.merge(segments, keep, sink))


words = st.sampled_from(["a", "b", "bb", "c", "dd", "e", "é", "abcdefghij", "abcdefghik", "zz"])
texts_of = st.lists(st.lists(words, max_size=8).map(" ".join), max_size=40)
queries_of = st.lists(st.lists(words, max_size=5).map(" ".join), max_size=4)
seeds = st.integers(0, 2**32 - 1)
settings_of = st.builds(
    BM25,
    language=st.just("none"),
    k1=st.sampled_from([0.0, 0.9, 1.2, 3.0]),
    b=st.sampled_from([0.0, 0.4, 0.75, 1.0]),
    variant=st.sampled_from(VARIANTS),
)


@settings(max_examples=60, deadline=None)
@given(settings_of, texts_of, queries_of, seeds, st.integers(1, 12))
def test_splits_masks_merges_and_batches_change_nothing(
    how: BM25, texts: list[str], queries: list[str], seed: int, k: int
) -> None:
    index = how.index()
    random = np.random.default_rng(seed)
    n = len(texts)
    live = random.random(n) < random.choice([0.3, 0.9, 1.0])
    selected = random.random(n) < 0.7 if random.random() < 0.5 else None
    allowed = Allowed(live, selected)
    alive = np.flatnonzero(live).tolist()

    rebuilt = segment_of(index, texts, alive)
    expected = index.search([rebuilt], queries, k, Allowed(None, selected))

    owner = random.integers(0, 3, n)
    split = [segment_of(index, texts, np.flatnonzero(owner == part).tolist()) for part in range(3)]
    found = index.search(split, queries, k, allowed)
    np.testing.assert_array_equal(found.rows, expected.rows)
    np.testing.assert_array_equal(found.scores, expected.scores)

    for number, query in enumerate(queries):
        alone = index.search(split, [query], k, allowed)
        np.testing.assert_array_equal(alone.rows[0], expected.rows[number])
        np.testing.assert_array_equal(alone.scores[0], expected.scores[number])

    one = merged(index, split, [live[segment.rows] for segment in split])
    for name in Postings._fields:
        np.testing.assert_array_equal(getattr(one.postings, name), getattr(rebuilt.postings, name))
    assert one.summary == rebuilt.summary
    assert index.check(one) == []
    assert [index.check(segment) for segment in split] == [[], [], []]

    scores = index.score(split, queries, found.rows, allowed)
    np.testing.assert_array_equal(scores, found.scores)
    everyone = np.tile(np.arange(n + 2, dtype=np.int64), (len(queries), 1))
    scores = index.score(split, queries, everyone, allowed)
    hidden = np.append(~live, [True, True])
    assert (scores[:, hidden] == -np.inf).all()
    assert np.isfinite(scores[:, ~hidden]).all()


@settings(max_examples=40, deadline=None)
@given(settings_of, texts_of, queries_of, seeds)
def test_explanations_sum_to_scores(
    how: BM25, texts: list[str], queries: list[str], seed: int
) -> None:
    index = how.index()
    random = np.random.default_rng(seed)
    live = random.random(len(texts)) < 0.8
    owner = random.integers(0, 2, len(texts))
    split = [segment_of(index, texts, np.flatnonzero(owner == part).tolist()) for part in range(2)]
    for query in queries:
        rows = np.arange(len(texts), dtype=np.int64)
        scores = index.score(split, [query], rows[None], Allowed(live))[0]
        reasons = index.explain(split, [query], rows.tolist(), Allowed(live))
        for row, score, reason in zip(rows, scores, reasons, strict=True):
            if not live[row]:
                assert reason == {}
                continue
            assert reason["documents"] == live.sum()
            assert reason["length"] == len(texts[row].split())
            assert sum(term["score"] for term in reason["terms"]) == pytest.approx(
                score, rel=1e-5, abs=1e-6
            )
            for term in reason["terms"]:
                assert term["tf"] == texts[row].split().count(term["term"])
                assert term["count"] == query.split().count(term["term"])
                assert term["df"] == sum(
                    term["term"] in text.split()
                    for text, alive in zip(texts, live, strict=True)
                    if alive
                )


RANK_BM25 = {"okapi": BM25Okapi, "bm25l": BM25L, "bm25+": BM25Plus}


@pytest.mark.parametrize("variant", RANK_BM25)
def test_scores_are_those_of_rank_bm25(variant: str) -> None:
    random = np.random.default_rng(1)
    vocabulary = np.array(
        ["".join(letters) for letters in zip("abcdefghij" * 5, "aeiou" * 10, strict=True)]
    )
    weights = 1.0 / np.arange(1, 51)
    texts = [
        " ".join(random.choice(vocabulary, random.integers(1, 30), p=weights / weights.sum()))
        for _ in range(300)
    ]
    oracle = RANK_BM25[variant]([text.split() for text in texts], k1=1.3, b=0.6)
    index = BM25("none", k1=1.3, b=0.6, variant=variant).index()
    split = [segment_of(index, texts, range(*bounds)) for bounds in ((0, 100), (100, 300))]
    queries = [" ".join(random.choice(vocabulary, 4)) for _ in range(20)] + ["aa aa ae nowhere"]
    for query in queries:
        theirs = oracle.get_scores(query.split())
        found = index.search(split, [query], len(texts), EVERYTHING)
        hits = found.rows[0][found.rows[0] >= 0]
        matches = [bool(set(query.split()) & set(text.split())) for text in texts]
        assert sorted(hits) == np.flatnonzero(matches).tolist()
        np.testing.assert_allclose(found.scores[0][: len(hits)], theirs[hits], 1e-5, 1e-6)


def test_scores_are_those_of_bm25s() -> None:
    bm25s = pytest.importorskip("bm25s")
    random = np.random.default_rng(2)
    vocabulary = np.array([f"w{number}" for number in range(200)])
    texts = [" ".join(random.choice(vocabulary, random.integers(1, 25))) for _ in range(500)]
    oracle = bm25s.BM25(method="lucene", k1=1.2, b=0.75)
    oracle.index([text.split() for text in texts], show_progress=False)
    index = PLAIN.index()
    segment = segment_of(index, texts, range(len(texts)))
    queries = [" ".join(random.choice(vocabulary, 5)) for _ in range(30)]
    found = index.search([segment], queries, 20, EVERYTHING)
    for query, rows, scores in zip(queries, found.rows, found.scores, strict=True):
        theirs = oracle.get_scores(query.split())
        np.testing.assert_allclose(scores, np.sort(theirs)[::-1][:20], 1e-5)
        np.testing.assert_allclose(scores, theirs[rows], 1e-5)


def test_real_sentences_against_all_scores() -> None:
    if not DATA.is_dir():
        pytest.skip("the shared test collections are not beside this checkout")
    with gzip.open(DATA / "sentences" / "sentences.txt.gz", "rt", encoding="utf-8") as lines:
        texts = [line for line, _ in zip(lines, range(20_000), strict=False)]
    index = BM25().index()
    segment = segment_of(index, texts, range(len(texts)))
    queries = texts[::400]
    found = index.search([segment], queries, 10, EVERYTHING)
    everyone = np.tile(np.arange(len(texts), dtype=np.int64), (len(queries), 1))
    scores = index.score([segment], queries, everyone, EVERYTHING)
    for number in range(len(queries)):
        best = np.lexsort((everyone[number], -scores[number]))[:10]
        np.testing.assert_array_equal(found.rows[number], best)
        np.testing.assert_array_equal(found.scores[number], scores[number][best])
    assert index.check(segment) == []


def test_satisfies_the_contracts() -> None:
    index = PLAIN.index()
    assert isinstance(index, Searchable)
    assert isinstance(index, Explains)
    assert index.highlights("fishing cormorants", "a cormorant fishing") == [(12, 19)]


def test_nothing_in_it() -> None:
    index = PLAIN.index()
    empty = segment_of(index, [], [])
    silent = segment_of(index, ["", ".", ""], [0, 1, 2])
    for segments in ([], [empty], [silent], [empty, silent]):
        found = index.search(segments, ["a b", ""], 3, EVERYTHING)
        assert (found.rows == -1).all()
        assert found.rows.shape == (2, 3)
        assert index.search(segments, [], 3, EVERYTHING).rows.shape == (0, 3)
        assert index.search(segments, ["a"], 0, EVERYTHING).rows.shape == (1, 0)
        assert index.score(segments, ["a"], np.array([[-1, 7]]), EVERYTHING).tolist() == [
            [-np.inf, -np.inf]
        ]
        assert index.describe(segments)["postings"] == 0
    again = merged(index, [empty, silent], [None, np.array([True, False, True])])
    assert again.rows.tolist() == [0, 2]
    assert index.check(again) == index.check(empty) == []


def test_counts_beyond_a_byte_and_beyond_two_are_exact() -> None:
    index = PLAIN.index()
    texts = ["x " * 300, "x " * 70_000 + "y", "x y", "y " * 3]
    segment = segment_of(index, texts, range(4))
    reasons = index.explain([segment], ["x"], [0, 1, 2, 3], EVERYTHING)
    assert [reason["terms"][0]["tf"] for reason in reasons] == [300, 70_000, 1, 0]
    found = index.search([segment], ["x"], 4, EVERYTHING)
    scores = index.score([segment], ["x"], np.array([[0, 1, 2, 3]]), EVERYTHING)
    np.testing.assert_array_equal(scores[0][found.rows[0][:3]], found.scores[0][:3])
    assert scores[0][3] == 0.0
    assert found.rows[0][3] == -1


def test_ties_go_to_the_lower_row_across_segments() -> None:
    index = PLAIN.index()
    texts = ["a b"] * 200
    split = [segment_of(index, texts, range(part, 200, 2)) for part in (1, 0)]
    found = index.search(split, ["a", "b a"], 10, EVERYTHING)
    assert found.rows.tolist() == [list(range(10))] * 2


def test_a_long_query_and_terms_alike_for_longer_than_a_prefix() -> None:
    index = PLAIN.index()
    texts = [f"number{'0' * 12}{i:05d} common{'0' * 9}" for i in range(700)]
    segment = segment_of(index, texts, range(700))
    assert index.check(segment) == []
    query = " ".join(texts[:500])
    found = index.search([segment], [query, texts[650]], 700, EVERYTHING)
    assert sorted(found.rows[0]) == list(range(700))
    assert set(found.rows[0][:500]) == set(range(500))
    assert found.rows[1][0] == 650


def test_a_mask_that_may_change_is_looked_at_again() -> None:
    index = PLAIN.index()
    segment = segment_of(index, ["a", "a b"], [0, 1])
    visible = np.array([True, False])
    assert index.search([segment], ["a"], 2, Allowed(visible)).rows.tolist() == [[0, -1]]
    visible[:] = [False, True]
    assert index.search([segment], ["a"], 2, Allowed(visible)).rows.tolist() == [[1, -1]]


def test_a_damaged_segment_is_told_from_a_sound_one() -> None:
    index = PLAIN.index()
    texts = ["a b c d", "a a b", "b c", "d", "zebra"] * 40
    sound = segment_of(index, texts, range(len(texts)))
    assert index.check(sound) == []
    for name in Postings._fields:
        arrays = {field: getattr(sound.postings, field).copy() for field in Postings._fields}
        arrays[name][len(arrays[name]) // 2] ^= 1
        damaged = index.open(arrays, sound.summary)
        assert index.check(damaged), name
        arrays[name] = arrays[name][:-1]
        assert index.check(index.open(arrays, sound.summary)), name


@pytest.mark.parametrize(
    ("field", "value"), [("k1", -1.0), ("b", 1.5), ("variant", "bm25f"), ("k1", float("nan"))]
)
def test_settings_that_cannot_be_used(field: str, value: object) -> None:
    with pytest.raises(InputError) as refused:
        replace(BM25(), **{field: value})
    assert refused.value.field == field


def test_vectors_are_refused() -> None:
    with pytest.raises(InputError, match="texts"):
        PLAIN.index().search([], np.zeros((1, 3), np.float32), 3, EVERYTHING)
