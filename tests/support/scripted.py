"""A client against a script: what the transport answers, what it was sent, how long it waited."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx2

import cormorant as cm
from cormorant.api.client import Clock, Retries

URL = "http://cormorant.test/base"


class FakeTime:
    """A clock that moves only when somebody sleeps; the dice fall as told."""

    def __init__(self, dice: float = 0.5) -> None:
        self.seconds = 0.0
        self.slept: list[float] = []
        self.dice = dice

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.slept.append(seconds)
        self.seconds += seconds

    async def sleep_async(self, seconds: float) -> None:
        self.sleep(seconds)

    def clock(self) -> Clock:
        return Clock(
            now=lambda: self.seconds,
            wall=lambda: 1_000_000_000.0 + self.seconds,
            dice=lambda: self.dice,
            sleep=self.sleep,
            sleep_async=self.sleep_async,
        )


Answer = httpx2.Response | Exception | Callable[[httpx2.Request], httpx2.Response]


class Script:
    """Answers one after the other, the last one for ever; an exception is raised instead."""

    def __init__(self, *answers: Answer, url: str = URL, **arguments: Any) -> None:
        self.answers = list(answers)
        self.requests: list[httpx2.Request] = []
        self.time = FakeTime(arguments.pop("dice", 0.5))
        arguments.setdefault("retries", Retries())
        self._arguments = {"clock": self.time.clock(), **arguments}
        self._url = url

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, httpx2.Response):
            return httpx2.Response(
                answer.status_code, content=answer.content, headers=answer.headers
            )
        return answer(request)

    @property
    def client(self) -> cm.Client:
        return cm.Client(self._url, transport=httpx2.MockTransport(self), **self._arguments)

    @property
    def papers(self) -> Any:
        return self.client["papers"]

    @property
    def async_papers(self) -> Any:
        transport = httpx2.MockTransport(self)
        return cm.AsyncClient(self._url, transport=transport, **self._arguments)["papers"]


def reply(value: Any, status: int = 200) -> httpx2.Response:
    """A JSON reply."""
    return httpx2.Response(status, json=value)


def problem(status: int, code: str, detail: str = "so it is", **more: Any) -> httpx2.Response:
    """A problem document."""
    headers = {"content-type": "application/problem+json", "x-request-id": "r1"}
    if "retry_after" in more:
        headers["retry-after"] = more.pop("retry_after")
    body = {"type": f"urn:{code}", "title": code, "status": status, "detail": detail}
    content = json.dumps({**body, "code": code, "request_id": "r1", **more}).encode()
    return httpx2.Response(status, content=content, headers=headers)


DESCRIBED = {"name": "papers", "documents": 3, "version": 7, "indexes": {}, "pipelines": []}
FOUND = {
    "hits": [
        {
            "rank": 1,
            "id": "a",
            "score": 1.5,
            "title": "A",
            "text": "one two",
            "metadata": {"n": 1},
            "span": [0, 3],
        }
    ],
    "version": 7,
    "total_ms": 0.5,
    "timings_ms": {"search": 0.5},
    "flags": ["late"],
}
