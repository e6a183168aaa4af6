"""Cascades: who is deferred, what it costs, and how settings travel."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from language_models import Scripted
from toys import ToyShortest, use

import cormorant as cm
from cormorant.documents import Chunk
from cormorant.eval.tuning import margin_for_cost
from cormorant.rankers.cascade import confidences
from cormorant.rankers.table import RANKERS
from cormorant.ranking import Ranking
from cormorant.stages import Budget, Candidates
from cormorant.tagged import from_json, to_json


class Counting:
    """Turns the order round; counts whom it was asked about."""

    kind = "counting"

    def __init__(self, depth: int = 10) -> None:
        self.depth = depth
        self.asked: list[str] = []
        self.budgets: list[Budget] = []

    def rank(self, candidates: list[Candidates], budget: Budget) -> Ranking:
        self.asked += [item.query for item in candidates]
        self.budgets.append(budget)
        width = max((len(item.rows) for item in candidates), default=0)
        ranked = Ranking.empty(len(candidates), width)
        for number, item in enumerate(candidates):
            ranked.rows[number, : len(item.rows)] = item.rows[::-1]
            ranked.scores[number, : len(item.rows)] = np.arange(len(item.rows), 0, -1)
        return ranked


def candidates_of(query: str, *scores: float) -> Candidates:
    rows = np.arange(len(scores))
    values = np.array(scores, np.float32)
    chunks = [Chunk(n, n, str(n), "", "x" * (n + 1)) for n in rows.tolist()]
    return Candidates(query, rows, values, chunks, lambda index: values)


SURE = candidates_of("sure", 10.0, 2.0, 1.0)
UNSURE = candidates_of("unsure", 10.0, 9.9, 1.0)


def test_only_unsure_queries_are_deferred():
    expensive = Counting()
    ranked = cm.Cascade(expensive, margin=0.5).rank([SURE, UNSURE], Budget())
    assert expensive.asked == ["unsure"]
    assert ranked.rows.tolist() == [[0, 1, 2], [2, 1, 0]]
    assert ranked.scores.tolist() == [[10.0, 2.0, 1.0], [3.0, 2.0, 1.0]]
    assert ranked.flags == ("1 of 2 queries were deferred to counting",)


def test_the_cheap_ranker_says_how_sure_it_is():
    expensive, cheap = Counting(), ToyShortest()
    ranked = cm.Cascade(expensive, cheap, margin=0.4).rank([SURE, UNSURE], Budget())
    # By length: -1, -2, -3, so a margin of half the span for both.
    assert expensive.asked == []
    assert ranked.rows.tolist() == [[0, 1, 2]] * 2


def test_two_rankers_do_not_spend_a_budget_twice():
    cheap, expensive = Counting(), Counting()
    given = Budget(calls=7, tokens=100, milliseconds=1000.0)
    cm.Cascade(expensive, cheap, margin=1.0).rank([UNSURE], given)
    (first,), (second,) = cheap.budgets, expensive.budgets
    assert (first.calls, second.calls) == (3, 4)
    assert first.tokens + second.tokens == 100
    assert second.milliseconds < first.milliseconds <= 1000.0
    alone = Counting()
    cm.Cascade(alone, margin=1.0).rank([UNSURE], given)
    assert (alone.budgets[0].calls, alone.budgets[0].tokens) == (7, 100)


@pytest.mark.parametrize(("margin", "asked"), [(0.0, []), (1.0, ["sure", "unsure"])])
def test_never_and_always(margin, asked):
    expensive = Counting()
    cm.Cascade(expensive, margin=margin).rank([SURE, UNSURE], Budget())
    assert expensive.asked == asked


def test_one_candidate_or_none_is_sure_and_a_tie_is_not():
    lists = [candidates_of("none"), candidates_of("one", 1.0), candidates_of("tie", 1.0, 1.0)]
    expensive = Counting()
    ranked = cm.Cascade(expensive, margin=0.01).rank(lists, Budget())
    assert expensive.asked == ["tie"]
    assert ranked.rows.tolist() == [[-1, -1], [0, -1], [1, 0]]


def test_margins_are_found_for_a_cost():
    ranking = Ranking(
        np.tile(np.arange(3), (4, 1)),
        np.array([[4, 3, 0], [4, 2, 0], [4, 1, 0], [4, 0, 0]], np.float32),
    )
    sure = confidences(ranking, 1)
    assert sure.tolist() == [0.25, 0.5, 0.75, 1.0]
    for share, deferred in ((0.0, 0), (0.25, 1), (0.5, 2), (0.6, 2), (1.0, 3)):
        assert np.count_nonzero(sure < margin_for_cost(sure, share)) == deferred
    with pytest.raises(cm.InputError):
        margin_for_cost(sure, 1.5)


def test_ranks_do_not_say_how_sure_a_ranker_is():
    """A listwise ``cheap`` deferred every query of 12 candidates and none of 10, sure or not."""
    listwise = cm.Listwise(Scripted())
    for cheap in (listwise, cm.Cascade(listwise, ToyShortest(100))):
        with pytest.raises(cm.InputError, match="how sure") as caught:
            cm.Cascade(ToyShortest(), cheap)
        assert caught.value.field == "cheap"
    ranked = cm.Cascade(listwise, ToyShortest(100), margin=1.0).rank([UNSURE], Budget())
    assert "deferred to listwise" in ranked.flags[-1]


def test_it_is_a_stage_of_a_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    use(monkeypatch)
    with cm.Collection.create(tmp_path / "c.cm") as collection:
        collection.add([cm.Document(id=n * "x", text="fish " + n * "y ") for n in (3, 2, 1)])
        pipeline = cm.Pipeline(["bm25"], rerank=[cm.Cascade(ToyShortest(), margin=1.0)])
        value = json.loads(json.dumps(pipeline.as_json()))
        result = collection.search("fish", pipeline=value)
        assert result.ids == ["x", "xx", "xxx"]
        assert any("deferred to toy-shortest" in flag for flag in result.flags)


def test_settings_travel_and_are_checked(monkeypatch):
    use(monkeypatch)
    stage = cm.Cascade(ToyShortest(5), ToyShortest(9), margin=0.3, at=2)
    value = json.loads(json.dumps(to_json(stage)))
    assert from_json(RANKERS, value, "rerank stage") == stage
    for make, field in (
        (lambda: cm.Cascade("nothing"), "expensive"),
        (lambda: cm.Cascade(ToyShortest(), 3), "cheap"),
        (lambda: cm.Cascade(ToyShortest(9), ToyShortest(5)), "cheap"),
        (lambda: cm.Cascade(ToyShortest(), margin=2.0), "margin"),
        (lambda: cm.Cascade(ToyShortest(), at=0), "at"),
    ):
        with pytest.raises(cm.InputError) as caught:
            make()
        assert caught.value.field == field
