"""What cannot be answered, or not to the end: bad input, endpoints that fail, readers that go."""

from __future__ import annotations

import time
from pathlib import Path
from threading import Thread, Timer
from typing import Any

import pytest
from bird_answers import GOOD, QUESTION, Serve, text_of
from endpoints import Step, passages

import cormorant as cm
from cormorant.answers import NOT_FOUND, AnswerEvent
from cormorant.errors import (
    DeadlineError,
    ModelNotFoundError,
    ServiceError,
    UnreachableError,
)
from cormorant.retrieval.answering.settings import MODEL


def test_a_server_that_stalls_in_the_middle(birds: cm.Collection, serve: Serve) -> None:
    endpoint = serve(["It dives ", "up to", 30.0, " 45 metres."])
    model = cm.OpenAIModel("m", timeout_seconds=0.3)
    got, began = [], time.monotonic()
    with (
        birds.answer_stream(QUESTION, model=model) as stream,
        pytest.raises(UnreachableError, match=r"within 0\.3 s"),
    ):
        for event in stream:
            got.append(event)
    assert time.monotonic() - began < 5
    assert text_of(got) == "It dives up to"
    assert endpoint.gone.wait(5)
    assert len(endpoint.requests) == 1  # part of it was read: it is not asked again


def test_a_deadline_ends_a_stalling_answer(birds: cm.Collection, serve: Serve) -> None:
    endpoint = serve(["It dives ", 30.0, "deep."])
    began = time.monotonic()
    with pytest.raises(DeadlineError, match="400 ms"):
        birds.answer(QUESTION, timeout_ms=400)
    assert time.monotonic() - began < 5
    assert endpoint.gone.wait(5)


@pytest.mark.parametrize(
    ("steps", "error"),
    [
        (["It dives", b"data: {\n\n"], "no chat completion"),
        (["It dives", {"error": {"message": "out of memory"}}], "out of memory"),
        (["It dives", b""], "broke off"),
        (["It dives", {"choices": [{"delta": {"content": 5}}]}], "no text"),
    ],
)
def test_an_endpoint_that_breaks_in_the_middle(
    birds: cm.Collection, serve: Serve, steps: list[Step], error: str
) -> None:
    serve(steps)
    with pytest.raises(ServiceError, match=error):
        birds.answer(QUESTION)


@pytest.mark.parametrize("how", ["close", "cancel"])
def test_a_stream_that_is_closed_or_cancelled_stops_the_work(
    birds: cm.Collection, serve: Serve, how: str
) -> None:
    endpoint = serve(["It ", "dives ", 30.0, "deep ", "for fish."])
    stream = birds.answer_stream(QUESTION)
    assert [next(stream).kind for _ in range(2)] == ["hits", "text"]
    if how == "close":
        stream.close()
    else:  # while another thread waits for the next piece
        rest: list[AnswerEvent] = []
        reader = Thread(target=lambda: rest.extend(stream))
        reader.start()
        time.sleep(0.1)
        stream.cancel()
        reader.join(5)
        assert not reader.is_alive()
        assert all(event.kind == "text" for event in rest)
    assert endpoint.gone.wait(5)
    assert endpoint.sent <= 2
    assert list(stream) == []


def test_cancelling_drafts_of_speculative_rag_stops_them(
    birds: cm.Collection, serve: Serve
) -> None:
    endpoint = serve([" so.", 30.0, "\nAnswer: it dives."])
    stream = birds.answer_stream(QUESTION, mode="speculative_rag")
    assert next(stream).kind == "hits"
    Timer(0.3, stream.cancel).start()
    began = time.monotonic()
    assert list(stream) == []
    assert time.monotonic() - began < 10
    assert endpoint.gone.wait(5)
    with pytest.raises(DeadlineError):
        birds.answer(QUESTION, mode="speculative_rag", timeout_ms=300)


def test_a_stream_that_is_never_read_asks_nobody(birds: cm.Collection, serve: Serve) -> None:
    endpoint = serve(GOOD)
    birds.answer_stream(QUESTION).close()
    assert endpoint.requests == []


def test_an_empty_collection_and_no_hits_ask_no_model(
    birds: cm.Collection, tmp_path: Path, serve: Serve
) -> None:
    endpoint = serve(GOOD)
    with cm.Collection.create(tmp_path / "empty.cm") as empty:
        for answer in (empty.answer(QUESTION), birds.answer("xylophone zither")):
            assert (answer.text, answer.found, len(answer.result)) == (NOT_FOUND, False, 0)
            assert answer.flags == ("no passage was found, so no model was asked",)
            assert answer.g_nll is None
        with empty.answer_stream(QUESTION) as stream:
            assert [event.kind for event in stream] == ["hits", "text", "done"]
    assert endpoint.requests == []


def test_documents_without_text_are_no_passages(tmp_path: Path, serve: Serve) -> None:
    endpoint = serve(GOOD)
    with cm.Collection.create(tmp_path / "c.cm") as made:
        made.add([cm.Document(id="t", title="Cormorant dive", text="")])
        answer = made.answer(QUESTION)
        assert passages(endpoint.prompts[0]) == {1: "Cormorant dive: "}
        assert answer.citations[0].span == (0, 0)


def test_passages_longer_than_their_budget_lose_their_end(tmp_path: Path, serve: Serve) -> None:
    endpoint = serve(GOOD)
    with cm.Collection.create(tmp_path / "c.cm") as made:
        made.add(
            cm.Document(id=str(n), text=f"cormorant {n} " + f"word{n} " * 5000) for n in range(4)
        )
        made.add([cm.Document(id="cjk", text="cormorant 鵜" + "飼" * 20_000)])
        settings = cm.Answering(passages_tokens=400, passage_tokens=150)
        answer = made.answer("cormorant", settings=settings)
        shown = passages(endpoint.prompts[0])
        model = cm.OpenAIModel("m")
        assert all(20 < model.count_tokens(text) <= 150 for text in shown.values())
        assert sum(map(model.count_tokens, shown.values())) <= 400
        assert 2 <= len(shown) < 5
        assert any("lost their end" in flag for flag in answer.flags)
        assert any(f"of {5 - len(shown)} hits" in flag for flag in answer.flags)
        assert made.answer("鵜飼 cormorant", 1).flags


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"question": ""}, "question"),
        ({"question": " \n"}, "question"),
        ({"question": 5}, "question"),
        ({"question": "\ud800"}, "question"),
        ({"k": 0}, "k"),
        ({"model": ""}, "model"),
        ({"model": 5}, "model"),
        ({"model": {"kind": "openai"}}, "model"),
        ({"mode": "fast"}, "mode"),
        ({"settings": {"max_tokens": 5}}, "settings"),
        ({"timeout_ms": 0}, "timeout_ms"),
        ({"filter": 3}, "filter"),
        ({"pipeline": "nothing"}, None),
    ],
)
def test_what_cannot_be_asked(
    birds: cm.Collection, serve: Serve, arguments: dict[str, Any], field: str | None
) -> None:
    endpoint = serve(GOOD)
    with pytest.raises(cm.InputError) as caught:
        birds.answer(**{"question": QUESTION, **arguments})
    assert caught.value.field == field
    assert endpoint.requests == []


def test_a_model_that_is_not_named_or_not_there(
    birds: cm.Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(MODEL, raising=False)
    with pytest.raises(cm.InputError, match=MODEL):
        birds.answer(QUESTION)
    with pytest.raises(ModelNotFoundError):
        birds.answer(QUESTION, model=str(tmp_path))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("passages_tokens", 3), ("max_tokens", 0), ("max_tokens", True), ("temperature", 3.0),
        ("top_p", 0.0), ("stop", ("",)), ("min_overlap", 1.5), ("drafts", 0), ("seed", -1),
        ("temperature", "1"), ("temperature", True), ("top_p", "x"), ("stop", "e"),
        ("stop", ("\ud800",)), ("tenant", None), ("prediction", "yes"), ("normalised", 1),
        ("drafters", "passages"), ("drafters", ("passages",)),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense(field: str, value: Any) -> None:
    with pytest.raises(cm.InputError, match=field):
        cm.Answering(**{field: value})


def test_settings_travel_as_json() -> None:
    from cormorant.retrieval.answering.settings import answering_from_json
    from cormorant.tagged import to_json

    for settings in (cm.Answering(), cm.Answering(max_tokens=9, drafters=())):
        assert answering_from_json(to_json(settings)) == settings
    made = answering_from_json({"drafters": [{"kind": "passages"}], "max_tokens": 5})
    assert [drafter.kind for drafter in made.drafters or ()] == ["passages"]
