"""Judgements: mark a hit, get them all as TREC qrels."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from starlette.responses import PlainTextResponse

from ....documents import JsonObject
from ..bodies import JudgementBody
from ..guard import GuardedRoute, key_of, needs, state_of
from ..judgements import as_qrels, as_queries, judge, read_judgements
from ..openapi import PROBLEMS, QRELS_ANSWER
from ..problems import Problem

router = APIRouter(route_class=GuardedRoute, responses=PROBLEMS, tags=["judgements"])


@router.put("/v1/collections/{name}/judgements", status_code=204)
@needs("write")
async def put_judgement(request: Request, name: str, body: JudgementBody) -> Response:
    """Judge one document for one query; the last judgement of the two counts."""
    state = state_of(request)
    if state.settings.read_only:
        raise Problem("read_only", "this server answers no writes (--read-only)")
    state.settings.limits.check("query_characters", len(body.query), "query")
    collection = state.registry.get(name)
    path = state.registry.served(name).judgements
    labels = key_of(request).labels

    def work() -> bool:
        if collection.get(body.document_id, as_labels=labels) is None:
            return False
        judge(path, body.query_id, body.query, body.document_id, body.grade)
        return True

    if not await state.reading.run(work):  # a file of its own: no merge holds it up
        raise Problem(
            "unknown_name", "there is no document of that id", status=422, field="document_id"
        )
    return Response(status_code=204)


@router.get(
    "/v1/collections/{name}/judgements", response_class=PlainTextResponse, responses=QRELS_ANSWER
)
@needs("read")
async def get_judgements(request: Request, name: str, queries: bool = False) -> Response:
    """TREC qrels, or with ``queries=1`` the queries as JSON lines."""
    state = state_of(request)
    collection = state.registry.get(name)
    path = state.registry.served(name).judgements
    labels = key_of(request).labels

    def work() -> str:
        found: list[JsonObject] = read_judgements(path)
        if labels is not None:
            found = [
                value
                for value in found
                if collection.get(value["document_id"], as_labels=labels) is not None
            ]
        return as_queries(found) if queries else as_qrels(found)

    return PlainTextResponse(await state.reading.run(work))
