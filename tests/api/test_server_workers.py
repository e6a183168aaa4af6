"""Several processes on one port: one writes, all read, and a kill costs what was under way."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest
from serving import BIRDS, Process, make_birds

import cormorant as cm
from cormorant.errors import OverloadedError

WORKERS = 3


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    root = tmp_path_factory.mktemp("root")
    make_birds(root / "birds.cm")
    with Process("--root", root, "--workers", WORKERS) as server:
        yield server


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as closed_at_the_end:
        yield closed_at_the_end


def _serving(server: Process) -> list[int]:
    lines = [json.loads(line) for line in server.logged if '"serving"' in line]
    pids: list[int] = lines[-1]["workers"]
    return pids


def _everyone(url: str, method: str, path: str, **more: Any) -> list[httpx2.Response]:
    """The answers over many connections: whichever process takes them."""
    answers = []
    for _ in range(8 * WORKERS):
        with httpx2.Client(base_url=url, timeout=30) as client:
            answers.append(client.request(method, path, **more))
    return answers


def test_all_answer_and_all_see_what_one_was_told(served: Process, stack: ExitStack) -> None:
    client = stack.enter_context(cm.Client(served.url))
    papers = client.create("papers", {"bm25": cm.BM25()})
    assert papers.add(BIRDS) == 3
    body = {"query": "fish", "k": 5}
    for answer in _everyone(served.url, "POST", "/v1/collections/papers/search", json=body):
        assert [hit["id"] for hit in answer.json()["hits"]] == ["c", "h"]
    papers.delete(["c"])
    for answer in _everyone(served.url, "POST", "/v1/collections/papers/search", json=body):
        assert [hit["id"] for hit in answer.json()["hits"]] == ["h"]
    for number in range(8 * WORKERS):  # whichever process takes a write
        with cm.Client(served.url) as another:
            assert another["papers"].add([cm.Document(id=f"n{number}", text="a new fish")]) == 1
    assert len(papers) == 2 + 8 * WORKERS
    client.drop("papers")
    for answer in _everyone(served.url, "POST", "/v1/collections/papers/search", json=body):
        assert answer.status_code == 404
    client.create("papers", {"bm25": cm.BM25()}).add(BIRDS[2:])
    for answer in _everyone(served.url, "POST", "/v1/collections/papers/search", json=body):
        assert answer.json()["hits"] == []


def test_errors_come_through_as_they_are(served: Process) -> None:
    for answer in _everyone(served.url, "POST", "/v1/collections/birds/documents", content=b"x"):
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (415, "unsupported_media_type")
        assert answer.headers["x-request-id"] == problem["request_id"]
        assert answer.headers["content-type"] == "application/problem+json"


def test_the_counters_are_those_of_all(served: Process) -> None:
    path = "/v1/collections/birds/documents/c"
    asked = len(_everyone(served.url, "GET", path))
    route = "/v1/collections/{name}/documents/{id:path}"
    counted = f'cormorant_requests_total{{method="GET",route="{route}",status="200"}}'
    found = [answer.text for answer in _everyone(served.url, "GET", "/metrics")]
    for text in found:
        line = next(line for line in text.splitlines() if line.startswith(counted))
        assert float(line.split()[-1]) == asked
        assert "cormorant_waiting" in text


def test_whoever_is_killed_is_replaced_and_nothing_acknowledged_is_lost(
    tmp_path: Path, stack: ExitStack
) -> None:
    birds = make_birds(tmp_path / "birds.cm")
    with Process(birds, "--workers", 2) as server:
        writer, reader = _serving(server)
        client = stack.enter_context(cm.Client(server.url))
        added = 0
        for victim in (writer, reader):
            os.kill(victim, signal.SIGKILL)
            deadline = time.monotonic() + 30
            while True:
                try:
                    client["birds"].add([cm.Document(id=f"n{added}", text="a pelican")])
                    break
                except (OverloadedError, cm.ServiceError):
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
            added += 1
        assert len(client["birds"]) == 3 + added
        assert server.stop() == 0
    with cm.Collection.open(birds) as collection:
        assert len(collection.search("pelican")) == added


def test_workers_end_when_their_supervisor_is_killed(tmp_path: Path) -> None:
    with Process(make_birds(tmp_path / "birds.cm"), "--workers", 2) as server:
        workers = _serving(server)
        server.kill()
        deadline = time.monotonic() + 30
        while any(_lives(pid) for pid in workers):
            assert time.monotonic() < deadline
            time.sleep(0.05)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_damage_that_one_of_them_found_is_known_to_all(tmp_path: Path, stack: ExitStack) -> None:
    make_birds(tmp_path / "birds.cm")
    with Process("--root", tmp_path, "--workers", 2) as server:
        client = stack.enter_context(cm.Client(server.url))
        assert client["birds"].check().ok
        array = max(tmp_path.glob("birds.cm/segments/bm25/*/*.npy"), key=lambda p: p.stat().st_size)
        sound = array.read_bytes()
        array.write_bytes(sound[:-1] + bytes([sound[-1] ^ 255]))
        report = client["birds"].check()
        assert not report.ok
        for answer in _everyone(server.url, "GET", "/readyz"):
            assert answer.status_code == 503
            assert array.name in answer.json()["collections"]["birds"]["detail"]
        array.write_bytes(sound)
        assert client["birds"].check().ok
        assert {a.status_code for a in _everyone(server.url, "GET", "/readyz")} == {200}


def test_what_is_passed_on_is_counted_and_named_once(served: Process) -> None:
    def counted() -> float:
        with httpx2.Client(base_url=served.url) as client:
            text = client.get("/metrics").text
        lines = [line for line in text.splitlines() if "requests_total" in line]
        return sum(float(line.split()[-1]) for line in lines if "/documents/delete" in line)

    before = counted()
    body = {"ids": ["nobody"]}
    path = "/v1/collections/birds/documents/delete"
    headers = {"X-Request-ID": "mine-1"}
    answers = _everyone(served.url, "POST", path, json=body, headers=headers)
    assert {answer.headers.get("x-request-id") for answer in answers} == {"mine-1"}
    assert counted() == before + len(answers)


def test_an_upload_that_stalls_is_ended_wherever_it_came_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORMORANT_LIMITS__RECEIVE_SECONDS", "1")
    make_birds(tmp_path / "birds.cm")
    with Process("--root", tmp_path, "--workers", 2) as server:
        host, port = server.url.removeprefix("http://").split(":")
        for _ in range(6):
            with socket.create_connection((host, int(port)), timeout=20) as connection:
                connection.sendall(
                    b"POST /v1/collections/birds/documents HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                    b"Content-Type: application/x-ndjson\r\nContent-Length: 100\r\n\r\n{"
                )
                assert b" 408 " in connection.recv(4096).partition(b"\r\n")[0]


def test_what_a_reader_knows_to_be_wrong_is_refused_before_the_body_is_there(
    served: Process,
) -> None:
    host, port = served.url.removeprefix("http://").split(":")
    for _ in range(2 * WORKERS):
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(
                b"POST /v1/collections/nothing/documents HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                b"Content-Type: application/x-ndjson\r\nContent-Length: 500000\r\n\r\n{"
            )
            assert b" 404 " in connection.recv(4096).partition(b"\r\n")[0]
