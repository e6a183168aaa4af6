"""Why a row was found: which of its tokens each token of the query met, and where it was listed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...contracts import Allowed, Int64Array
from ...documents import JsonObject
from ...kernels.maxsim import align
from ...vectors import TokenVectors
from ..spann.tracing import Trace
from . import searching
from .segment import TokenSegment, sized
from .settings import Muvera


def reasons(
    segments: Sequence[TokenSegment],
    settings: Muvera,
    whole: TokenVectors,
    carved: TokenVectors,
    wanted: Int64Array,
    allowed: Allowed,
) -> list[JsonObject]:
    """See :meth:`~cormorant.indexers.muvera.index.MuveraIndex.explain`.

    ``whole``: one query, and as it is scored, ``carved``. ``wanted``: rows, -1 for those that may
    not be seen.
    """
    found: list[JsonObject] = [{} for _ in wanted]
    for segment in segments:
        places = segment.places(wanted)
        here = np.flatnonzero(places >= 0)
        if not len(here):
            continue
        passing = segment.passing(allowed)
        effort = searching.effort_of(segment, settings, 10, passing.size)
        for place in here.tolist():
            lengths = np.diff(segment.starts[places[place] : places[place] + 2])
            found[place] = {"tokens": int(lengths[0]), "alignment": []}
        if effort is not None:
            trace = Trace(explained=True)
            stands = searching.standing(
                segment, sized(segment, whole), effort, 10, places[here], passing, trace
            )
            told = effort._asdict()
            if segment.listed is not None:
                told["spann"] = trace.as_json()
            for place, stand in zip(here.tolist(), stands, strict=True):
                found[place] |= {"listed": stand, **told}
        if segment.tokens is None:
            continue
        starts = np.array([0, len(here)], np.int64)
        best = align(sized(segment, carved), segment.tokens, places[here], starts)
        for number, place in enumerate(here.tolist()):
            own = slice(int(best.starts[number]), int(best.starts[number + 1]))
            found[place]["alignment"] = [
                {"token": None if token < 0 else token, "similarity": similarity}
                for token, similarity in zip(
                    best.tokens[own].tolist(),
                    np.where(best.tokens[own] < 0, 0, best.similarities[own]).tolist(),
                    strict=True,
                )
            ]
    return found
