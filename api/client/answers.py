"""Answers as they come over the wire: whole, or event by event."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, Generator
from typing import Any

from ...answers import Answer, AnswerEvent, Citation, Sentence
from ...documents import JsonObject
from ...errors import CormorantError, ServiceError, UnreachableError
from ...results import Span
from .exchange import Reply, read_json
from .problems import named_error
from .replies import number, objects, of, read_result
from .wire import FAILURES, Server


def read_answer(value: Any) -> Answer:
    """What ``Answer.as_json`` wrote, read back."""
    timings = of(value, "timings_ms", dict)
    return Answer(
        of(value, "question", str),
        of(value, "text", str),
        of(value, "found", bool),
        tuple(map(_citation, objects(value, "citations"))),
        tuple(map(_sentence, objects(value, "sentences"))),
        read_result(of(value, "result", dict)),
        of(value, "model", str),
        of(value, "mode", str),
        of(value, "stopped", str),
        _number_or_none(value, "g_nll"),
        of(value, "statistics", dict),
        {name: number(timings, name) for name in timings},
        tuple(map(str, of(value, "flags", list))),
    )


def _citation(value: JsonObject) -> Citation:
    return Citation(
        of(value, "start", int), of(value, "end", int), of(value, "id", str),
        of(value, "rank", int), Span(*of(value, "span", list)), of(value, "by", str),
    )  # fmt: skip


def _sentence(value: JsonObject) -> Sentence:
    span = of(value, "span", list, type(None))
    return Sentence(
        of(value, "start", int),
        of(value, "end", int),
        tuple(map(int, of(value, "cited", list))),
        of(value, "rank", int, type(None)),
        of(value, "id", str, type(None)),
        None if span is None else Span(*span),
        number(value, "overlap"),
        _number_or_none(value, "similarity"),
    )


def _number_or_none(value: Any, name: str) -> float | None:
    return None if of(value, name, int, float, type(None)) is None else number(value, name)


class Events:
    """The events of a reply that is still coming; ``server`` words what breaks."""

    def __init__(self, reply: Reply, server: Server) -> None:
        self._response = reply.open
        self._request_id = reply.request_id
        self._server = server
        self._name = ""
        self._ended = self._begun = self._cancelled = False

    def read(self) -> Generator[AnswerEvent]:
        """The events; raises what the server says went wrong, and for a stream that breaks off."""
        self._begun = True
        try:
            for line in self._response.iter_lines():
                if (event := self._event(line)) is not None:
                    yield event
            self._check_whole()
        except FAILURES as error:
            if not self._cancelled:
                raise self._broken(error) from None
        finally:
            self._response.close()

    async def read_async(self) -> AsyncGenerator[AnswerEvent]:
        """:meth:`read`, to be awaited."""
        try:
            async for line in self._response.aiter_lines():
                if (event := self._event(line)) is not None:
                    yield event
            self._check_whole()
        except FAILURES as error:
            raise self._broken(error) from None
        finally:
            await self._response.aclose()

    def cancel(self) -> None:
        """End the connection, from any thread: the server then stops its work."""
        self._cancelled = True
        stream = self._response.extensions.get("network_stream")
        if stream is not None and not self._response.is_closed:
            try:
                stream.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # it has ended by itself
        if not self._begun:
            self._response.close()

    def _event(self, line: str) -> AnswerEvent | None:
        if line.startswith("event:"):
            self._name = line.removeprefix("event:").strip()
        if not line.startswith("data:"):
            return None  # a name, the end of an event, or a sign of life
        try:
            return self._read(read_json(line.removeprefix("data:").encode()))
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise ServiceError(
                f"an event {self._name!r} is none that a Cormorant server sends: {error}",
                request_id=self._request_id,
            ) from error

    def _read(self, data: Any) -> AnswerEvent | None:
        if self._name == "hits":
            return AnswerEvent("hits", result=read_result(data))
        if self._name == "text":
            return AnswerEvent("text", text=of(data, "text", str))
        if self._name == "done":
            self._ended = True
            return AnswerEvent("done", answer=read_answer(data))
        if self._name == "error":
            raise self._problem(data)
        return None

    def _problem(self, data: Any) -> CormorantError:
        return named_error(of(data, "code", str), of(data, "detail", str), data, self._request_id)

    def _check_whole(self) -> None:
        if not self._ended and not self._cancelled:
            raise UnreachableError(f"{self._server.url} broke off in the middle of its answer")

    def _broken(self, error: Exception) -> UnreachableError:
        return UnreachableError(self._server.broken(error).why, request_id=self._request_id)
