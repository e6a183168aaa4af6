"""CUR's algorithms on score matrices: budgets, exactness, conditioning, hard inputs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cormorant.rankers.cur import decomposition, regression
from cormorant.rankers.cur.features import Features, Line, estimates
from cormorant.rankers.cur.ledger import Float64Array, Ledger
from cormorant.rankers.cur.rounds import METHODS, Found, Plan, Pool, search


def low_rank(n_queries: int, n: int, rank: int, seed: int = 0) -> Float64Array:
    random = np.random.default_rng(seed)
    left = random.integers(-3, 4, (n_queries, rank))
    return (left @ random.integers(-3, 4, (rank, n))).astype(np.float64)


class Counted:
    """A score matrix as a scorer, which notes the pairs."""

    def __init__(self, scores: Float64Array) -> None:
        self.scores = scores
        self.pairs: list[tuple[int, int]] = []

    def __call__(self, numbers: np.ndarray, places: np.ndarray) -> Float64Array:
        self.pairs += list(zip(numbers.tolist(), places.tolist(), strict=True))
        return self.scores[numbers, places]


def pools(
    anchors: Float64Array, scores: Float64Array, method: str, first: Float64Array | None = None
) -> list[Pool]:
    items = regression.item_vectors(anchors, None)
    own = None if method != "axn" else items.factors
    return [
        Pool(scores.shape[1], None if first is None else first[q], anchors, own, items.ridge)
        for q in range(len(scores))
    ]


def run(
    anchors: Float64Array,
    scores: Float64Array,
    method: str,
    budget: int,
    *,
    seed: int = 0,
    first: Float64Array | None = None,
) -> tuple[list[Found], Counted]:
    counted = Counted(scores)
    plan = Plan(method, budget, 5, 0.4, seed)
    found, failure = search(pools(anchors, scores, method, first), [plan] * len(scores), counted)
    assert failure is None
    return found, counted


def top(scores: Float64Array, k: int) -> set[int]:
    return set(np.argsort(-scores, kind="stable")[:k].tolist())


@pytest.mark.parametrize("method", ["anncur", "adacur"])
@pytest.mark.parametrize(("n_anchors", "m"), [(12, 30), (30, 12), (8, 8), (40, 40)])
def test_a_matrix_of_low_rank_is_recovered_to_1e_8(method: str, n_anchors: int, m: int) -> None:
    matrix = low_rank(n_anchors + 3, 200, 6, seed=n_anchors)
    anchors, truth = matrix[:-3], matrix[-3:]
    items = np.random.default_rng(m).permutation(200)[:m]
    assert np.linalg.matrix_rank(anchors[:, items]) == 6
    for row in truth:
        guessed, report = decomposition.estimates(anchors, items, row[items])
        assert np.abs(guessed - row).max() <= 1e-8
        assert report.rank == 6


def test_axn_recovers_a_matrix_of_low_rank_to_1e_8() -> None:
    matrix = low_rank(43, 300, 6, seed=1)
    anchors, truth = matrix[:40], matrix[40:]
    items = regression.item_vectors(anchors, None)
    assert items.alone
    some = np.random.default_rng(0).permutation(300)[:20]
    for row in truth:
        guessed, _ = regression.regressed(items.factors, some, row[some], items.ridge)
        assert np.abs(guessed - row).max() <= 1e-8


@pytest.mark.parametrize("method", METHODS)
def test_the_exact_best_of_a_low_rank_matrix_are_found(method: str) -> None:
    matrix = low_rank(45, 400, 5, seed=2) + np.linspace(0, 0.5, 400)  # no ties
    found, _ = run(matrix[:40], matrix[40:], method, 40)
    for row, answer in zip(matrix[40:], found, strict=True):
        assert set(answer.items[:10].tolist()) == top(row, 10)
        np.testing.assert_array_equal(answer.scores, row[answer.items])


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(METHODS),
    st.integers(1, 70),
    st.integers(1, 12),
    st.integers(1, 60),
    st.integers(0, 5),
)
def test_no_method_spends_more_than_its_budget_or_scores_a_pair_twice(
    method: str, budget: int, n_anchors: int, n: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    matrix = random.normal(size=(n_anchors + 2, n))
    first = random.normal(size=(2, n)) if seed % 2 else None
    found, counted = run(matrix[:-2], matrix[-2:], method, budget, seed=seed, first=first)
    assert len(set(counted.pairs)) == len(counted.pairs)
    for query, answer in enumerate(found):
        calls = sum(number == query for number, _ in counted.pairs)
        assert calls == answer.calls == len(answer.items) == min(budget, n)
        assert sorted([*answer.items.tolist(), *answer.others.tolist()]) == list(range(n))


@pytest.mark.parametrize("method", METHODS)
def test_a_budget_of_all_items_is_brute_force(method: str) -> None:
    matrix = np.random.default_rng(3).normal(size=(20, 50))
    found, _ = run(matrix[:15], matrix[15:], method, 50)
    for row, answer in zip(matrix[15:], found, strict=True):
        assert answer.items.tolist() == np.argsort(-row, kind="stable").tolist()


@pytest.mark.parametrize("method", METHODS)
def test_copies_of_anchor_queries_and_of_items_do_not_blow_up_the_estimates(method: str) -> None:
    random = np.random.default_rng(4)
    matrix = low_rank(24, 150, 4, seed=4) + 1e-9 * random.normal(size=(24, 150))
    anchors = np.vstack([matrix[:20], matrix[:20]])
    doubled = np.hstack([anchors, anchors])
    truth = np.hstack([matrix[20:], matrix[20:]])
    found, _ = run(doubled, truth, method, 30)
    for row, answer in zip(truth, found, strict=True):
        assert np.abs(answer.estimates - row[answer.others]).max() < 1.0


def test_the_rank_chosen_on_held_out_rows_beats_a_pseudo_inverse_of_full_rank() -> None:
    random = np.random.default_rng(5)
    matrix = low_rank(70, 300, 5, seed=5) + random.normal(size=(70, 300))
    anchors, truth = matrix[:60], matrix[60:]
    items = random.permutation(300)[:60]  # as many as anchor queries: the worst case
    ours, plain = [], []
    for row in truth:
        guessed, report = decomposition.estimates(anchors, items, row[items])
        assert report.rank < 30
        full = row[items] @ np.linalg.pinv(anchors[:, items], rcond=1e-15) @ anchors
        ours.append(((guessed - row) ** 2).mean())
        plain.append(((full - row) ** 2).mean())
    assert np.mean(ours) * 5 < np.mean(plain)


@pytest.mark.parametrize("method", METHODS)
def test_constant_scores(method: str) -> None:
    matrix = np.full((10, 40), 2.5)
    found, _ = run(matrix[:8], matrix[8:], method, 15)
    for answer in found:
        assert len(answer.items) == 15
        assert np.all(answer.scores == 2.5)
        assert np.all(np.isfinite(answer.estimates))


@pytest.mark.parametrize("method", METHODS)
def test_one_nan_costs_its_call_and_nothing_else(method: str) -> None:
    matrix = np.random.default_rng(6).normal(size=(20, 60))
    best = int(np.argmax(matrix[19]))
    matrix[19, best] = np.nan
    found, _ = run(matrix[:18], matrix[18:], method, 60)
    answer = found[1]
    assert (answer.calls, answer.invalid, len(answer.items)) == (60, 1, 59)
    assert best not in answer.items
    assert best not in answer.others
    assert found[0].invalid == 0


def test_a_scorer_that_raises_half_way_leaves_what_was_scored() -> None:
    matrix = np.random.default_rng(7).normal(size=(21, 60))

    def breaks(numbers: np.ndarray, places: np.ndarray) -> Float64Array:
        if len(places) < 10:
            raise RuntimeError("gone")
        return matrix[20 + numbers, places]

    plan = Plan("adacur", 30, 5, 0.5, 0)
    found, failure = search(pools(matrix[:20], matrix[20:], "adacur"), [plan], breaks)
    assert isinstance(failure, RuntimeError)
    assert len(found[0].items) == 15
    assert found[0].calls == 15 + 3  # those of the broken round were paid for
    np.testing.assert_array_equal(found[0].scores, matrix[20][found[0].items])


def test_a_scorer_that_returns_another_number_of_scores_is_found_out() -> None:
    matrix = np.zeros((3, 9))
    plan = Plan("adacur", 4, 2, 0.5, 0)
    _, failure = search(pools(matrix[:2], matrix[2:], "adacur"), [plan], lambda *_: np.zeros(1))
    assert "pairs were scored" in str(failure)


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_gives_the_same_bytes(method: str) -> None:
    matrix = np.random.default_rng(8).normal(size=(24, 80))
    once, _ = run(matrix[:20], matrix[20:], method, 20, seed=3)
    again, _ = run(matrix[:20], matrix[20:], method, 20, seed=3)
    for left, right in zip(once, again, strict=True):
        assert left.items.tobytes() == right.items.tobytes()
        assert left.estimates.tobytes() == right.estimates.tobytes()


@pytest.mark.parametrize("method", METHODS)
def test_a_query_is_answered_as_it_would_be_alone(method: str) -> None:
    matrix = np.random.default_rng(9).normal(size=(24, 80))
    first = np.random.default_rng(10).normal(size=(4, 80))
    together, _ = run(matrix[:20], matrix[20:], method, 20, first=first)
    for query in range(4):
        own = slice(query, query + 1)
        (alone,), _ = run(matrix[:20], matrix[20:][own], method, 20, first=first[own])
        assert together[query].items.tolist() == alone.items.tolist()
        assert together[query].others.tolist() == alone.others.tolist()
        for left, right in (
            (together[query].scores, alone.scores),
            (together[query].estimates, alone.estimates),
        ):
            np.testing.assert_array_equal(left.astype(np.float32), right.astype(np.float32))


def test_adacur_and_axn_are_no_worse_than_reranking_at_equal_calls() -> None:
    """On average over queries of a noisy matrix of low rank, with a noisy first stage."""
    random = np.random.default_rng(11)
    structure = random.normal(size=(140, 8)) @ random.normal(size=(8, 600))
    matrix = structure + 0.3 * random.normal(size=structure.shape)
    truth = matrix[100:]
    first = truth + 3.0 * random.normal(size=truth.shape)
    budget, k = 80, 10
    reranked = []
    for row, guess in zip(truth, first, strict=True):
        head = np.argsort(-guess)[:budget]
        reranked.append(len(set(head[np.argsort(-row[head])][:k].tolist()) & top(row, k)) / k)
    for method in ("adacur", "axn"):
        found, _ = run(matrix[:100], truth, method, budget, first=first)
        recall = [
            len(set(answer.items[:k].tolist()) & top(row, k)) / k
            for row, answer in zip(truth, found, strict=True)
        ]
        assert np.mean(recall) > np.mean(reranked)


def test_the_ledger_refuses_what_is_beyond_the_budget() -> None:
    counted = Counted(np.arange(20.0).reshape(2, 10))
    ledger = Ledger(counted, [10, 10], [4, 4])
    ledger.spend([np.array([1, 2, 2, 1]), np.array([0, 1, 2, 3, 4, 5])])
    assert ledger.calls == [2, 4]
    ledger.spend([np.array([1, 5]), np.array([9])])
    assert ledger.calls == [3, 4]
    assert counted.pairs == [(0, 1), (1, 0), (0, 2), (1, 1), (1, 2), (1, 3), (0, 5)]


def test_time_that_runs_out_ends_the_search_between_rounds() -> None:
    matrix = np.random.default_rng(12).normal(size=(21, 60))
    ticks = iter([False, False, True])
    found, _ = search(
        pools(matrix[:20], matrix[20:], "adacur"),
        [Plan("adacur", 40, 5, 0.25, 0)],
        Counted(matrix[20:]),
        lambda: next(ticks),
    )
    assert 10 < found[0].calls < 40


def decomposed_plainly(
    anchors: Float64Array, items: np.ndarray, values: Float64Array
) -> tuple[Float64Array, int]:
    """The slow twin of a decomposition: everything anew, by singular values of whole matrices."""
    held = np.arange(len(anchors)) % 5 == 0
    kept_u, kept_s, kept_v = np.linalg.svd(anchors[~held][:, items], full_matrices=False)
    unknown = np.setdiff1d(np.arange(anchors.shape[1]), items)
    truth = anchors[held][:, unknown]
    errors = []
    for rank in range(1, np.count_nonzero(kept_s > 1e-10 * kept_s[0]) + 1):
        inverse = kept_v[:rank].T / kept_s[:rank] @ kept_u[:, :rank].T
        guessed = anchors[held][:, items] @ inverse @ anchors[~held][:, unknown]
        errors.append(((guessed - truth) ** 2).mean())
    rank = int(np.argmax(np.array(errors) <= min(errors) * 1.0001)) + 1
    u, s, v = np.linalg.svd(anchors[:, items], full_matrices=False)
    return values @ (v[:rank].T / s[:rank]) @ u[:, :rank].T @ anchors, rank


@settings(deadline=None, max_examples=40)
@given(st.integers(4, 40), st.lists(st.integers(1, 30), min_size=1, max_size=5), st.integers(0, 99))
def test_a_decomposition_found_round_by_round_is_that_found_at_once(
    n_anchors: int, sizes: list[int], seed: int
) -> None:
    random = np.random.default_rng(seed)
    structure = random.normal(size=(n_anchors + 1, 5)) @ random.normal(size=(5, 300))
    matrix = structure + 0.3 * random.normal(size=structure.shape)
    anchors, row = matrix[:-1], matrix[-1]
    items = random.permutation(300)[: sum(sizes)]
    model = decomposition.Decomposition(Features(anchors.T))
    for end in np.cumsum(sizes).tolist():
        line, report = model.fit(items[:end], row[items[:end]])
        expected, rank = decomposed_plainly(anchors, items[:end], row[items[:end]])
        assert report.rank == rank
        np.testing.assert_allclose(line.weights @ anchors, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("ridge", [0.0, 0.03, 0.3])
@pytest.mark.parametrize("sizes", [[3, 4], [5, 10, 20], [40], [12, 0, 1, 30], [1, 1, 1]])
def test_a_regression_found_round_by_round_is_that_found_at_once(
    ridge: float, sizes: list[int]
) -> None:
    random = np.random.default_rng(len(sizes))
    shared, own = random.normal(size=(120, 9)), random.normal(size=(90, 3))
    places = np.sort(random.permutation(120)[:90])
    features = Features(shared, places, own)
    whole, row = np.hstack([shared[places], own]), random.normal(size=90)
    items = random.permutation(90)
    model = regression.Regression(features, ridge)
    for end in np.cumsum(sizes).tolist():
        known, values = whole[items[:end]], row[items[:end]]
        line, report = model.fit(items[:end], values)
        if end == 1:  # one score has no deviation
            assert (report.rank, line.offset) == (0, values[0])
            continue
        target = (values - values.mean()) / values.std()
        inverse = known.T @ np.linalg.inv(known @ known.T + ridge * np.eye(end)) if ridge else None
        weights = (np.linalg.pinv(known) if inverse is None else inverse) @ target
        expected = whole @ weights * values.std() + values.mean()
        assert report.rank == min(end, 12)
        guessed = estimates([features], [line])[0]
        np.testing.assert_allclose(guessed, expected, rtol=0, atol=1e-7)


def test_copies_of_items_tie_however_many_queries_are_estimated_at_once() -> None:
    random = np.random.default_rng(13)
    shared = random.normal(size=(1003, 61))
    copies = [0, 5, 401, 998, 1001, 1002]
    shared[copies] = shared[7]
    lines = [Line(random.normal(size=61), float(number)) for number in range(70)]
    expected = [shared @ line.weights + line.offset for line in lines]
    for n_queries in (1, 2, 3, 9, 70):
        together = estimates([Features(shared)] * n_queries, lines[:n_queries])
        np.testing.assert_allclose(together, expected[:n_queries], rtol=0, atol=1e-7)
        assert set(together[0][copies].tolist()) == {float(together[0][7])}


def test_item_vectors_are_made_once_and_again_where_anything_changed() -> None:
    random = np.random.default_rng(14)
    anchors = random.normal(size=(12, 80))
    stored = random.normal(size=(80, 6)).astype(np.float32)
    made = regression.item_vectors(anchors, stored.__getitem__)
    assert regression.item_vectors(anchors.copy(), stored.copy().__getitem__) is made
    stored[3, 2] = np.nan
    other = regression.item_vectors(anchors, stored.__getitem__)
    assert other is not made
    assert regression.item_vectors(anchors, stored.copy().__getitem__) is other
    anchors[5, 70] += 0.5
    assert regression.item_vectors(anchors, stored.__getitem__) is not other
    assert regression.item_vectors(anchors, None).rank > 0


def test_item_vectors_above_some_bytes_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regression, "_MADE", regression._Made())
    small = np.random.default_rng(15).normal(size=(12, 40))
    large = np.random.default_rng(16).normal(size=(12, 400))
    kept = regression.item_vectors(small, None)
    size = kept.factors.nbytes + kept.mean.nbytes
    monkeypatch.setattr(regression, "_KEPT_BYTES", 2 * size)
    assert regression.item_vectors(large, None) is not regression.item_vectors(large, None)
    kept = regression.item_vectors(small, None)
    assert regression.item_vectors(small, None) is kept
