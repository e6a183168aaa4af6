"""The application, made by :func:`create_app` from settings."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response

from ...contracts import Encoder
from ...errors import CormorantError, CorruptionError
from ...stages import PairScorer
from .edge import Edge
from .keys import Keys
from .logs import make_log
from .metrics import Metrics
from .openapi import allowed_methods, describe_api
from .problems import problem_of_status, without_paths
from .rates import Rates
from .registry import Registry
from .reranking import rankers_of
from .routes import answers, collections, documents, inference, judgements, operations, search
from .routes.page import page_router
from .settings import Settings
from .shard_metrics import ShardMetrics
from .state import State
from .work import Workers
from .writer import Writer


def create_app(
    settings: Settings | None = None,
    *,
    encoders: Mapping[str, Encoder] | None = None,
    scorers: Mapping[str, PairScorer] | None = None,
    log: Any = None,
    writer: Path | None = None,
    troubles: Path | None = None,
) -> FastAPI:
    """An ASGI application. Collections are opened when it starts, and closed when it stops.

    ``encoders`` and ``scorers`` are models by the names that requests may give, beside those of
    ``Settings.models`` and ``Settings.rerankers``. ``log`` is a structlog logger. ``writer`` is the
    Unix socket of the process that writes: this one then reads, and hands on what changes anything.
    ``troubles`` is a folder in which processes tell each other which collections are damaged.

    Raises :class:`~cormorant.errors.InputError` for a keys file or a folder that cannot be used.
    """
    settings = settings or Settings()
    state = State(
        settings=settings,
        registry=Registry(
            settings.collections,
            settings.root,
            read_only=settings.read_only or writer is not None,
            most=settings.limits.collections,
            follow=writer is not None,
            shared=troubles,
            ray_address=settings.ray_address,
        ),
        keys=None if settings.keys is None else Keys(settings.keys),
        metrics=Metrics(),
        rates=Rates(settings.limits.requests_per_minute),
        log=log or make_log(),
        writer=None
        if writer is None
        else Writer(writer, settings.limits, settings.threads + settings.write_queue),
        encoders=dict(encoders or {}),
        rankers=rankers_of(settings, scorers or {}),
    )
    app = FastAPI(
        title="Cormorant",
        openapi_url=None,  # a route of our own, behind the key
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # an id may end in a slash
        lifespan=_lifespan,
        middleware=[Middleware(Edge, state=state)],
        exception_handlers={HTTPException: _as_problem},
    )
    app.state.server = state
    state.metrics.registry.register(
        ShardMetrics(lambda: [served.collection for served in state.registry.all()])
    )
    for theme in (operations, collections, documents, search, answers, judgements, inference):
        app.router.routes.extend(
            theme.router.routes
        )  # an included router is a step for each request
    app.router.routes.extend(page_router().routes)
    describe_api(app, keyed=state.keys is not None)
    return app


async def _as_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    problem = problem_of_status(error)
    if problem.code == "method_not_allowed":
        template = getattr(request.scope.get("route"), "path", "")
        problem.headers = {"Allow": allowed_methods(request.app, template)}
    return problem.as_response(request)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    state: State = app.state.server
    settings = state.settings
    state.reads = reads = Workers(
        "read",
        threads=settings.threads,
        queue=settings.queue,
        batch=settings.batch,
        wait_seconds=settings.batch_wait_ms / 1000,
        observe=state.metrics.batches.observe,
    )
    state.writes = writes = Workers("write", threads=1, queue=settings.write_queue)
    state.answers = answering = Workers("answer", threads=settings.answers, queue=settings.queue)
    state.metrics.watch("cormorant_answers_waiting", "Answers that wait", lambda: answering.waiting)
    state.metrics.watch(
        "cormorant_answers_running", "Answers being written", lambda: answering.running
    )
    state.metrics.watch("cormorant_waiting", "Requests that wait", lambda: reads.waiting)
    state.metrics.watch("cormorant_running", "Threads at work", lambda: reads.running)
    state.stopping = False
    await writes.run(state.registry.open_all)
    for name, problem in state.registry.troubles().items():
        state.log.error("not opened", collection=name, code=problem.code, detail=problem.detail)
    warming = asyncio.create_task(_warm(state))
    try:
        yield
    finally:
        state.stopping = True
        warming.cancel()
        await asyncio.gather(warming, return_exceptions=True)
        await answering.close(settings.shutdown_seconds)
        await reads.close(settings.shutdown_seconds)
        if state.writer is not None:
            await state.writer.close()
        await writes.close(settings.shutdown_seconds)

        def failed(name: str, error: Exception) -> None:
            detail = without_paths(str(error), state.registry.places)
            state.log.error("not closed", collection=name, detail=detail)

        await asyncio.to_thread(state.registry.close, failed)


async def _warm(state: State) -> None:
    """Search every collection once: code is compiled, files are mapped, models are loaded."""
    for served in state.registry.all() if state.settings.warm else ():
        collection = served.collection
        if collection is None:
            continue
        try:
            await state.reading.run(lambda c=collection: c.search("warm", k=1))  # type: ignore[misc]
        except CorruptionError as error:
            state.registry.note(served.name, error)
        except CormorantError as error:  # no index yet, say, or a model that is not here
            detail = without_paths(str(error), state.registry.places)
            state.log.warning("not warmed", collection=served.name, detail=detail)
        except Exception:
            state.log.error("not warmed", collection=served.name, exc_info=True)
    gc.collect()
    gc.freeze()  # models and imports stay: no collection needs to walk through them again
    state.warm = True
