"""Cuts a stream of documents into transactions of bounded size, and refuses repeated ids."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from ..documents import Document
from ..errors import InputError


def batches(
    documents: Iterable[Document],
    is_stored: Callable[[str], bool],
    max_documents: int,
    max_characters: int,
) -> Iterator[list[Document]]:
    """Lists of documents for one transaction each.

    Raises :class:`~cormorant.errors.InputError` for what is no :class:`~cormorant.Document` and for
    an id that occurs twice in the stream: which of the two is meant nobody can know. Eight bytes an
    id are kept; ``is_stored`` settles a suspicion that only the hashes raise.
    """
    if isinstance(documents, Document | str | bytes | dict) or not isinstance(documents, Iterable):
        raise InputError(
            f"expected an iterable of documents, got one {type(documents).__name__}; "
            "put it into a list"
        )
    seen: list[np.ndarray[tuple[int], np.dtype[np.int64]]] = []
    batch: list[Document] = []
    names: set[str] = set()
    characters = 0
    for document in documents:
        if not isinstance(document, Document):
            raise InputError(
                f"expected a cormorant.Document, got {type(document).__name__}: {document!r:.80}"
            )
        if document.id in names:
            raise InputError(f"the id {document.id!r} is given twice", field="id")
        names.add(document.id)
        batch.append(document)
        characters += _size(document)
        if len(batch) >= max_documents or characters >= max_characters:
            _refuse_repeated(batch, seen, is_stored)
            yield batch
            batch, names, characters = [], set(), 0
    if batch:
        _refuse_repeated(batch, seen, is_stored)
        yield batch


def _size(document: Document) -> int:
    """About how many characters a transaction holds for a document."""
    size = len(document.title) + len(document.text)
    if document.metadata or document.labels:
        size += len(repr(document.metadata)) + len(repr(document.labels))
    return size


def _refuse_repeated(
    batch: list[Document],
    seen: list[np.ndarray[tuple[int], np.dtype[np.int64]]],
    is_stored: Callable[[str], bool],
) -> None:
    """Compare a batch with those before it, then remember it; sorted runs merge as they grow."""
    hashes = np.array([hash(document.id) for document in batch], np.int64)
    for run in seen:
        places = np.minimum(np.searchsorted(run, hashes), len(run) - 1)
        for place in np.flatnonzero(run[places] == hashes):
            name = batch[place].id
            if is_stored(name):
                raise InputError(f"the id {name!r} is given twice", field="id")
    run = np.sort(hashes)
    while seen and len(seen[-1]) <= len(run):
        run = np.sort(np.concatenate([seen.pop(), run]))
    seen.append(run)
