"""The sparse index by itself: what goes in, what is kept, and what it says of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

import cormorant as cm
from cormorant.contracts import EVERYTHING, Allowed, Array
from cormorant.documents import Chunk
from cormorant.errors import CormorantError
from cormorant.indexers.sparse import packing, tuning, writing
from cormorant.indexers.sparse.explaining import strongest
from cormorant.indexers.sparse.index import SparseIndex
from cormorant.indexers.sparse.segment import SparseSegment, frozen
from cormorant.indexers.sparse.weighted import Weighted
from cormorant.kernels.postings.layout import BLOCK
from cormorant.retrieval.segments import MemorySink
from cormorant.vectors import SparseVectors, checked_vectors

TOKENS = ["amber", "beacon", "cedar", "delta", "é", "ab", "a", "z" * 40]


def built(
    index: SparseIndex, vectors: Any, rows: Sequence[int] | None = None
) -> tuple[SparseSegment, dict[str, Array]]:
    data = index.accept(vectors).data
    rows = range(len(data)) if rows is None else rows
    chunks = [
        Chunk(row, row, f"d{row}", "", "", item) for row, item in zip(rows, data, strict=True)
    ]
    sink = MemorySink()
    return index.open(sink.arrays, index.build(chunks, sink)), sink.arrays


def found(
    index: SparseIndex, segments: list[SparseSegment], query: Any, k: int = 10
) -> dict[int, float]:
    ranking = index.search(segments, index.accept_queries([query]).vectors, k, EVERYTHING)
    return {
        row: score
        for row, score in zip(ranking.rows[0].tolist(), ranking.scores[0].tolist(), strict=True)
        if row >= 0
    }


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.dictionaries(st.sampled_from(TOKENS), st.sampled_from([0.0, 0.5, 1.0, 3.25])),
        max_size=12,
    ),
    st.dictionaries(st.sampled_from([*TOKENS, "unknown"]), st.sampled_from([0.0, 1.0, 2.5])),
    st.integers(1, 12),
    st.data(),
)
def test_any_split_into_segments_and_any_merge_gives_the_inner_products(
    documents: list[dict[str, float]], query: dict[str, float], k: int, data: st.DataObject
) -> None:
    index = cm.Sparse().index()
    cuts = data.draw(st.lists(st.booleans(), min_size=len(documents), max_size=len(documents)))
    dropped = data.draw(st.lists(st.booleans(), min_size=len(documents), max_size=len(documents)))
    scores = {
        row: float(np.float32(sum(query.get(term, 0) * weight for term, weight in own.items())))
        for row, own in enumerate(documents)
        if any(query.get(term, 0) * weight for term, weight in own.items())
    }
    expected = dict(sorted(scores.items(), key=lambda item: (-item[1], item[0]))[:k])
    parts = []
    for side in (True, False):
        rows = [row for row, cut in enumerate(cuts) if cut is side]
        segment, _ = built(index, [documents[row] for row in rows], rows)
        assert index.check(segment) == []
        parts.append(segment)
    assert found(index, parts, query, k) == expected
    keep = [np.array([not dropped[row] for row in p.rows.tolist()], np.bool_) for p in parts]
    sink = MemorySink()
    merged = index.open(sink.arrays, index.merge(parts, keep, sink))
    assert index.check(merged) == []
    left = {row: score for row, score in scores.items() if not dropped[row]}
    expected = dict(sorted(left.items(), key=lambda item: (-item[1], item[0]))[:k])
    assert found(index, [merged], query, k) == expected
    rows = [row for row, gone in enumerate(dropped) if not gone]
    fresh, arrays = built(index, [documents[row] for row in rows], rows)
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, sink.arrays[name], err_msg=name)
    assert fresh.summary == merged.summary


@pytest.mark.parametrize(
    "vectors",
    [
        [{"a": 1.0, "b": 2.0}, {}, {"é": 0.5}],
        [{3: 1.0, 70_000: 2.0}, {}, {0: 0.5}],
    ],
)
def test_encodings_come_back_as_they_went_in(vectors: list[Mapping[Any, float]]) -> None:
    index = cm.Sparse().index()
    accepted = index.accept(vectors)
    segment, _ = built(index, vectors)
    back = index.encodings([segment], np.array([2, 0, 5, 1]))
    for place, row in ((0, 2), (1, 0), (3, 1)):
        own = packing.unpack([back[place] or b""])
        given_ = packing.unpack([accepted.data[row]])
        names = [
            [t if v.tokens is None else v.tokens[t] for t in v.terms.tolist()]
            for v in (own.vectors, given_.vectors)
        ]
        assert names[0] == names[1]
        np.testing.assert_array_equal(own.vectors.weights, given_.vectors.weights)
    assert back[2] is None


def test_golden_encodings() -> None:
    numbers = packing.Encoded(
        Weighted(np.array([0, 2]), np.array([3, 258]), np.array([1.0, 0.5], np.float32)),
        SparseVectors(np.array([0, 1]), np.array([3]), np.ones(1, np.float32)),
        np.array([True]),
    )
    assert packing.pack(numbers)[0].hex() == (
        "05020000000000803f0000003f03000000020100000100000003000000"
    )
    tokens = packing.Encoded(
        Weighted(np.array([0, 1]), np.array([0]), np.array([2.0], np.float32), ("é",)),
        None,
        np.array([False]),
    )
    assert packing.pack(tokens)[0].hex() == "02010000000000004002000000c3a9"


GOLDEN_SUMMARY = {
    "n_rows": 4, "n_terms": 3, "n_postings": 6, "n_cut": 0, "n_empty": 1,
    "terms_are": "numbers", "recalls": [],
}  # fmt: skip
GOLDEN_ARRAYS: dict[str, tuple[str, list[Any]]] = {
    "cut": ("bool", [False, False, False, False]),
    "frequencies": ("int32", [3, 2, 1]),
    "impacts": ("uint8", [255, 128, 16, 255, 128, 255]),
    "largest": ("float32", [2.0, 0.5, 4.0]),
    "listed": ("uint16", [2, 0, 3, 3, 0, 3]),
    "numbers": ("int64", [3, 7, 900]),
    "packed": ("uint8", []),
    "packed_offsets": ("int64", [0]),
    "prefixes": ("uint64", []),
    "row_counts": ("int32", []),
    "row_impacts": ("uint8", []),
    "row_numbers": ("int32", [-1, -1, -1]),
    "rows": ("int64", [2, 3, 5, 9]),
    "run_begins": ("int64", [0, 3, 5, 6]),
    "run_blocks": ("uint16", [0, 0, 0]),
    "run_starts": ("int64", [0, 1, 2, 3]),
    "starts": ("int64", [0, 2, 2, 3, 6]),
    "terms": ("uint16", [0, 1, 0, 0, 1, 2]),
    "weights": ("float32", [1.0, 0.25, 2.0, 0.125, 0.5, 4.0]),
    "word_starts": ("int64", [0, 0, 0, 0, 0]),
    "words": ("uint16", []),
}


def test_golden_arrays_of_a_segment() -> None:
    """What these vectors became when the format was fixed; a change needs another version."""
    vectors = [{3: 1.0, 7: 0.25}, {}, {3: 2.0}, {7: 0.5, 3: 0.125, 900: 4.0}]
    segment, arrays = built(cm.Sparse().index(), vectors, rows=[2, 3, 5, 9])
    kept = {name: (str(array.dtype), array.tolist()) for name, array in sorted(arrays.items())}
    assert segment.summary == GOLDEN_SUMMARY
    assert kept == GOLDEN_ARRAYS


def test_golden_vocabulary_of_tokens() -> None:
    """Tokens lie in the order of their UTF-8, and are searched by their first eight bytes."""
    _, arrays = built(cm.Sparse().index(), [{"é": 1.0, "ab": 0.5}])
    assert arrays["packed"].tobytes().hex() == "6162c3a9"
    assert arrays["packed_offsets"].tolist() == [0, 2, 4]
    assert arrays["prefixes"].tolist() == [0x6162 << 48, 0xC3A9 << 48]
    assert arrays["terms"].tolist() == [0, 1] and arrays["weights"].tolist() == [0.5, 1.0]
    assert arrays["numbers"].tolist() == []


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        ([{"a": float("nan")}], "NaN"),
        ([{"a": 1.0}, {"a": float("inf")}], "vector 8 has NaN or infinity"),
        ([{"a": -0.5}], "below 0"),
        ([{"a": -1e-60}], "below 0"),
        ([{"a": 1e10}], "beyond 1e\\+09"),
        ([{"a": 1e60}], "infinity"),
        ([{"a": "heavy"}], "a weight is a number"),
        ([{1.5: 1.0}], "a string or a number"),
        ([{True: 1.0}], "a string or a number"),
        ([{"a": 1.0}, {3: 1.0}], "where others are strings"),
        ([{-1: 1.0}], "from 0 to"),
        ([{1 << 70: 1.0}], "from 0 to"),
        ([{"\ud800": 1.0}], "UTF-8"),
        (SparseVectors(np.array([0, 2]), np.array([4, 4]), np.ones(2, np.float32)), "twice"),
        (SparseVectors(np.array([0, 1]), np.array([1 << 33]), np.ones(1, np.float32)), "from 0 to"),
        (np.ones((2, 3), np.float32), "weights of terms"),
    ],
)
def test_bad_vectors_are_refused_by_number(vectors: Any, message: str) -> None:
    index = cm.Sparse().index()
    with pytest.raises(cm.InputError, match=message):
        index.accept(vectors, first=7)
    with pytest.raises(cm.InputError):
        index.accept_queries(vectors)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"model": " "}, "model"),
        ({"idf": "mine"}, "idf"),
        ({"idf": "collection"}, "idf"),
        ({"target_recall": 0.3}, "target_recall"),
        ({"target_recall": True}, "target_recall"),
        ({"precision": "int3"}, "precision"),
        ({"model": "m", "encoder": "bert"}, "encoder"),
        ({"model": "m", "encoder": "splade", "adapter": "a"}, "adapter"),
        ({"adapter": "a"}, "adapter"),
        ({"model": "m", "documents": "words"}, "documents"),
        ({"documents": "tokens"}, "documents"),
    ],
)
def test_bad_settings(arguments: dict[str, Any], field: str) -> None:
    with pytest.raises(cm.InputError) as caught:
        cm.Sparse(**arguments)
    assert caught.value.field == field


def test_weights_of_zero_and_the_smallest_are_kept_apart() -> None:
    index = cm.Sparse().index()
    segment, _ = built(index, [{"a": 0.0, "b": 1e-300}, {"b": 1.0}])
    assert segment.impacts.weights.tolist() == [float(np.finfo(np.float32).smallest_subnormal), 1.0]
    assert list(found(index, [segment], {"b": 1.0})) == [1, 0]


@pytest.mark.parametrize("form", ["arrays", "mappings", "scipy"])
def test_a_weight_too_small_for_float32_is_the_smallest_there_is(form: str) -> None:
    index = cm.Sparse().index()
    given_: Any = SparseVectors(np.array([0, 2]), np.array([1, 2]), np.array([1.0, 1e-50]))
    if form == "mappings":
        given_ = [{1: 1.0, 2: 1e-50}]
    elif form == "scipy":
        matrix = scipy.sparse.csr_matrix(([1.0, 1e-50], ([0, 0], [1, 2])), (1, 3))
        given_ = checked_vectors(matrix, "vectors")
    segment, _ = built(index, given_)
    assert found(index, [segment], {1: 2.0}) == {0: 2.0}
    assert found(index, [segment], {2: 1.0}) == {0: pytest.approx(1.4e-45, rel=0.1)}


def test_terms_without_a_token_keep_names_of_their_own() -> None:
    index = cm.Sparse().index()
    segment, _ = built(index, [{0: 1.0, 1: 2.0, 2: 3.0, 9: 4.0}])
    names = ["fish", "", "deep"]
    assert strongest(segment, 0, names, None) == [
        ("term 9", 4.0), ("deep", 3.0), ("term 1", 2.0), ("fish", 1.0),
    ]  # fmt: skip


def test_terms_are_integers_and_weights_real() -> None:
    index = cm.Sparse().index()
    for terms, weights in (([7.9], [1.0]), ([7], [1j])):
        with pytest.raises(cm.InputError, match="integers"):
            index.accept(SparseVectors(np.array([0, 1]), np.array(terms), np.array(weights)))
    for weight in ("1.5", True):
        with pytest.raises(cm.InputError, match="a weight is a number"):
            index.accept([{3: weight}])


def test_terms_beyond_16_bits() -> None:
    random = np.random.default_rng(0)
    n_terms = 70_000
    starts = np.array([0, 66_000, 70_000, 70_003], np.int64)
    terms = np.concatenate(
        [np.sort(random.permutation(n_terms)[:66_000]), np.arange(66_000, 70_000), [1, 2, 69_999]]
    )
    terms = np.concatenate([np.arange(66_000), terms[66_000:]])
    weights = random.random(len(terms)).astype(np.float32) + np.float32(0.1)
    index = cm.Sparse().index()
    segment, arrays = built(index, SparseVectors(starts, terms * 3, weights))
    assert arrays["terms"].dtype == np.uint32 and segment.summary["n_terms"] == 70_000
    assert index.check(segment) == []
    dense = np.zeros((3, n_terms))
    dense[np.repeat(np.arange(3), np.diff(starts)), terms] = weights
    asked = {int(term) * 3: 1.5 for term in (0, 1, 65_999, 66_001, 69_999)}
    expected = (dense[:, [0, 1, 65_999, 66_001, 69_999]] * 1.5).sum(axis=1)
    assert found(index, [segment], asked) == {
        int(row): pytest.approx(expected[row], rel=1e-6) for row in np.argsort(-expected)
    }


def test_statistics_and_hits_see_only_what_they_may() -> None:
    index = cm.Sparse().index()
    segment, _ = built(index, [{"a": 1.0}, {"a": 2.0}, {"a": 3.0}])
    asked = index.accept_queries([{"a": 1.0}]).vectors
    visible, selected = np.array([True, True, False]), np.array([True, False, True])
    ranking = index.search([segment], asked, 3, Allowed(visible, selected))
    assert ranking.rows.tolist() == [[0, -1, -1]]
    scores = index.score([segment], asked, np.array([[0, 1, 2, -1, 9]]), Allowed(visible, None))
    assert scores.tolist() == [[1.0, 2.0, -np.inf, -np.inf, -np.inf]]
    assert index.explain([segment], asked, [2], Allowed(visible, None)) == [{}]
    nothing = index.accept_queries([{"other": 1.0}]).vectors
    assert index.score([segment], nothing, np.array([[0]]), EVERYTHING).tolist() == [[0.0]]


def test_explain_adds_up_and_decode_is_heaviest_first() -> None:
    index = cm.Sparse().index()
    segment, _ = built(index, [{"amber": 1.0, "beacon": 3.0, "cedar": 2.0}])
    asked = index.accept_queries([{"amber": 2.0, "cedar": 0.5, "other": 9.0}]).vectors
    [reason] = index.explain([segment], asked, [0], EVERYTHING)
    assert reason == {
        "score": 3.0,
        "matched": [
            {"term": "amber", "query_weight": 2.0, "document_weight": 1.0, "score": 2.0},
            {"term": "cedar", "query_weight": 0.5, "document_weight": 2.0, "score": 1.0},
        ],
        "strongest": {"beacon": 3.0, "cedar": 2.0, "amber": 1.0},
        "n_terms": 3,
    }
    assert index.decode([segment], np.array([5, 0]), 2) == [[], [("beacon", 3.0), ("cedar", 2.0)]]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("terms", lambda values: values.__setitem__(0, 60_000)),
        ("starts", lambda values: values.__setitem__(1, -5)),
        ("run_begins", lambda values: values.__setitem__(0, 3)),
        ("listed", lambda values: values.__setitem__(0, 60_000)),
        ("run_blocks", lambda values: values.__setitem__(0, 1)),
        ("largest", lambda values: values.__setitem__(0, np.nan)),
        ("frequencies", lambda values: values.__setitem__(0, -1)),
    ],
)
def test_arrays_that_lead_beyond_their_end_are_not_opened(name: str, change: Any) -> None:
    index = cm.Sparse().index()
    segment, arrays = built(index, [{1: 1.0, 2: 2.0}, {2: 1.0}])
    damaged = {key: value.copy() for key, value in arrays.items()}
    change(damaged[name])
    with pytest.raises(CormorantError, match="no sparse segment"):
        index.open(damaged, segment.summary)


def test_a_place_beyond_a_short_last_block_is_not_opened() -> None:
    index, n = cm.Sparse().index(), BLOCK + 1
    ones = SparseVectors(np.arange(n + 1), np.zeros(n, np.int64), np.ones(n, np.float32))
    segment, arrays = built(index, ones)
    damaged = {key: value.copy() for key, value in arrays.items()}
    damaged["listed"][-1] = 1
    with pytest.raises(CormorantError, match=f"listed has one beyond document {BLOCK}"):
        index.open(damaged, segment.summary)


@pytest.mark.parametrize("name", ["impacts", "listed", "largest", "frequencies", "weights", "rows"])
def test_check_notices_what_does_not_agree(name: str) -> None:
    index = cm.Sparse().index()
    segment, arrays = built(index, [{1: 1.0, 2: 2.0}, {2: 1.0}, {1: 0.5}])
    damaged = {key: value.copy() for key, value in arrays.items()}
    damaged[name][-1] = 3 if name in ("largest", "frequencies") else 0
    assert index.check(index.open(damaged, segment.summary))


def test_target_recall_is_measured_kept_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "LEAST_ROWS", 1000)
    random = np.random.default_rng(3)
    n, n_terms = 70_000, 500
    chances = 1.0 / np.arange(1, n_terms + 1)
    terms = np.sort(random.choice(n_terms, (n, 12), p=chances / chances.sum()), axis=1)
    keep = np.ones(terms.shape, np.bool_)
    keep[:, 1:] = terms[:, 1:] != terms[:, :-1]
    starts = np.concatenate([[0], np.cumsum(keep.sum(axis=1))]).astype(np.int64)
    weights = random.gamma(2.0, 0.5, int(starts[-1])).astype(np.float32) + np.float32(0.01)
    facts = {
        "rows": np.arange(n),
        "starts": starts,
        "terms": terms[keep].astype(np.uint16),
        "weights": weights,
    }
    impacts = frozen(writing.invert(facts, n_terms, MemorySink()))
    recalls = tuning.measure(impacts, flat=True)
    assert recalls[0] == 1.0 and recalls == sorted(recalls, reverse=True)
    assert len(recalls) == len(tuning.LEVELS) and recalls[-1] < 1.0
    assert tuning.level_for(recalls, None) == 0
    level = tuning.level_for(recalls, 0.9)
    assert recalls[level] >= 0.9 and (level + 1 == len(recalls) or recalls[level + 1] < 0.9)
    assert tuning.measure(impacts, flat=True) == recalls
