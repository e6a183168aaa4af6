"""How far a build of lists is, and what a killed one had finished.

The rows of each stage add up to the segment's: *clustered* into centroids, *centred* (centroids are
put in the middle of their vectors), *assigned* to lists, *listed* (codes are written), *measured*
(compared with samples), *ordered* (as they lie in their file). What is taken up from a killed build
is told as *resumed*, in the place of the stages that made it.
"""

from __future__ import annotations

from collections.abc import Mapping

from ...contracts import Array, ArraySink, Follows
from .threads import Done, untold

KEPT_ROWS = 50_000
"""Lists of fewer vectors are made in seconds: nothing is kept on the way."""
_LAYOUT = 1
"""Of what is kept: another one is not taken up."""


class Stages:
    """Those of one build. ``repeatable``: made again, it would be of the same vectors."""

    def __init__(self, sink: ArraySink, rows: int, *, repeatable: bool) -> None:
        self._sink = sink if isinstance(sink, Follows) else None
        self._rows = rows
        self._keeps = repeatable and rows >= KEPT_ROWS

    def of(self, stage: str) -> Done:
        """To be called with the rows that are done of a stage."""
        sink = self._sink
        return untold if sink is None else lambda rows: sink.tell(stage, rows)

    def kept(self, stage: str) -> Mapping[str, Array] | None:
        """What a killed build kept at the end of a stage."""
        if self._sink is None or not self._keeps:
            return None
        found = self._sink.kept(f"{stage}-{_LAYOUT}")
        if found is not None:
            self._sink.tell("resumed", self._rows)
        return found

    def keep(self, stage: str, arrays: Mapping[str, Array]) -> None:
        """Keep what the same build would go on with."""
        if self._sink is not None and self._keeps:
            self._sink.keep(f"{stage}-{_LAYOUT}", arrays)
