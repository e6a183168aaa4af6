"""Token vectors kept between processes, in the file that single vectors are kept in."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ...contracts import EncodedTokens, Float32Array
from ...vectors import TokenVectors
from .cache import _KEYS_AT_ONCE, EncodingCache, _checksum

Compute = Callable[[Sequence[str]], EncodedTokens]


class TokenCache(EncodingCache):
    """The vectors of one token encoder; see :class:`EncodingCache`."""

    def tokens_through(
        self, texts: Sequence[str], kind: str, dim: int, compute: Compute
    ) -> EncodedTokens:
        """The token vectors of texts; ``compute`` makes those that are absent or damaged.

        ``kind``: query or document, which are encoded differently.
        """
        keys = [self._key(text, kind) for text in texts]
        known = self._read_tokens(keys, dim)
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        if missing:
            made = compute(list(missing.values()))
            held, starts = made.vectors.vectors, made.vectors.starts
            new = {
                key: (held[starts[place] : starts[place + 1]], bool(made.cut[place]))
                for place, key in enumerate(missing)
            }
            self._write(new)
            known |= new
        parts = [known[key][0] for key in keys]
        starts = np.zeros(len(parts) + 1, np.int64)
        np.cumsum([len(part) for part in parts], out=starts[1:])
        vectors = np.concatenate([np.zeros((0, dim), np.float32), *parts])
        cut = np.array([known[key][1] for key in keys], np.bool_)
        return EncodedTokens(TokenVectors(starts, vectors), cut)

    def _read_tokens(
        self, keys: Sequence[bytes], dim: int
    ) -> dict[bytes, tuple[Float32Array, bool]]:
        found: dict[bytes, tuple[Float32Array, bool]] = {}
        with self._connection() as connection:
            for first in range(0, len(keys), _KEYS_AT_ONCE):
                some = keys[first : first + _KEYS_AT_ONCE]
                marks = ",".join("?" * len(some))
                query = f"SELECT key, vector, cut, checksum FROM encodings WHERE key IN ({marks})"  # noqa: S608
                for key, packed, cut, checksum in connection.execute(query, some):
                    whole = isinstance(packed, bytes) and len(packed) % (4 * dim) == 0
                    if whole and cut in (0, 1) and checksum == _checksum(key, packed, cut):
                        vectors = np.frombuffer(packed, "<f4").astype(np.float32)
                        found[key] = vectors.reshape(-1, dim), bool(cut)
        return found
