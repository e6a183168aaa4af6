"""Callers of a server, in a process of their own: each sends, waits for its answer, sends again.

Raw sockets under asyncio and requests made beforehand, so that on a machine of few cores the
callers take little from the server. Reads one :class:`Load` as JSON from standard input, writes
what came of it to standard output. ``generator_cpu`` is the share of one core that this took.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from ...documents import JsonObject

_HEADERS_END = b"\r\n\r\n"
_LENGTH = b"content-length:"
_RETRY_AFTER = b"retry-after:"


@dataclass(frozen=True, slots=True)
class Load:
    """What to send: ``bodies`` in turn to ``path``, by ``clients`` at once.

    Ends after ``seconds`` or after ``requests``, whichever is given; answers of the first
    ``warm_seconds`` are not counted. A caller that is refused (429) waits ``pause_seconds``.
    """

    port: int
    path: str
    bodies: list[str]
    clients: int
    seconds: float | None = None
    requests: int | None = None
    warm_seconds: float = 0.0
    pause_seconds: float = 0.0


@dataclass(slots=True)
class _Tally:
    """What came back: seconds by status, and how many refusals said when to come again."""

    seconds: dict[int, list[float]] = field(default_factory=dict)
    retry_after: int = 0
    lost: int = 0
    """Connections that the server closed or broke."""


class _Run:
    """One load under way."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.tally = _Tally()
        self.ended = asyncio.Event()
        self.open: set[asyncio.Transport] = set()
        self.all_closed = asyncio.Event()
        self._requests = [_request(load, body) for body in load.bodies]
        self._sent = 0

    def next_request(self) -> bytes | None:
        """The bytes to send; None when no more are to be sent."""
        if self.ended.is_set() or self._sent == self.load.requests:
            return None
        request = self._requests[self._sent % len(self._requests)]
        self._sent += 1
        return request


class _Caller(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._buffer = b""
        self._needed = 0
        self._sent_at = 0.0
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._run.open.add(transport)
        self._transport = transport
        self._send()

    def connection_lost(self, error: Exception | None) -> None:
        self._run.open.remove(self._transport)
        if self._sent_at and not self._run.ended.is_set():
            self._run.tally.lost += 1
        if not self._run.open:
            self._run.ended.set()
            self._run.all_closed.set()

    def _send(self) -> None:
        request = self._run.next_request()
        if request is None or self._transport.is_closing():
            self._transport.close()
            return
        self._sent_at = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._needed:
            end = self._buffer.find(_HEADERS_END)
            if end < 0:
                return
            head = self._buffer[:end].lower()
            self._needed = end + len(_HEADERS_END) + _content_length(head)
        if len(self._buffer) >= self._needed:
            self._answered()

    def _answered(self) -> None:
        tally, load = self._run.tally, self._run.load
        status = int(self._buffer[9:12])
        tally.seconds.setdefault(status, []).append(time.perf_counter() - self._sent_at)
        if status == 429 and _RETRY_AFTER in self._buffer[: self._needed].lower():
            tally.retry_after += 1
        self._buffer, self._needed, self._sent_at = b"", 0, 0.0
        if status == 429 and load.pause_seconds:
            asyncio.get_running_loop().call_later(load.pause_seconds, self._send)
        else:
            self._send()


def _request(load: Load, body: str) -> bytes:
    content = body.encode()
    head = (
        f"POST {load.path} HTTP/1.1\r\nHost: 127.0.0.1:{load.port}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def _content_length(head: bytes) -> int:
    start = head.index(_LENGTH) + len(_LENGTH)
    end = head.find(b"\r\n", start)
    return int(head[start : end if end >= 0 else len(head)])


async def send(load: Load) -> JsonObject:
    """Put the load on the server; returns rates, latencies and counts by status."""
    loop = asyncio.get_running_loop()
    run = _Run(load)
    for _ in range(load.clients):
        await loop.create_connection(lambda: _Caller(run), "127.0.0.1", load.port)
    if load.warm_seconds:
        await asyncio.sleep(load.warm_seconds)
        run.tally.seconds.clear()
        run.tally.retry_after = 0
    started, used = time.perf_counter(), time.process_time()
    try:
        async with asyncio.timeout(load.seconds):
            await run.ended.wait()
    except TimeoutError:
        run.ended.set()
    elapsed = time.perf_counter() - started
    cpu = time.process_time() - used
    for transport in tuple(run.open):
        transport.abort()
    await run.all_closed.wait()
    return {
        "elapsed_seconds": elapsed,
        "generator_cpu": cpu / elapsed,
        "retry_after": run.tally.retry_after,
        "lost": run.tally.lost,
        "statuses": {code: len(seconds) for code, seconds in run.tally.seconds.items()},
        "latencies_ms": {
            code: _percentiles(seconds) for code, seconds in run.tally.seconds.items()
        },
    }


def _percentiles(seconds: list[float]) -> JsonObject:
    """Nearest-rank percentiles, in milliseconds."""
    ordered = sorted(seconds)
    places = {f"p{share}": -(-share * len(ordered) // 100) - 1 for share in (50, 95, 99, 100)}
    return {name: 1000 * ordered[max(0, place)] for name, place in places.items()}


def main() -> None:
    """Read a load, send it, write what came of it."""
    load = Load(**json.load(sys.stdin))
    gc.disable()  # the callers' pauses are not the server's
    json.dump(asyncio.run(send(load)), sys.stdout)


if __name__ == "__main__":
    main()
