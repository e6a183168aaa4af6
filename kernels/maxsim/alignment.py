"""Which document token was the best of which query token: what an explanation shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...contracts import Array, Float32Array, Int64Array
from ...vectors import TokenVectors
from .cpu import room_for
from .documents import align_some
from .tiles import WIDTH, packed
from .tokens import Tokens, checked_places, checked_queries

if TYPE_CHECKING:
    from .gpu import DeviceTokens


class Alignment(NamedTuple):
    """For each candidate of each query, and each of the query's tokens, one entry.

    ``tokens``: int64, the number of the best token inside its document, of several equally good
    the first; -1 where there is none. ``similarities``: float32, -inf there. ``starts``:
    (n_candidates + 1,) int64 says where a candidate's entries begin.
    """

    tokens: Int64Array
    similarities: Float32Array
    starts: Int64Array


def align(
    queries: TokenVectors, tokens: Tokens | DeviceTokens, places: Array, starts: Array
) -> Alignment:
    """Align each query with its candidates ``places[starts[q]:starts[q + 1]]``; -1 is none.

    Similarities are those that ``rescore`` adds up. Explanations are of few documents: where tokens
    are on a device, those of the candidates are copied back and aligned on the CPU (``rescore``
    then rounds in an order of its own). Raises InputError like ``rescore``.
    """
    queries = checked_queries(queries, tokens.dim)
    held, cuts = checked_places(places, starts, len(queries), tokens.n_documents)
    if not isinstance(tokens, Tokens):
        from .gpu import in_memory

        documents = np.unique(held[held >= 0])
        tokens = in_memory(tokens, documents)
        held = np.where(held < 0, -1, np.searchsorted(documents, held))
    widths = np.diff(queries.starts)
    begins = np.zeros(len(held) + 1, np.int64)
    np.cumsum(np.repeat(widths, np.diff(cuts)), out=begins[1:])
    best: Int64Array = np.full(begins[-1], -1, np.int64)
    similarities = np.full(begins[-1], -np.inf, np.float32)
    for number, width in enumerate(widths):
        columns = packed(queries.vectors[queries.starts[number] : queries.starts[number + 1]])
        room = room_for(tokens, columns)
        products = np.empty(len(columns) * WIDTH, np.float32)
        align_some(
            room.held, room.asked.groups, room.asked.n_groups, width, held,
            cuts[number], cuts[number + 1], products, best, similarities, begins[cuts[number]],
        )  # fmt: skip
    return Alignment(best, similarities, begins)
