"""What goes wrong: damage, models that raise, a full disk, slow and vanishing clients."""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
import toys
from damage import flip_a_bit
from faults import DiskFilledError
from serving import Log, in_process, make_birds, on_a_port

import cormorant as cm
from cormorant.api.server.app import create_app
from cormorant.api.server.limits import Limits
from cormorant.api.server.settings import Settings
from cormorant.errors import CorruptionError, DiskFullError

NDJSON = {"content-type": "application/x-ndjson"}
SEARCH = "/v1/collections/birds/search"


def until(true: Callable[[], Any], seconds: float = 5.0) -> Any:
    ends = time.monotonic() + seconds
    while not (value := true()):
        assert time.monotonic() < ends, "it did not come true"
        time.sleep(0.01)
    return value


def test_a_damaged_segment_is_named_and_healthy_collections_go_on(tmp_path: Path) -> None:
    sick, well = make_birds(tmp_path / "sick.cm"), make_birds(tmp_path / "well.cm")
    segment = max((sick / "segments" / "bm25").rglob("*.npy"), key=lambda path: path.stat().st_size)
    flip_a_bit(segment, random.Random(0))
    with in_process(collections=(sick, well)) as client:
        ready = client.get("/readyz")
        assert ready.status_code == 503
        named = ready.json()["collections"]
        assert named["well"] == {"ready": True}
        assert named["sick"]["code"] == "corruption"
        assert named["sick"]["file"] == str(segment.relative_to(tmp_path))
        found = client.post("/v1/collections/sick/search", json={"query": "fish"})
        assert (found.status_code, found.json()["code"]) == (500, "corruption")
        assert found.json()["file"] == str(segment.relative_to(tmp_path))
        assert str(tmp_path) not in found.text + ready.text
        well = client.post("/v1/collections/well/search", json={"query": "fish"})
        assert len(well.json()["hits"]) == 2
        listed = client.get("/v1/collections").json()["collections"]
        assert [item.get("problem") for item in listed] == ["corruption", None]


def test_damage_that_shows_later_turns_readyz_red(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_birds(tmp_path / "birds.cm")

    def damaged(*_: Any, **__: Any) -> Any:
        raise CorruptionError(path / "catalog.sqlite", "row 1 is damaged")

    with in_process(collections=(path,)) as client:
        until(lambda: client.get("/readyz").status_code == 200)
        monkeypatch.setattr(cm.Collection, "_answered", damaged)
        found = client.post("/v1/collections/birds/search", json={"query": "fish"})
        assert (found.status_code, found.json()["file"]) == (500, "birds.cm/catalog.sqlite")
        assert client.get("/readyz").json()["collections"]["birds"]["code"] == "corruption"
        assert client.get("/livez").status_code == 200


def test_damage_that_a_bulk_meets_turns_readyz_red_and_says_what_was_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_birds(tmp_path / "birds.cm")
    real = cm.Collection.add
    calls: list[int] = []

    def damaged(self: Any, *arguments: Any, **named: Any) -> int:
        calls.append(1)
        if len(calls) > 2:
            raise CorruptionError(path / "catalog.sqlite", "row 1 is damaged")
        return real(self, *arguments, **named)

    with in_process(collections=(path,), limits=Limits(transaction_documents=2)) as client:
        monkeypatch.setattr(cm.Collection, "add", damaged)
        content = "".join(json.dumps({"id": f"n{n}", "text": "x"}) + "\n" for n in range(9))
        answer = client.post("/v1/collections/birds/documents", content=content, headers=NDJSON)
        told = answer.json()
        assert (answer.status_code, told["code"], told["added"]) == (500, "corruption", 4)
        assert (told["file"], str(tmp_path) in answer.text) == ("birds.cm/catalog.sqlite", False)
        assert client.get("/readyz").json()["collections"]["birds"]["code"] == "corruption"


def test_a_model_that_raises_is_a_problem_without_a_stack_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toys.use(monkeypatch)
    path = make_birds(tmp_path / "birds.cm", indexes={"dense": toys.ToyDense()})
    log = Log()

    class Broken:
        def score_pairs(self, pairs: Any) -> Any:
            raise RuntimeError("secret reason")

    with in_process(collections=(path,), log=log, scorers={"broken": Broken()}) as client:
        body = {"model": "broken", "query": "q", "documents": ["d"]}
        answer = client.post("/v1/rerank", json=body)
        assert (answer.status_code, answer.json()["code"]) == (500, "internal")
        assert "secret" not in answer.text
        assert "Traceback" not in answer.text
        failed = next(line for line in log.lines if line["event"] == "failed")
        assert failed["request_id"] == answer.headers["x-request-id"]
        assert "secret reason" in failed["exception"]

        monkeypatch.setattr(toys.ToyEncoder, "error", RuntimeError("no memory"))
        line = json.dumps({"id": "n", "text": "new"})
        added = client.post("/v1/collections/birds/documents", content=line, headers=NDJSON)
        assert added.json()["code"] == "internal"
        monkeypatch.setattr(toys.ToyEncoder, "error", None)
        added = client.post("/v1/collections/birds/documents", content=line, headers=NDJSON)
        assert added.json()["added"] == 1


def test_a_full_disk_is_a_problem_that_says_what_was_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_birds(tmp_path / "birds.cm")
    real = cm.Collection.add
    calls: list[int] = []

    def filling(self: Any, *arguments: Any, **named: Any) -> int:
        calls.append(1)
        if len(calls) > 2:
            raise DiskFullError(f"{path}: no space left on the device") from DiskFilledError()
        return real(self, *arguments, **named)

    limits = Limits(transaction_documents=2)
    with in_process(collections=(path,), limits=limits) as client:
        monkeypatch.setattr(cm.Collection, "add", filling)
        content = "".join(json.dumps({"id": f"n{n}", "text": "x"}) + "\n" for n in range(9))
        answer = client.post("/v1/collections/birds/documents", content=content, headers=NDJSON)
        assert (answer.status_code, answer.json()["code"]) == (507, "disk_full")
        assert answer.json()["added"] == 4
        assert str(tmp_path) not in answer.text
        assert client.get("/v1/collections/birds").json()["documents"] == 7
        found = client.post("/v1/collections/birds/search", json={"query": "fish"})
        assert len(found.json()["hits"]) == 2


def test_a_collection_that_another_process_writes_is_served_for_reading(tmp_path: Path) -> None:
    path = make_birds(tmp_path / "birds.cm")
    with cm.Collection.open(path) as writer, in_process(collections=(path,)) as client:
        writer.add([cm.Document(id="new", text="a fish added elsewhere")])
        found = client.post("/v1/collections/birds/search", json={"query": "elsewhere"})
        assert [hit["id"] for hit in found.json()["hits"]] == ["new"]
        answer = client.post("/v1/collections/birds/flush")
        assert (answer.status_code, answer.json()["code"]) == (409, "read_only")
        assert str(tmp_path) not in answer.text


def test_a_server_for_reading_writes_nothing(tmp_path: Path) -> None:
    make_birds(tmp_path / "birds.cm")
    with in_process(root=tmp_path, read_only=True) as client:
        assert len(client.post(SEARCH, json={"query": "fish"}).json()["hits"]) == 2
        for answer, code in (
            (client.post("/v1/collections/birds/merge"), "read_only"),
            (client.delete("/v1/collections/birds/documents/c"), "read_only"),
            (client.post("/v1/collections", json={"name": "new"}), "forbidden"),
            (client.delete("/v1/collections/birds"), "forbidden"),
        ):
            assert answer.json()["code"] == code
    with cm.Collection.open(tmp_path / "birds.cm") as collection:
        assert len(collection) == 3


def test_a_collection_dropped_during_a_search_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_birds(tmp_path / "birds.cm")
    go = gate(monkeypatch)
    with in_process(root=tmp_path) as client:
        answers: list[Any] = []
        thread = threading.Thread(
            target=lambda: answers.append(client.post(SEARCH, json={"query": "fish"}))
        )
        thread.start()
        until(lambda: client.app.state.server.reading.running)
        assert client.delete("/v1/collections/birds").status_code == 204
        go.set()
        thread.join()
    assert (answers[0].status_code, answers[0].json()["code"]) == (404, "unknown_name")


def gate(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Searches wait until this is set."""
    go = threading.Event()
    real = cm.Collection._answered

    def waiting(self: Any, request: Any) -> Any:
        go.wait(10)
        return real(self, request)

    monkeypatch.setattr(cm.Collection, "_answered", waiting)
    return go


def test_overload_answers_429_and_the_accepted_are_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_birds(tmp_path / "birds.cm")
    go = gate(monkeypatch)
    settings = Settings(collections=(path,), threads=1, queue=3, batch=2, warm=False)
    app = create_app(settings, log=Log().logger)
    answers: list[Any] = []

    def ask() -> None:
        body = {"query": "fish"}
        answers.append(httpx2.post(f"{url}/v1/collections/birds/search", json=body, timeout=20))

    with on_a_port(app) as url:
        threads = [threading.Thread(target=ask) for _ in range(10)]
        for thread in threads:
            thread.start()
        until(lambda: len(answers) == 6)
        assert httpx2.get(f"{url}/livez").status_code == 200, "the loop is free"
        go.set()
        for thread in threads:
            thread.join()
    refused = [answer for answer in answers if answer.status_code == 429]
    accepted = [answer for answer in answers if answer.status_code == 200]
    assert (len(refused), len(accepted)) == (6, 4)
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert all(len(answer.json()["hits"]) == 2 for answer in accepted)


def test_concurrent_searches_run_together_and_answer_as_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_birds(tmp_path / "birds.cm")
    sizes: list[int] = []
    go = gate(monkeypatch)
    gated = cm.Collection._answered

    def counting(self: Any, request: Any) -> Any:
        sizes.append(len(request.queries))
        return gated(self, request)

    monkeypatch.setattr(cm.Collection, "_answered", counting)
    app = create_app(Settings(collections=(path,), threads=1, warm=False), log=Log().logger)
    queries = ["fish", "night", "bird", "", "stands", "dives"] * 3
    answers: dict[int, Any] = {}

    def ask(number: int) -> None:
        body = {"query": queries[number], "k": 5}
        answers[number] = httpx2.post(
            f"{url}/v1/collections/birds/search", json=body, timeout=20
        ).json()

    with on_a_port(app) as url:
        threads = [threading.Thread(target=ask, args=(n,)) for n in range(len(queries))]
        for thread in threads:
            thread.start()
        until(lambda: app.state.server.reading.waiting == len(queries) - 1)
        go.set()
        for thread in threads:
            thread.join()
    assert sizes[0] == 1
    assert max(sizes) >= 8, sizes
    with cm.Collection.open(path, read_only=True) as collection:
        for number, query in enumerate(queries):
            assert [hit["id"] for hit in answers[number]["hits"]] == collection.search(query, 5).ids


def test_a_deadline_is_a_problem_or_if_asked_a_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toys.use(monkeypatch)
    path = make_birds(tmp_path / "birds.cm", indexes={"bm25": cm.BM25(), "toy": toys.Toy()})
    real = toys.ToyIndex.search

    def slow(*arguments: Any, **named: Any) -> Any:
        time.sleep(1.5)
        return real(*arguments, **named)

    monkeypatch.setattr(toys.ToyIndex, "search", slow)
    pipeline = {"retrieve": ["bm25", "toy"], "fuse": {"kind": "toy-sum"}, "depth": 10}
    url = "/v1/collections/birds/search"
    body = {"query": "fish", "pipeline": pipeline, "timeout_ms": 200}
    with in_process(collections=(path,)) as client:
        client.post(url, json={"query": "fish", "pipeline": "bm25"})
        late = client.post(url, json=body)
        assert (late.status_code, late.json()["code"]) == (504, "deadline_exceeded")
        time.sleep(1.5)
        part = client.post(url, json={**body, "partial": True})
        assert part.status_code == 200
        assert [hit["id"] for hit in part.json()["hits"]] == ["c", "h"]
        assert "only index 'bm25' was searched" in part.json()["flags"][0]
        time.sleep(1.5)
        single = {"query": "fish", "pipeline": "toy", "timeout_ms": 100, "partial": True}
        nothing = client.post(url, json=single).json()
        assert nothing["hits"] == []
        assert "before any index had answered" in nothing["flags"][0]
        whole = client.post(url, json={**body, "timeout_ms": 5000, "partial": True}).json()
        assert whole["flags"] == []


def slowly(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Every search of a toy index takes so long."""
    real = toys.ToyIndex.search

    def search(*arguments: Any, **named: Any) -> Any:
        time.sleep(seconds)
        return real(*arguments, **named)

    monkeypatch.setattr(toys.ToyIndex, "search", search)


def test_a_part_is_not_thrown_away_because_it_comes_at_the_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait ended with the search's own deadline: the part was made, and nobody took it."""
    toys.use(monkeypatch)
    path = make_birds(tmp_path / "birds.cm", indexes={"one": toys.Toy(), "two": toys.Toy()})
    slowly(monkeypatch, 0.15)
    pipeline = {"retrieve": ["one", "two"], "fuse": "rrf", "rerank": ["toy-shortest"]}
    with in_process(collections=(path,)) as client:
        client.post(SEARCH, json={"query": "fish", "pipeline": pipeline})
        body = {"queries": ["fish"] * 300, "pipeline": "one", "timeout_ms": 250}
        assert client.post(f"{SEARCH}/batch", json=body).status_code == 504
        part = client.post(f"{SEARCH}/batch", json={**body, "partial": True})
        assert part.status_code == 200, part.text
        first, *_, last = part.json()["results"]
        assert (len(first["hits"]), last["hits"], len(part.json()["results"])) == (3, [], 300)
        assert "of the batch, which was left out" in last["flags"][0]

        single = {"query": "fish", "pipeline": pipeline, "timeout_ms": 250, "partial": True}
        found = client.post(SEARCH, json=single).json()
        assert len(found["hits"]) == 3
        (flag,) = found["flags"]
        assert flag.endswith("ms were over before rerank.toy-shortest, which was left out")


def test_a_deadline_stops_the_reading_and_the_highlighting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread was busy for seconds after everybody had been told that time was over."""
    path = make_birds(tmp_path / "birds.cm")
    calls: list[str] = []
    real = cm.Collection.highlights

    def highlights(self: Any, query: str, text: str, index: Any = None) -> Any:
        calls.append(query)
        time.sleep(0.05)
        return real(self, query, text, index)

    monkeypatch.setattr(cm.Collection, "highlights", highlights)
    app = create_app(Settings(collections=(path,), warm=False), log=Log().logger)
    body = {"queries": ["fish"] * 100, "highlight": True, "timeout_ms": 300}
    with on_a_port(app) as url:
        late = httpx2.post(f"{url}{SEARCH}/batch", json=body, timeout=20)
        assert late.status_code == 504
        until(lambda: app.state.server.reading.running == 0, 2.0)
        assert 1 < len(calls) < 20, "of two hundred hits"
        part = httpx2.post(f"{url}{SEARCH}/batch", json={**body, "partial": True}, timeout=20)
        first, *_, last = part.json()["results"]
        assert (len(first["hits"]), first["flags"]) == (2, [])
        assert first["hits"][0]["highlights"]
        assert last["hits"] == []
        assert "before these hits were read" in last["flags"][0]


def test_a_client_that_vanishes_costs_no_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_birds(tmp_path / "birds.cm")
    go = gate(monkeypatch)
    app = create_app(
        Settings(collections=(path,), threads=1, batch=1, warm=False), log=Log().logger
    )
    with on_a_port(app) as url:
        workers = app.state.server.reading
        sockets = []
        for _ in range(3):
            sockets.append(raw_search(url))
            time.sleep(0.05)
        until(lambda: workers.waiting == 2)
        for opened in sockets:
            opened.close()
        time.sleep(0.1)
        go.set()
        until(lambda: workers.waiting == 0 and workers.running == 0)
        answer = httpx2.post(f"{url}/v1/collections/birds/search", json={"query": "fish"})
        assert answer.status_code == 200
        text = httpx2.get(f"{url}/metrics").text
    assert "cormorant_batch_size_count 2.0" in text, "the first, which had begun, and the last"


def raw_search(url: str) -> socket.socket:
    host, port = url.removeprefix("http://").split(":")
    opened = socket.create_connection((host, int(port)))
    body = b'{"query": "fish"}'
    opened.sendall(
        b"POST /v1/collections/birds/search HTTP/1.1\r\nHost: x\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    )
    return opened


def test_a_client_that_stops_sending_is_not_awaited_for_ever(tmp_path: Path) -> None:
    path = make_birds(tmp_path / "birds.cm")
    limits = Limits(receive_seconds=0.2)
    app = create_app(Settings(collections=(path,), limits=limits, warm=False), log=Log().logger)
    with on_a_port(app) as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as opened:
            opened.sendall(
                b"POST /v1/collections/birds/documents HTTP/1.1\r\nHost: x\r\n"
                b"Content-Type: application/x-ndjson\r\nContent-Length: 1000\r\n\r\n"
                b'{"id": "whole", "text": "x"}\n{"id": "ha'
            )
            opened.settimeout(5)
            answer = b"".join(iter(lambda: opened.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 408"), answer
        assert b"request_timeout" in answer
        assert httpx2.get(f"{url}/v1/collections/birds").json()["documents"] == 3
