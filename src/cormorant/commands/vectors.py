"""Files of ready vectors, in and out: JSON lines of weighted terms, BigANN's CSR, numpy arrays."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import terminal
from ..errors import InputError
from .options import CollectionPath

if TYPE_CHECKING:
    from ..documents import Document
    from ..retrieval.collection import Collection
    from ..vectors import SparseVectors

FORMATS = ".jsonl, .csr or .npy"


def vectors_of(words: list[str] | None, corpora: list[Path]) -> dict[str, Any]:
    """What ``--vectors INDEX=FILE`` gives: by index, a vector for each document in order.

    Raises :class:`~cormorant.errors.InputError`: another form of the option, a file that cannot be
    read, JSON lines whose ids are not those of the documents.
    """
    given: dict[str, Any] = {}
    for word in words or []:
        name, equals, file = word.partition("=")
        if not equals or not name or not file:
            raise InputError(f"is INDEX=FILE, got {word!r}", field="--vectors")
        if len(corpora) != 1:
            raise InputError("goes with one corpus file", field="--vectors")
        given[name] = _read(Path(file), corpora[0])
    return given


def vector_of(value: Any, collection: Collection, pipeline: str | None) -> Any:
    """A query's vector from JSON, whose keys are strings: numbers where the index has numbers."""
    if not isinstance(value, dict) or not all(key.isdecimal() for key in value):
        return value
    entries = collection.describe()["indexes"].items()
    chosen = [entry for name, entry in entries if pipeline in (None, name, entry["kind"])]
    if any((entry.get("made_by") or {}).get("terms") == "numbers" for entry in chosen):
        return {int(key): weight for key, weight in value.items()}
    return value


def documents_of_vectors(path: Path) -> Iterator[Document]:
    """The documents of a file of JSON lines that holds vectors beside ids and texts."""
    from ..documents import Document
    from ..indexers.sparse.files import read_jsonl

    return (Document(id=line.id, text=line.text) for line in read_jsonl(path))


def _read(path: Path, corpus: Path) -> Any:
    import numpy as np

    from ..indexers.sparse import files

    if path.suffix == ".npy":
        try:
            return np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise InputError(f"cannot be read as an array: {error}", file=path) from None
    if path.suffix == ".csr":
        return files.read_csr(path)
    if path.suffix != ".jsonl":
        raise InputError(f"is {FORMATS}", file=path)
    if path.resolve() != corpus.resolve():
        from ..documents import read_jsonl

        pairs = zip_longest(read_jsonl(corpus), files.read_jsonl(path))
        for number, (document, line) in enumerate(pairs, 1):
            if document is None or line is None or document.id != line.id:
                there = "nothing" if line is None else f"a vector of {line.id!r}"
                wanted = "no document" if document is None else f"the document {document.id!r}"
                raise InputError(
                    f"has {there} in place {number}, where {corpus} has {wanted}", file=path
                )
    return [line.vector for line in files.read_jsonl(path)]


def export(
    collection: CollectionPath,
    file: Annotated[Path, typer.Argument(help=f"A new file: {FORMATS}, by what the index holds.")],
    index: Annotated[str, typer.Option(help="The index, by name or kind.")] = "sparse",
    scale: Annotated[
        float | None,
        typer.Option(help="JSON lines: integers, so many times the weights (Anserini: 100)."),
    ] = None,
) -> None:
    """Write an index's stored vectors to a file, in the order the documents were added."""
    from ..retrieval.collection import Collection

    if file.exists():
        raise InputError("exists", file=file)
    if file.suffix not in (".jsonl", ".csr", ".npy"):
        raise InputError(f"is {FORMATS}", file=file)
    unfinished = file.with_name(f".{file.name}.unfinished{file.suffix}")
    try:
        with Collection.open(collection, read_only=True) as opened:
            n = _write(opened, index, unfinished, scale)
        unfinished.rename(file)
    finally:
        unfinished.unlink(missing_ok=True)
    terminal.console().print(f"{n:,} vectors of {index} in {file}", markup=False)


def _write(collection: Collection, index: str, file: Path, scale: float | None) -> int:
    import numpy as np

    from ..indexers.sparse import files

    pairs = collection.vectors(index, named=file.suffix == ".jsonl")
    if file.suffix == ".jsonl":
        texts = ((item.id, item.text) for item in collection.scroll())
        lines = (
            (name, text, vector)
            for (name, vector), (_, text) in zip(_sparse(pairs), texts, strict=True)
        )
        return files.write_jsonl(file, lines, scale)
    if file.suffix == ".csr":
        rows = [vector for _, vector in _sparse(pairs)]
        if any(isinstance(term, str) for row in rows for term in row):
            raise InputError("holds numbers, and the terms are strings; use .jsonl", file=file)
        files.write_csr(file, _as_sparse(rows))
        return len(rows)
    array = np.array([vector for _, vector in pairs])
    if array.dtype != np.float32:
        raise InputError(
            f"holds vectors of numbers, which {index!r} has not; use .jsonl", file=file
        )
    np.save(file, array, allow_pickle=False)
    return len(array)


def _as_sparse(rows: list[dict[Any, float]]) -> SparseVectors:
    import numpy as np

    from ..vectors import SparseVectors

    starts = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(row) for row in rows], out=starts[1:])
    pairs = [pair for row in rows for pair in sorted(row.items())]
    terms = np.array([term for term, _ in pairs], np.int64)
    return SparseVectors(starts, terms, np.array([weight for _, weight in pairs], np.float32))


def _sparse(pairs: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, dict[Any, float]]]:
    for name, vector in pairs:
        if not isinstance(vector, dict):
            raise InputError("the index holds dense vectors; use .npy", field="index")
        yield name, vector
