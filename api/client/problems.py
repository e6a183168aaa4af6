"""Problem documents (RFC 9457) -> the errors that an embedded collection raises."""

from __future__ import annotations

from typing import Any

from ...documents import JsonObject
from ...errors import (
    CollectionError,
    CollectionExistsError,
    CormorantError,
    CorruptionError,
    DeadlineError,
    DiskFullError,
    ForbiddenError,
    InputError,
    LockedError,
    ModelNotFoundError,
    ReadOnlyError,
    ServiceError,
    ShardUnavailableError,
    UnauthorizedError,
    UnknownNameError,
)
from .exchange import Reply, Request

INPUT: dict[str, type[InputError]] = {
    "invalid_input": InputError,
    "limit_exceeded": InputError,
    "too_large": InputError,
    "unknown_name": UnknownNameError,
}
STATE: dict[str, type[CormorantError]] = {
    "collection_exists": CollectionExistsError,
    "conflict": CollectionError,
    "deadline_exceeded": DeadlineError,
    "disk_full": DiskFullError,
    "locked": LockedError,
    "missing_model": ModelNotFoundError,
    "read_only": ReadOnlyError,
    "shard_unavailable": ShardUnavailableError,
}
SERVICE: dict[str, type[ServiceError]] = {
    "forbidden": ForbiddenError,
    "model_failed": ServiceError,
    "unauthorized": UnauthorizedError,
}
_STATUSES = {401: "unauthorized", 403: "forbidden", 413: "too_large"}
_SHOWN_BYTES = 200


def error_from(reply: Reply, request: Request) -> CormorantError:
    """The error that an error reply stands for; a note on it names the request."""
    problem = reply.problem or _without_problem(reply)
    detail = problem.get("detail")
    if not isinstance(detail, str) or not detail:
        detail = str(problem.get("title") or "the server gave no reason")
    error = named_error(problem["code"], detail, problem, reply.request_id)
    error.add_note(
        f"{request.method} {request.path}: status {reply.status}, code {problem['code']}, "
        f"request {reply.request_id}"
    )
    return error


def named_error(
    code: str, detail: str, facts: JsonObject, request_id: str | None = None
) -> CormorantError:
    """The error of a code; ``facts`` may hold the field, the line, the file."""
    if code in INPUT:
        field, line = facts.get("field"), facts.get("line")
        field = field if isinstance(field, str) else None
        line = line if isinstance(line, int) and not isinstance(line, bool) else None
        return INPUT[code](_without_prefix(detail, line, field), field=field, line=line)
    if code == "corruption":
        file = facts.get("file")
        if isinstance(file, str):
            return CorruptionError(file, detail.removeprefix(f"{file}: "))
        return _with_message(CorruptionError, detail, file="")
    if code in STATE:
        return _with_message(STATE[code], detail)
    return SERVICE.get(code, ServiceError)(detail, code=code, request_id=request_id)


def unreadable(reply: Reply, request: Request, why: str) -> ServiceError:
    """The error for a reply that is no answer to its request."""
    return ServiceError(
        f"{request.method} {request.path}: the reply (status {reply.status}, "
        f"{reply.content_type or 'of no type'}) is none that a Cormorant server gives: {why}; "
        f"it begins with {reply.content[:_SHOWN_BYTES]!r}",
        request_id=reply.request_id,
    )


def _without_problem(reply: Reply) -> JsonObject:
    """What to make of an error that no Cormorant wrote: a proxy's page, another service."""
    return {
        "code": _STATUSES.get(reply.status, "no_problem_document"),
        "detail": f"status {reply.status} with {reply.content_type or 'no content type'}, which is "
        "no problem document of a Cormorant server (is the URL right?); it begins with "
        f"{reply.content[:_SHOWN_BYTES]!r}",
    }


def _without_prefix(detail: str, line: int | None, field: str | None) -> str:
    """The message without the line and field, which InputError writes before it again."""
    for prefix in (f"{line}: " if line is not None else "", f"field {field!r}: " if field else ""):
        detail = detail.removeprefix(prefix)
    return detail


def _with_message(
    error_class: type[CormorantError], message: str, **attributes: Any
) -> CormorantError:
    """An error whose constructor would compose a message of its own."""
    error = error_class.__new__(error_class, message)
    for name, value in attributes.items():
        setattr(error, name, value)
    return error
