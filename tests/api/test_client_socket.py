"""The client over real sockets that misbehave, and against a server that is killed."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2
import pytest
from scripted import DESCRIBED

import cormorant as cm
from cormorant.api.client import Retries, Timeouts, upload
from cormorant.errors import UnreachableError

BODY = json.dumps(DESCRIBED).encode()
QUICK = Retries(3, first_seconds=0.01)


class Peer(BaseHTTPRequestHandler):
    """Answers each request as ``server.script`` says, by the request's number."""

    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1  # type: ignore[attr-defined]

    def do_GET(self) -> None:
        self.server.requests += 1  # type: ignore[attr-defined]
        self.server.script(self, self.server.requests)  # type: ignore[attr-defined]

    def whole(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def half(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY[: len(BODY) // 2])
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def peer(script: Callable[[Peer, int], None]) -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Peer) as server:
        server.script, server.requests, server.connections = script, 0, 0  # type: ignore[attr-defined]
        server.url = f"http://127.0.0.1:{server.server_port}"  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def test_one_connection_serves_many_calls() -> None:
    with peer(lambda at, _: at.whole()) as server, cm.Client(server.url) as client:  # type: ignore[attr-defined]
        for _ in range(20):
            assert client["papers"].describe() == DESCRIBED
        assert (server.requests, server.connections) == (20, 1)  # type: ignore[attr-defined]


def test_a_reply_that_breaks_off_is_asked_for_again() -> None:
    def script(at: Peer, number: int) -> None:
        (at.half if number < 3 else at.whole)()

    with peer(script) as server, cm.Client(server.url, retries=QUICK) as client:  # type: ignore[attr-defined]
        assert client["papers"].describe() == DESCRIBED
        assert server.requests == 3  # type: ignore[attr-defined]


def test_a_connection_that_was_closed_while_idle() -> None:
    def script(at: Peer, number: int) -> None:
        at.whole()
        at.close_connection = True  # without telling

    with peer(script) as server, cm.Client(server.url, retries=QUICK) as client:  # type: ignore[attr-defined]
        for _ in range(5):
            assert client["papers"].describe() == DESCRIBED


def test_a_server_that_does_not_answer() -> None:
    over = threading.Event()
    with peer(lambda at, _: over.wait(10) and None) as server:
        timeouts = Timeouts(read_seconds=0.1)
        with cm.Client(server.url, timeout=timeouts, retries=1) as client:  # type: ignore[attr-defined]
            began = time.monotonic()
            with pytest.raises(UnreachableError, match=r"did not answer in time.*2 attempts"):
                client["papers"].describe()
            assert time.monotonic() - began < 5
        over.set()


def test_nobody_listens() -> None:
    with peer(lambda at, _: at.whole()) as server:
        url = server.url  # type: ignore[attr-defined]
    with (
        cm.Client(url, retries=QUICK)["papers"] as papers,
        pytest.raises(UnreachableError, match="cannot connect .*4 attempts"),
    ):
        papers.describe()


class Wherever(httpx2.HTTPTransport):
    """Sends every request to the port that ``port`` says now."""

    port: int

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        request.url = request.url.copy_with(port=self.port)
        return super().handle_request(request)


def test_a_server_killed_during_an_upload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serving = pytest.importorskip("serving")
    monkeypatch.setattr(upload.Upload.__init__, "__defaults__", (2_000,))
    path = tmp_path / "papers.cm"
    cm.Collection.create(path).close()
    documents = [cm.Document(id=f"d{i}", text=f"number {i} " * 3) for i in range(300)]
    transport = Wherever()
    with ExitStack() as stack:
        running = [stack.enter_context(serving.Process(path))]
        transport.port = httpx2.URL(running[0].url).port or 0

        def restart() -> None:
            running[0].kill()
            running.append(stack.enter_context(serving.Process(path)))
            transport.port = httpx2.URL(running[1].url).port or 0

        killer = threading.Thread(target=restart)
        parts = 0

        def progress(_: str, count: int) -> None:
            nonlocal parts
            parts += 1
            if parts == 5:
                killer.start()

        retries = Retries(1000, longest_seconds=0.2)
        url = "http://127.0.0.1:1"
        with cm.Client(url, transport=transport, retries=retries)["papers"] as papers:
            assert papers.add(documents, progress=progress) == 300
            killer.join()
            assert len(running) == 2
            assert parts > 10
            assert list(papers.scroll()) == documents
            assert papers.check().ok
        assert running[1].stop() == 0
