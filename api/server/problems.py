"""Errors as the wire has them: RFC 9457 problems, each with a code that stays.

Library errors keep their message, which says what was given, what is allowed and what to do; paths
of this machine are taken out of it (:func:`without_paths`). Whatever was not raised on purpose
becomes ``internal``: the log has the traceback, the caller a request id.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ... import errors
from ...documents import JsonObject

CODES: dict[str, tuple[int, str]] = {
    "invalid_input": (422, "The input cannot be used"),
    "unknown_name": (404, "There is nothing of that name"),
    "unauthorized": (401, "A valid key is needed"),
    "forbidden": (403, "This key may not do that"),
    "method_not_allowed": (405, "Not that method here"),
    "request_timeout": (408, "The body did not arrive"),
    "collection_exists": (409, "The name is taken"),
    "locked": (409, "Another process writes this collection"),
    "read_only": (409, "The collection is open for reading only"),
    "conflict": (409, "Not in the collection's present state"),
    "too_large": (413, "The body is too large"),
    "unsupported_media_type": (415, "Not that content type here"),
    "limit_exceeded": (422, "More than the server allows"),
    "overloaded": (429, "Too much at once"),
    "client_closed": (499, "The client went away"),
    "internal": (500, "The server failed"),
    "corruption": (500, "A file is damaged"),
    "model_failed": (502, "The model's endpoint did not answer"),
    "not_ready": (503, "Not ready"),
    "missing_model": (503, "A model or package is missing"),
    "shard_unavailable": (503, "A shard does not answer"),
    "deadline_exceeded": (504, "Out of time"),
    "disk_full": (507, "No space left"),
}
"""Code -> (status, title)."""

_BY_ERROR: tuple[tuple[type[errors.CormorantError], str], ...] = (
    (errors.UnknownNameError, "unknown_name"),
    (errors.InputError, "invalid_input"),
    (errors.CollectionExistsError, "collection_exists"),
    (errors.LockedError, "locked"),
    (errors.ReadOnlyError, "read_only"),
    (errors.NotACollectionError, "not_ready"),
    (errors.FormatVersionError, "not_ready"),
    (errors.ShardUnavailableError, "shard_unavailable"),
    (errors.CollectionError, "conflict"),
    (errors.DeadlineError, "deadline_exceeded"),
    (errors.CorruptionError, "corruption"),
    (errors.DiskFullError, "disk_full"),
    (errors.MissingDependencyError, "missing_model"),
    (errors.ModelNotFoundError, "missing_model"),
    (errors.ServiceError, "model_failed"),
)
MEDIA_TYPE = "application/problem+json"
_PATH = re.compile(r"(?<![\w.~-])~?/(?:[^\s/'\",;:()]+/)+([^\s/'\",;:()]*)")


class DamagedInBulkError(errors.CorruptionError):
    """A damaged file ended a bulk; the ``added`` documents before are durable."""

    def __init__(self, error: errors.CorruptionError, added: int) -> None:
        self.added = added
        super().__init__(error.file, error.message)


class ProblemDetails(BaseModel):
    """The body of every error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    request_id: str
    field: str | None = None
    line: int | None = None
    limit: str | None = None


class Problem(HTTPException):
    """An error with its code. ``more`` is added to the body as it is."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        status: int | None = None,
        field: str | None = None,
        line: int | None = None,
        limit: str | None = None,
        retry_after_seconds: int | None = None,
        more: JsonObject | None = None,
    ) -> None:
        self.code = code
        self.title = CODES[code][1]
        named = {"field": field, "line": line, "limit": limit}
        self.more = {name: value for name, value in named.items() if value is not None}
        self.more |= more or {}
        headers = {}
        if retry_after_seconds is not None:
            headers["Retry-After"] = str(retry_after_seconds)
        if code in ("request_timeout", "too_large"):
            headers["Connection"] = "close"  # the rest of the body is not awaited
        if code == "unauthorized":
            headers["WWW-Authenticate"] = 'Bearer realm="cormorant"'
        super().__init__(status or CODES[code][0], detail[:1000], headers)

    def as_response(self, request: Request) -> Response:
        """The answer to the request that met this problem."""
        body = {
            "type": f"urn:cormorant:problem:{self.code}",
            "title": self.title,
            "status": self.status_code,
            "detail": self.detail,
            "instance": request.scope["path"][:1000],
            "code": self.code,
            "request_id": getattr(request.state, "request_id", ""),
            **self.more,
        }
        content = json.dumps(body, ensure_ascii=True).encode()
        return Response(content, self.status_code, self.headers, MEDIA_TYPE)


def without_paths(text: str, places: Sequence[str] = ()) -> str:
    """The text with this machine's folders taken out: of a path, its last part stays.

    ``places`` are folders that hold collections; a path below one keeps all that follows it.
    """
    for place in places:
        text = text.replace(place.rstrip("/") + "/", "")
    return _PATH.sub(lambda found: found[1] or "...", text)


def problem_of(error: errors.CormorantError, places: Sequence[str] = ()) -> Problem:
    """The problem a library error is."""
    code = next((code for kind, code in _BY_ERROR if isinstance(error, kind)), "internal")
    detail = without_paths(str(error), places)
    if isinstance(error, errors.InputError):
        # What is named in a body or a query string is input like any other: 422.
        return Problem(code, detail, status=422, field=error.field, line=error.line)
    more: JsonObject = {}
    if isinstance(error, errors.CorruptionError):
        more["file"] = without_paths(error.file, places)
    if isinstance(error, DamagedInBulkError):
        more["added"] = error.added
    return Problem(code, detail, more=more)


def problem_of_validation(error: RequestValidationError) -> Problem:
    """The problem a body or parameter is that does not fit its model."""
    found = error.errors()
    fields = [_field(item["loc"]) for item in found]
    shown = "; ".join(
        f"{field or 'body'}: {item['msg']}"
        for field, item in zip(fields[:5], found[:5], strict=True)
    )
    more = f" (and {len(found) - 5} more)" if len(found) > 5 else ""
    return Problem("invalid_input", shown + more, field=fields[0] or None)


def problem_of_status(error: HTTPException) -> Problem:
    """The problem of what the framework itself refused: no such route, not that method."""
    if isinstance(error, Problem):
        return error
    if error.status_code == 404:
        return Problem("unknown_name", "there is no such path; /openapi.json lists them all")
    if error.status_code == 405:
        return Problem("method_not_allowed", "this path takes other methods; see Allow")
    return Problem("invalid_input", "the request cannot be read")


def _field(location: Sequence[Any]) -> str:
    return ".".join(map(str, location[1:]))[:200]  # the first says body, query or path
