"""Ready vectors that come with a stream of documents: one for each, in the stream's order.

A stream may not know its length, so a vector that is missing is noticed when its document comes,
and one too many when the stream has ended. What can be counted is counted before anything is added.
"""

from __future__ import annotations

from collections.abc import Iterable, KeysView, Mapping, Sequence, Sized
from typing import NamedTuple

from ..documents import Document
from ..errors import InputError
from ..vectors import Given


class BatchVectors(NamedTuple):
    """Ready vectors of one batch; the number of the first among all that were given."""

    values: Given
    first: int


class ReadyVectors:
    """By index the vectors of all documents of one ``add``.

    Raises :class:`~cormorant.errors.InputError` when there is not one for each document.
    """

    def __init__(self, vectors: Mapping[str, Given], documents: Iterable[Document]) -> None:
        self._vectors = vectors
        for name, values in vectors.items():
            if isinstance(documents, Sized) and len(values) != len(documents):
                raise InputError(
                    f"{len(values)} vectors for {len(documents)} documents; one is needed for each",
                    field=f"vectors[{name!r}]",
                )

    @property
    def names(self) -> KeysView[str]:
        """The indexes that vectors were given for."""
        return self._vectors.keys()

    def batch(self, start: int, end: int) -> dict[str, BatchVectors]:
        """By index the vectors of the documents in [start, end) of the stream."""
        for name, values in self._vectors.items():
            if end > len(values):
                raise InputError(
                    f"{len(values)} vectors for more documents; one is needed for each",
                    field=f"vectors[{name!r}]",
                )
        return {
            name: BatchVectors(values[start:end], start) for name, values in self._vectors.items()
        }

    def check_used(self, n_documents: int) -> None:
        """None may be left when the stream has ended."""
        for name, values in self._vectors.items():
            if len(values) != n_documents:
                raise InputError(
                    f"{len(values)} vectors for {n_documents} documents (the documents were added)",
                    field=f"vectors[{name!r}]",
                )


def check_unsplit(spans: Iterable[Sequence[tuple[int, int]] | None]) -> None:
    """Documents of several passages take no ready vectors."""
    if any(cuts is not None for cuts in spans):
        raise InputError(
            "this collection splits long documents into passages, each of which needs a vector "
            "of its own; create one without chunk= for ready vectors",
            field="vectors",
        )
