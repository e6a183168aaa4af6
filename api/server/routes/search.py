"""Search: one query, or many."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from starlette.responses import JSONResponse

from .. import searching
from ..bodies import (
    BatchAnswer,
    BatchBody,
    HighlightsAnswer,
    HighlightsBody,
    SearchAnswer,
    SearchBody,
)
from ..guard import GuardedRoute, key_of, needs, note, state_of, unless_gone
from ..openapi import PROBLEMS

router = APIRouter(route_class=GuardedRoute, responses=PROBLEMS, tags=["search"])


@router.post("/v1/collections/{name}/search", response_model=SearchAnswer)
@needs("read")
async def search(request: Request, name: str, body: SearchBody) -> Response:
    """The best documents for a query, by the same pipeline value that Python takes."""
    state = state_of(request)
    collection = state.registry.get(name)
    if state.settings.log_queries:
        note(request, query=body.query)
    labels = key_of(request).labels
    work = searching.search(state.reading, state.settings, collection, body, labels)
    return Response(await unless_gone(request, work), media_type="application/json")


@router.post("/v1/collections/{name}/search/batch", response_model=BatchAnswer)
@needs("read")
async def search_batch(request: Request, name: str, body: BatchBody) -> Response:
    """Many queries over one version of the collection."""
    state = state_of(request)
    collection = state.registry.get(name)
    if state.settings.log_queries:
        note(request, queries=body.queries)
    labels = key_of(request).labels
    work = searching.search_batch(state.reading, state.settings, collection, body, labels)
    return Response(await unless_gone(request, work), media_type="application/json")


@router.post("/v1/collections/{name}/highlights", response_model=HighlightsAnswer)
@needs("read")
async def highlights(request: Request, name: str, body: HighlightsBody) -> Response:
    """Where a text matches a query, for showing a snippet."""
    state = state_of(request)
    collection = state.registry.get(name)
    state.settings.limits.check("query_characters", len(body.query), "query")
    state.settings.limits.check("text_characters", len(body.text), "text")
    spans = await state.reading.run(
        lambda: collection.highlights(body.query, body.text, body.index)
    )
    return JSONResponse({"highlights": spans})
