"""Figures against values computed by hand, and against trec_eval on the written file."""

import math
import subprocess
import sys

import numpy as np
import pytest

from cormorant.errors import InputError
from cormorant.eval.measures import (
    DEFAULT_MEASURES,
    depth,
    evaluate,
    judged_queries,
    measure_names,
)
from cormorant.eval.trec import read_run, write_run

QRELS = {
    "q1": {"a": 2, "b": 1, "c": 0},
    "q2": {"a": 1},
    "q3": {"a": 0, "b": -1},
    "q4": {"b": 3, "c": 3, "e": -1},
}
RUN = {
    "q1": [("d", 9.0), ("a", 8.0), ("b", 8.0)],
    "q3": [("a", 1.0)],
    "q4": [("e", 1.0), ("c", 0.5)],
    "unjudged": [("a", 1.0)],
}


def test_by_hand():
    found = evaluate(
        ["nDCG@10", "nDCG@2", "RR@10", "RR", "AP@100", "AP", "R@100", "R@2", "P@5", "Judged@10"],
        QRELS,
        RUN,
    )
    ideal = 2 + 1 / math.log2(3)
    q1 = {
        "nDCG@10": (2 / math.log2(3) + 1 / 2) / ideal,
        "nDCG@2": (2 / math.log2(3)) / ideal,
        "RR@10": 1 / 2,
        "RR": 1 / 2,
        "AP@100": (1 / 2 + 2 / 3) / 2,
        "AP": (1 / 2 + 2 / 3) / 2,
        "R@100": 1.0,
        "R@2": 0.5,
        "P@5": 2 / 5,
        "Judged@10": 2 / 3,
    }
    q4 = {
        "nDCG@10": (3 / math.log2(3)) / (3 + 3 / math.log2(3)),
        "nDCG@2": (3 / math.log2(3)) / (3 + 3 / math.log2(3)),
        "RR@10": 1 / 2,
        "RR": 1 / 2,
        "AP@100": 1 / 4,
        "AP": 1 / 4,
        "R@100": 1 / 2,
        "R@2": 1 / 2,
        "P@5": 1 / 5,
        "Judged@10": 1.0,
    }
    assert list(found.per_query) == ["q1", "q2", "q4"]
    assert found.per_query["q1"] == pytest.approx(q1, abs=1e-12)
    assert found.per_query["q2"] == dict.fromkeys(q1, 0.0)
    assert found.per_query["q4"] == pytest.approx(q4, abs=1e-12)
    means = {name: (q1[name] + q4[name]) / 3 for name in q1}
    assert found.means == pytest.approx(means, abs=1e-12)
    assert list(found.means) == list(q1)


def test_gains_are_linear():
    found = evaluate(["nDCG@10"], {"q": {"a": 3, "b": 1}}, {"q": [("b", 2.0), ("a", 1.0)]})
    linear = (1 + 3 / math.log2(3)) / (3 + 1 / math.log2(3))
    exponential = (1 + 7 / math.log2(3)) / (7 + 1 / math.log2(3))
    assert found.means["nDCG@10"] == pytest.approx(linear, abs=1e-12)
    assert abs(linear - exponential) > 0.05


@pytest.mark.parametrize("scores", [(1.0, 1.0), (0.0, 0.0), (1.0 + 1e-12, 1.0), (1.0, 2.0)])
def test_the_order_is_the_runs_own_whatever_the_scores(scores):
    run = {"q": [("a", scores[0]), ("z", scores[1])]}
    measures = ["RR", "RR@10", "nDCG@10", "AP", "P@1"]
    assert set(evaluate(measures, {"q": {"a": 1}}, run).means.values()) == {1.0}
    assert evaluate(["RR"], {"q": {"z": 1}}, run).means == {"RR": 0.5}


def test_the_same_as_trec_eval_on_the_written_file(tmp_path):
    pytrec_eval = pytest.importorskip("pytrec_eval")
    random = np.random.default_rng(3)
    documents = [f"d{number}" for number in range(300)]
    qrels, run = {}, {}
    for number in range(30):
        judged = random.choice(documents, 20, replace=False)
        qrels[f"q{number}"] = {name: int(random.integers(0, 4)) for name in judged.tolist()}
        hits = random.choice(documents, 150, replace=False).tolist()
        run[f"q{number}"] = [(name, float(150 - place // 3)) for place, name in enumerate(hits)]
    write_run(tmp_path / "a.run", run, "t")
    names = {"nDCG@10": "ndcg_cut_10", "AP@100": "map_cut_100", "R@100": "recall_100"}
    theirs = pytrec_eval.RelevanceEvaluator(qrels, set(names.values())).evaluate(
        {query: dict(hits) for query, hits in read_run(tmp_path / "a.run").items()}
    )
    ours = evaluate(list(names), qrels, run).per_query
    for query in qrels:
        assert {names[name]: value for name, value in ours[query].items()} == theirs[query]


def test_a_document_with_the_querys_id_counts():
    assert evaluate(["RR"], {"x": {"x": 1}}, {"x": [("x", 1.0)]}).means == {"RR": 1.0}


def test_empty_rankings_count_as_nothing_found():
    measures = [*DEFAULT_MEASURES, "Judged@10", "Judged"]
    found = evaluate(measures, {"q1": {"a": 1}, "q2": {"a": 1}}, {"q1": []})
    assert found.per_query == {query: dict.fromkeys(measures, 0.0) for query in ("q1", "q2")}


def test_measures_do_not_disturb_each_other():
    together = ["AP(rel=2)", "nDCG@10", "P(judged_only=True)@2", "P@2", "nDCG(gains={1:5})@3"]
    means = evaluate(together, QRELS, RUN).means
    for name in together:
        assert evaluate([name], QRELS, RUN).means == {name: means[name]}


def test_nothing_of_the_callers_is_changed():
    qrels = {"q": {"a": 1, "b": 0}}
    run = {"q": [("q", 1.0), ("a", 1.0)]}
    evaluate(DEFAULT_MEASURES, qrels, run)
    assert (qrels, run) == ({"q": {"a": 1, "b": 0}}, {"q": [("q", 1.0), ("a", 1.0)]})


def test_a_count_is_summed():
    assert evaluate(["NumRet"], QRELS, RUN).means == {"NumRet": 5.0}


def test_names_are_their_own_and_once():
    assert measure_names(["MRR@10", "RR@10", "NDCG@5", "AP(rel=1)"]) == ("RR@10", "nDCG@5", "AP")
    assert measure_names(DEFAULT_MEASURES) == DEFAULT_MEASURES


def test_a_name_keeps_the_parameters_it_stands_for():
    assert measure_names(["SetRelP"]) == ("SetP(relative=True)",)
    assert measure_names(["NumRelRet"]) == ("NumRet(rel=1)",)


def test_depth():
    assert depth(["nDCG@10", "R@1000", "IPrec@0.1"]) == 1000
    assert depth(["nDCG@10", "AP"], at_least=100) == 100
    assert depth(["AP"]) == 1


def test_judged_queries():
    assert judged_queries(QRELS) == ["q1", "q2", "q4"]


@pytest.mark.parametrize(
    "name",
    [
        "nDGC@10",
        "nDCG@",
        "nDCG@ten",
        "nDCG@0",
        "nDCG@-1",
        "nDCG@10.5",
        "nDCG(cutoff=True)",
        "nDCG@99999999999999999999",
        "P",
        "P(k=5)",
        "P(5)",
        "P(**{})@5",
        "AP(rel=0)",
        "AP(rel=10**12)",
        "AP(rel=99999999999)",
        "nDCG(gains={1:2.5})@5",
        "nDCG(gains={1:99999999999})@5",
        "nDCG(dcg='exp-log2')@10",
        "ERR@10",
        "IPrec@-1",
        "IPrec(recall=1e999)",
        "__import__('os')",
        "AP; RR",
        "",
        "nDCG @10",
        "AP(rel=2",
    ],
)
def test_unknown_measures_list_examples(name):
    with pytest.raises(InputError, match=r"unknown measure .*such as nDCG@10, R@100, AP"):
        measure_names([name])


@pytest.mark.parametrize("names", [[], "nDCG@10"])
def test_measures_are_a_list(names):
    with pytest.raises(InputError, match="expected a list of measures such as nDCG@10"):
        evaluate(names, QRELS, RUN)


def test_a_document_twice():
    with pytest.raises(InputError, match="'a' occurs twice in the ranking of query 'q'"):
        evaluate(["AP"], {"q": {"a": 1}}, {"q": [("b", 3.0), ("a", 2.0), ("a", 1.0)]})


def test_no_positive_judgement():
    with pytest.raises(InputError, match="no query has a positive judgement"):
        evaluate(["AP"], {"q": {"a": 0}}, {"q": [("a", 1.0)]})


def test_importing_is_light_and_warns_nothing():
    code = (
        "import sys, cormorant.eval.measures, cormorant.eval.runner, cormorant.eval.tables\n"
        "heavy = {'ir_measures', 'pytrec_eval', 'rich', 'numba', 'torch'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "from cormorant.eval.measures import measure_names\n"
        "assert measure_names(['nDCG@10'])\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
