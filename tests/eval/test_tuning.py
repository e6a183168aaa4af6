"""Tuning: what searches find, that held-out values are held out, and the predicted weights."""

from __future__ import annotations

import json

import numpy as np
import pytest
from fusion_lists import found, never, ranked
from hypothesis import given
from hypothesis import strategies as st

import cormorant as cm
from cormorant.eval.measures import evaluate
from cormorant.eval.tuning import (
    coordinate_ascent,
    fit_adaptive,
    grid,
    ndcg,
    shares_of,
    split,
    tune,
)
from cormorant.rankers.adaptive import FEATURES, features_of
from cormorant.rankers.table import FUSIONS
from cormorant.ranking import Ranking
from cormorant.tagged import from_json, to_json


def test_shares_are_all_ways_to_share_one():
    assert shares_of(2, 2) == [(0.0, 1.0), (0.5, 0.5), (1.0, 0.0)]
    three = shares_of(3, 4)
    assert len(three) == 15
    assert all(sum(way) == pytest.approx(1.0) for way in three)


def hill(weights):
    """Best at (1, 2), for each of ten queries a little elsewhere."""
    x, y = weights
    return np.array([-((x - 1) ** 2) - (y - 2) ** 2 + 0.001 * n * x for n in range(10)])


def test_coordinate_ascent_climbs_and_never_goes_below_zero():
    tuned = tune(hill, coordinate_ascent((0.5, 0.5), steps=(0.5, 0.1, 0.01), rounds=50), 10)
    assert tuned.weights == pytest.approx((1.0, 2.0), abs=0.011)
    down = coordinate_ascent((1.0, 1.0))(lambda weights: -weights[0])
    assert down[0] == 0.0


def test_held_out_values_are_of_weights_found_without_the_query():
    """Two kinds of queries that want opposite weights: tuned on the others, each gets the wrong."""
    folds = split(10, 2, seed=0)
    kind = np.zeros(10)
    kind[folds[1]] = 1

    def values(weights):
        return np.where(kind == 1, weights[0], weights[1])

    tuned = tune(values, grid([(1.0, 0.0), (0.0, 1.0)]), 10)
    assert tuned.held_out.tolist() == [0.0] * 10
    assert tuned.value == 0.5
    with pytest.raises(cm.InputError, match="folds"):
        tune(values, grid([(1.0, 0.0)]), 10, folds=11)


@given(st.data())
def test_ndcg_is_that_of_the_measures(data):
    gains = data.draw(
        st.lists(st.dictionaries(st.integers(0, 9), st.integers(-1, 3)), min_size=1, max_size=4)
    )
    gains.append({0: 1})
    rankings = [
        {row: float(-place) for place, row in enumerate(data.draw(st.permutations(range(10)))[:7])}
        for _ in gains
    ]
    ranking = ranked(rankings).ranking
    fast = ndcg(ranking, gains, 5)
    qrels = {f"q{n}": {f"d{d}": grade for d, grade in own.items()} for n, own in enumerate(gains)}
    run = {
        f"q{n}": [(f"d{row}", score) for row, score in found(ranking, n).items()]
        for n in range(len(gains))
    }
    slow = evaluate(["nDCG@5"], qrels, run).per_query
    for number, own in enumerate(gains):
        if any(grade > 0 for grade in own.values()):
            assert fast[number] == pytest.approx(slow[f"q{number}"]["nDCG@5"])
        else:
            assert fast[number] == 0.0


def lists_of(tops):
    """A dense and a BM25 list for each query, whose highest BM25 score is told."""
    dense = ranked([{1: 0.5, 2: 0.4, 3: 0.1}] * len(tops), "vectors", "dense", -1.0)
    words = ranked([{2: top, 3: top / 2} for top in tops], "words", "bm25", 0.0)
    return [words, dense]


def test_the_predictor_finds_a_rule_that_the_lists_show():
    """Where BM25's best score is high the words are right, else the vectors."""
    random = np.random.default_rng(0)
    tops = np.where(random.random(400) < 0.5, 4.0, 30.0) * random.uniform(0.9, 1.1, 400)
    shares = [n / 10 for n in range(11)]
    wanted = np.where(tops > 15, 0.1, 0.9)
    worth = 1 - np.abs(np.array(shares)[:, None] - wanted[None])
    lists = lists_of(tops.tolist())
    fusion, held_out = fit_adaptive(lists, shares, worth)
    one_for_all = worth.mean(axis=1).max()
    assert np.mean(1 - np.abs(held_out - wanted)) > one_for_all + 0.2
    weights = fusion.list_weights(lists)
    assert weights.shape == (2, 400)
    assert np.all(weights >= 0) and weights.sum(axis=0) == pytest.approx(1.0)
    assert np.abs(weights[1] - wanted).mean() < 0.1
    swapped = fusion.list_weights(lists[::-1])
    assert np.array_equal(swapped[::-1], weights)
    assert from_json(FUSIONS, json.loads(json.dumps(to_json(fusion))), "fuse stage") == fusion


def test_an_adaptive_fusion_is_convex_with_each_querys_weights():
    lists = lists_of([4.0, 30.0])
    fusion = cm.Adaptive((0.3, *[0.0] * 4, 0.1, *[0.0] * 5))
    weights = fusion.list_weights(lists)
    assert weights[1, 0] != weights[1, 1]

    def score(index, rows):
        return np.where(rows == 1, 0.0, -np.inf).astype(np.float32)

    fused = fusion.fuse(lists, score, 5)
    for query in range(2):
        one = cm.Convex(tuple(weights[:, query])).fuse(lists, score, 5)
        assert found(fused, query) == pytest.approx(found(one, query), abs=1e-6)
    parts = fusion.contributions(lists, score, fused.rows)
    there = fused.rows >= 0
    assert parts.sum(axis=0)[there] == pytest.approx(fused.scores[there], abs=1e-6)


def test_features_of_odd_lists_are_finite():
    odd = [{}, {1: 0.0}, {1: -np.inf}, {1: -3.0, 2: -3.0}, {n: 1e30 for n in range(150)}]
    ranking = ranked(odd).ranking
    features = features_of(ranking, Ranking.empty(len(odd), 0))
    assert features.shape == (5, len(FEATURES))
    assert np.isfinite(features).all()
    assert features[0].tolist() == [1.0, *[0.0] * 10]


@pytest.mark.parametrize(
    "lists", [[ranked([{1: 1.0}])], [ranked([{1: 1.0}]), ranked([{1: 1.0}], "b")]]
)
def test_an_adaptive_fusion_is_of_two_lists_one_of_them_named(lists):
    with pytest.raises(cm.InputError, match="is one of two lists"):
        cm.Adaptive((0.5, *[0.0] * 10)).fuse(lists, never, 3)
    with pytest.raises(cm.InputError, match="one number for each"):
        cm.Adaptive((0.5,))
