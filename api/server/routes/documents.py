"""Documents: add in bulk, scroll, get, delete."""

from __future__ import annotations

from contextlib import closing
from itertools import islice
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from starlette.responses import JSONResponse

from ....documents import JsonObject
from ....retrieval.collection import Collection
from ..bodies import Added, DeleteBody, Deleted, DocumentAnswer, Scrolled
from ..bulk import Bulk
from ..guard import (
    GuardedRoute,
    check_content_type,
    key_of,
    needs,
    note,
    parse_json,
    state_of,
)
from ..openapi import NDJSON_BODY, PROBLEMS
from ..problems import Problem
from ..streams import parts_of
from .collections import version_of

router = APIRouter(route_class=GuardedRoute, responses=PROBLEMS, tags=["documents"])
NDJSON = "application/x-ndjson"


@router.post("/v1/collections/{name}/documents", response_model=Added, openapi_extra=NDJSON_BODY)
@needs("write")
async def add_documents(
    request: Request, name: str, index: Literal["now", "later"] = "now"
) -> Response:
    """Add documents, one JSON object a line; bad lines are reported, good ones are added."""
    state = state_of(request)
    collection = state.registry.get(name)
    check_content_type(request, NDJSON)
    limits = state.settings.limits
    bulk = Bulk(collection, limits, key_of(request).labels, index, state.registry.places)
    try:
        await bulk.read(parts_of(request, limits, "bulk_bytes"), state.writing)
    finally:
        state.metrics.documents_added.inc(bulk.added)
        note(request, added=bulk.added, line_errors=len(bulk.errors))
    version = await state.reading.run(lambda: version_of(collection))
    return JSONResponse(bulk.as_json(version))


@router.get("/v1/collections/{name}/documents", response_model=Scrolled)
@needs("read")
async def scroll(
    request: Request,
    name: str,
    limit: Annotated[int | None, Query(ge=1, le=1_000_000_000)] = None,
    after: str | None = None,
    filter: Annotated[str | None, Query(description="A filter, as JSON.")] = None,
) -> Response:
    """Documents in the order they were added; ``next`` goes on behind the last of them."""
    state = state_of(request)
    collection = state.registry.get(name)
    limits = state.settings.limits
    limits.check("scroll_documents", limit or 1, "limit")
    size = limit or min(100, limits.scroll_documents)
    condition = None
    if filter is not None:
        condition = parse_json(filter.encode("utf-8", "surrogatepass"), limits.json_depth)
        if not isinstance(condition, dict):
            raise Problem("invalid_input", "a filter is a JSON object", field="filter")
        limits.check_filter(condition)
    labels = key_of(request).labels

    def work() -> JsonObject:
        walk = collection.scroll(filter=condition, as_labels=labels, after=after)
        with closing(walk):
            page = [(item.as_json(), walk.cursor) for item in islice(walk, size)]
            more = next(walk, None) is not None
        return {
            "documents": [document for document, _ in page],
            "cursors": [cursor for _, cursor in page],
            "next": page[-1][1] if more else None,
        }

    return JSONResponse(await state.reading.run(work))


@router.post("/v1/collections/{name}/documents/delete", response_model=Deleted)
@needs("write")
async def delete_documents(request: Request, name: str, body: DeleteBody) -> Response:
    """Delete the documents of these ids; says how many of them there were."""
    state = state_of(request)
    collection = state.registry.get(name)
    state.settings.limits.check("delete_ids", len(body.ids), "ids")
    labels = key_of(request).labels
    count = await state.writing.run(lambda: _delete(collection, body.ids, labels))
    return JSONResponse({"deleted": count})


@router.get("/v1/collections/{name}/documents/{id:path}", response_model=DocumentAnswer)
@needs("read")
async def get_document(request: Request, name: str, id: str) -> Response:
    """One document."""
    state = state_of(request)
    collection = state.registry.get(name)
    labels = key_of(request).labels
    document = await state.reading.run(lambda: collection.get(id, as_labels=labels))
    if document is None:
        raise Problem("unknown_name", "there is no document of that id", field="id")
    return JSONResponse(document.as_json())


@router.delete("/v1/collections/{name}/documents/{id:path}", response_model=Deleted)
@needs("write")
async def delete_document(request: Request, name: str, id: str) -> Response:
    """Delete one document."""
    state = state_of(request)
    collection = state.registry.get(name)
    labels = key_of(request).labels
    count = await state.writing.run(lambda: _delete(collection, [id], labels))
    return JSONResponse({"deleted": count})


def _delete(collection: Collection, ids: list[str], labels: tuple[str, ...] | None) -> int:
    """Delete what the caller can see; what it cannot is not there for it."""
    if labels is not None:
        ids = [id for id in ids if collection.get(id, as_labels=labels) is not None]
    return collection.delete(ids)
