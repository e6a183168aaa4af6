"""Data sets of the package ``ir_datasets`` by their ids, such as ``irds:vaswani``.

They are written out once, in BEIR's layout, into the cache; all else reads that. The package is not
required: it brings two dozen others.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import InputError, MissingDependencyError, UnknownNameError
from .download import cache_folder
from .progress import Progress, silent
from .qrels import BEIR_HEADER
from .textfiles import storage_error, write_lines

PREFIX = "irds:"
_REPORT_EVERY = 1000


def irds_folder(name: str, *, cache: Path | None = None, progress: Progress = silent) -> Path:
    """The folder of a data set, written when it is not in the cache yet.

    ``name``: ``irds:`` and an id that has documents, queries and judgements. The judgements become
    the split ``test``, whatever the id calls them.

    Raises :class:`~cormorant.errors.MissingDependencyError` without the package,
    :class:`~cormorant.errors.UnknownNameError` for an id it does not know, and
    :class:`~cormorant.errors.InputError` for one that lacks a part.
    """
    folder = (cache_folder() if cache is None else cache) / "irds" / irds_name(name)
    if folder.is_dir():
        return folder
    identifier = name.removeprefix(PREFIX)
    source = _loaded(identifier)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".irds.", dir=folder.parent) as scratch:
            made = Path(scratch) / "made"
            write_lines(made / "corpus.jsonl", _documents(source, identifier, progress))
            write_lines(made / "queries.jsonl", _queries(source))
            write_lines(made / "qrels" / "test.tsv", _judgements(source))
            made.rename(folder)
    except OSError as error:
        raise storage_error(folder, error) from None
    return folder


def irds_name(name: str) -> str:
    """What results and files call it: the id, with ``-`` in the place of each slash."""
    return name.removeprefix(PREFIX).replace("/", "-")


def _loaded(identifier: str) -> Any:
    try:
        import ir_datasets
    except ImportError:
        raise MissingDependencyError("ir_datasets", "irds") from None
    try:
        source = ir_datasets.load(identifier)
    except KeyError:
        raise UnknownNameError(f"ir_datasets knows no data set {identifier!r}") from None
    parts = ("docs", "queries", "qrels")
    if lacking := [part for part in parts if not getattr(source, f"has_{part}")()]:
        raise InputError(f"ir_datasets' {identifier!r} has no {' and no '.join(lacking)}")
    return source


def _documents(source: Any, identifier: str, progress: Progress) -> Iterator[str]:
    what, total = f"writing {identifier}", source.docs_count()
    for number, document in enumerate(source.docs_iter(), 1):
        text = getattr(document, "text", None)
        value = {
            "_id": document.doc_id,
            "title": "" if text is None else getattr(document, "title", "") or "",
            "text": document.default_text() if text is None else text,
        }
        yield json.dumps(value, ensure_ascii=False)
        if number % _REPORT_EVERY == 0:
            progress(what, number, total)


def _queries(source: Any) -> Iterator[str]:
    for query in source.queries_iter():
        value = {"_id": query.query_id, "text": query.default_text()}
        yield json.dumps(value, ensure_ascii=False)


def _judgements(source: Any) -> Iterator[str]:
    yield "\t".join(BEIR_HEADER)
    for judgement in source.qrels_iter():
        yield f"{judgement.query_id}\t{judgement.doc_id}\t{judgement.relevance}"
