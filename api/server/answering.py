"""Answers over the wire: which models there are, and a thread that writes while the loop reads."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ...answers import Answer, AnswerEvent, AnswerStream
from ...documents import JsonObject
from ...errors import CormorantError, InputError
from ...retrieval.answering.settings import Answering, answering_from_json, model_of, name_of
from ...stages import LanguageModel
from .answer_bodies import AnswerBody
from .edge import internal
from .guard import problem_noted, until_gone
from .inference import unknown_model
from .metrics import Metrics
from .problems import Problem
from .settings import Settings
from .work import Workers

STILL_THERE_SECONDS = 15.0
"""After so long without an event a comment says that the answer goes on."""
_NOT_OVER_THE_WIRE = ("drafters", "tenant", "transfer")


def language_models(settings: Settings) -> dict[str, LanguageModel]:
    """The models that write answers, by the names that requests give; the first is the default."""
    models = [model_of(word) for word in settings.language_models]
    return {name_of(model): model for model in models}


def chosen_model(settings: Settings, name: str | None) -> LanguageModel:
    """The model of a name, None: the first; raises the problem ``unknown_name``."""
    there = language_models(settings)
    if not there:
        raise Problem(
            "unknown_name",
            "this server has no language model; start it with --language-model",
            status=422,
            field="model",
        )
    if name is None:
        return next(iter(there.values()))
    if name not in there:
        raise unknown_model(name, list(there))
    return there[name]


def checked_settings(settings: Settings, body: AnswerBody) -> Answering:
    """The settings of an answer, within the server's limits."""
    given = body.settings or {}
    for name in _NOT_OVER_THE_WIRE:
        if name in given:
            raise InputError("is not for requests to say", field=name)
    made = answering_from_json(given)
    for limit, name in (
        ("answer_tokens", "max_tokens"),
        ("answer_passages_tokens", "passages_tokens"),
        ("answer_drafts", "drafts"),
    ):
        settings.limits.check(limit, getattr(made, name), name)
    return made


class Writing:
    """An answer under way: a thread writes it, the event loop reads its events.

    ``begin`` runs in the thread. Whoever reads no further calls :meth:`end`, which stops the work.
    """

    def __init__(
        self, workers: Workers, begin: Callable[[], AnswerStream], seconds: float, metrics: Metrics
    ) -> None:
        self._begin = begin
        self._stream: AnswerStream | None = None
        self._over = False
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[AnswerEvent | None] = asyncio.Queue()
        self._count = metrics.answers
        self._outcome = "cancelled"
        self._work = asyncio.ensure_future(workers.run(self._write, seconds))
        self._work.add_done_callback(self._last)

    def _write(self) -> None:
        with self._begin() as stream:
            self._stream = stream
            if self._over:
                stream.cancel()
            for event in stream:
                self._loop.call_soon_threadsafe(self._events.put_nowait, event)

    def _last(self, done: asyncio.Future[Any]) -> None:
        if not done.cancelled():
            done.exception()  # it is seen, if nobody reads on
        self._events.put_nowait(None)

    async def next(self) -> AnswerEvent | None:
        """The next event, None after the last; raises what the work raised."""
        event = await self._events.get()
        if event is not None:
            self._outcome = "done" if event.answer is not None else self._outcome
            return event
        self._outcome = "failed" if self._work.exception() is not None else self._outcome
        self._work.result()
        return None

    async def whole(self) -> Answer:
        """The answer, its events read and forgotten."""
        while (event := await self.next()) is not None:
            if event.answer is not None:
                return event.answer
        raise RuntimeError("an answer was cancelled that its caller waits for")

    def end(self) -> None:
        """Stop the work, if there is any left, and count how it ended."""
        self._over = True
        self._work.cancel()
        self._count.labels(self._outcome).inc()
        if self._stream is not None:
            self._stream.cancel()


class EventStream(Response):
    """The events of an answer as server-sent events: ``hits``, ``text``, ``done``, or ``error``."""

    media_type = "text/event-stream"

    def __init__(self, request: Request, first: AnswerEvent | None, writing: Writing) -> None:
        super().__init__(headers={"X-Accel-Buffering": "no"})  # proxies shall not collect it
        del self.headers["content-length"]
        self._request = request
        self._first = first
        self._writing = writing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send what is there when it is there; stop the work when the client is gone."""
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        gone = asyncio.ensure_future(until_gone(Request(scope, receive)))
        getting: asyncio.Future[AnswerEvent | None] | None = None
        try:
            await send(start)
            event = self._first
            while event is not None:
                await send(_part(_event(event.kind, event.as_json())))
                getting = asyncio.ensure_future(self._writing.next())
                while not getting.done():
                    await asyncio.wait(
                        {getting, gone}, timeout=STILL_THERE_SECONDS,
                        return_when=asyncio.FIRST_COMPLETED,
                    )  # fmt: skip
                    if gone.done():
                        return
                    if not getting.done():
                        await send(_part(b": writing\n\n"))
                event = self._outcome(getting)
                if isinstance(event, bytes):
                    await send(_part(event))
                    break
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            gone.cancel()
            if getting is not None:
                getting.cancel()
            self._writing.end()

    def _outcome(self, getting: asyncio.Future[AnswerEvent | None]) -> Any:
        """The next event, or an error as its last one."""
        try:
            return getting.result()
        except Problem as error:
            problem = error
        except CormorantError as error:
            problem = problem_noted(self._request, error)
        except Exception:
            problem = internal(self._request.state.request_id)
            self._request.app.state.server.log.error(
                "failed", request_id=self._request.state.request_id, exc_info=True
            )
        return _event("error", json.loads(bytes(problem.as_response(self._request).body)))


def _event(name: str, data: JsonObject) -> bytes:
    written = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return f"event: {name}\ndata: {written}\n\n".encode()


def _part(content: bytes) -> JsonObject:
    return {"type": "http.response.body", "body": content, "more_body": True}
