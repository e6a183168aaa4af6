"""What a rewriting of queries may spend, what became of it, and what a failure does."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

import cormorant as cm
from cormorant.errors import DeadlineError, UnreachableError
from cormorant.rankers.rewriting import Rewrites
from cormorant.rankers.table import LANGUAGE_MODELS
from cormorant.retrieval.deadline import Deadline
from cormorant.retrieval.pipeline import pipeline_from_json
from cormorant.retrieval.reformulating import reformulated
from cormorant.stages import Budget, Completion


@dataclass(frozen=True)
class Model:
    """Answers ``reed``, after a while; fails where the prompt holds a word."""

    kind: ClassVar[str] = "rewriting-model"
    seconds_per_call: float = 0.0
    fails_at: str = "nothing of that kind"
    error: Callable[[str], Exception] = cm.ServiceError
    prompts: list[str] = field(default_factory=list, compare=False)

    def complete(self, prompt: str, max_tokens: int) -> Completion:
        self.prompts.append(prompt)
        time.sleep(self.seconds_per_call)
        if self.fails_at in prompt:
            raise self.error("the endpoint is down")
        return Completion("reed", 10, 2, retries=1)

    def count_tokens(self, text: str) -> int:
        return 2 if text == "reed" else 100


@dataclass(frozen=True)
class Stumbling(Model):
    """Answers at the second attempt, if it is let."""

    def complete(self, prompt: str, max_tokens: int, *, sleep: Any = time.sleep) -> Completion:
        if sleep(0.001):
            raise cm.ServiceError("no other attempt")
        return Completion("reed", 10, 2, retries=1)


@dataclass(frozen=True)
class Patient(Model):
    """Waits for an endpoint that never answers; notes what it was told."""

    told: list[Any] = field(default_factory=list, compare=False)

    def complete(
        self, prompt: str, max_tokens: int, *, seconds: float | None = None, sleep: Any = time.sleep
    ) -> Completion:
        self.told.append((seconds, sleep))
        if sleep(5.0 if seconds is None else seconds):
            raise UnreachableError("broken off")
        raise UnreachableError("no answer in time")


def test_no_question_is_begun_when_the_time_is_over():
    """A search of 300 ms took 4 s, and made all 30 calls."""
    model = Model(0.2)
    stage = cm.GenQREnsemble(model, concurrency=2)
    assert isinstance(stage, Rewrites)
    made = stage.rewrite(["marsh", "pond", "field"], Budget(milliseconds=100.0))
    assert len(model.prompts) == 2
    assert made.queries == [["marsh marsh marsh marsh marsh reed"], ["pond"], ["field"]]
    assert [(one.calls, one.unasked) for one in made.records] == [(2, 8), (0, 10), (0, 10)]
    assert made.flags == (
        "genqr_ensemble: the budget of time ran out for 3 queries; 28 questions were not answered",
    )


def test_a_model_is_told_what_is_left_and_what_breaks_its_waits_off():
    model = Patient()
    stage = cm.GenQREnsemble(model, instructions=1)
    cancelled = Event()
    made = stage.rewrite(["marsh"], Budget(milliseconds=100.0, cancelled=cancelled))
    (seconds, sleep), *_ = model.told
    assert 0 < seconds <= 0.1
    # What broke off for want of time is no failure of the model's.
    assert made.queries == [["marsh"]]
    assert made.records[0].ran_out == "time"
    assert not sleep(0.001)
    cancelled.set()
    assert sleep(5.0)
    assert stage.rewrite(["marsh"], Budget(cancelled=cancelled)).queries == [["marsh"]]
    assert len(model.told) == 1


@pytest.mark.parametrize(
    ("budget", "asked", "out"),
    [(Budget(calls=3), 3, "calls"), (Budget(tokens=506), 4, "tokens"), (Budget(), 10, None)],
)
def test_calls_and_tokens_are_each_query_s_own(budget, asked, out):
    made = cm.GenQRFusion(Model(), concurrency=1).rewrite(["marsh", "pond"], budget)
    for record in made.records:
        assert (record.calls, record.unasked, record.ran_out) == (asked, 10 - asked, out)
        assert (record.prompt_tokens, record.completion_tokens) == (10 * asked, 2 * asked)
        assert (record.tokens, record.retries, record.reserved) == (12 * asked, asked, 0)
    assert made.queries == [["marsh reed"], ["pond reed"]]
    assert len(made.flags) == (out is not None)


def test_an_attempt_more_is_a_call_more():
    stage = cm.GenQREnsemble(Stumbling(), concurrency=1, on_error="keep")
    made = stage.rewrite(["marsh"], Budget(calls=20))
    assert (made.records[0].calls, made.records[0].retries, made.flags) == (20, 10, ())
    made = stage.rewrite(["marsh"], Budget(calls=3))
    assert made.queries == [["marsh"]]
    assert (made.records[0].calls, made.records[0].ran_out) == (3, "calls")


@pytest.mark.parametrize("stage", [cm.GenQREnsemble, cm.GenQRFusion])
def test_a_failure_is_raised_or_leaves_its_query_as_it_was(stage):
    """One failure ended a whole batch."""
    model = Model(fails_at="pond")
    with pytest.raises(cm.ServiceError, match="down"):
        stage(model).reformulate(["marsh", "pond"])
    made = stage(model, on_error="keep", concurrency=1).rewrite(["marsh", "pond"], Budget())
    assert made.queries[0][0].endswith("marsh reed")
    assert made.queries[1] == ["pond"]
    assert made.flags == (f"{stage.kind}: 1 queries stayed as they were: the endpoint is down",)
    assert [one.calls for one in made.records] == [10, 1]  # nothing more is asked about it
    wrong = Model(fails_at="pond", error=cm.InputError)
    with pytest.raises(cm.InputError):
        stage(wrong, on_error="keep").reformulate(["marsh", "pond"])


def test_a_reformulation_has_the_time_of_its_search():
    model = Model(0.1)
    search: Any = SimpleNamespace(deadline=Deadline(50, partial=True), flags=[])
    stage = cm.GenQREnsemble(model, concurrency=1)
    assert reformulated(stage, ["marsh"], search) == [["marsh marsh marsh marsh marsh reed"]]
    assert len(model.prompts) == 1
    assert len(search.flags) == 1


@pytest.fixture
def birds(tmp_path: Path) -> Any:
    with cm.Collection.create(tmp_path / "b.cm", {"bm25": cm.BM25(language="none")}) as made:
        made.add([cm.Document(id="rail", text="rail marsh"), cm.Document(id="reed", text="reed")])
        yield made


@pytest.mark.parametrize("fuse", [None, cm.RRF()])
def test_feedback_for_which_the_time_was_too_short_leaves_the_first_answer(birds, fuse):
    model = Model(0.2)
    stage = cm.GenQRFeedback(model, fuse=fuse, concurrency=1)
    pipeline = cm.Pipeline("bm25", feedback=stage)
    assert set(birds.search("marsh", pipeline=pipeline).ids) == {"rail", "reed"}
    model.prompts.clear()
    birds.search("marsh", pipeline="bm25")
    result = birds.search("marsh", pipeline=pipeline, timeout_ms=150, partial=True)
    assert result.ids == ["rail"]
    assert [flag.partition(" ran out")[0] for flag in result.flags] == [
        "genqr_feedback: the budget of time",
        "150 ms were over before the second retrieval, which was left out",
    ]
    assert len(model.prompts) == 1
    with pytest.raises(DeadlineError):
        birds.search("marsh", pipeline=pipeline, timeout_ms=150)


def test_a_rewriting_has_half_of_the_time(birds):
    model = Patient()
    pipeline = cm.Pipeline("bm25", reformulate=cm.GenQREnsemble(model, 1, on_error="keep"))
    birds.search("marsh", pipeline=pipeline, timeout_ms=400, partial=True)
    ((seconds, _),) = model.told
    assert 0 < seconds <= 0.2


@pytest.mark.parametrize("kind", [cm.GenQREnsemble, cm.GenQRFusion])
def test_a_search_that_reformulates_ends_in_its_time(birds, kind):
    model = Model(0.2)
    pipeline = cm.Pipeline("bm25", reformulate=kind(model, concurrency=1))
    result = birds.search("marsh", pipeline=pipeline, timeout_ms=150, partial=True)
    assert len(model.prompts) == 1
    assert f"{kind.kind}: the budget of time ran out for 1 queries" in result.flags[0]
    with pytest.raises(DeadlineError):
        birds.search("marsh", pipeline=pipeline, timeout_ms=150)


def test_feedback_of_a_model_that_fails_leaves_the_first_answer(birds, monkeypatch):
    monkeypatch.setitem(LANGUAGE_MODELS, "rewriting-model", f"{__name__}:Model")
    pipeline = cm.Pipeline(
        "bm25", feedback=cm.GenQRFeedback(Model(fails_at="pond"), on_error="keep")
    )
    marsh, pond = birds.search_batch(["marsh", "marsh pond"], pipeline=pipeline)
    assert set(marsh.ids) == {"rail", "reed"}
    assert pond.ids == ["rail"]
    assert any("genqr_feedback: 1 queries stayed as they were" in flag for flag in pond.flags)


def test_what_a_failure_does_travels_and_is_checked(monkeypatch):
    monkeypatch.setitem(LANGUAGE_MODELS, "rewriting-settings", f"{__name__}:Settings")
    stage = cm.GenQREnsemble(Settings(), on_error="keep")
    pipeline = cm.Pipeline("bm25", reformulate=stage)
    value = json.loads(json.dumps(pipeline.as_json()))
    assert value["reformulate"]["on_error"] == "keep"
    assert pipeline_from_json(value) == pipeline
    with pytest.raises(cm.InputError, match="raise, keep") as caught:
        cm.GenQRFeedback(Settings(), on_error="ignore")
    assert caught.value.field == "on_error"


@dataclass(frozen=True, slots=True)
class Settings:
    """A model that is only named."""

    kind: ClassVar[str] = "rewriting-settings"

    def complete(self, prompt: str, max_tokens: int) -> Completion:
        raise AssertionError("nobody asks it")
