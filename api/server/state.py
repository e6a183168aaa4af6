"""What one server holds while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...contracts import Encoder
from ...stages import Ranker
from .keys import Keys
from .limits import Limits
from .metrics import Metrics
from .problems import Problem
from .rates import Rates
from .registry import Registry
from .settings import Settings
from .work import Workers
from .writer import Writer


@dataclass(slots=True, eq=False)
class State:
    """Everything the routes need; its workers are made when the server starts."""

    settings: Settings
    registry: Registry
    keys: Keys | None
    metrics: Metrics
    rates: Rates
    log: Any
    encoders: Mapping[str, Encoder]
    rankers: Mapping[str, Ranker]
    writer: Writer | None = None
    """Where requests that change something go, when another process writes."""
    reads: Workers | None = None
    writes: Workers | None = None
    answers: Workers | None = None
    warm: bool = False
    stopping: bool = False

    @property
    def limits(self) -> Limits:
        """The limits of this server."""
        return self.settings.limits

    @property
    def reading(self) -> Workers:
        """The threads that search, rerank and encode."""
        return _started(self.reads)

    @property
    def answering(self) -> Workers:
        """The threads that write answers."""
        return _started(self.answers)

    @property
    def writing(self) -> Workers:
        """The thread that writes."""
        return _started(self.writes)


def _started(workers: Workers | None) -> Workers:
    if workers is None:
        raise Problem("not_ready", "the server is starting; try again", retry_after_seconds=1)
    return workers
