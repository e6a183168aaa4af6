"""When a multi-vector search stops: the rule, its calibration, and searches that follow it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cormorant as cm
from cormorant.contracts import EVERYTHING, Allowed
from cormorant.errors import CormorantError
from cormorant.indexers.muvera import searching, tuning
from cormorant.indexers.muvera.index import MuveraIndex
from cormorant.indexers.muvera.patience import end_after, entries, walked
from cormorant.indexers.muvera.segment import TokenSegment
from cormorant.kernels.maxsim import score, tokens_of
from cormorant.vectors import TokenVectors

from .test_muvera import segment_of
from .test_muvera_proxies import clustered

N = 900
scores = st.lists(st.integers(-5, 5), min_size=1, max_size=120).map(
    lambda values: np.array(values, np.float32)
)


def last_entry(values: np.ndarray, k: int) -> int:
    """The slow twin: the last place whose value is above the k-th best before it."""
    found = min(k, len(values))
    for place in range(k, len(values)):
        if values[place] > np.sort(values[:place])[-k]:
            found = place + 1
    return found


@given(scores, st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_entries_are_where_something_came_among_the_best(values: np.ndarray, k: int) -> None:
    expected = sorted({last_entry(values[:end], k) for end in range(1, len(values) + 1)})
    assert entries(values, k)[k - 1 :].tolist() == expected[k - 1 :]


@given(scores, st.integers(1, 12), st.sampled_from([1.0, 1.5, 3.0]))
@settings(max_examples=60, deadline=None)
def test_portions_stop_where_one_by_one_would(values: np.ndarray, k: int, patience: float) -> None:
    end = min(k, len(values))
    while end < len(values) and end < end_after(last_entry(values[:end], k), patience):
        end += 1
    parts = []

    def scored(first: int, last: int) -> np.ndarray:
        parts.append((first, last))
        return values[first:last]

    found = walked(scored, np.zeros(0, np.float32), len(values), k, patience)
    np.testing.assert_array_equal(found, values[:end])
    assert [last for _, last in parts[:-1]] == [first for first, _ in parts[1:]], "none twice"
    again = walked(scored, found, len(values), k, patience)
    assert again is found
    walk = tuning.Walk(entries(values, k), np.zeros(0, np.int64), len(values))
    assert walk.end(k, patience) == end, "calibrated on what a search does"


def test_a_walk_leaves_the_samples_own_document_out() -> None:
    exact = np.array([9, 5, 7, 7, 1], np.float32)
    guessed = np.array([9, 1, 2, 8, 7], np.float32)
    walk = tuning.walk_of(exact, guessed, 0, 2)  # the list is 3, 4, 2, 1
    assert walk.wanted.tolist() == [1, 3]
    assert walk.entered.tolist() == [1, 2, 3]
    assert (walk.size, walk.recall(2), walk.recall(3)) == (4, 0.5, 1.0)


def test_better_documents_are_wanted_whatever_ties_stand_before_them() -> None:
    """Nine at the list's end, 200 that tie at its top: of these the lowest row is the tenth."""
    exact, guessed = np.zeros(300, np.float32), -np.arange(300, dtype=np.float32)
    exact[1:201], exact[291:] = 1.0, 2.0
    guessed[1:201] = np.arange(1, 201)  # the lowest row comes last of the ties
    walk = tuning.walk_of(exact, guessed, 0, 10)
    assert walk.wanted.tolist() == [200, *range(291, 300)]
    assert walk.recall(199) == 0.0


@given(scores, st.integers(1, 12), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_what_is_wanted_is_what_exhaustive_search_finds(
    exact: np.ndarray, k: int, source: int
) -> None:
    guessed = np.random.default_rng(len(exact)).integers(0, 4, len(exact)).astype(np.float32)
    source %= len(exact)
    listed = [place for place in np.argsort(-guessed, kind="stable").tolist() if place != source]
    best = [place for place in np.argsort(-exact, kind="stable").tolist() if place != source][:k]
    walk = tuning.walk_of(exact, guessed, source, k)
    assert walk.wanted.tolist() == sorted(listed.index(place) + 1 for place in best)


def tokens_for(n: int) -> Any:
    vectors = clustered(n, 4)
    return tokens_of(vectors.vectors, vectors.starts)


def test_a_better_proxy_needs_fewer_candidates() -> None:
    tokens = tokens_for(N)
    noise = np.random.default_rng(0)

    def guess(spread: float) -> Any:
        def products(queries: TokenVectors) -> np.ndarray:
            exact = score(queries, tokens)
            return exact + spread * noise.standard_normal(exact.shape).astype(np.float32)

        return products

    efforts = [
        tuning.effort_for(tuning.measure(tokens, guess(spread), 0.9, None, 1), 10)
        for spread in (0.0, 0.3, 50.0)
    ]
    assert efforts[0].patience == 1.0
    assert efforts[0].recall == 1.0
    assert efforts[0].candidates < efforts[1].candidates < efforts[2].candidates
    assert efforts[1].recall >= 0.9
    assert efforts[2] == tuning.Effort(None, N, 1.0) or efforts[2].candidates > N / 2
    sure = tuning.measure(tokens, guess(0.3), 1.0, None, 1)
    assert tuning.effort_for(sure, 10).candidates > efforts[1].candidates
    given_ = tuning.measure(tokens, guess(0.3), 0.9, 25, 1)
    assert tuning.effort_for(given_, 10)[:2] == (None, 25)
    assert tuning.effort_for(given_, 30)[:2] == (None, 30)


def test_between_depths_patience_falls() -> None:
    few, many = tuning.Effort(2.0, 50, 0.97), tuning.Effort(1.5, 300, 0.96)
    whole = tuning.Effort(None, 900, 1.0)
    assert tuning.effort_for(_as_measured(few, many), 3) == few
    assert tuning.effort_for(_as_measured(few, many), 10) == few
    between = tuning.effort_for(_as_measured(few, many), 32)
    assert between.patience == pytest.approx(1.71, abs=0.01)
    assert between[1:3] == (176, 0.96)
    assert tuning.effort_for(_as_measured(few, many), 100) == many
    assert tuning.effort_for(_as_measured(few, many), 400) == tuning.Effort(1.5, 400, 0.96)
    assert tuning.effort_for(_as_measured(few, whole), 30) == whole
    assert tuning.effort_for(_as_measured(whole, many), 30) == whole
    assert tuning.effort_for(_as_measured(few, whole), 5) == few
    assert tuning.effort_for(_as_measured(whole, many), 100) == many


def test_lists_for_other_depths() -> None:
    """For ten up to ten, for a hundred beyond, and more in proportion to what is asked for."""
    measured = _as_measured(tuning.Effort(2.0, 50, 0.97, 9), tuning.Effort(1.5, 300, 0.96, 30))
    lists = {k: tuning.effort_for(measured, k).lists for k in (1, 10, 11, 100, 101, 250)}
    assert lists == {1: 9, 10: 9, 11: 30, 100: 30, 101: 31, 250: 75}


def _as_measured(few: tuning.Effort, many: tuning.Effort) -> dict[str, Any]:
    return {"10": few._asdict(), "100": many._asdict()}


@pytest.fixture(scope="module")
def built() -> tuple[MuveraIndex, TokenSegment]:
    index = cm.Muvera(model=None, proxy_rows=256, target_recall=0.8).index()
    return index, segment_of(index, clustered(N, 1))


def found(index: MuveraIndex, segment: TokenSegment, queries: TokenVectors, k: int = 5) -> Any:
    ranking = index.search([segment], queries, k, EVERYTHING)
    return ranking.rows.tolist(), ranking.scores.tolist()


def test_a_query_stops_where_it_stops_alone_on_any_number_of_threads(
    built: tuple[MuveraIndex, TokenSegment], monkeypatch: pytest.MonkeyPatch
) -> None:
    index, segment = built
    queries = clustered(70, 9)
    together = found(index, segment, queries)
    assert "approximate" in index.search([segment], queries, 5, EVERYTHING).flags[0]
    for number in range(0, 70, 7):
        alone = found(index, segment, queries[number : number + 1])
        assert alone == (together[0][number : number + 1], together[1][number : number + 1])
    monkeypatch.setattr(searching, "threads", lambda: 3)
    assert found(index, segment, queries) == together
    monkeypatch.setattr(searching, "_MOST_LISTED", 1)
    assert found(index, segment, queries) == together, "one query at a time"


def test_fewer_hits_are_the_first_of_ten(built: tuple[MuveraIndex, TokenSegment]) -> None:
    """Patience is measured for ten; the best of a hard query is not missed for asking for it only.

    Going by the place of the first hit, .851 of the best of nfcorpus were found.
    """
    index, segment = built
    queries = clustered(200, 9)
    rows, scores = found(index, segment, queries, 10)
    for k in (1, 2, 5, 9):
        assert found(index, segment, queries, k) == (
            [own[:k] for own in rows],
            [own[:k] for own in scores],
        )


def test_a_list_that_was_too_short_is_made_longer(
    built: tuple[MuveraIndex, TokenSegment],
) -> None:
    index, segment = built
    facts = segment.summary["proxy"]
    measured = {name: own | {"candidates": 1} for name, own in facts["measured"].items()}
    short = index.open(segment.arrays, segment.summary | {"proxy": facts | {"measured": measured}})
    queries = clustered(30, 9)
    assert found(index, short, queries) == found(index, segment, queries)


def test_what_was_scored_is_said(built: tuple[MuveraIndex, TokenSegment]) -> None:
    index, segment = built
    facts = index.describe([segment])
    assert facts["patience@10"] == [segment.summary["proxy"]["measured"]["10"]["patience"]]
    assert 10 < facts["candidates@10"] < N / 2
    query = clustered(1, 9)
    rows = found(index, segment, query)[0][0]
    reasons = index.explain([segment], query, rows, EVERYTHING)
    assert all(1 <= reason["listed"] < N / 2 for reason in reasons)
    assert reasons[0]["candidates"] == facts["candidates@10"]
    assert reasons[0]["patience"] == facts["patience@10"][0]
    selected = np.ones(N, np.bool_)
    selected[rows[0]] = False
    hidden = index.explain([segment], query, rows, Allowed(None, selected))
    assert hidden[0]["listed"] is None
    assert hidden[1]["listed"] == reasons[1]["listed"] - (
        reasons[0]["listed"] < reasons[1]["listed"]
    )


def test_no_recall_is_claimed_for_more_hits_than_it_was_measured_for(
    built: tuple[MuveraIndex, TokenSegment],
) -> None:
    index, segment = built
    flags = {k: index.search([segment], clustered(1, 9), k, EVERYTHING).flags for k in (100, 101)}
    assert len(flags[100]) == 1
    assert "of the best 100 of samples" in flags[100][0]
    assert flags[101] == (*flags[100], "recall measured for the 100 best only")


def test_a_segment_measured_by_an_earlier_version_is_refused(
    built: tuple[MuveraIndex, TokenSegment],
) -> None:
    index, segment = built
    old = {"candidates": [10, 20], "lengths": []}
    summary = segment.summary | {"proxy": segment.summary["proxy"] | {"measured": old}}
    with pytest.raises(CormorantError, match="measured in another way"):
        index.open(segment.arrays, summary)
