"""Answers: a question in, a text with citations out, whole or while it is written."""

from __future__ import annotations

import time

from fastapi import APIRouter, Request, Response
from starlette.responses import JSONResponse

from ....answers import AnswerStream
from ..answer_bodies import AnswerAnswer, AnswerBody
from ..answering import EventStream, Writing, checked_settings, chosen_model
from ..guard import GuardedRoute, key_of, needs, note, state_of, unless_gone
from ..openapi import ANSWER_EVENTS, PROBLEMS
from ..searching import checked_pipeline, left_ms

router = APIRouter(route_class=GuardedRoute, responses=PROBLEMS, tags=["answers"])
EVENTS = "text/event-stream"


@router.post("/v1/collections/{name}/answer", response_model=AnswerAnswer, responses=ANSWER_EVENTS)
@needs("read")
async def answer(request: Request, name: str, body: AnswerBody) -> Response:
    """An answer to a question from the collection's passages, with citations.

    With ``Accept: text/event-stream`` its events: ``hits`` (a search's answer), ``text`` (a piece
    of the text), then ``done`` (the whole answer) or ``error`` (a problem).
    """
    state = state_of(request)
    collection = state.registry.get(name)
    limits = state.settings.limits
    if state.settings.log_queries:
        note(request, question=body.question)
    limits.check("query_characters", len(body.question), "question")
    limits.check("k", body.k, "k")
    limits.check_filter(body.filter)
    pipeline = checked_pipeline(body.pipeline, state.settings)
    settings = checked_settings(state.settings, body)
    model = chosen_model(state.settings, body.model)
    labels = key_of(request).labels
    seconds = min(limits.answer_timeout_ms, body.timeout_ms or limits.answer_timeout_ms) / 1000
    expires = time.monotonic() + seconds

    def begin() -> AnswerStream:
        return collection.answer_stream(
            body.question,
            body.k,
            model=model,  # type: ignore[arg-type]
            pipeline=pipeline,
            filter=body.filter,
            as_labels=labels,
            mode=body.mode,
            settings=settings,
            timeout_ms=left_ms(expires),
        )

    writing = Writing(state.answering, begin, seconds, state.metrics)
    try:
        if EVENTS in request.headers.get("accept", ""):
            first = await unless_gone(request, writing.next())
            return EventStream(request, first, writing)
        whole = await unless_gone(request, writing.whole())
    except BaseException:
        writing.end()
        raise
    writing.end()
    return JSONResponse(whole.as_json())
