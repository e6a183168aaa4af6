"""Collections: list, create, describe, delete; their indexes; flush, merge, check."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.responses import JSONResponse

from ....documents import JsonObject
from ....errors import CorruptionError, InputError, UnknownNameError
from ....indexers.chunking import Chunking
from ....indexers.table import index_settings
from ....retrieval.collection import Collection
from ....retrieval.pipeline import NAMED, as_pipeline
from ....tagged import to_json
from ..answering import language_models
from ..bodies import (
    AddIndexBody,
    Checked,
    Collections,
    CreateBody,
    Described,
    Version,
)
from ..guard import GuardedRoute, authorize, key_of, needs, state_of
from ..openapi import PROBLEMS
from ..problems import Problem, without_paths
from ..searching import check_models
from ..state import State

router = APIRouter(route_class=GuardedRoute, responses=PROBLEMS, tags=["collections"])


@router.get("/v1/collections", response_model=Collections)
@needs("key")
async def list_collections(request: Request) -> Response:
    """The collections this key may read; one that is not open has its trouble instead."""
    state, key = state_of(request), key_of(request)
    served = [item for item in state.registry.all() if key.may("read", item.name)]
    troubles = state.registry.troubles()

    def describe() -> list[JsonObject]:
        return [
            described(state, item.name, item.collection)
            if item.collection is not None
            else {**_NOTHING, "name": item.name, "problem": troubles[item.name].code}
            for item in served
        ]

    return JSONResponse({"collections": await state.reading.run(describe)})


@router.post("/v1/collections", response_model=Described, status_code=201)
@needs("key", writes=True)
async def create_collection(request: Request, body: CreateBody) -> Response:
    """Create a collection in the server's root folder."""
    authorize(request, "admin", body.name)
    state = state_of(request)
    limits = state.settings.limits
    limits.check("indexes", len(body.indexes or ()), "indexes")
    indexes = None
    if body.indexes is not None:
        indexes = {
            name: checked_settings(state, value, f"indexes.{name}")
            for name, value in body.indexes.items()
        }
    chunk = None if body.chunk is None else Chunking(body.chunk.tokens, body.chunk.overlap)

    def create() -> JsonObject:
        return described(state, body.name, state.registry.create(body.name, indexes, chunk))

    value = await state.writing.run(create)
    return JSONResponse(value, 201, {"Location": f"/v1/collections/{body.name}"})


@router.get("/v1/collections/{name}", response_model=Described)
@needs("read")
async def describe_collection(request: Request, name: str) -> Response:
    """What is in a collection, and the names of the pipelines that resolve here."""
    state = state_of(request)
    collection = state.registry.get(name)
    return JSONResponse(await state.reading.run(lambda: described(state, name, collection)))


@router.delete("/v1/collections/{name}", status_code=204)
@needs("admin")
async def delete_collection(request: Request, name: str) -> Response:
    """Drop a collection: its files and its judgements."""
    state = state_of(request)
    await state.writing.run(lambda: state.registry.drop(name))
    return Response(status_code=204)


@router.post("/v1/collections/{name}/indexes", response_model=Described, status_code=201)
@needs("admin")
async def add_index(request: Request, name: str, body: AddIndexBody) -> Response:
    """Add an index over the documents that are there."""
    state = state_of(request)
    collection = state.registry.get(name)
    settings = checked_settings(state, body.settings, "settings")

    def add() -> JsonObject:
        state.settings.limits.check("indexes", len(collection.indexes) + 1, "name")
        collection.add_index(body.name, settings, index=body.when)
        return described(state, name, collection)

    value = await state.writing.run(add)
    return JSONResponse(value, 201)


@router.delete("/v1/collections/{name}/indexes/{index}", status_code=204)
@needs("admin")
async def drop_index(request: Request, name: str, index: str) -> Response:
    """Drop an index and its files."""
    state = state_of(request)
    collection = state.registry.get(name)
    try:
        await state.writing.run(lambda: collection.drop_index(index))
    except UnknownNameError as error:
        raise Problem("unknown_name", str(error), field="name") from None
    return Response(status_code=204)


@router.post("/v1/collections/{name}/flush", response_model=Version)
@needs("write")
async def flush(request: Request, name: str) -> Response:
    """Write what is only in the tail into segments."""
    state = state_of(request)
    collection = state.registry.get(name)

    def work() -> int:
        collection.flush()
        return version_of(collection)

    return JSONResponse({"version": await state.writing.run(work)})


@router.post("/v1/collections/{name}/merge", response_model=Version)
@needs("write")
async def merge(request: Request, name: str) -> Response:
    """Make one segment of each index."""
    state = state_of(request)
    collection = state.registry.get(name)

    def work() -> int:
        collection.merge()
        return version_of(collection)

    return JSONResponse({"version": await state.writing.run(work)})


@router.post("/v1/collections/{name}/check", response_model=Checked)
@needs("admin")
async def check(request: Request, name: str) -> Response:
    """Read every byte of a collection and report all that is wrong."""
    state = state_of(request)
    collection = state.registry.get(name)
    report = await state.reading.run(collection.check)
    if report.ok:
        state.registry.found_sound(name)
    else:
        file, _, message = report.problems[0].partition(": ")
        state.registry.note(name, CorruptionError(file, message))
    places = state.registry.places
    value = {
        "ok": report.ok,
        "files": report.files,
        "documents": report.documents,
        "problems": [without_paths(problem, places) for problem in report.problems],
    }
    return JSONResponse(value)


_NOTHING: JsonObject = {
    "documents": 0, "version": 0, "indexes": {}, "pipelines": [], "language_models": []
}  # fmt: skip


def described(state: State, name: str, collection: Collection) -> JsonObject:
    """A collection's description as the wire has it: without paths. Runs in a thread."""
    value = collection.describe()
    del value["path"]
    for index, settings in collection.indexes.items():
        if index in value["indexes"]:  # one may have been added in between
            value["indexes"][index]["settings"] = to_json(settings)
    kinds = {index: entry["kind"] for index, entry in value["indexes"].items()}
    pipelines = [
        wanted
        for wanted in dict.fromkeys((*kinds, *kinds.values(), *NAMED))
        if _resolves(wanted, kinds)
    ]
    places = state.registry.places
    cleaned: JsonObject = _without_paths({"name": name, **value, "pipelines": pipelines}, places)
    return {**cleaned, "language_models": list(language_models(state.settings))}


def _without_paths(value: Any, places: list[str]) -> Any:
    if isinstance(value, str):
        return without_paths(value, places)
    if isinstance(value, list):
        return [_without_paths(item, places) for item in value]
    if isinstance(value, dict):
        return {name: _without_paths(item, places) for name, item in value.items()}
    return value


def _resolves(name: str, kinds: dict[str, str]) -> bool:
    try:
        as_pipeline(name, kinds)
    except InputError:
        return False
    return True


def checked_settings(state: State, value: Any, field: str) -> Any:
    """Index settings from a body; their model must be one of the server's."""
    try:
        settings = index_settings(value)
    except InputError as error:
        raise type(error)(str(error), field=field) from None
    check_models(settings, (*state.settings.models, *state.settings.rerankers))
    return settings


def version_of(collection: Collection) -> int:
    """The number of the latest committed version. Runs in a thread."""
    return int(collection.describe()["version"])
