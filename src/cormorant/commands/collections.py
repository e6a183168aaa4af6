"""Commands on collections: index, search, check, backup, restore, info."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import terminal
from ..errors import InputError
from .options import (
    CollectionPath,
    Json,
    Language,
    PipelineOption,
    With,
    check_query,
    chunking_of,
    find_models,
    indexes_of,
    pipeline_of,
)
from .vectors import documents_of_vectors, vector_of, vectors_of

if TYPE_CHECKING:
    from ..documents import Document


def index(
    corpus: Annotated[
        list[Path],
        typer.Argument(help="JSON-lines files (.jsonl, .jsonl.gz) or folders in BEIR layout."),
    ],
    into: Annotated[Path, typer.Option(help="The collection: created, or added to.")],
    with_: With = None,
    language: Language = None,
    chunk: Annotated[
        int | None, typer.Option(metavar="TOKENS", help="Split texts into passages of so many.")
    ] = None,
    vectors: Annotated[
        list[str] | None,
        typer.Option(
            metavar="INDEX=FILE",
            help="Ready vectors, one a document in order: .jsonl with weighted terms (which may be "
            "the corpus file itself), BigANN's .csr, or .npy. Repeat for more indexes.",
        ),
    ] = None,
) -> None:
    """Add documents to a collection, creating it when it is not there."""
    from ..retrieval.collection import Collection

    files = [_corpus_file(path) for path in corpus]
    ready = vectors_of(vectors, files)
    of_vectors = {word.partition("=")[2] for word in vectors or []}
    documents = [
        documents_of_vectors(file) if str(file) in of_vectors else _checked_documents(file)
        for file in files
    ]
    if into.exists():
        collection = Collection.open(into)
        asked = None if not (with_ or language) else indexes_of(with_, language)
        if chunk is not None or asked not in (None, collection.indexes):
            there = ", ".join(collection.indexes)
            collection.close()
            raise InputError(
                f"{into} exists, with the indexes {there}; to add to it leave out --with, "
                "--language and --chunk, which are for a new collection"
            )
    else:
        indexes = indexes_of(with_, language)
        find_models(indexes)
        collection = Collection.create(into, indexes, chunk=chunking_of(chunk))
    with collection, terminal.progress_bar(into.name) as progress:
        total = sum(
            collection.add(items, vectors=ready or None, progress=progress) for items in documents
        )
        collection.flush(progress=progress)
        described = collection.describe()
    size = sum(entry["bytes"] for entry in described["indexes"].values()) / 1e6
    typer.echo(
        f"{total:,} documents added or replaced in {into}; it holds {described['documents']:,} "
        f"({', '.join(described['indexes'])}: {size:,.1f} MB of index)"
    )
    for name, entry in described["indexes"].items():
        if entry.get("cut"):
            typer.echo(
                f"{entry['cut']:,} passages were longer than the window of the model of {name!r} "
                "and were cut there; a new collection with --chunk keeps all of a text"
            )


def search(
    collection: CollectionPath,
    query: Annotated[str, typer.Argument(help="What to look for.")],
    k: Annotated[int, typer.Option("-k", help="How many documents.")] = 10,
    pipeline: PipelineOption = None,
    filter: Annotated[
        str | None, typer.Option(metavar="JSON", help='Such as \'{"year": {"gte": 2015}}\'.')
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Say why each hit is one.")] = False,
    vector: Annotated[
        bool,
        typer.Option("--vector", help="QUERY is a vector: {TERM: WEIGHT} or [NUMBER, ...]."),
    ] = False,
    json: Json = None,
) -> None:
    """Search a collection."""
    from ..retrieval.collection import Collection

    check_query(query)
    with Collection.open(collection, read_only=True) as opened:
        chosen = None if filter is None else terminal.parse_json(filter, "--filter")
        asked: list[Any] = [query]
        if vector:
            asked = [vector_of(terminal.parse_json(query, "--vector"), opened, pipeline)]
        [result] = opened.search_batch(
            None if vector else asked,
            k,
            pipeline=pipeline_of(pipeline),
            filter=chosen,
            explain=explain,
            vectors=asked if vector else None,
        )
        if json != "-":
            terminal.show_hits(result, "" if vector else query, opened.highlights)
            if explain:
                for hit in result:
                    _show_explanation(hit.id, hit.explanation)
        terminal.write_json(json, {"query": query, **result.as_json()})


def check(collection: CollectionPath, json: Json = None) -> None:
    """Read every byte of a collection and report what is wrong with it."""
    from ..retrieval.collection import Collection

    with Collection.open(collection, read_only=True) as opened:
        report = opened.check()
    if json != "-":
        for problem in report.problems:
            typer.echo(f"damaged: {problem}")
        verdict = "sound" if report.ok else f"{len(report.problems)} problems"
        typer.echo(f"{collection}: {report.documents:,} documents, {report.files} files: {verdict}")
    value = {"ok": report.ok, "documents": report.documents, "files": report.files}
    terminal.write_json(json, {**value, "problems": list(report.problems)})
    if not report.ok:
        raise typer.Exit(5)


def backup(
    collection: CollectionPath, target: Annotated[Path, typer.Argument(help="A new path.")]
) -> None:
    """Copy one committed version of a collection, while it is in use or not."""
    from ..retrieval.collection import Collection

    with Collection.open(collection, read_only=True) as opened:
        opened.backup(target)
        typer.echo(f"{len(opened):,} documents of {collection} backed up to {target}")


def restore(
    source: Annotated[Path, typer.Argument(metavar="BACKUP", help="Made by backup.")],
    target: Annotated[Path, typer.Argument(help="A new path.")],
) -> None:
    """Check a backup and copy it to a path where nothing is."""
    from ..retrieval.collection import Collection

    with Collection.restore(source, target) as opened:
        typer.echo(f"{len(opened):,} documents restored to {target}")


def info(collection: CollectionPath, json: Json = None) -> None:
    """Say what is in a collection: documents, indexes, sizes."""
    from ..retrieval.collection import Collection

    with Collection.open(collection, read_only=True) as opened:
        described = opened.describe()
    if json != "-":
        typer.echo(f"{collection}: {described['documents']:,} documents")
        for name, entry in described["indexes"].items():
            typer.echo(
                f"  {name} ({entry['kind']}): {entry['segments']} segments, "
                f"{entry['bytes'] / 1e6:.1f} MB, {entry['tail_rows']} rows in the tail"
            )
    terminal.write_json(json, described)


def _corpus_file(path: Path) -> Path:
    if path.is_dir():
        for name in ("corpus.jsonl", "corpus.jsonl.gz"):
            if (path / name).exists():
                return path / name
        raise InputError("holds no corpus.jsonl", file=path)
    return path


def _checked_documents(file: Path) -> Iterator[Document]:
    """The file's documents; all of it has been checked when this returns."""
    from ..documents import read_jsonl

    documents = read_jsonl(file)
    return chain([next(documents)], documents)


def _show_explanation(name: str, explanation: Any) -> None:
    out = terminal.console()
    for list_name, reason in (explanation or {}).items():
        if list_name == "fusion":
            parts = " + ".join(f"{value:.3f} ({name})" for name, value in reason.items())
            out.print(f"{name}  fusion: {parts}", markup=False)
            continue
        score = "not in this index" if reason["score"] is None else f"{reason['score']:.3f}"
        place = "below its list" if reason["rank"] is None else f"rank {reason['rank']}"
        out.print(f"{name}  {list_name}: {place}, {score}", markup=False)
        for term in reason.get("terms", []):
            if term["tf"] == 0:
                continue
            out.print(
                f"      {term['score']:7.3f}  {term['term']} (tf {term['tf']}, df {term['df']}, "
                f"idf {term['idf']:.3f})",
                markup=False,
            )
