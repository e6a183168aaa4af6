"""Vectors kept between processes: a SQLite file in the folder ``CORMORANT_ENCODING_CACHE``.

A row's key is a digest of everything that can change its vector, so a row is never stale, only
absent. Its checksum covers key, vector and mark; a row that fails it is computed anew. Several
processes may share the file: WAL, one transaction a batch, and two that compute the same text
write the same row.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

import numpy as np
import xxhash

from ...contracts import Encoded, Float32Array
from ...errors import StorageError

Compute = Callable[[Sequence[str], str], Encoded]

_LOCK_SECONDS = 60.0
_KEYS_AT_ONCE = 500
_PACKAGES = ("torch", "transformers", "sentence-transformers", "tokenizers")


class EncodingCache:
    """The vectors of one encoder. ``encoder`` names all of it that can change a vector."""

    def __init__(self, folder: Path, encoder: str) -> None:
        self.file = folder / "encodings.sqlite"
        versions = " ".join(f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES)
        self._prefix = f"{encoder}\0{versions}\0".encode()
        self._lock = Lock()
        self._opened: tuple[int, sqlite3.Connection] | None = None

    def through(self, texts: Sequence[str], prompt: str, dim: int, compute: Compute) -> Encoded:
        """The vectors of texts; ``compute`` makes those that are absent or damaged, each once."""
        keys = [self._key(text, prompt) for text in texts]
        known = self._read(keys, dim)
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        if missing:
            made = compute(list(missing.values()), prompt)
            new = {
                key: (vector, bool(cut))
                for key, vector, cut in zip(missing, made.vectors, made.cut, strict=True)
            }
            self._write(new)
            known |= new
        vectors = np.array([known[key][0] for key in keys], np.float32).reshape(len(keys), dim)
        return Encoded(vectors, np.array([known[key][1] for key in keys], np.bool_))

    def _key(self, text: str, prompt: str) -> bytes:
        digest = hashlib.sha256(self._prefix)
        for part in (prompt, text):
            encoded = part.encode()
            digest.update(len(encoded).to_bytes(8, "little") + encoded)
        return digest.digest()

    def _read(self, keys: Sequence[bytes], dim: int) -> dict[bytes, tuple[Float32Array, bool]]:
        found: dict[bytes, tuple[Float32Array, bool]] = {}
        with self._connection() as connection:
            for first in range(0, len(keys), _KEYS_AT_ONCE):
                some = keys[first : first + _KEYS_AT_ONCE]
                marks = ",".join("?" * len(some))
                query = f"SELECT key, vector, cut, checksum FROM encodings WHERE key IN ({marks})"  # noqa: S608
                for key, vector, cut, checksum in connection.execute(query, some):
                    whole = isinstance(vector, bytes) and len(vector) == 4 * dim and cut in (0, 1)
                    if whole and checksum == _checksum(key, vector, cut):
                        found[key] = np.frombuffer(vector, "<f4").astype(np.float32), bool(cut)
        return found

    def _write(self, rows: dict[bytes, tuple[Float32Array, bool]]) -> None:
        values = []
        for key, (vector, cut) in rows.items():
            raw = vector.astype("<f4").tobytes()
            values.append((key, raw, int(cut), _checksum(key, raw, int(cut))))
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT OR REPLACE INTO encodings VALUES (?, ?, ?, ?)", values)
            connection.execute("COMMIT")

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """The file, open in this process; one thread at a time. Its errors name it."""
        with self._lock:
            try:
                yield self._open()
            except (sqlite3.Error, OSError) as error:
                self._close()
                raise StorageError(
                    f"{self.file}: the cache of encodings cannot be used ({error}); delete it, or "
                    "unset CORMORANT_ENCODING_CACHE"
                ) from error

    def _open(self) -> sqlite3.Connection:
        if self._opened is not None and self._opened[0] == os.getpid():
            return self._opened[1]
        self.file.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(
            self.file, timeout=_LOCK_SECONDS, isolation_level=None, check_same_thread=False
        )
        self._opened = os.getpid(), connection
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS encodings (key BLOB PRIMARY KEY, vector BLOB NOT NULL,"
            " cut INTEGER NOT NULL, checksum BLOB NOT NULL) WITHOUT ROWID"
        )
        return connection

    def _close(self) -> None:
        if self._opened is not None and self._opened[0] == os.getpid():
            self._opened[1].close()
        self._opened = None

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            self._close()


def _checksum(key: bytes, vector: bytes, cut: int) -> bytes:
    return xxhash.xxh3_128_digest(key + vector + bytes([cut]))
