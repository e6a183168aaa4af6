"""Scores of pairs that were computed before: bounded, by what model and for which texts."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from threading import Lock


class ScoreCache:
    """The last ``size`` scores; the one that was asked for longest ago goes first. For threads."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._scores: OrderedDict[bytes, float] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._scores)

    def get(self, key: bytes) -> float | None:
        """A score, or None."""
        with self._lock:
            if key in self._scores:
                self._scores.move_to_end(key)
                return self._scores[key]
        return None

    def put(self, key: bytes, score: float) -> None:
        """Keep a score."""
        with self._lock:
            self._scores[key] = score
            self._scores.move_to_end(key)
            while len(self._scores) > self.size:
                self._scores.popitem(last=False)


def key_of(identity: str, query: str, text: str) -> bytes:
    """What a score belongs to: a digest of the model's identity and both texts."""
    digest = hashlib.blake2b(digest_size=16)
    for part in (identity, query, text):
        data = part.encode()
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.digest()
