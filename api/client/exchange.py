"""Send a request until it is answered: what may be sent again, when, and what went wrong if not.

An attempt fails in one of three ways:

1. Nothing was begun: no connection, or the server refused before it did anything (429, 503
   ``not_ready``). Every request is sent again.
2. Nobody knows: the connection broke, no reply came in time, the request did not come through
   (408), or a gateway answered for the server (502, 503, 504 without a problem document). A
   request is sent again where a second run leaves what one run leaves (``repeatable``): reads,
   adding (documents replace those of their ids), deleting.
3. The server has answered, with an error. That is the answer.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias, TypeVar

from ...documents import JsonObject
from ...errors import InputError, OverloadedError, UnreachableError
from .settings import Clock, Retries

JSON = "application/json"
PROBLEM = "application/problem+json"
_GATEWAY_STATUSES = frozenset((502, 503, 504))
_REFUSALS = frozenset(("overloaded", "not_ready"))

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Request:
    """One request, with its body whole, so that it can be sent twice.

    ``path`` is percent-encoded, its query included. ``repeatable``: a second run leaves what one
    run leaves. ``removes``: what is gone already after a broken attempt was removed by that.
    ``works``: the server may take long.
    ``streams``: its reply is read while it comes.
    ``patience_seconds``: the deadline that the request itself names to the server.
    """

    method: str
    path: str
    content: bytes = b""
    content_type: str = JSON
    repeatable: bool = True
    removes: bool = False
    works: bool = False
    streams: bool = False
    patience_seconds: float = 0.0


class Reply(NamedTuple):
    """What came back; ``open``: the response itself, where its content is still to come."""

    status: int
    content: bytes
    content_type: str = JSON
    retry_after: str | None = None
    request_id: str | None = None
    open: Any = None

    @property
    def problem(self) -> JsonObject | None:
        """The problem document of an error reply; None where it is none."""
        if self.status < 400 or self.content_type.split(";")[0].strip().lower() != PROBLEM:
            return None
        try:
            value = read_json(self.content)
        except ValueError:
            return None
        return value if isinstance(value, dict) and isinstance(value.get("code"), str) else None


class Broken(NamedTuple):
    """No whole reply came: why, and whether the server may have begun."""

    why: str
    begun: bool


class Wait(NamedTuple):
    """Do nothing for a while."""

    seconds: float


Steps: TypeAlias = Generator[Request | Wait, Reply | Broken | None, T]
"""Hands out requests and waits, takes what came of them, and returns its value in the end."""


def exchange(request: Request, retries: Retries, clock: Clock) -> Steps[Reply]:
    """Send a request until the server has answered it; error replies are returned.

    Raises :class:`~cormorant.errors.UnreachableError` or
    :class:`~cormorant.errors.OverloadedError` when the attempts or the time for them ran out.
    """
    started = clock.now()
    may_have_run = False
    attempt = 0
    while True:
        outcome = yield request
        assert outcome is not None
        if not _try_again(request, outcome):
            break
        may_have_run = may_have_run or _unknown(outcome)
        asked = outcome.retry_after if isinstance(outcome, Reply) else None
        seconds = retries.wait_seconds(attempt, clock.seconds_until(asked), clock.dice())
        if attempt >= retries.attempts:
            break
        if clock.now() - started + seconds > retries.total_seconds:
            break
        attempt += 1
        yield Wait(seconds)
    tried = f"{request.method} {request.path}, {attempt + 1} attempt{'s' if attempt else ''}"
    if isinstance(outcome, Broken):
        unsure = "; whether the server did it is not known" if outcome.begun else ""
        raise UnreachableError(f"{outcome.why} ({tried}{unsure})")
    if _gateway(outcome):
        raise UnreachableError(
            f"{outcome.status} was answered on the way to the server ({tried})",
            request_id=outcome.request_id,
        )
    if _refused(outcome):
        raise _overloaded(outcome, tried, clock)
    if request.removes and may_have_run and outcome.status == 404:
        return Reply(204, b"")
    return outcome


def _overloaded(reply: Reply, tried: str, clock: Clock) -> OverloadedError:
    problem = reply.problem or {}
    seconds = clock.seconds_until(reply.retry_after)
    after = "" if seconds is None else f"; try again in {seconds:g} seconds"
    return OverloadedError(
        f"{problem.get('detail', 'the server is too busy')} ({tried}{after})",
        code=problem.get("code"),
        request_id=reply.request_id,
        retry_after_seconds=seconds,
    )


def _try_again(request: Request, outcome: Reply | Broken) -> bool:
    if isinstance(outcome, Broken):
        return request.repeatable or not outcome.begun
    return _refused(outcome) or (_gateway(outcome) and request.repeatable)


def _unknown(outcome: Reply | Broken) -> bool:
    return outcome.begun if isinstance(outcome, Broken) else _gateway(outcome)


def _refused(reply: Reply) -> bool:
    if reply.status == 429:
        return True
    problem = reply.problem
    return problem is not None and problem["code"] in _REFUSALS


def _gateway(reply: Reply) -> bool:
    if reply.status == 408:  # a part of the request did not come through in time
        return True
    return reply.status in _GATEWAY_STATUSES and reply.problem is None


def read_json(content: bytes) -> Any:
    """The value of a JSON text as servers write it; raises ValueError for anything else."""

    def refuse(name: str) -> Any:
        raise ValueError(f"{name} is not a JSON number")

    try:
        return json.loads(content, parse_constant=refuse)
    except RecursionError:
        raise ValueError("it nests too deep") from None


def write_json(value: Any, field: str | None = None) -> bytes:
    """A JSON text; raises :class:`~cormorant.errors.InputError` for what JSON cannot say."""
    try:
        written = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        return written.encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"cannot be sent as JSON: {error}", field=field) from None
