"""For whoever runs the server: is it alive, is it ready, what does it count, what does it offer."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.responses import JSONResponse

from ....documents import JsonObject
from ..bodies import Alive, Ready
from ..guard import GuardedRoute, needs, state_of
from ..metrics import CONTENT_TYPE
from ..openapi import METRICS_ANSWER, PROBLEMS, READY_ANSWER

router = APIRouter(route_class=GuardedRoute, responses=PROBLEMS, tags=["operations"])


@router.get("/livez", response_model=Alive)
@needs("public")
async def livez() -> Response:
    """Whether the process answers; touches no collection and no model."""
    return JSONResponse({"ok": True})


@router.get("/readyz", response_model=Ready, responses=READY_ANSWER)
@needs("public")
async def readyz(request: Request) -> Response:
    """Whether every collection is open, sound and warm; names the others to keys that read them."""
    state = state_of(request)
    troubles = state.registry.troubles()
    ready = not troubles and state.warm and not state.stopping
    key = request.state.key
    named: JsonObject = {}
    for served in state.registry.all():
        if key is None or not key.may("read", served.name):
            continue
        named[served.name] = {"ready": served.name not in troubles}
        if served.name in troubles:
            problem = troubles[served.name]
            named[served.name] |= {"code": problem.code, "detail": problem.detail, **problem.more}
    value: dict[str, Any] = {"ready": ready, "collections": named}
    if state.stopping:
        value["detail"] = "shutting down"
    elif not state.warm:
        value["detail"] = "warming up"
    return JSONResponse(value, 200 if ready else 503)


@router.get("/metrics", responses=METRICS_ANSWER, response_class=Response)
@needs("key")
async def metrics(request: Request) -> Response:
    """Counters for Prometheus."""
    return Response(state_of(request).metrics.text(), media_type=CONTENT_TYPE)


@router.get("/openapi.json", include_in_schema=False)
@needs("key")
async def openapi(request: Request) -> Response:
    """The API, described."""
    return JSONResponse(request.app.openapi())
