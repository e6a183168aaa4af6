"""Stages of reranking: depth, budget, what a failure does, and what an explanation says of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import ToyShortest, use

import cormorant as cm
from cormorant.errors import CorruptionError
from cormorant.rankers.table import RANKERS
from cormorant.ranking import Ranking
from cormorant.retrieval.pipeline import pipeline_from_json
from cormorant.retrieval.stages import with_rest
from cormorant.stages import Budget, Candidates

TEXTS = {"d1": "a" * 9, "d2": "a" * 7, "d3": "a" * 5, "d4": "a" * 3, "d5": "a"}


@dataclass(frozen=True, slots=True)
class Scripted:
    """Gives the scores it was made with, in the order of the candidates' ids; or fails."""

    kind: ClassVar[str] = "scripted"
    budgets: ClassVar[list[Budget]] = []
    scores: tuple[float, ...] = ()
    fails: str = ""
    depth: int = 10

    def rank(self, candidates: Sequence[Candidates], budget: Budget) -> Ranking:
        Scripted.budgets.append(budget)
        errors = {"runtime": RuntimeError("the model fell over"), "input": cm.InputError("wrong")}
        errors["damage"] = CorruptionError("file", "is damaged")
        if self.fails in errors:
            raise errors[self.fails]
        rows, scores = [], []
        for item in candidates:
            by_id = np.argsort([chunk.id for chunk in item.chunks])
            given = np.full(len(item.rows), -np.inf, np.float32)
            given[by_id[: len(self.scores)]] = self.scores[: len(item.rows)]
            order = np.argsort(-given, kind="stable")
            rows.append(item.rows[order])
            scores.append(given[order])
        if self.fails == "drops":
            rows, scores = [row[:-1] for row in rows], [score[:-1] for score in scores]
        if self.fails == "invents":
            rows[0][0] = 999
        if self.fails == "contradicts":
            rows = [row[::-1] for row in rows]
            scores = [score[::-1] for score in scores]
        if self.fails == "one query":
            rows, scores = rows[:1], scores[:1]
        return Ranking(np.stack(rows), np.stack(scores))


@pytest.fixture
def letters(home: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> cm.Collection:
    use(monkeypatch)
    monkeypatch.setitem(RANKERS, "scripted", f"{__name__}:Scripted")
    monkeypatch.setattr(Scripted, "budgets", [])
    from toys import Toy

    with home.create(tmp_path / "letters.cm", {"toy": Toy()}) as collection:
        collection.add([cm.Document(id=name, text=text) for name, text in TEXTS.items()])
        yield collection


def reranked(*stages: Any) -> cm.Pipeline:
    return cm.Pipeline(["toy"], rerank=stages)


def test_a_chain_of_stages_each_sees_the_head_of_the_order_before_it(letters):
    one = Scripted((1.0, 2.0, 3.0, 4.0, 5.0))
    assert letters.search("a", pipeline=reranked(one)).ids == ["d5", "d4", "d3", "d2", "d1"]
    two = Scripted((9.0, 8.0), depth=2)  # d4 and d5 stand first: the lower id gets 9
    result = letters.search("a", pipeline=reranked(one, two))
    assert result.ids == ["d4", "d5", "d3", "d2", "d1"]
    assert result.scores == sorted(result.scores, reverse=True)


def test_an_explanation_says_what_each_stage_made_of_a_hit(letters):
    stages = Scripted((1.0, 2.0, 3.0), depth=3), ToyShortest(depth=2)
    result = letters.search("a", pipeline=reranked(*stages), explain=True)
    told = {hit.id: hit.explanation["rerank"] for hit in result}
    assert told["d3"] == [
        {"kind": "scripted", "rank": 1, "score": 3.0},
        {"kind": "toy-shortest", "rank": 1, "score": -5.0},
    ]
    assert told["d1"] == [
        {"kind": "scripted", "rank": 3, "score": 1.0},
        {"kind": "toy-shortest", "rank": None, "score": None},
    ]
    assert told["d5"][0] == {"kind": "scripted", "rank": None, "score": None}
    assert result[0].explanation["toy"]["rank"] == 3


@pytest.mark.parametrize("fails", ["runtime", "drops", "invents", "contradicts", "nan", "inf"])
def test_a_failing_stage_raises_or_keeps_the_order_and_says_so(letters, fails):
    scores = {"nan": (1.0, float("nan")), "inf": (float("inf"), 1.0)}.get(fails, (1.0, 2.0, 3.0))
    stage = Scripted(scores, fails)
    with pytest.raises((RuntimeError, cm.CormorantError)):
        letters.search("a", pipeline=reranked(stage))
    kept = letters.search("a", pipeline=reranked(cm.Stage(stage, on_error="keep")), explain=True)
    plain = letters.search("a", pipeline="toy")
    assert (kept.ids, kept.scores) == (plain.ids, plain.scores)
    assert any("rerank.scripted failed, and the order before it was kept" in f for f in kept.flags)
    assert "rerank" not in kept[0].explanation
    after = letters.search("a", pipeline=reranked(cm.Stage(stage, "keep"), ToyShortest()))
    assert after.ids == ["d5", "d4", "d3", "d2", "d1"]  # the next stage still runs


def test_a_stage_that_forgets_a_query_is_caught(letters):
    with pytest.raises(cm.CormorantError, match="answered 1 queries of 2"):
        stage = Scripted((1.0,), "one query")
        letters.search_batch(["a", "a"], pipeline=reranked(stage))


@pytest.mark.parametrize(
    ("fails", "error"), [("input", cm.InputError), ("damage", CorruptionError)]
)
def test_no_order_is_kept_over_wrong_settings_or_a_damaged_file(letters, fails, error):
    with pytest.raises(error):
        letters.search("a", pipeline=reranked(cm.Stage(Scripted((), fails), "keep")))


def test_a_stage_has_the_lesser_of_its_budget_and_the_searchs(letters):
    letters.search("a", pipeline=reranked(cm.Stage(Scripted(), budget=Budget(calls=3))))
    letters.search("a", pipeline=reranked(Scripted()), timeout_ms=60_000)
    short = cm.Stage(Scripted(), budget=Budget(milliseconds=5.0, tokens=7))
    letters.search("a", pipeline=reranked(short), timeout_ms=60_000)
    first, second, third = Scripted.budgets
    assert first == Budget(calls=3)
    assert second.milliseconds is not None and 0 < second.milliseconds <= 60_000
    assert third == Budget(None, 7, 5.0)


def test_rows_without_a_score_keep_their_order_below_the_others(letters):
    result = letters.search("a", pipeline=reranked(Scripted((0.0, 0.0, 5.0))))
    assert result.ids == ["d3", "d1", "d2", "d4", "d5"]
    assert result.scores == sorted(result.scores, reverse=True)
    assert np.isfinite(result.scores).all()


def test_no_candidates_and_one(letters):
    assert letters.search("z", pipeline=reranked(ToyShortest())).ids == []
    assert letters.search("a", 1, pipeline=reranked(ToyShortest(depth=1))).ids == ["d1"]
    assert len(letters.search("a", 100, pipeline=reranked(ToyShortest(depth=100)))) == 5


def test_the_rest_is_below_a_score_next_to_nothing():
    head = Ranking(np.array([[0]]), np.array([[-1.75e-30]], np.float32))
    whole = with_rest(head, Ranking(np.array([[0, 1]]), np.ones((1, 2), np.float32)))
    assert whole.scores[0, 1] < whole.scores[0, 0]


@given(st.data())
def test_the_rest_follows_the_head_in_its_order(data):
    n, depth = data.draw(st.integers(1, 8)), data.draw(st.integers(1, 8))
    numbers = st.floats(-100, 100, width=32)
    before = np.sort(np.array([data.draw(numbers) for _ in range(n)], np.float32))[::-1]
    ranking = Ranking(np.arange(n)[None], before[None])
    head = data.draw(st.permutations(range(min(n, depth))))
    scores = sorted((data.draw(numbers) for _ in head), reverse=True)
    unscored = data.draw(st.integers(0, len(scores)))
    given = np.array([*scores[: len(scores) - unscored], *[-np.inf] * unscored], np.float32)
    whole = with_rest(Ranking(np.array(head)[None], given[None]), ranking)
    assert whole.rows[0].tolist() == [*head, *range(len(head), n)]
    assert np.isfinite(whole.scores).all()
    assert np.all(whole.scores[0, 1:] <= whole.scores[0, :-1])
    places = len(scores) - unscored
    assert whole.scores[0, :places].tolist() == given[:places].tolist()
    assert np.all(np.diff(whole.scores[0, max(0, places - 1) : len(head) + 1]) < 0) or places == n


def test_scores_before_a_stage_have_their_share(letters):
    """Before: d1 to d5, 9, 7, 5, 3 and 1; the stage: 0, 10, 5, 20 and 10, each from 0 to 1."""
    given = Scripted((0.0, 10.0, 5.0, 20.0, 10.0))

    def found(weight: float, **how: Any) -> tuple[list[str], list[float]]:
        result = letters.search("a", pipeline=reranked(cm.Stage(given, prior_weight=weight)), **how)
        return result.ids, pytest.approx(result.scores, abs=1e-6)

    before, own = [1.0, 0.75, 0.5, 0.25, 0.0], [0.0, 0.5, 0.25, 1.0, 0.5]
    for weight in (0.25, 0.5, 0.9):
        sums = [weight * one + (1 - weight) * other for one, other in zip(before, own, strict=True)]
        order = np.argsort(-np.array(sums), kind="stable").tolist()
        wanted = [f"d{place + 1}" for place in order], [sums[place] for place in order]
        assert found(weight) == wanted
        assert found(weight, k=2) == tuple(own[:2] for own in wanted)
    assert found(1)[0] == ["d1", "d2", "d3", "d4", "d5"]
    plain = letters.search("a", pipeline=reranked(given))
    assert found(0) == (plain.ids, plain.scores)


def test_what_a_stage_did_not_score_stays_behind_whatever_it_had_before(letters):
    stage = cm.Stage(Scripted((1.0, 2.0)), prior_weight=0.9)  # d1 and d2 only
    result = letters.search("a", pipeline=reranked(stage), explain=True)
    assert result.ids == ["d1", "d2", "d3", "d4", "d5"]
    backwards = cm.Stage(Scripted((1.0, 2.0)), prior_weight=0.1)
    assert letters.search("a", pipeline=reranked(ToyShortest(), backwards)).ids == [
        *["d2", "d1"],
        *["d5", "d4", "d3"],
    ]
    assert result.scores == sorted(result.scores, reverse=True)


def test_a_stage_travels_as_json(letters):
    stage = cm.Stage(Scripted((1.0, 2.0)), "keep", Budget(calls=5), prior_weight=0.25)
    pipeline = reranked(stage, ToyShortest())
    value = json.loads(json.dumps(pipeline.as_json()))
    assert value["rerank"] == [
        {
            "stage": {"kind": "scripted", "scores": [1.0, 2.0]},
            "on_error": "keep",
            "budget": {"calls": 5},
            "prior_weight": 0.25,
        },
        {"kind": "toy-shortest"},
    ]
    assert pipeline_from_json(value) == pipeline
    assert letters.search("a", pipeline=value).ids == letters.search("a", pipeline=pipeline).ids


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"stage": {"kind": "toy-shortest"}, "on_eror": "keep"}, "on_eror"),
        ({"stage": {"kind": "toy-shortest"}, "on_error": "ignore"}, "raise, keep"),
        ({"stage": {"kind": "toy-shortest"}, "budget": 5}, "calls, milliseconds, tokens"),
        ({"stage": {"kind": "toy-shortest"}, "budget": {"calls": -1}}, "at least 0"),
        ({"stage": {"kind": "toy-shortest"}, "budget": {"calls": 1.5}}, "at least 0"),
        ({"stage": {"kind": "toy-shortest"}, "prior_weight": 1.5}, "from 0 to 1"),
        ({"stage": {"kind": "toy-shortest"}, "prior_weight": None}, "from 0 to 1"),
        ({"stage": {"stage": {"kind": "toy-shortest"}}}, "JSON object"),
        ({"stage": "nothing"}, "there is no rerank stage"),
        ({"kind": "listwise", "language_model": None}, "language_model"),
    ],
)
def test_a_wrong_stage_says_why(letters, value, message):
    with pytest.raises(cm.InputError, match=message):
        pipeline_from_json({"retrieve": ["toy"], "rerank": [value]})


def test_a_field_that_may_be_none_is_null_in_json(letters):
    stage = {"kind": "cascade", "cheap": None, "expensive": {"kind": "toy-shortest"}}
    pipeline = pipeline_from_json({"retrieve": ["toy"], "rerank": [stage]})
    assert pipeline.rerank == (cm.Cascade(expensive=ToyShortest()),)


def test_what_is_no_ranker_is_refused():
    with pytest.raises(cm.InputError, match="is a ranker"):
        cm.Pipeline(["toy"], rerank=["shortest"])
    with pytest.raises(cm.InputError, match="is a ranker"):
        cm.Stage(cm.Stage(ToyShortest()))
