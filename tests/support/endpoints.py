"""OpenAI-compatible endpoints that stream, over real HTTP: scripted, gullible, stalling, broken."""

from __future__ import annotations

import json
import re
import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

Step = str | float | dict[str, Any] | bytes
"""A piece of text, seconds to wait, a whole event, or bytes as they are."""


class Streaming:
    """Answers every request by ``answer(prompt)``: a text, or the steps of its stream.

    ``replies`` come before: (status, headers, body) of requests that fail. ``gone`` is set when a
    client left before its answer was whole; ``sent`` counts the steps that went out.
    """

    def __init__(self, answer: Callable[[str], str | list[Step]], *replies: Any) -> None:
        self.answer = answer
        self.replies = list(replies)
        self.requests: list[dict[str, Any]] = []
        self.gone = threading.Event()
        self.sent = 0
        self.url = ""

    @property
    def prompts(self) -> list[str]:
        """What was asked."""
        return [request["messages"][-1]["content"] for request in self.requests]


def passages(prompt: str) -> dict[int, str]:
    """The passages of a prompt by their numbers."""
    inside = prompt.partition("<passages>\n")[2].partition("\n</passages>")[0]
    return {int(number): text for number, text in re.findall(r"^\[(\d+)\] (.*)$", inside, re.M)}


def events(steps: str | list[Step], body: dict[str, Any]) -> Iterator[Step]:
    """The steps of a stream as its events; a text goes word by word."""
    if isinstance(steps, str):
        steps = [*re.findall(r"\s*\S+", steps)]
    words = 0
    for step in steps:
        if isinstance(step, str):
            words += 1
            choice: dict[str, Any] = {"index": 0, "delta": {"content": step}}
            if body.get("logprobs"):
                choice["logprobs"] = {"content": [{"token": step, "logprob": -0.1}]}
                if body.get("top_logprobs"):
                    choice["logprobs"]["content"][0]["top_logprobs"] = [
                        {"token": "Yes", "logprob": -0.5}, {"token": "No", "logprob": -1.0}
                    ]  # fmt: skip
            yield {"choices": [choice]}
        else:
            yield step
    yield {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    usage: dict[str, Any] = {"prompt_tokens": 100, "completion_tokens": words}
    if "prediction" in body:
        usage["completion_tokens_details"] = {
            "accepted_prediction_tokens": 3, "rejected_prediction_tokens": 2
        }  # fmt: skip
    yield {"choices": [], "usage": usage}
    yield b"data: [DONE]\n\n"


def _stream(endpoint: Streaming, body: dict[str, Any], handler: BaseHTTPRequestHandler) -> None:
    for step in events(endpoint.answer(body["messages"][-1]["content"]), body):
        if isinstance(step, float):
            _wait(step, handler)
            continue
        data = step if isinstance(step, bytes) else f"data: {json.dumps(step)}\n\n".encode()
        handler.wfile.write(data)
        handler.wfile.flush()
        endpoint.sent += 1
        if data == b"":
            return  # broken off


def _wait(seconds: float, handler: BaseHTTPRequestHandler) -> None:
    """Wait, unless the client leaves: its end of the connection then becomes readable."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if select.select([handler.connection], [], [], 0.01)[0]:
            raise ConnectionResetError


@contextmanager
def serving(endpoint: Streaming) -> Iterator[Streaming]:
    """The endpoint at a port of its own on this machine, until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            endpoint.requests.append(body)
            if endpoint.replies:
                status, headers, content = endpoint.replies.pop(0)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)
                return
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            try:
                _stream(endpoint, body, self)
            except OSError:
                endpoint.gone.set()

        def log_message(self, format: str, *args: object) -> None:
            """Silence: the default writes to stderr."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that went away is no error of the server's."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    endpoint.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield endpoint
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def answering_by(
    monkeypatch: pytest.MonkeyPatch, answer: Callable[[str], str | list[Step]], *replies: Any
) -> Iterator[Streaming]:
    """An endpoint that this process is set to ask."""
    with serving(Streaming(answer, *replies)) as endpoint:
        monkeypatch.setenv("CORMORANT_LLM_URL", endpoint.url)
        yield endpoint
