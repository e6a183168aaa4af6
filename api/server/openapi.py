"""What the OpenAPI document says beyond what FastAPI finds out by itself."""

from __future__ import annotations

import importlib.metadata
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from .bodies import DocumentAnswer, Ready
from .edge import PUBLIC
from .problems import CODES, MEDIA_TYPE, ProblemDetails

_PROBLEM = {"content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}}}
_STATUSES: dict[int, str] = {}
for _status, _title in CODES.values():
    _STATUSES[_status] = f"{_STATUSES[_status]}; {_title}" if _status in _STATUSES else _title

PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"description": title, **_PROBLEM} for status, title in sorted(_STATUSES.items())
}
"""The problems any route may answer with."""

READY_ANSWER: dict[int | str, dict[str, Any]] = {
    503: {"description": "Not ready", "model": Ready, "content": {"application/json": {}}}
}
METRICS_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {"description": "Prometheus's text format", "content": {"text/plain": {}}}
}
QRELS_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {"description": "TREC qrels", "content": {"text/plain": {"schema": {"type": "string"}}}}
}
ANSWER_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {"description": "An answer", "content": {"text/event-stream": {}}}
}
NDJSON_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "A document a line.",
        "content": {
            "application/x-ndjson": {
                "schema": {"type": "string"},
                "example": '{"id": "1", "title": "Cormorant", "text": "It dives for fish."}\n',
            },
        },
    }
}


LINKS: dict[tuple[str, str], dict[str, dict[str, str]]] = {
    ("create_collection", "201"): {
        operation: {"name": "$response.body#/name"}
        for operation in (
            "describe_collection",
            "add_index",
            "add_documents",
            "scroll",
            "search",
            "search_batch",
            "flush",
            "delete_collection",
        )
    },
    ("list_collections", "200"): {
        operation: {"name": "$response.body#/collections/0/name"}
        for operation in ("describe_collection", "scroll", "search", "search_batch", "check")
    },
    ("add_index", "201"): {
        "drop_index": {"name": "$request.path.name", "index": "$request.body#/name"}
    },
    ("add_documents", "200"): {
        operation: {"name": "$request.path.name"} for operation in ("scroll", "search", "merge")
    },
    ("search", "200"): {
        "get_document": {"name": "$request.path.name", "id": "$response.body#/hits/0/id"}
    },
    ("scroll", "200"): {
        "get_document": {"name": "$request.path.name", "id": "$response.body#/documents/0/id"},
        "delete_document": {"name": "$request.path.name", "id": "$response.body#/documents/0/id"},
        "scroll": {"name": "$request.path.name", "after": "$response.body#/next"},
    },
}
"""(operation, status) -> the operations its answer leads to, with what they take from it."""


def allowed_methods(app: FastAPI, template: str) -> str:
    """The Allow header of a path that took another method."""
    operations = app.openapi()["paths"].get(template.replace(":path}", "}"), {})
    return ", ".join(sorted(method.upper() for method in operations)) or "GET"


def describe_api(app: FastAPI, *, keyed: bool) -> None:
    """Give the application its OpenAPI document, made when it is first asked for."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            for route in app.routes:
                if isinstance(route, APIRoute):
                    route.operation_id = route.name  # what LINKS know it by
            value = get_openapi(
                title="Cormorant",
                version=importlib.metadata.version("cormorant"),
                description="Retrieval and ranking. Errors are RFC 9457 problems.",
                routes=app.routes,
            )
            parts = value.setdefault("components", {})
            schemas = parts.setdefault("schemas", {})
            for model in (ProblemDetails, DocumentAnswer):
                schemas.setdefault(model.__name__, model.model_json_schema())
            if keyed:
                parts["securitySchemes"] = {
                    "bearer": {"type": "http", "scheme": "bearer"},
                    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                }
                value["security"] = [{"bearer": []}, {"key": []}]
                for path in PUBLIC & value["paths"].keys():
                    value["paths"][path]["get"]["security"] = []
            for path in value["paths"].values():
                for operation in path.values():
                    _link(operation)
            app.openapi_schema = value
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _link(operation: dict[str, Any]) -> None:
    for status, answer in operation["responses"].items():
        links = LINKS.get((operation["operationId"], status), {})
        if links:
            answer["links"] = {
                name: {"operationId": name, "parameters": parameters}
                for name, parameters in links.items()
            }
