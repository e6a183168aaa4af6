"""Documents on their way to a shard that was added, with the encodings that they have."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from ...documents import Document
from ..encoding import BatchEncodings, known_encodings
from ..stored import read_live, scroll_documents
from .placement import shard_of

if TYPE_CHECKING:
    from ..collection import Collection


class Moved(NamedTuple):
    """Documents, and by index the encodings of their passages: None for one not encoded yet."""

    documents: Sequence[Document]
    encodings: Mapping[str, BatchEncodings]


class Page(NamedTuple):
    """By shard the documents to move there.

    ``last``: the last row that was looked at; ``until``: the same, None where none is behind it.
    """

    moved: Mapping[int, Moved]
    last: int
    until: int | None


def documents_to_move(
    collection: Collection, here: int, n_shards: int, after_row: int, limit: int
) -> Page:
    """Of the next ``limit`` documents after a row, those whose place is not ``here``."""
    reader = collection._reader
    places: defaultdict[int, list[Document]] = defaultdict(list)
    with reader.pinned(tail=False) as pinned:
        seen = 0
        for row, document in islice(
            scroll_documents(pinned.connection, reader.catalog, after_row), limit
        ):
            seen, after_row = seen + 1, row
            place = shard_of(document.id, n_shards)
            if place != here:
                places[place].append(document)
        moved = {}
        for place, documents in places.items():
            names = [document.id for document in documents]
            there = read_live(pinned.connection, reader.catalog, names)
            passages = [there[name][2] for name in names]
            spans = [own if len(own) > 1 else None for own in passages]
            encodings = {
                name: BatchEncodings(
                    known_encodings(pinned, reader.catalog, name, documents, spans), view.encoder
                )
                for name, view in pinned.snapshot.searchable.items()
                if view.encoder is not None
            }
            moved[place] = Moved(documents, encodings)
    return Page(moved, after_row, after_row if seen == limit else None)
