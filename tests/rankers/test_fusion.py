"""Fusions: each beside its slow twin, the policy for every odd list, and their JSON."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from fusion_lists import NOWHERE, found, in_order, never, ranked, searches, truth, weights_for
from hypothesis import given, settings
from hypothesis import strategies as st

import cormorant as cm
from cormorant.errors import CormorantError
from cormorant.rankers import candidates
from cormorant.rankers.convex import DEFAULT_WEIGHTS
from cormorant.rankers.table import FUSIONS
from cormorant.ranking import NO_ROW
from cormorant.retrieval.pipeline import pipeline_from_json
from cormorant.stages import ExplainsFusion, RankedList
from cormorant.tagged import lookup

# -- the slow twins ---------------------------------------------------------------------------


def slow_rrf(fusion, lists, worlds, k):
    answers = []
    for query in range(lists[0].ranking.n_queries):
        total = {}
        for number, item in enumerate(lists):
            weight = fusion.weights[number] if fusion.weights else 1.0
            scores = found(item.ranking, query)
            for row, score in scores.items():
                rank = 1 + sum(other > score for other in scores.values())
                total[row] = total.get(row, 0.0) + weight / (fusion.k + rank)
        answers.append(in_order(total, k))
    return answers


def slow_convex(fusion, lists, worlds, k):
    weights = fusion.weights
    if weights is None:
        kinds = [item.kind for item in lists]
        bounded = fusion.norm == "tmm" and all(item.lowest_score is not None for item in lists)
        both = bounded and sorted(kinds) == ["bm25", "dense"]
        weights = [DEFAULT_WEIGHTS[kind] if both else 1.0 for kind in kinds]
    answers = []
    for query in range(lists[0].ranking.n_queries):
        every = {row for item in lists for row in found(item.ranking, query)}
        total = dict.fromkeys(every, 0.0)
        for item, weight in zip(lists, weights, strict=True):
            own = found(item.ranking, query)
            if not own:
                continue
            scores = {row: own.get(row, worlds[item.index][query].get(row)) for row in every}
            scores = {row: s for row, s in scores.items() if s is not None and s > NOWHERE}
            bound = item.lowest_score
            if bound is not None:
                scores = {row: max(bound, score) for row, score in scores.items()}
            if not scores:
                continue
            highest, lowest = max(scores.values()), min(scores.values())
            if fusion.norm == "tmm" and bound is not None:
                lowest = bound
            for row, score in scores.items():
                if highest > lowest:
                    part = (score - lowest) / (highest - lowest)
                else:
                    part = 0.0 if highest == bound else 1.0
                total[row] += weight / math.fsum(weights) * part
        answers.append(in_order(total, k))
    return answers


@st.composite
def fusions(draw, lists):
    if draw(st.booleans()):
        weights = draw(st.booleans()) and weights_for(draw, lists)
        return cm.RRF(draw(st.sampled_from([0, 1, 60])), weights or ())
    weights = weights_for(draw, lists) if draw(st.booleans()) else None
    return cm.Convex(weights, draw(st.sampled_from(["tmm", "minmax"])))


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_a_fusion_agrees_with_its_slow_twin(data):
    lists, worlds = data.draw(searches())
    fusion = data.draw(fusions(lists))
    k = data.draw(st.integers(1, 50))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates, "ENTRIES_AT_ONCE", data.draw(st.sampled_from([1, 40, 1 << 17])))
        fused = fusion.fuse(lists, truth(worlds), k)
    slow = slow_rrf if isinstance(fusion, cm.RRF) else slow_convex
    expected = slow(fusion, lists, worlds, k)
    assert fused.rows.shape == fused.scores.shape == (lists[0].ranking.n_queries, k)
    assert (fused.rows.dtype, fused.scores.dtype) == (np.int64, np.float32)
    assert np.all(np.isneginf(fused.scores) == (fused.rows == NO_ROW))
    for query, pairs in enumerate(expected):
        got = list(found(fused, query).items())
        assert [score for _, score in got] == pytest.approx([score for _, score in pairs])
        assert got == sorted(got, key=lambda pair: (-pair[1], pair[0]))
        assert got == pairs


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_neither_the_batch_nor_the_order_of_the_lists_changes_a_score(data):
    lists, worlds = data.draw(searches())
    fusion = data.draw(fusions(lists))
    fused = fusion.fuse(lists, truth(worlds), 50)

    order = data.draw(st.permutations(range(len(lists))))
    weights = fusion.weights and tuple(fusion.weights[number] for number in order)
    other = (
        cm.RRF(fusion.k, weights)
        if isinstance(fusion, cm.RRF)
        else cm.Convex(weights, norm=fusion.norm)
    )
    permuted = other.fuse([lists[number] for number in order], truth(worlds), 50)
    for query in range(lists[0].ranking.n_queries):
        assert found(permuted, query) == pytest.approx(found(fused, query), abs=1e-6)
        alone = fusion.fuse(
            [
                replace(
                    item,
                    ranking=cm.Ranking(
                        item.ranking.rows[query : query + 1],
                        item.ranking.scores[query : query + 1],
                    ),
                )
                for item in lists
            ],
            truth({name: world[query : query + 1] for name, world in worlds.items()}),
            50,
        )
        assert alone.rows[0].tolist() == fused.rows[query].tolist()
        assert alone.scores[0].tolist() == fused.scores[query].tolist()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_contributions_add_up_to_the_score(data):
    lists, worlds = data.draw(searches())
    fusion = data.draw(fusions(lists))
    assert isinstance(fusion, ExplainsFusion)
    fused = fusion.fuse(lists, truth(worlds), 7)
    parts = fusion.contributions(lists, truth(worlds), fused.rows)
    assert parts.shape == (len(lists), *fused.rows.shape)
    assert parts.dtype == np.float32
    there = fused.rows != NO_ROW
    assert parts.sum(axis=0)[there] == pytest.approx(fused.scores[there], abs=1e-6)
    assert not parts[:, ~there].any()
    strangers = np.full((lists[0].ranking.n_queries, 2), 99)
    assert not fusion.contributions(lists, truth(worlds), strangers).any()


@settings(max_examples=100, deadline=None)
@given(st.data(), st.integers(1, 10), st.integers(1, 10))
def test_under_tmm_the_depth_of_the_lists_changes_no_score(data, depth, other):
    rows = st.dictionaries(st.integers(0, 9), st.floats(0.125, 8, width=32), min_size=10)
    worlds = {"a": [data.draw(rows)], "b": [data.draw(rows)]}

    def fused(depth):
        lists = [ranked(worlds[name], name, lowest=0.0) for name in "ab"]
        lists = [replace(item, ranking=item.ranking.cut(depth)) for item in lists]
        return found(cm.Convex().fuse(lists, truth(worlds), 20))

    one, two = fused(depth), fused(other)
    for row in one.keys() & two.keys():
        assert one[row] == two[row]


def test_contributions_of_rows_in_any_order():
    lists = [ranked([{1: 4.0, 2: 2.0}]), ranked([{2: 1.0}], "b")]
    parts = cm.RRF(k=0).contributions(lists, never, np.array([[2, NO_ROW, 7, 1, 2]]))
    assert parts.tolist() == [[[0.5, 0.0, 0.0, 1.0, 0.5]], [[1.0, 0.0, 0.0, 0.0, 1.0]]]


# -- reciprocal rank fusion -------------------------------------------------------------------


def test_rrf_is_the_published_sum():
    lists = [ranked([{7: 9.0, 3: 5.0, 4: 1.0}]), ranked([{3: 0.5, 9: 0.25}], "b")]
    fused = cm.RRF().fuse(lists, never, 10)
    assert found(fused) == pytest.approx(
        {3: 1 / 62 + 1 / 61, 7: 1 / 61, 9: 1 / 62, 4: 1 / 63}, rel=1e-6
    )
    assert fused.rows[0].tolist() == [3, 7, 9, 4, *[NO_ROW] * 6]
    weighted = cm.RRF(k=0, weights=(1, 3)).fuse(lists, never, 1)
    assert found(weighted) == {3: 0.5 + 3.0}


def test_rrf_of_equal_scores_shares_the_best_rank():
    scores = found(cm.RRF(k=0).fuse([ranked([{5: 2.0, 8: 1.0, 2: 1.0, 9: 0.5}])], never, 10))
    assert scores == {5: 1.0, 2: 0.5, 8: 0.5, 9: 0.25}
    # So how documents were numbered does not decide what they score.
    renumbered = found(cm.RRF(k=0).fuse([ranked([{5: 2.0, 2: 1.0, 8: 1.0, 9: 0.5}])], never, 10))
    assert renumbered == scores


# -- convex combination -----------------------------------------------------------------------


def test_convex_uses_true_scores_and_asks_for_what_is_lacking_once():
    lists = [ranked([{1: 4.0, 2: 2.0}, {1: 1.0}]), ranked([{3: 1.0}, {1: 0.5}], "b", "dense", -1.0)]
    score = truth({"a": [{3: 1.0}, {}], "b": [{1: 0.0, 2: -1.0}, {}]})
    fused = cm.Convex((1, 1)).fuse(lists, score, 10)
    assert found(fused, 0) == {1: 0.5 + 0.25, 3: 0.125 + 0.5, 2: 0.25}
    assert found(fused, 1) == {1: 1.0}
    assert score.asked == [("a", [[3], [NO_ROW]]), ("b", [[1, 2], [NO_ROW, NO_ROW]])]


def test_convex_asks_nothing_of_lists_that_agree():
    lists = [ranked([{1: 4.0, 2: 2.0}]), ranked([{1: 1.0, 2: 3.0}], "b")]
    assert found(cm.Convex().fuse(lists, never, 10)) == pytest.approx({2: 0.75, 1: 2 / 3})


def test_a_true_score_above_the_list_is_the_highest():
    lists = [ranked([{1: 2.0}]), ranked([{2: 1.0}], "b")]
    fused = cm.Convex((1, 0)).fuse(lists, truth({"a": [{2: 4.0}], "b": [{}]}), 10)
    assert found(fused) == {2: 1.0, 1: 0.5}


def test_a_row_that_an_index_does_not_hold_gets_nothing_of_it():
    lists = [ranked([{1: 2.0}], lowest=None), ranked([{2: 1.0}], "b", lowest=None)]
    fused = cm.Convex((1, 3)).fuse(lists, truth({"a": [{}], "b": [{}]}), 10)
    assert found(fused) == {2: 0.75, 1: 0.25}


@pytest.mark.parametrize("norm", ["tmm", "minmax"])
def test_an_empty_list_adds_nothing_and_is_not_asked(norm):
    lists = [ranked([{}]), ranked([{2: 1.0, 4: 0.5}], "b", "dense", -1.0)]
    assert (
        found(cm.Convex((1, 1), norm).fuse(lists, never, 10))
        == {
            "tmm": {2: 0.5, 4: 0.375},
            "minmax": {2: 0.5, 4: 0.0},
        }[norm]
    )


@pytest.mark.parametrize("fusion", [cm.RRF(), cm.Convex(), cm.Convex(norm="minmax")])
def test_lists_that_are_all_empty_give_an_empty_ranking(fusion):
    for lists in (
        [ranked([{}, {}]), ranked([{}, {}], "b")],
        [RankedList(name, "bm25", cm.Ranking.empty(2, 5), 0.0) for name in "ab"],
    ):
        fused = fusion.fuse(lists, never, 3)
        assert fused.rows.tolist() == [[NO_ROW] * 3] * 2
        assert np.all(np.isneginf(fused.scores))
    assert fusion.fuse([ranked([])], never, 3).rows.shape == (0, 3)


@pytest.mark.parametrize(
    ("scores", "lowest", "norm", "each"),
    [
        ([2.0, 2.0], 0.0, "tmm", 1.0),
        ([2.0], 0.0, "tmm", 1.0),
        ([0.0, 0.0], 0.0, "tmm", 0.0),
        ([2.0, 2.0], 0.0, "minmax", 1.0),
        ([0.0, 0.0], 0.0, "minmax", 0.0),
        ([2.0], None, "tmm", 1.0),
        ([-2.0, -2.0], None, "tmm", 1.0),
        ([-2.0, -2.0], None, "minmax", 1.0),
        ([1e-42, 1e-42], 0.0, "tmm", 1.0),
        ([-1.0000001, -1.0000001], -1.0, "tmm", 0.0),
    ],
)
def test_a_constant_list_is_not_divided_by_nothing(scores, lowest, norm, each):
    lists = [ranked([dict(enumerate(scores))], lowest=lowest)]
    assert found(cm.Convex(norm=norm).fuse(lists, never, 10)) == {
        row: each for row in range(len(scores))
    }


def test_negative_scores_without_a_bound_are_shifted_not_cut():
    lists = [ranked([{1: -1.0, 2: -2.0, 3: -5.0}], lowest=None)]
    assert found(cm.Convex().fuse(lists, never, 10)) == {1: 1.0, 2: 0.75, 3: 0.0}


def test_a_score_below_the_bound_or_without_end_is_the_lowest():
    lists = [ranked([{1: 1.0, 2: -1.5, 3: NOWHERE}], kind="dense", lowest=-1.0)]
    assert found(cm.Convex().fuse(lists, never, 10)) == {1: 1.0, 2: 0.0, 3: 0.0}


def test_of_equal_scores_the_lower_row_comes_first():
    lists = [ranked([{9: 1.0}, {2: 1.0}]), ranked([{2: 1.0}, {9: 1.0}], "b")]
    for fusion in (cm.RRF(), cm.Convex((1, 1))):
        fused = fusion.fuse(lists, truth({"a": [{}, {}], "b": [{}, {}]}), 2)
        assert fused.rows.tolist() == [[2, 9], [2, 9]]
        assert fused.cut(1).rows.tolist() == [[2], [2]]


def test_the_default_weights_go_by_kind_and_not_by_order():
    lexical, dense = ranked([{1: 1.0}]), ranked([{2: 1.0}], "b", "dense", -1.0)
    score = truth({"a": [{}], "b": [{}]})
    expected = pytest.approx({2: 0.8, 1: 0.2})
    assert found(cm.Convex().fuse([lexical, dense], score, 9)) == expected
    assert found(cm.Convex().fuse([dense, lexical], score, 9)) == expected
    other = replace(dense, kind="late")
    assert found(cm.Convex().fuse([lexical, other], score, 9)) == {1: 0.5, 2: 0.5}
    three = [lexical, dense, ranked([{3: 1.0}], "c", "dense", -1.0)]
    score = truth({"a": [{}], "b": [{}], "c": [{}]})
    assert found(cm.Convex().fuse(three, score, 9)) == pytest.approx(
        dict.fromkeys([1, 2, 3], 1 / 3)
    )


def test_the_flags_of_the_lists_are_kept_once():
    lists = [
        replace(item, ranking=cm.Ranking(item.ranking.rows, item.ranking.scores, flags))
        for item, flags in (
            (ranked([{1: 1.0}]), ("cut", "behind")),
            (ranked([{1: 1.0}], "b"), ("behind",)),
        )
    ]
    for fusion in (cm.RRF(), cm.Convex()):
        assert fusion.fuse(lists, never, 5).flags == ("cut", "behind")


def test_rows_beyond_32_bits():
    far = 2**40
    lists = [ranked([{far: 2.0, 0: 1.0}]), ranked([{far: 1.0}], "b")]
    for fusion in (cm.RRF(), cm.Convex()):
        assert list(found(fusion.fuse(lists, truth({"b": [{}]}), 5))) == [far, 0]
    with pytest.raises(ValueError, match="rows are below"):
        cm.RRF().fuse([ranked([{2**62: 1.0}])], never, 5)


# -- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize("fusion", [cm.RRF(), cm.Convex()])
@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_a_score_that_is_no_number_names_the_index(fusion, score):
    lists = [ranked([{1: 1.0}, {5: 1.0}]), ranked([{2: 1.0}, {7: score}], "colours")]
    with pytest.raises(CormorantError, match=r"'colours' gave the score (nan|inf) to row 7 for qu"):
        fusion.fuse(lists, truth({"a": [{}, {}], "colours": [{}, {}]}), 5)


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_a_true_score_that_is_no_number_names_the_index(score):
    lists = [ranked([{1: 1.0}]), ranked([{2: 1.0}], "colours")]
    with pytest.raises(CormorantError, match="'colours' gave the score"):
        cm.Convex().fuse(lists, truth({"a": [{}], "colours": [{1: score}]}), 5)


def test_true_scores_of_another_shape_are_refused():
    lists = [ranked([{1: 1.0}]), ranked([{2: 1.0}], "b")]
    with pytest.raises(ValueError, match=r"'a' was asked for \(1, 1\) scores and gave \(1,\)"):
        cm.Convex().fuse(lists, lambda index, rows: np.zeros(1, np.float32), 5)


@pytest.mark.parametrize("fusion", [cm.RRF(), cm.Convex()])
def test_a_row_twice_in_a_list_names_the_index(fusion):
    rows = np.array([[1, 2], [4, 4]])
    twice = cm.Ranking(rows, np.array([[2, 1], [2, 1]], np.float32))
    lists = [ranked([{1: 1.0}, {4: 1.0}]), RankedList("colours", "dense", twice, -1.0)]
    with pytest.raises(CormorantError, match="'colours' ranks row 4 twice"):
        fusion.fuse(lists, truth({"a": [{}, {}], "colours": [{}, {}]}), 5)


@pytest.mark.parametrize("fusion", [cm.RRF(), cm.Convex()])
def test_lists_of_different_queries_are_refused(fusion):
    with pytest.raises(ValueError, match="the same queries, got 1 of index 'a' and 2 of 'b'"):
        fusion.fuse([ranked([{}]), ranked([{}, {}], "b")], never, 5)
    with pytest.raises(ValueError, match="at least one list"):
        fusion.fuse([], never, 5)


@pytest.mark.parametrize("settings_class", [cm.RRF, cm.Convex])
@pytest.mark.parametrize(
    "weights",
    [
        (1, -1),
        (math.nan, 1),
        (math.inf, 1),
        (0, 0),
        ("1", 1),
        (True, 1),
        "11",
        3,
        {1, 2},
        (10**400,),
    ],
)
def test_wrong_weights_name_the_field(settings_class, weights):
    with pytest.raises(cm.InputError) as refused:
        settings_class(weights=weights)
    assert refused.value.field == "weights"


@pytest.mark.parametrize("fusion", [cm.RRF(weights=(1, 2, 3)), cm.Convex((1,))])
def test_a_wrong_number_of_weights_names_the_lists(fusion):
    with pytest.raises(cm.InputError, match=r"given for 2 lists \(a, b\)") as refused:
        fusion.fuse([ranked([{1: 1.0}]), ranked([{1: 1.0}], "b")], never, 5)
    assert refused.value.field == "weights"


@pytest.mark.parametrize("k", [-1, 1.5, True, "60", None, 2_000_000])
def test_a_wrong_k_names_the_field(k):
    with pytest.raises(cm.InputError) as refused:
        cm.RRF(k=k)
    assert refused.value.field == "k"


def test_an_unknown_norm_and_no_weights_are_refused():
    with pytest.raises(cm.InputError, match="is one of tmm, minmax, zscore, dbsf, got 'z'"):
        cm.Convex(norm="z")
    with pytest.raises(cm.InputError, match="names no weight"):
        cm.Convex(weights=())


# -- as values --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fusion", "value"),
    [
        (cm.RRF(), {"kind": "rrf"}),
        (cm.RRF(k=10, weights=(2, 1)), {"kind": "rrf", "k": 10, "weights": [2.0, 1.0]}),
        (cm.Convex(), {"kind": "convex"}),
        (cm.Convex(weights=[1, 3]), {"kind": "convex", "weights": [1.0, 3.0]}),
        (
            cm.Convex((0.5, 0.5), "minmax"),
            {"kind": "convex", "weights": [0.5, 0.5], "norm": "minmax"},
        ),
    ],
)
def test_a_fusion_is_a_value_that_travels(fusion, value):
    pipeline = cm.Pipeline(["bm25", "dense"], fuse=fusion)
    travelled = json.loads(json.dumps(pipeline.as_json()))
    assert travelled["fuse"] == value
    assert pipeline_from_json(travelled) == pipeline
    assert hash(pipeline_from_json(travelled)) == hash(pipeline)
    assert eval(repr(fusion), vars(cm)) == fusion


def test_a_tag_alone_is_the_default():
    for tag in FUSIONS:
        if tag == "adaptive":
            continue  # its coefficients have no default
        pipeline = pipeline_from_json({"retrieve": ["a", "b"], "fuse": tag})
        assert pipeline.fuse == lookup(FUSIONS, tag, "fuse stage")()
        assert pipeline.as_json()["fuse"] == {"kind": tag}
    explicit = {"retrieve": ["a", "b"], "fuse": {"kind": "convex", "weights": None}}
    assert pipeline_from_json(explicit).fuse == cm.Convex()


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ({"kind": "convex", "weights": "0.2"}, "weights"),
        ({"kind": "convex", "weights": [0.2, "0.8"]}, "weights"),
        ({"kind": "convex", "weights": [0.2, None]}, "weights"),
        ({"kind": "convex", "weights": [[0.2]]}, "weights"),
        ({"kind": "convex", "weights": {"bm25": 1}}, "weights"),
        ({"kind": "convex", "weights": [True, 1]}, "weights"),
        ({"kind": "convex", "weights": [-1, 1]}, "weights"),
        ({"kind": "convex", "weights": [math.nan, 1]}, "weights"),
        ({"kind": "convex", "weights": [10**400, 1]}, "weights"),
        ({"kind": "convex", "weights": []}, "weights"),
        ({"kind": "convex", "norm": 3}, "norm"),
        ({"kind": "convex", "norm": "softmax"}, "norm"),
        ({"kind": "convex", "alpha": 0.5}, "alpha"),
        ({"kind": "rrf", "weights": None}, "weights"),
        ({"kind": "rrf", "weights": [10**400]}, "weights"),
        ({"kind": "rrf", "k": 1.5}, "k"),
        ({"kind": "rrf", "k": -1}, "k"),
    ],
)
def test_wrong_json_names_the_field(value, field):
    with pytest.raises(cm.InputError) as refused:
        pipeline_from_json({"retrieve": ["a", "b"], "fuse": value})
    assert refused.value.field == field
