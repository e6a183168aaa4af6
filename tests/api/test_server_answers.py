"""Answers over the wire: JSON and events, keys and limits, clients that go away."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest
from endpoints import Streaming, answering_by, passages
from serving import BIRDS, Log, in_process, make_birds, on_a_port

import cormorant as cm
from cormorant.answers import NOT_FOUND, Answer, AnswerEvent
from cormorant.api.server.app import create_app
from cormorant.api.server.settings import Settings
from cormorant.errors import DeadlineError, OverloadedError, ServiceError, UnreachableError

QUESTION = "Which bird dives for fish?"
GOOD = "A black bird dives for fish [1]. It sings."
PATH = "/v1/collections/birds/answer"
EVENTS = {"accept": "text/event-stream"}
Serve = Callable[..., Streaming]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """An endpoint with this answer, which the environment names."""
    with ExitStack() as stack:

        def begin(answer: Any, *replies: Any) -> Streaming:
            call = answer if callable(answer) else lambda prompt: answer
            return stack.enter_context(answering_by(monkeypatch, call, *replies))

        yield begin


@pytest.fixture
def birds(tmp_path: Path) -> Iterator[Any]:
    path = make_birds(tmp_path / "birds.cm")
    with in_process(collections=(path,), language_models=("openai:m", "openai:n")) as client:
        yield client


@pytest.fixture
def port(tmp_path: Path) -> Iterator[str]:
    path = make_birds(tmp_path / "birds.cm")
    settings = Settings(collections=(path,), language_models=("openai:m",), warm=False, answers=2)
    with on_a_port(create_app(settings, log=Log().logger)) as url:
        yield url


def same(one: Answer, other: Answer) -> None:
    """Whether two answers differ in nothing but their times."""
    values = [answer.as_json() for answer in (one, other)]
    for value in values:
        del value["timings_ms"], value["result"]["timings_ms"], value["result"]["total_ms"]
    assert values[0] == values[1]


# -- an answer ------------------------------------------------------------------------------


def test_an_answer_is_that_of_the_process(birds: Any, serve: Serve, tmp_path: Path) -> None:
    serve(GOOD)
    answer = birds.post(PATH, json={"question": QUESTION, "k": 2, "filter": {"wings": 2}})
    assert answer.status_code == 200, answer.text
    value = answer.json()
    with cm.Collection.open(tmp_path / "birds.cm", read_only=True) as collection:
        expected = collection.answer(QUESTION, 2, model="openai:m", filter={"wings": 2}).as_json()
    for name in expected.keys() - {"timings_ms", "result"}:
        assert value[name] == json.loads(json.dumps(expected[name])), name
    assert value["result"]["hits"] == expected["result"]["hits"]
    assert 'cormorant_answers_total{ended="done"} 1.0' in birds.get("/metrics").text


def test_events_in_their_order(birds: Any, serve: Serve) -> None:
    serve(GOOD)
    answer = birds.post(PATH, json={"question": QUESTION}, headers=EVENTS)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert "x-request-id" in answer.headers
    named = [part.split("\n") for part in answer.text.strip().split("\n\n")]
    names = [lines[0].removeprefix("event: ") for lines in named]
    assert names[0] == "hits"
    assert set(names[1:-1]) == {"text"}
    assert names[-1] == "done"
    data = [json.loads(lines[1].removeprefix("data: ")) for lines in named]
    assert data[0]["hits"][0]["id"] == "c"
    assert "".join(item["text"] for item in data[1:-1]) == data[-1]["text"] == GOOD


def test_models_are_those_of_the_list(birds: Any, serve: Serve) -> None:
    endpoint = serve(GOOD)
    assert birds.get("/v1/collections/birds").json()["language_models"] == ["openai:m", "openai:n"]
    answered = birds.post(PATH, json={"question": QUESTION, "model": "openai:n"})
    assert answered.json()["model"] == "openai:n"
    assert endpoint.requests[-1]["model"] == "n"
    for model in ("openai:other", "/etc/passwd", "n", ""):
        refused = birds.post(PATH, json={"question": QUESTION, "model": model})
        assert refused.status_code == 422, refused.text
        assert (refused.json()["code"], refused.json()["field"]) == ("unknown_name", "model")
    assert len(endpoint.requests) == 1


def test_a_server_without_a_model_says_so(tmp_path: Path) -> None:
    with in_process(collections=(make_birds(tmp_path / "birds.cm"),)) as client:
        refused = client.post(PATH, json={"question": QUESTION})
        assert (refused.status_code, refused.json()["code"]) == (422, "unknown_name")
        assert "no language model; start it with --language-model" in refused.json()["detail"]
        named = client.post(PATH, json={"question": QUESTION, "model": "openai:m"})
        assert named.json()["detail"] == refused.json()["detail"]
        assert client.get("/v1/collections/birds").json()["language_models"] == []


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"settings": {"drafters": []}}, "drafters"),
        ({"settings": {"tenant": "x"}}, "tenant"),
        ({"settings": {"max_tokens": 10**6}}, "max_tokens"),
        ({"settings": {"max_tokens": 5000}}, "max_tokens"),
        ({"settings": {"passages_tokens": 20_000}}, "passages_tokens"),
        ({"settings": {"drafts": 30}}, "drafts"),
        ({"settings": {"nonsense": 1}}, "nonsense"),
        ({"mode": "fast"}, "mode"),
        ({"k": 5000}, "k"),
        ({"question": "x" * 20_000}, "question"),
        ({"question": " "}, "question"),
        ({"filter": {"$nonsense": 1}}, "$nonsense"),
        ({"pipeline": "absent"}, None),
    ],
)
def test_what_is_refused(birds: Any, serve: Serve, more: dict[str, Any], field: str | None) -> None:
    endpoint = serve(GOOD)
    for headers in ({}, EVENTS):
        refused = birds.post(PATH, json={"question": QUESTION, **more}, headers=headers)
        assert refused.status_code == 422, refused.text
        assert refused.json().get("field") == field
        assert refused.headers["content-type"] == "application/problem+json"
    assert endpoint.requests == []


def test_labels_of_the_key_are_respected(tmp_path: Path, serve: Serve) -> None:
    from cormorant.api.server.keys import new_key

    endpoint = serve(GOOD)
    keys = tmp_path / "keys.json"
    staff = new_key(keys, "staff", {"birds": "read"}, ("staff",))
    other = new_key(keys, "other", {"elsewhere": "read"}, ())
    path = make_birds(tmp_path / "birds.cm")
    with in_process(collections=(path,), keys=keys, language_models=("openai:m",)) as client:
        asked = {"question": "Which black bird dives for fish at night?"}
        assert client.post(PATH, json=asked).status_code == 401
        assert client.post(PATH, json=asked, headers={"x-api-key": other}).status_code == 403
        answer = client.post(PATH, json=asked, headers={"x-api-key": staff}).json()
        assert {hit["id"] for hit in answer["result"]["hits"]} == {"h", "o/1 ü"}
    [prompt] = endpoint.prompts
    assert not any("black bird" in text for text in passages(prompt).values())


# -- what goes wrong ------------------------------------------------------------------------


def test_an_endpoint_that_fails_is_a_problem(birds: Any, serve: Serve) -> None:
    serve(GOOD, (404, {}, b"no such model"), (404, {}, b"no such model"))
    failed = birds.post(PATH, json={"question": QUESTION})
    assert (failed.status_code, failed.json()["code"]) == (502, "model_failed")
    failed = birds.post(PATH, json={"question": QUESTION}, headers=EVENTS)
    assert failed.status_code == 200  # the hits were there
    assert failed.text.strip().split("\n\n")[-1].startswith("event: error\n")
    assert json.loads(failed.text.partition("event: error\ndata: ")[2])["code"] == "model_failed"
    assert 'cormorant_answers_total{ended="failed"} 2.0' in birds.get("/metrics").text


def test_a_deadline_in_the_middle(birds: Any, serve: Serve) -> None:
    endpoint = serve(["A black ", 30.0, "bird."])
    body = {"question": QUESTION, "timeout_ms": 300}
    late = birds.post(PATH, json=body)
    assert (late.status_code, late.json()["code"]) == (504, "deadline_exceeded")
    late = birds.post(PATH, json=body, headers=EVENTS)
    assert '"code":"deadline_exceeded"' in late.text.replace(" ", "")
    assert endpoint.gone.wait(5)


@pytest.mark.parametrize("headers", [{}, EVENTS])
def test_a_client_that_goes_away_stops_the_work(
    port: str, serve: Serve, headers: dict[str, str]
) -> None:
    endpoint = serve(["A ", "black ", 60.0, "bird ", "dives."])
    with httpx2.Client(base_url=port, timeout=httpx2.Timeout(30, read=0.7)) as client:
        try:
            with client.stream("POST", PATH, json={"question": QUESTION}, headers=headers) as got:
                for line in got.iter_lines():
                    if line.startswith("event: text"):
                        break
        except httpx2.ReadTimeout:
            assert headers == {}
    assert endpoint.gone.wait(10)
    assert endpoint.sent <= 2
    end = time.monotonic() + 10
    while 'cormorant_answers_total{ended="cancelled"} 1.0' not in (
        metrics := httpx2.get(f"{port}/metrics").text
    ):
        assert time.monotonic() < end, metrics
    while "cormorant_answers_running 0.0" not in httpx2.get(f"{port}/metrics").text:
        assert time.monotonic() < end


def test_more_answers_than_threads_wait_and_then_are_refused(tmp_path: Path, serve: Serve) -> None:
    go = threading.Event()

    def slow(prompt: str) -> str:
        go.wait(20)
        return GOOD

    serve(slow)
    path = make_birds(tmp_path / "birds.cm")
    settings = Settings(
        collections=(path,), language_models=("openai:m",), warm=False, answers=1, queue=1
    )
    with on_a_port(create_app(settings, log=Log().logger)) as url, ExitStack() as held:
        papers = held.enter_context(cm.Client(url, retries=0)["birds"])
        done: list[Answer] = []
        threads = [
            threading.Thread(target=lambda: done.append(papers.answer(QUESTION))) for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        end = time.monotonic() + 10
        while "cormorant_answers_waiting 1.0" not in httpx2.get(f"{url}/metrics").text:
            assert time.monotonic() < end
        with pytest.raises(OverloadedError):
            papers.answer(QUESTION)
        assert len(papers.search(QUESTION)) > 0  # searches have threads of their own
        go.set()
        for thread in threads:
            thread.join(20)
        assert [answer.text for answer in done] == [GOOD, GOOD]


# -- the client -----------------------------------------------------------------------------


def test_the_client_and_its_twin(port: str, serve: Serve, tmp_path: Path) -> None:
    serve(GOOD)
    with cm.Collection.open(tmp_path / "birds.cm", read_only=True) as collection:
        here = collection.answer(QUESTION, model="openai:m")
    with cm.Client(port)["birds"] as papers:
        whole = papers.answer(QUESTION)
        same(whole, here)
        assert whole.result.ids == here.result.ids
        assert whole.result[0].text == BIRDS[0].text
        with papers.answer_stream(QUESTION) as stream:
            events = list(stream)
        check_events(events, here)

    async def twin() -> None:
        async with cm.AsyncClient(port) as client:
            same(await client["birds"].answer(QUESTION), here)
            async with client["birds"].answer_stream(QUESTION) as stream:
                check_events([event async for event in stream], here)

    asyncio.run(twin())


def check_events(events: list[AnswerEvent], here: Answer) -> None:
    assert [event.kind for event in (events[0], events[-1])] == ["hits", "done"]
    assert events[0].result is not None
    assert events[0].result.ids == here.result.ids
    assert "".join(event.text for event in events) == GOOD
    assert events[-1].answer is not None
    same(events[-1].answer, here)


def test_settings_and_errors_travel(port: str, serve: Serve) -> None:
    endpoint = serve(["A black ", 30.0, "bird."])
    with cm.Client(port)["birds"] as papers:
        with pytest.raises(DeadlineError):
            papers.answer(QUESTION, timeout_ms=300, settings=cm.Answering(max_tokens=17))
        assert endpoint.requests[0]["max_tokens"] == 17
        with pytest.raises(DeadlineError):
            list(papers.answer_stream(QUESTION, timeout_ms=300))
        for call in (papers.answer, papers.answer_stream):
            with pytest.raises(cm.InputError, match="model"):
                call(QUESTION, model="absent")
            with pytest.raises(cm.InputError, match="model"):
                call(QUESTION, model=cm.OpenAIModel("m"))
            with pytest.raises(cm.InputError, match="settings"):
                call(QUESTION, settings={"max_tokens": 3})
            with pytest.raises(cm.InputError, match="labels"):
                call(QUESTION, as_labels=["x"])
            with pytest.raises(cm.InputError, match="question"):
                call("")
        endpoint.replies.append((404, {}, b"no such model"))
        with pytest.raises(ServiceError, match="no such model"):
            list(papers.answer_stream(QUESTION))


@pytest.mark.parametrize("how", ["close", "unread", "cancel"])
def test_closing_the_client_s_stream_stops_the_work(port: str, serve: Serve, how: str) -> None:
    endpoint = serve(["A ", "black ", 60.0, "bird."])
    papers = cm.Client(port)["birds"]
    stream = papers.answer_stream(QUESTION)
    if how == "unread":
        stream.close()
    else:
        assert [next(stream).kind for _ in range(2)] == ["hits", "text"]
        timer = threading.Timer(0.2, stream.cancel)
        timer.start()
        assert all(event.kind == "text" for event in stream) or how == "close"
        timer.join()
    stream.close()
    assert endpoint.gone.wait(10) or not endpoint.requests
    papers.close()


def test_leaving_the_twin_s_stream_stops_the_work(port: str, serve: Serve) -> None:
    endpoint = serve(["A ", "black ", 60.0, "bird."])

    async def leave() -> None:
        async with (
            cm.AsyncClient(port) as client,
            client["birds"].answer_stream(QUESTION) as stream,
        ):
            assert [(await anext(stream)).kind for _ in range(2)] == ["hits", "text"]

    asyncio.run(leave())
    assert endpoint.gone.wait(10)


def test_a_stream_that_breaks_off(monkeypatch: pytest.MonkeyPatch) -> None:
    from scripted import Script

    hits = {"hits": [], "version": 1, "total_ms": 0.1, "flags": []}
    begun = f"event: hits\ndata: {json.dumps(hits)}\n\n"
    for content, error in (
        (begun, "broke off"),
        (begun + "event: text\ndata: {}\n\n", "none that a Cormorant server sends"),
        (begun + "event: done\ndata: 5\n\n", "none that a Cormorant server sends"),
    ):
        script = Script(
            httpx2.Response(200, text=content, headers={"content-type": "text/event-stream"})
        )
        with pytest.raises(UnreachableError if error == "broke off" else ServiceError, match=error):
            list(script.papers.answer_stream(QUESTION))


def test_no_hits_over_the_wire(birds: Any, serve: Serve) -> None:
    endpoint = serve(GOOD)
    answer = birds.post(PATH, json={"question": "xylophone"}).json()
    assert (answer["text"], answer["found"]) == (NOT_FOUND, False)
    assert endpoint.requests == []


def test_a_local_model_goes_by_its_folder_s_name(tmp_path: Path) -> None:
    from tiny_answerer import build

    folder = build(tmp_path / "tiny", [bird.text for bird in BIRDS])
    path = make_birds(tmp_path / "birds.cm")
    models = (str(folder), str(tmp_path / "absent"))
    with in_process(collections=(path,), language_models=models) as client:
        described = client.get("/v1/collections/birds").json()
        assert described["language_models"] == ["tiny", "absent"]
        asked = {"question": QUESTION, "settings": {"max_tokens": 5}}
        answer = client.post(PATH, json=asked)
        assert answer.status_code == 200, answer.text
        assert answer.json()["model"] == "tiny"
        assert answer.json()["statistics"]["drafting"]["plain_forwards"] <= 6
        assert str(tmp_path) not in answer.text
        missing = client.post(PATH, json={**asked, "model": "absent"})
        assert (missing.status_code, missing.json()["code"]) == (503, "missing_model")
        assert str(tmp_path) not in missing.text
