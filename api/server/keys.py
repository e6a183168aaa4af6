"""Who may do what: a JSON file of keys, of which only hashes are kept.

::

    {"keys": [{"name": "ann", "sha256": "9f86d0...", "rights": {"papers": "write", "*": "read"},
               "labels": ["staff"]}]}

``rights`` maps a collection's name (``*``: all, unless named) to ``read``, ``write`` or ``admin``,
each of which includes those before it; what is not named is denied. ``labels`` are the access
labels of every search with this key; without them it sees everything. Two keys may share a name,
so that one is replaced without a gap: ``cormorant serve --new-key`` adds the second, and the first
is deleted from the file once nobody uses it. A running server reads the file again when it changes.

A key is 256 random bits, so one round of SHA-256 is enough: there is nothing to guess.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...errors import InputError

RIGHTS = ("read", "write", "admin")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_CHECKED_EVERY_SECONDS = 1.0


class Key(BaseModel):
    """One key: its name, its hash, and what it may do."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=f"^{_NAME.pattern}$")
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    rights: Mapping[str, Literal["read", "write", "admin"]] = Field(default_factory=dict)
    labels: tuple[str, ...] | None = None

    def may(self, right: str, collection: str) -> bool:
        """Whether this key has a right on a collection (``*``: on all of them)."""
        granted = self.rights.get(collection, self.rights.get("*"))
        return granted is not None and RIGHTS.index(granted) >= RIGHTS.index(right)

    def may_somewhere(self, right: str) -> bool:
        """Whether it has the right on any collection at all."""
        return any(RIGHTS.index(granted) >= RIGHTS.index(right) for granted in self.rights.values())


ANYBODY = Key(name="anybody", sha256="0" * 64, rights={"*": "admin"})
"""Who calls a server that has no keys file."""


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    keys: tuple[Key, ...]


class Keys:
    """The keys of a file; reads it again when it has changed. Threads may share it.

    Raises :class:`~cormorant.errors.InputError` at first for a file that cannot be used. Later on
    such a file is passed over, and the keys read last go on (``trouble`` says why).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.trouble: str | None = None
        self._lock = Lock()
        self._stamp = self._stamp_now()
        self._keys = read_keys(path)
        self._checked = time.monotonic()

    def find(self, secret: str) -> Key | None:
        """The key a caller holds. Every key is compared, each in constant time."""
        self._refresh()
        given = hash_of(secret)
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.sha256, given):
                found = key
        return found

    def _refresh(self) -> None:
        now = time.monotonic()
        with self._lock:
            if now - self._checked < _CHECKED_EVERY_SECONDS:
                return
            self._checked = now
            stamp = self._stamp_now()
            if stamp == self._stamp:
                return
            self._stamp = stamp
            try:
                self._keys, self.trouble = read_keys(self.path), None
            except InputError as error:
                self.trouble = str(error)

    def _stamp_now(self) -> tuple[int, int, int]:
        try:
            stat = self.path.stat()
        except OSError:
            return (0, 0, 0)
        return (stat.st_mtime_ns, stat.st_size, stat.st_ino)


def hash_of(secret: str) -> str:
    """The SHA-256 of a key, in hexadecimal."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def read_keys(path: Path) -> tuple[Key, ...]:
    """The keys in a file; raises :class:`~cormorant.errors.InputError`, naming the file."""
    try:
        keys = _File.model_validate_json(path.read_bytes()).keys
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=path) from None
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or None
        raise InputError(first["msg"], file=path, field=where) from None
    for key in keys:
        if sum(other.name == key.name for other in keys) > 2:
            raise InputError(f"more than two keys are called {key.name!r}", file=path)
        for name in key.rights:
            if name != "*" and not _NAME.fullmatch(name):
                raise InputError(f"{name!r} is no collection's name", file=path, field="rights")
    if len({key.sha256 for key in keys}) < len(keys):
        raise InputError("two keys are the same", file=path, field="sha256")
    return keys


def new_key(path: Path, name: str, rights: Mapping[str, str], labels: tuple[str, ...]) -> str:
    """Add a key to a file, making the file where there is none; returns the key, kept nowhere.

    Raises :class:`~cormorant.errors.InputError` for a bad name or right, or a third key of a name.
    """
    if not _NAME.fullmatch(name):
        raise InputError(f"a key's name has a-z, 0-9, '_' and '-', got {name!r}", field="--new-key")
    for collection, right in rights.items():
        if right not in RIGHTS or (collection != "*" and not _NAME.fullmatch(collection)):
            raise InputError(
                f"is COLLECTION=read, =write or =admin, or '*=...', got {collection}={right}",
                field="--right",
            )
    keys = list(read_keys(path)) if path.exists() else []
    if sum(key.name == name for key in keys) >= 2:
        raise InputError(
            f"there are two keys called {name!r} already; delete the older from the file first",
            file=path,
        )
    secret = f"cm_{secrets.token_urlsafe(32)}"
    entry = {"name": name, "sha256": hash_of(secret), "rights": dict(rights)}
    if labels:
        entry["labels"] = list(labels)
    entries = [key.model_dump(mode="json", exclude_none=True) for key in keys]
    _write(path, json.dumps({"keys": [*entries, entry]}, indent=2) + "\n")
    return secret


def _write(path: Path, text: str) -> None:
    """Replace the file whole; only its owner may read it."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)
