"""A scripted endpoint: real HTTP, an OpenAI-compatible answer, and an order made from true labels.

It reads the passages of a prompt as any model would, knows each by its first words, and orders them
by label plus noise, of one of two kinds:

* ``passage``: what a model gets wrong about a passage, the same in every call. Asking again does
  not help, so this is what compares ways of asking.
* ``call``: a whim of one call, new in the next. Asking again helps: whoever reads a passage nine
  times has an average of nine.

``tokens_per_second`` makes it wait as long as decoding the answer would take.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

import numpy as np

KNOWN_BY = 60
"""Characters by which a passage is known."""
_PASSAGE = re.compile(r"^\[(\d+)\] (.*)$", re.MULTILINE)
_QUERY = re.compile(r"^Query: (.*)$", re.MULTILINE)
_TOP = re.compile(r"identifiers of the (\d+) most relevant")
NOISES_OF = ("passage", "call")
Answer = Callable[[str], str]


class Labels:
    """Answers prompts by labels: query -> first words of a passage -> label.

    ``noise``: its standard deviation, in labels; ``noise_of``: one of ``NOISES_OF``.
    """

    def __init__(
        self, labels: Mapping[str, Mapping[str, float]], noise: float, noise_of: str, seed: int
    ) -> None:
        self.labels = labels
        self.noise = noise
        self.noise_of = noise_of
        self.seed = seed

    def __call__(self, prompt: str) -> str:
        """The order of the prompt's passages, the most relevant first."""
        query = _QUERY.findall(prompt)[0]
        known = self.labels.get(query, {})
        passages = _PASSAGE.findall(prompt)
        values = [known.get(text[:KNOWN_BY], 0.0) for _, text in passages]
        if self.noise_of == "call":
            drawn = self._random(prompt).normal(size=len(values))
        else:
            drawn = np.array([self._random(f"{query}\n{text}").normal() for _, text in passages])
        order = np.argsort(-(np.array(values) + self.noise * drawn), kind="stable")
        top = _TOP.search(prompt)
        wanted = int(top.group(1)) if top else 1
        return " > ".join(f"[{passages[place][0]}]" for place in order[:wanted].tolist())

    def _random(self, of: str) -> np.random.Generator:
        digest = hashlib.sha256(f"{self.seed} {of}".encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:8], "little"))


class Endpoint:
    """A server under way: its address, what it answers, and how often it was asked."""

    def __init__(self, answer: Answer, tokens_per_second: float | None) -> None:
        self.answer = answer
        self.tokens_per_second = tokens_per_second
        self.requests: list[dict[str, Any]] = []
        self.lock = Lock()
        self.url = ""

    def reply(self, body: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        """(status, headers, JSON) for one request."""
        with self.lock:
            self.requests.append(body)
        prompt = body["messages"][-1]["content"]
        text = self.answer(prompt)
        spent = {"prompt_tokens": len(prompt) // 4, "completion_tokens": max(1, len(text) // 3)}
        if self.tokens_per_second is not None:
            time.sleep(spent["completion_tokens"] / self.tokens_per_second)
        choice = {"index": 0, "message": {"role": "assistant", "content": text}}
        return 200, {}, {"choices": [{**choice, "finish_reason": "stop"}], "usage": spent}


@contextmanager
def serving(endpoint: Endpoint) -> Iterator[Endpoint]:
    """The endpoint at a port of its own on this machine, until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Headers and body in one piece: else the second waits for a delayed ACK, 40 ms a call.
        wbufsize = -1

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            body["authorization"] = self.headers.get("authorization")
            status, headers, value = endpoint.reply(body)
            data = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            for name, text in headers.items():
                self.send_header(name, text)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Silence: the default writes to stderr."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that went away is no error of the server's."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    endpoint.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield endpoint
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
