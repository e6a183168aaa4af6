"""CUR in a pipeline, over a collection: anchors as segments, labels, filters, budgets, faults."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from pair_scorers import WordScorer, use_word_scorer

import cormorant as cm
from cormorant.rankers.cur.anchors import Anchors
from cormorant.rankers.cur.settings import CUR

WORDS = ["reed", "tide", "eel", "gull", "kelp", "mist"]
QUERIES = tuple(f"{one} {two}" for one in WORDS for two in WORDS if one < two)


@pytest.fixture(autouse=True)
def _scorer(monkeypatch: pytest.MonkeyPatch) -> None:
    use_word_scorer(monkeypatch)


def texts(n: int, seed: int = 0) -> list[str]:
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(WORDS, size=random.integers(3, 9))) for _ in range(n)]


def documents(n: int, seed: int = 0) -> list[cm.Document]:
    return [
        cm.Document(id=f"d{number:03}", text=text, metadata={"odd": number % 2}, labels=["a"])
        for number, text in enumerate(texts(n, seed))
    ]


def collection(path: Path, scorer: WordScorer, n: int = 60) -> cm.Collection:
    made = cm.Collection.create(path, {"bm25": cm.BM25(), "anchors": Anchors(scorer, QUERIES)})
    made.add(documents(n))
    return made


def brute_force(query: str, n: int, keep: set[str] | None = None) -> list[float]:
    found = {
        document.id: WordScorer("aside").score_pairs([(query, document.text)])[0]
        for document in documents(n)
    }
    return sorted((s for name, s in found.items() if keep is None or name in keep), reverse=True)


@pytest.mark.parametrize("method", ["anncur", "adacur", "axn"])
def test_the_best_by_the_scorer_are_found_within_the_budget(tmp_path: Path, method: str) -> None:
    scorer = WordScorer()
    with collection(tmp_path / "c.cm", scorer) as made:
        assert len(scorer.calls) == 60 * len(QUERIES)
        scorer.calls.clear()
        cur = CUR(scorer, method=method, budget=25)
        result = made.search("eel gull gull", k=5, pipeline=cm.Pipeline([cur]), explain=True)
        assert [hit.score for hit in result] == brute_force("eel gull gull", 60)[:5]
        assert 20 <= len(set(scorer.calls)) == len(scorer.calls) <= 25  # some texts are copies
        facts = result[0].explanation["cur"]
        assert (facts["calls"], facts["exact"], facts["method"]) == (25, True, method)
        assert facts["condition"] >= 1.0


def test_a_batch_answers_as_one_by_one_and_spends_for_each(tmp_path: Path) -> None:
    scorer = WordScorer()
    with collection(tmp_path / "c.cm", scorer) as made:
        pipeline = cm.Pipeline([CUR(scorer, budget=20)])
        asked = ["eel", "tide mist", "nothing here"]
        scorer.calls.clear()
        together = made.search_batch(asked, k=10, pipeline=pipeline)
        assert len(scorer.calls) == 60
        alone = [made.search(query, k=10, pipeline=pipeline) for query in asked]
        for one, other in zip(together, alone, strict=True):
            assert one.ids == other.ids


def test_filters_and_labels_hold(tmp_path: Path) -> None:
    scorer = WordScorer()
    with collection(tmp_path / "c.cm", scorer) as made:
        made.add([cm.Document(id="secret", text="gull " * 9, labels=["b"])])
        pipeline = cm.Pipeline([CUR(scorer, budget=61)])
        scorer.calls.clear()
        result = made.search("gull", k=40, pipeline=pipeline, filter={"odd": 1}, as_labels=["a"])
        assert len(result) == 30
        assert all(hit.metadata["odd"] == 1 for hit in result)
        assert "secret" not in result.ids
        assert not any(text.count("gull") == 9 for _, text in scorer.calls)
        seen = made.search("gull", k=1, pipeline=pipeline, as_labels=["b"])
        assert seen.ids == ["secret"]


def test_documents_come_and_go_and_only_new_ones_are_scored(tmp_path: Path) -> None:
    scorer = WordScorer()
    with collection(tmp_path / "c.cm", scorer) as made:
        made.flush()
        pipeline = cm.Pipeline([CUR(scorer, budget=62)])
        scorer.calls.clear()
        made.add([cm.Document(id="new", text="kelp " * 12)])
        assert len(scorer.calls) == len(QUERIES)
        assert made.search("kelp", k=1, pipeline=pipeline).ids == ["new"]
        made.delete(["new"])
        assert "new" not in made.search("kelp", k=60, pipeline=pipeline).ids
        made.merge()
        before = made.search("kelp", k=60, pipeline=pipeline)
        assert made.check().ok
    with cm.Collection.open(tmp_path / "c.cm", read_only=True) as again:
        after = again.search("kelp", k=60, pipeline=pipeline)
        assert (after.ids, [h.score for h in after]) == (before.ids, [h.score for h in before])
        assert again.describe()["indexes"]["anchors"]["calls"] == 60 * len(QUERIES)


def test_it_travels_as_json(tmp_path: Path) -> None:
    scorer = WordScorer()
    with collection(tmp_path / "c.cm", scorer) as made:
        pipeline = cm.Pipeline([CUR(scorer, method="adacur", budget=15), "bm25"], fuse=cm.RRF())
        value = pipeline.as_json()
        assert value["retrieve"][0] == {
            "kind": "cur", "scorer": {"kind": "word_scorer"}, "method": "adacur", "budget": 15
        }  # fmt: skip
        assert made.search("eel", pipeline=value).ids == made.search("eel", pipeline=pipeline).ids
        with pytest.raises(cm.InputError, match="scorer"):
            made.search("eel", pipeline={"retrieve": [{"kind": "cur"}]})


def test_a_budget_above_the_collection_is_brute_force(tmp_path: Path) -> None:
    scorer = WordScorer()
    with collection(tmp_path / "c.cm", scorer, n=30) as made:
        result = made.search("tide kelp", k=30, pipeline=cm.Pipeline([CUR(scorer, budget=999)]))
        assert [hit.score for hit in result] == brute_force("tide kelp", 30)


def test_hits_beyond_the_budget_are_estimates_and_say_so(tmp_path: Path) -> None:
    scorer = WordScorer()
    with collection(tmp_path / "c.cm", scorer) as made:
        pipeline = cm.Pipeline([CUR(scorer, budget=7)])
        result = made.search("reed", k=20, pipeline=pipeline, explain=True)
        assert len(result) == 20
        exact = [hit.explanation["cur"]["exact"] for hit in result]
        assert exact == [True] * 7 + [False] * 13
        scores = [hit.score for hit in result]
        assert scores == sorted(scores, reverse=True)


def test_axn_goes_without_anchors_and_the_others_say_what_is_missing(tmp_path: Path) -> None:
    scorer = WordScorer()
    with cm.Collection.create(tmp_path / "c.cm", {"bm25": cm.BM25()}) as made:
        made.add(documents(40))
        result = made.search("eel", k=3, pipeline=cm.Pipeline([CUR(scorer, budget=15)]))
        assert len(result) == 3
        with pytest.raises(cm.InputError, match="add_index"):
            made.search("eel", pipeline=cm.Pipeline([CUR(scorer, method="adacur")]))
        with pytest.raises(cm.InputError, match="there is no index 'sparse'"):
            made.search("eel", pipeline=cm.Pipeline([CUR(scorer, first=("sparse",))]))
    with pytest.raises(cm.InputError, match="anchor queries"):
        CUR(scorer, method="anncur", anchors=None)


def test_it_is_fused_with_an_index_and_reranks_like_one(tmp_path: Path) -> None:
    scorer = WordScorer()
    with collection(tmp_path / "c.cm", scorer) as made:
        cur = CUR(scorer, budget=20)
        scorer.calls.clear()
        result = made.search("eel mist", k=5, pipeline=cm.Pipeline([cur, "bm25"], fuse=cm.RRF()))
        assert len(result) == 5
        assert len(scorer.calls) == 20


def test_a_pool_smaller_than_the_collection_is_flagged(tmp_path: Path) -> None:
    scorer = WordScorer()
    with collection(tmp_path / "c.cm", scorer) as made:
        pipeline = cm.Pipeline([CUR(scorer, budget=10, pool=25)])
        result = made.search("eel", k=60, pipeline=pipeline)
        assert len(result) == 25
        assert any("the first 25 of 60 rows" in flag for flag in result.flags)


def test_time_that_runs_out_is_flagged_beside_other_flags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = WordScorer()
    with collection(tmp_path / "c.cm", scorer) as made:
        slow = WordScorer("slow")
        scored = WordScorer.score_pairs

        def slowly(self: WordScorer, pairs: list[tuple[str, str]]) -> np.ndarray:
            time.sleep(0.3)
            return scored(self, pairs)

        monkeypatch.setattr(WordScorer, "score_pairs", slowly)
        pipeline = cm.Pipeline([CUR(slow, budget=20, pool=25)])
        result = made.search("eel", k=3, pipeline=pipeline, timeout_ms=250, partial=True)
        assert any("the first 25 of 60 rows" in flag for flag in result.flags)
        assert any(f"time ran out after {len(slow.calls)} of 20" in flag for flag in result.flags)
        assert 0 < len(slow.calls) < 20


def test_of_rows_with_the_same_text_one_is_scored(tmp_path: Path) -> None:
    scorer = WordScorer("copies")
    with cm.Collection.create(tmp_path / "c.cm", {"bm25": cm.BM25()}) as made:
        made.add(cm.Document(f"d{number}", WORDS[number % 3]) for number in range(12))
        result = made.search("eel", k=12, pipeline=cm.Pipeline([CUR(scorer, budget=12)]))
        assert sorted(scorer.calls) == sorted(("eel", word) for word in WORDS[:3])
        assert [hit.score for hit in result] == [1.0] * 4 + [0.0] * 8
        assert len({hit.id for hit in result}) == 12


def test_a_scorer_that_raises_half_way_raises_or_is_flagged(tmp_path: Path) -> None:
    scorer = WordScorer()
    with collection(tmp_path / "c.cm", scorer) as made:
        faulty = WordScorer("faulty", fail_after=5)
        with pytest.raises(RuntimeError, match="the scorer broke"):
            made.search("eel", pipeline=cm.Pipeline([CUR(faulty, budget=20)]))
        faulty.calls.clear()
        pipeline = cm.Pipeline([CUR(faulty, budget=20, on_error="keep")])
        result = made.search("eel", k=3, pipeline=pipeline)
        assert len(result) == 3
        assert any("failed half-way: RuntimeError: the scorer broke" in f for f in result.flags)


def test_nan_in_a_search_is_flagged_and_in_anchors_refused(tmp_path: Path) -> None:
    scorer = WordScorer()
    with collection(tmp_path / "c.cm", scorer) as made:
        best = made.search("gull", k=1, pipeline=cm.Pipeline([CUR(scorer, budget=60)]))[0]
        sick = WordScorer("sick", nan_for=best.text)
        result = made.search("gull", k=60, pipeline=cm.Pipeline([CUR(sick, budget=60)]))
        assert best.id not in result.ids
        assert any("no finite score" in flag for flag in result.flags)
    settings = Anchors(WordScorer("sick", nan_for="eel"), ("a query",))
    with (
        cm.Collection.create(tmp_path / "n.cm", {"anchors": settings}) as made,
        pytest.raises(cm.CormorantError, match="'bad'"),
    ):
        made.add([cm.Document(id="bad", text="eel")])


def test_anchors_answer_no_query_by_themselves(tmp_path: Path) -> None:
    scorer = WordScorer()
    with (
        collection(tmp_path / "c.cm", scorer, n=3) as made,
        pytest.raises(cm.InputError, match="name it in CUR"),
    ):
        made.search("eel", pipeline="anchors")


@pytest.mark.parametrize("method", ["anncur", "adacur", "axn"])
def test_rows_without_anchor_scores_are_left_out_be_it_all_of_them(
    tmp_path: Path, method: str
) -> None:
    scorer = WordScorer()
    with cm.Collection.create(tmp_path / "c.cm", {"bm25": cm.BM25()}) as made:
        made.add(documents(40))
        made._writer.stop_background()
        made.add_index("anchors", Anchors(scorer, QUERIES), index="later")
        pipeline = cm.Pipeline([CUR(scorer, method=method, budget=10)])
        for result in made.search_batch(["eel", "gull"], k=5, pipeline=pipeline):
            assert result.ids == []
            assert any("40 rows have no anchor scores yet" in flag for flag in result.flags)
        made.add([cm.Document(id="new", text="eel", metadata={"odd": 2})])
        result = made.search("eel", k=50, pipeline=pipeline)
        assert result.ids == ["new"]
        result = made.search("eel", k=5, pipeline=pipeline, filter={"odd": 1})
        assert result.ids == []
        assert any("20 rows have no anchor scores yet" in flag for flag in result.flags)


def test_an_empty_collection_and_one_document(tmp_path: Path) -> None:
    scorer = WordScorer()
    with collection(tmp_path / "c.cm", scorer, n=0) as made:
        pipeline = cm.Pipeline([CUR(scorer, budget=10)])
        assert made.search("eel", pipeline=pipeline).ids == []
        made.add(documents(1))
        assert made.search("eel", pipeline=pipeline).ids == ["d000"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("budget", 0), ("budget", True), ("rounds", 0), ("pool", 0), ("first_share", 0.0),
        ("first_share", "half"), ("method", "cur"), ("on_error", "hide"), ("seed", -1),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense(field: str, value: object) -> None:
    with pytest.raises(cm.InputError, match=field):
        CUR(WordScorer(), **{field: value})  # type: ignore[arg-type]
    with pytest.raises(cm.InputError, match="scorer"):
        CUR("a name")  # type: ignore[arg-type]
    with pytest.raises(cm.InputError, match="queries"):
        Anchors(WordScorer(), ())
