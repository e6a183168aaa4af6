"""How long the parts of a search take."""

from __future__ import annotations

import time
from collections.abc import MutableMapping


class Timed:
    """Adds the milliseconds of a block to a part of some timings, however the block ends."""

    __slots__ = ("_begun", "_part", "_timings_ms")

    def __init__(self, timings_ms: MutableMapping[str, float], part: str) -> None:
        self._timings_ms = timings_ms
        self._part = part

    def __enter__(self) -> None:
        self._begun = time.perf_counter()

    def __exit__(self, *_raised: object) -> None:
        spent = (time.perf_counter() - self._begun) * 1e3
        self._timings_ms[self._part] = self._timings_ms.get(self._part, 0.0) + spent
