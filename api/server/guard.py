"""Every route: may this key do it, is the body fit to be read, and what do errors become.

Each endpoint says the right it needs with :func:`needs`; a route without one cannot be made.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any, Literal, TypeAlias, TypeVar

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from ...errors import CormorantError, CorruptionError, ReadOnlyError
from .edge import internal
from .keys import Key
from .limits import Limits
from .problems import Problem, problem_of, problem_of_validation
from .state import State
from .streams import parts_of

Right: TypeAlias = Literal["public", "key", "read", "write", "admin"]
"""``read``, ``write``, ``admin``: on the collection in the path. ``key``: any; ``public``: none."""

LONG_BYTES = 1 << 16
"""JSON of so many bytes is read in a thread: others wait for the event loop."""
E = TypeVar("E", bound=Callable[..., Any])


def needs(right: Right, *, writes: bool | None = None) -> Callable[[E], E]:
    """Declare the right an endpoint needs.

    ``writes`` says whether only the process that writes can answer; by default those can that need
    the right to write or to administer.
    """

    def mark(endpoint: E) -> E:
        endpoint.right = right  # type: ignore[attr-defined]
        endpoint.writes = right in ("write", "admin") if writes is None else writes  # type: ignore[attr-defined]
        return endpoint

    return mark


def state_of(request: Request) -> State:
    """What the server holds."""
    state: State = request.app.state.server
    return state


def key_of(request: Request) -> Key:
    """The key of the caller."""
    key: Key = request.state.key
    return key


def authorize(request: Request, right: Right, collection: str) -> None:
    """Raise the problem ``forbidden`` unless the caller has the right on the collection."""
    if not key_of(request).may(right, collection):
        raise Problem("forbidden", f"this key has no right to {right} there; ask for one that has")


def note(request: Request, **facts: Any) -> None:
    """Add facts to the request's line in the log."""
    request.state._state.setdefault("noted", {}).update(facts)


class GuardedRoute(APIRoute):
    """A route that is refused to whoever lacks the right, before its body is looked at."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler, guarded."""
        handle = super().get_route_handler()
        right: Right | None = getattr(self.endpoint, "right", None)
        if right is None:
            raise TypeError(f"{self.path}: say which right the endpoint needs, with @needs(...)")

        writes: bool = self.endpoint.writes  # type: ignore[attr-defined]

        async def guarded(request: Request) -> Response:
            try:
                if right in ("read", "write", "admin"):
                    authorize(request, right, request.path_params["name"])
                writer = state_of(request).writer
                if writes and writer is not None:
                    _check_before_passing_on(request, has_json=self.body_field is not None)
                    return await writer.answer(request)
                if self.body_field is not None:
                    request = _JsonRequest(request.scope, request.receive)
                return await handle(request)
            except RequestValidationError as error:
                raise problem_of_validation(error) from None
            except ClientDisconnect:
                raise Problem("client_closed", "the client went away") from None
            except CormorantError as error:
                raise problem_noted(request, error) from error
            except (Problem, asyncio.CancelledError):
                raise
            except Exception as error:
                request_id = request.state.request_id
                state_of(request).log.error("failed", request_id=request_id, exc_info=True)
                raise internal(request_id) from error

        return guarded


def _check_before_passing_on(request: Request, *, has_json: bool) -> None:
    """Refuse at once what the process that writes is known to refuse."""
    if "name" in request.path_params:
        state_of(request).registry.served(request.path_params["name"])
    if has_json:
        check_content_type(request, "application/json")


def problem_noted(request: Request, error: CormorantError) -> Problem:
    """The problem of a library error, which the log and the registry are told of."""
    state = state_of(request)
    name = request.path_params.get("name")
    if isinstance(error, CorruptionError) and name is not None:
        state.registry.note(name, error)
    if isinstance(error, ReadOnlyError) and name is not None:
        state.registry.served(name)  # dropped while it was at work: there is nothing of that name
    problem = problem_of(error, state.registry.places)
    if problem.status_code >= 500:
        state.log.error("failed", request_id=request.state.request_id, exc_info=True)
    return problem


class _JsonRequest(Request):
    """A request whose body must be JSON, is bounded, and is read once."""

    async def body(self) -> bytes:
        if not hasattr(self, "_body"):
            check_content_type(self, "application/json")
            limits: Limits = state_of(self).limits
            self._body = b"".join([part async for part in parts_of(self, limits, "body_bytes")])
            if not self._body:
                raise Problem("invalid_input", "this needs a JSON object as its body")
        return self._body

    async def json(self) -> Any:
        body, depth = await self.body(), state_of(self).limits.json_depth
        if len(body) < LONG_BYTES:
            return parse_json(body, depth)
        return await asyncio.to_thread(parse_json, body, depth)


def check_content_type(request: Request, *allowed: str) -> None:
    """Raise the problem ``unsupported_media_type`` for another type, or a compressed body."""
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given not in allowed:
        raise Problem(
            "unsupported_media_type",
            f"send Content-Type: {' or '.join(allowed)}, not {given!r:.80}",
        )
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem("unsupported_media_type", "send the body as it is, not compressed")


def parse_json(body: bytes, depth: int) -> Any:
    """JSON as RFC 8259 has it: UTF-8, no NaN, no lone surrogate, no deeper than ``depth``."""
    try:
        text = body.decode("utf-8")
        value = json.loads(text, parse_constant=_refuse)
        if "\\ud" in text or "\\uD" in text:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeDecodeError:
        raise Problem("invalid_input", "the body is not UTF-8") from None
    except UnicodeEncodeError:
        raise Problem("invalid_input", "a string of the body has a lone surrogate") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise Problem("invalid_input", f"the body is not JSON: {error.msg} at {where}") from None
    except (ValueError, RecursionError) as error:
        raise Problem("invalid_input", f"the body is not JSON that can be read: {error}") from None
    if text.count("[") + text.count("{") > depth:
        _check_depth(value, depth)
    return value


def _check_depth(value: Any, depth: int) -> None:
    level = [value]
    for _ in range(depth + 1):
        level = [
            inner
            for item in level
            if isinstance(item, dict | list)
            for inner in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return
    raise Problem("limit_exceeded", f"the body nests more than {depth} deep", limit="json_depth")


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


async def unless_gone(request: Request, work: Coroutine[Any, Any, Any]) -> Any:
    """What the work gives; cancels it when the client goes away first.

    Work that has not begun then never does.
    """
    caller = asyncio.current_task()
    assert caller is not None
    left = over = False

    def leave(_: asyncio.Task[None]) -> None:
        nonlocal left
        if not over:
            left = True
            caller.cancel()

    watcher = asyncio.ensure_future(until_gone(request))
    watcher.add_done_callback(leave)
    try:
        return await work
    except asyncio.CancelledError:
        if not left:
            raise
        caller.uncancel()
        raise Problem("client_closed", "the client went away") from None
    finally:
        over = True
        watcher.cancel()


async def until_gone(request: Request) -> None:
    """Return when the client has gone away."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
