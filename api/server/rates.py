"""So many requests a minute for each caller: a bucket that fills as time goes by."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable

from .problems import Problem

_CALLERS_KEPT = 10_000


class Rates:
    """Token buckets by caller; used on the event loop's thread only. None: no bound."""

    def __init__(
        self, requests_per_minute: int | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate = requests_per_minute
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def check(self, caller: str) -> None:
        """Count one request; the problem ``overloaded`` when there were too many."""
        if self._rate is None:
            return
        now = self._clock()
        left, before = self._buckets.get(caller, (float(self._rate), now))
        left = min(float(self._rate), left + (now - before) * self._rate / 60)
        if left < 1:
            raise Problem(
                "overloaded",
                f"more than {self._rate} requests a minute; slow down",
                limit="requests_per_minute",
                retry_after_seconds=max(1, math.ceil((1 - left) * 60 / self._rate)),
            )
        self._buckets[caller] = (left - 1, now)
        self._buckets.move_to_end(caller)
        while len(self._buckets) > _CALLERS_KEPT:
            self._buckets.popitem(last=False)
