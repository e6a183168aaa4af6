"""Every figure is trec_eval's, from the bytes of a run file on: random runs and judgements.

The runs have ties, scores that are one 32-bit float, ids whose order depends on the alphabet,
queries without judgements, judged queries without hits, and lines in any order with any rank; the
judgements have grades from -2 to 4 and queries without a relevant document.
"""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cormorant.eval.compare import condensed
from cormorant.eval.measures import evaluate, judged_queries
from cormorant.eval.qrels import read_qrels
from cormorant.eval.trec import read_run

pytrec_eval = pytest.importorskip("pytrec_eval")

THEIRS = {
    "nDCG": "ndcg", "nDCG@3": "ndcg_cut_3", "nDCG@10": "ndcg_cut_10", "AP": "map",
    "AP@4": "map_cut_4", "RR": "recip_rank", "P@3": "P_3", "P@10": "P_10", "R@2": "recall_2",
    "R@10": "recall_10", "Success@1": "success_1", "Success@5": "success_5", "Bpref": "bpref",
    "Rprec": "Rprec", "NumRet": "num_ret", "NumRet(rel=1)": "num_rel_ret", "NumRel": "num_rel",
    "IPrec@0.5": "iprec_at_recall_0.50", "infAP": "infAP", "SetP": "set_P", "SetR": "set_recall",
    "SetF": "set_F",
}  # fmt: skip
DOCUMENTS = [
    "a",
    "B",
    "b",
    "10",
    "9",
    "ä",
    "z\u00a0z",
    "\U00010348",
    "\uffee",
    *map(str, range(20)),
]
QUERIES = ["1", "2", "10", "q"]
SCORES = st.one_of(
    st.integers(-2, 2).map(float),
    st.sampled_from([1.0 + 1e-9, 1.0 - 1e-9, 1e-40, -0.0, 3e38, -3e38, 16777217.0, 16777216.0]),
    st.floats(-3e38, 3e38, allow_subnormal=False),
)
RUNS = st.dictionaries(
    st.sampled_from([*QUERIES, "unjudged"]),
    st.dictionaries(st.sampled_from(DOCUMENTS), SCORES, min_size=1, max_size=18),
    min_size=1,
)
GRADES = st.dictionaries(st.sampled_from(DOCUMENTS), st.integers(-2, 4), min_size=1, max_size=18)
QRELS = st.dictionaries(st.sampled_from(QUERIES), GRADES, min_size=1).filter(judged_queries)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("trec")


def read_back(folder, run, qrels, seed):
    """What our readers make of the files, whose lines are in any order and whose ranks lie."""
    random = np.random.default_rng(seed)
    hits = [(query, *hit) for query, own in run.items() for hit in own.items()]
    random.shuffle(hits)
    (folder / "a.run").write_text(
        "".join(f"{q} Q0 {d} {random.integers(4)} {score!r} tag\n" for q, d, score in hits)
    )
    (folder / "a.qrels").write_text(
        "".join(f"{q} 0 {d} {grade}\n" for q, own in qrels.items() for d, grade in own.items())
    )
    return read_run(folder / "a.run"), read_qrels(folder / "a.qrels")


SLOW = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}


def check_every_figure(folder, run, qrels, seed):
    ours = evaluate(list(THEIRS), *reversed(read_back(folder, run, qrels, seed)))
    queries = judged_queries(qrels)
    # A query whose grades are all negative crashes trec_eval, or it never returns: not one of ours.
    relevant = {query: qrels[query] for query in queries}
    theirs = pytrec_eval.RelevanceEvaluator(relevant, set(THEIRS.values())).evaluate(run)
    assert list(ours.per_query) == queries
    for name, own in THEIRS.items():
        # Only NumRel is there without a run; trec_eval -c takes every other as 0.
        values = [theirs[query][own] if query in theirs else 0.0 for query in queries]
        found = [ours.per_query[query][name] for query in queries]
        assert found == pytest.approx(values, abs=1e-6), name
        whole = sum(values) if name.startswith("Num") else np.mean(values)
        assert ours.means[name] == pytest.approx(whole, abs=1e-6), name


@settings(max_examples=100, **SLOW)
@given(run=RUNS, qrels=QRELS, seed=st.integers(0, 999))
def test_every_figure_is_trec_evals(folder, run, qrels, seed):
    check_every_figure(folder, run, qrels, seed)


@pytest.mark.soak
@settings(max_examples=3000, **SLOW)
@given(run=RUNS, qrels=QRELS, seed=st.integers(0, 999))
def test_every_figure_of_many_is_trec_evals(folder, run, qrels, seed):
    check_every_figure(folder, run, qrels, seed)


@settings(max_examples=50, **SLOW)
@given(run=RUNS, qrels=QRELS, seed=st.integers(0, 999))
def test_cut_and_condensed_lists_are_shorter_runs(folder, run, qrels, seed):
    """RR@3 is the reciprocal rank in the first three; a condensed list is trec_eval's -J.

    Except that -J takes negative grades for no judgements.
    """
    qrels = {query: {d: max(0, grade) for d, grade in own.items()} for query, own in qrels.items()}
    found, judgements = read_back(folder, run, qrels, seed)
    queries = judged_queries(qrels)
    first = {query: dict(hits[:3]) for query, hits in found.items()}
    measures = {"RR": "recip_rank", "AP": "map", "nDCG@5": "ndcg_cut_5"}
    cut = pytrec_eval.RelevanceEvaluator(qrels, {"recip_rank"}).evaluate(first)
    reciprocal = evaluate(["RR@3"], judgements, found).per_query
    judged_only = pytrec_eval.RelevanceEvaluator(
        qrels, set(measures.values()), judged_docs_only_flag=True
    ).evaluate(run)
    short = evaluate(list(measures), judgements, condensed(found, judgements)).per_query
    for query in queries:
        seen = cut.get(query, {}).get("recip_rank", 0.0)
        assert reciprocal[query]["RR@3"] == pytest.approx(seen, abs=1e-6)
        for name, own in measures.items():
            value = judged_only.get(query, {}).get(own, 0.0)
            assert short[query][name] == pytest.approx(value, abs=1e-6), name
