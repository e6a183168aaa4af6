"""Every other fusion beside its slow twin; the policies for missing scores; odd lists."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from fusion_lists import found, in_order, never, ranked, searches, truth, weights_for
from hypothesis import given, settings
from hypothesis import strategies as st

import cormorant as cm
from cormorant.rankers import candidates
from cormorant.rankers.norms import MISSING, NORMS
from cormorant.rankers.table import FUSIONS
from cormorant.ranking import NO_ROW
from cormorant.stages import ExplainsFusion
from cormorant.tagged import from_json, to_json

EVERY = [
    cm.RRF(),
    cm.ISR(),
    cm.Borda(),
    cm.CombSUM(),
    cm.CombMNZ(),
    *(cm.Convex(norm=norm, missing=missing) for norm in NORMS for missing in MISSING),
]


def slow_norm(scores, bound, norm):
    """{row: score} -> {row: part}."""
    if bound is not None:
        scores = {row: max(bound, score) for row, score in scores.items()}
    if not scores:
        return {}
    values = list(scores.values())
    highest, lowest, deviation = max(values), min(values), statistics.pstdev(values)
    if norm == "tmm" and bound is not None:
        lowest = bound
    if highest == lowest or (norm in ("zscore", "dbsf") and deviation == 0):
        alike = 0.0 if highest == bound else 1.0
        return dict.fromkeys(scores, alike)
    if norm == "dbsf":
        least = statistics.fmean(values) - 3 * deviation
        return {row: max(0.0, (score - least) / (6 * deviation)) for row, score in scores.items()}
    span = deviation if norm == "zscore" else highest - lowest
    return {row: (score - lowest) / span for row, score in scores.items()}


def slow_scores(fusion, lists, worlds, query):
    """Every candidate's fused score, as the words of the docstrings say."""
    own = [found(item.ranking, query) for item in lists]
    every = {row for listed in own for row in listed}
    if fusion.missing == "dropped":
        every = {row for row in every if all(row in listed for listed in own if listed)}
    weights = fusion.weights or [1.0] * len(lists)
    if isinstance(fusion, cm.Convex):
        weights = [weight / math.fsum(weights) for weight in weights]
    total = dict.fromkeys(every, 0.0)
    holding = dict.fromkeys(every, 0)
    for item, listed, weight in zip(lists, own, weights, strict=True):
        scores = {row: listed[row] for row in every if row in listed}
        if fusion.missing == "computed" and listed:
            world = worlds[item.index][query]
            scores = {row: listed.get(row, world.get(row, -math.inf)) for row in every}
        scores = {row: score for row, score in scores.items() if score > -math.inf}
        for row, part in slow_norm(scores, item.lowest_score, fusion.norm).items():
            total[row] += weight * part
        for row in scores:
            holding[row] += 1
    if isinstance(fusion, cm.CombMNZ):
        total = {row: score * holding[row] for row, score in total.items()}
    return total


def slow_ranks(fusion, lists, query):
    own = [found(item.ranking, query) for item in lists]
    every = {row for listed in own for row in listed}
    total = dict.fromkeys(every, 0.0)
    for number, listed in enumerate(own):
        weight = fusion.weights[number] if fusion.weights else 1.0
        for row in every:
            if row in listed:
                rank = 1 + sum(other > listed[row] for other in listed.values())
                if isinstance(fusion, cm.ISR):
                    total[row] += weight * sum(row in other for other in own) / rank**2
                else:
                    total[row] += weight * (len(every) - rank + 1) / len(every)
            elif listed and isinstance(fusion, cm.Borda):
                left = [len(every) - rank for rank in range(len(listed), len(every))]
                total[row] += weight * statistics.fmean(left) / len(every)
    return total


@st.composite
def fusions(draw, lists):
    weights = weights_for(draw, lists) if draw(st.booleans()) else ()
    kind = draw(st.sampled_from([cm.ISR, cm.Borda, cm.CombSUM, cm.CombMNZ, cm.Convex]))
    if kind in (cm.ISR, cm.Borda):
        return kind(weights)
    norm, missing = draw(st.sampled_from(NORMS)), draw(st.sampled_from(MISSING))
    if kind is cm.Convex:
        return cm.Convex(weights or (1.0,) * len(lists), norm, missing)
    return kind(norm, missing, weights)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_a_fusion_agrees_with_its_slow_twin(data):
    lists, worlds = data.draw(searches())
    fusion = data.draw(fusions(lists))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates, "ENTRIES_AT_ONCE", data.draw(st.sampled_from([1, 40, 1 << 17])))
        fused = fusion.fuse(lists, truth(worlds), 50)
    for query in range(lists[0].ranking.n_queries):
        if isinstance(fusion, cm.ISR | cm.Borda):
            total = slow_ranks(fusion, lists, query)
        else:
            total = slow_scores(fusion, lists, worlds, query)
        got = found(fused, query)
        assert got == pytest.approx(dict(in_order(total, 50)), rel=1e-5, abs=1e-6)
        assert list(got.items()) == sorted(got.items(), key=lambda pair: (-pair[1], pair[0]))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_contributions_add_up_to_the_score(data):
    lists, worlds = data.draw(searches())
    fusion = data.draw(fusions(lists))
    assert isinstance(fusion, ExplainsFusion)
    fused = fusion.fuse(lists, truth(worlds), 7)
    parts = fusion.contributions(lists, truth(worlds), fused.rows)
    there = fused.rows != NO_ROW
    assert parts.sum(axis=0)[there] == pytest.approx(fused.scores[there], rel=1e-5, abs=1e-5)
    assert not parts[:, ~there].any()


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_the_z_score_orders_as_it_is_usually_written(data):
    """Subtracting the least instead of the mean moves every candidate by the same amount."""
    rows = st.dictionaries(st.integers(0, 9), st.floats(0.125, 8, width=32), min_size=10)
    worlds = {"a": [data.draw(rows)], "b": [data.draw(rows)]}
    lists = [ranked(worlds[name], name, lowest=None) for name in "ab"]
    fused = found(cm.Convex((0.3, 0.7), "zscore").fuse(lists, never, 20))
    usual = dict.fromkeys(range(10), 0.0)
    for name, weight in (("a", 0.3), ("b", 0.7)):
        values = list(worlds[name][0].values())
        mean, deviation = statistics.fmean(values), statistics.pstdev(values)
        for row, score in worlds[name][0].items():
            usual[row] += weight * (score - mean) / deviation if deviation else 0.0
    offset = {round(fused[row] - usual[row], 4) for row in usual}
    assert max(offset) - min(offset) < 2e-3


def test_what_is_missing_is_computed_zero_or_dropped():
    lists = [ranked([{1: 4.0, 2: 2.0}]), ranked([{2: 3.0, 3: 1.0}], "b")]
    worlds = {"a": [{3: 3.0}], "b": [{1: 0.0}]}

    def fused(missing):
        return found(cm.Convex((1, 1), "tmm", missing).fuse(lists, truth(worlds), 10))

    assert fused("computed") == pytest.approx({2: 0.75, 3: 0.375 + 1 / 6, 1: 0.5}, rel=1e-6)
    assert fused("zero") == pytest.approx({2: 0.75, 1: 0.5, 3: 1 / 6}, rel=1e-6)
    assert fused("dropped") == {2: 1.0}  # alone, it is the best of both


def test_under_the_z_score_a_missing_row_is_not_the_mean():
    """As a plain z-score has it, row 9 would beat 3 and 4, which the list did find."""
    lists = [ranked([{1: 4.0, 2: 3.0, 3: 2.0, 4: 1.0}], lowest=None), ranked([{9: 1.0}], "b")]
    for missing in ("zero", "dropped"):
        fused = cm.Convex((1, 0), "zscore", missing).fuse(lists, never, 10)
        assert found(fused).get(9, 0.0) == 0.0
        assert list(found(fused))[:3] == ([1, 2, 3] if missing == "zero" else [])


@pytest.mark.parametrize("fusion", EVERY, ids=repr)
def test_odd_lists_have_an_answer(fusion):
    def score(index, rows):
        return np.where(rows == NO_ROW, -np.inf, 1.0).astype(np.float32)

    empty = [ranked([{}]), ranked([{}], "b")]
    assert not found(fusion.fuse(empty, never, 3))
    one_empty = [ranked([{}]), ranked([{1: 2.0, 2: 1.0}], "b")]
    assert list(found(fusion.fuse(one_empty, never, 3))) == [1, 2]
    single = [ranked([{5: 3.0}])]
    assert list(found(fusion.fuse(single, never, 3))) == [5]
    constant = [ranked([{1: 2.0, 2: 2.0}]), ranked([{1: 2.0, 2: 2.0}], "b")]
    scores = found(fusion.fuse(constant, never, 3))
    assert list(scores) == [1, 2] and len(set(scores.values())) == 1
    negative = [ranked([{1: -1.0, 2: -3.0}], lowest=None)]
    assert list(found(fusion.fuse(negative, never, 3))) == [1, 2]
    least = [ranked([{1: 1.0, 2: -np.inf}], lowest=None)]
    assert list(found(fusion.fuse(least, score, 3))) == [1, 2]
    assert len(found(fusion.fuse(negative, never, 100))) == 2


@pytest.mark.parametrize("fusion", EVERY, ids=repr)
def test_defects_are_named_and_never_ranked(fusion):
    for wrong in (np.nan, np.inf):
        lists = [ranked([{1: 1.0}]), ranked([{2: 1.0}], "broken")]
        lists[1].ranking.scores[0, 0] = wrong
        with pytest.raises(cm.CormorantError, match="index 'broken' gave the score"):
            fusion.fuse(lists, never, 3)
    twice = [ranked([{1: 1.0, 2: 1.0}])]
    twice[0].ranking.rows[0, 1] = 1
    with pytest.raises(cm.CormorantError, match="ranks row 1 twice"):
        fusion.fuse(twice, never, 3)
    with pytest.raises(ValueError, match="all lists answer the same queries"):
        fusion.fuse([ranked([{1: 1.0}]), ranked([{1: 1.0}, {2: 1.0}], "b")], never, 3)
    with pytest.raises(ValueError, match="at least one list"):
        fusion.fuse([], never, 3)


@pytest.mark.parametrize("fusion", EVERY, ids=repr)
def test_settings_travel_as_json(fusion):
    assert from_json(FUSIONS, to_json(fusion), "fuse stage") == fusion


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: cm.Convex(missing="guessed"), "missing"),
        (lambda: cm.CombSUM(norm="softmax"), "norm"),
        (lambda: cm.CombMNZ(missing=1), "missing"),
        (lambda: cm.ISR((-1.0,)), "weights"),
        (lambda: cm.Borda((float("nan"),)), "weights"),
        (lambda: cm.CombSUM(weights=(0.0, 0.0)), "weights"),
    ],
)
def test_settings_are_checked(make, field):
    with pytest.raises(cm.InputError) as caught:
        make()
    assert caught.value.field == field


@pytest.mark.parametrize("fusion", [cm.ISR((1.0,)), cm.Borda((1.0,)), cm.CombSUM(weights=(1.0,))])
def test_one_weight_for_each_list(fusion):
    with pytest.raises(cm.InputError, match=r"1 given for 2 lists"):
        fusion.fuse([ranked([{1: 1.0}]), ranked([{1: 1.0}], "b")], never, 3)
