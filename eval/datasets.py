"""Test collections: documents, queries and judgements, read from a folder."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..documents import Document, read_json_lines, read_jsonl
from ..errors import InputError
from .download import BEIR_ZIPS, beir_folder
from .irds import PREFIX, irds_folder, irds_name
from .measures import judged_queries
from .progress import Progress, silent
from .qrels import read_judgements, read_qrels
from .topics import read_queries

IN_PARTS = "cqadupstack"
"""BEIR's data set that is twelve, whose figures it averages as if they were one."""

MOST_ABSENT = 0.01
"""The share of judged documents that may be missing: BEIR's ArguAna lacks 5 of its 1,406."""

CORPUS_FILES = ("corpus.jsonl",)
QUERY_FILES = (
    "queries.jsonl",
    "topics.{split}.tsv",
    "topics.{split}.txt",
    "topics.{split}",
    "topics.tsv",
    "topics.txt",
    "topics",
    "queries.tsv",
)
QRELS_FILES = (
    "qrels/{split}.tsv",
    "qrels/{split}.txt",
    "qrels.{split}.tsv",
    "qrels.{split}.txt",
    "qrels.{split}",
    "qrels.tsv",
    "qrels.txt",
    "qrels",
)


@dataclass(frozen=True, slots=True)
class Dataset:
    """A test collection: the files, and the queries and judgements of one split.

    ``name`` is what :func:`dataset_name` says. ``queries``:
    query id -> text, those that the split judges, in the order of their file. ``qrels``: query id
    -> document id -> grade; above 0 is relevant.
    """

    name: str
    path: Path
    split: str
    corpus: Path
    queries_file: Path
    qrels_file: Path
    queries: dict[str, str] = field(repr=False)
    qrels: dict[str, dict[str, int]] = field(repr=False)

    @property
    def files(self) -> tuple[Path, Path, Path]:
        """The files that the figures depend on: corpus, queries, qrels."""
        return (self.corpus, self.queries_file, self.qrels_file)

    def documents(self, flags: dict[str, int] | None = None) -> Iterator[Document]:
        """The corpus, in the order of its file; checked in one pass before the first is given.

        A few judged documents may be missing, as in trec_eval: nothing finds them. ``flags``, after
        the last document, takes of how many queries there are such.

        Raises :class:`~cormorant.errors.InputError` as :func:`~cormorant.documents.read_jsonl`
        does, and, after the last one, as :meth:`check_qrels` does for more than one in a hundred.
        """
        awaited = self._judged_documents()
        most = MOST_ABSENT * len(awaited)
        for document in read_jsonl(self.corpus):
            awaited.discard(document.id)
            yield document
        if len(awaited) > most:
            raise self._without_document(awaited)
        if awaited and flags is not None:
            affected = [own for own in self.qrels.values() if not awaited.isdisjoint(own)]
            flags[f"judged documents are not in {self.corpus.name}"] = len(affected)

    def check_qrels(self, known_ids: Container[str]) -> None:
        """Raise when the qrels judge documents that are not in ``known_ids`` (best a set).

        The :class:`~cormorant.errors.InputError` says how many, which is the first, and its line.
        """
        missing = {document for document in self._judged_documents() if document not in known_ids}
        if missing:
            raise self._without_document(missing)

    def _judged_documents(self) -> set[str]:
        return {document for judged in self.qrels.values() for document in judged}

    def _without_document(self, missing: set[str]) -> InputError:
        first = next(
            judgement
            for judgement in read_judgements(self.qrels_file)
            if judgement.document_id in missing
        )
        return InputError(
            f"{len(missing)} judged documents are not in {self.corpus.name}, the first is "
            f"{first.document_id!r}",
            file=self.qrels_file,
            line=first.line,
            field="corpus-id",
        )


def load_dataset(
    path: str | Path,
    *,
    split: str = "test",
    topics: str | Path | None = None,
    qrels: str | Path | None = None,
    progress: Progress = silent,
) -> Dataset:
    """A test collection from a folder, or a public BEIR data set by its name.

    Each file may also end in ``.gz``. The first that exists is taken:

    * documents: ``corpus.jsonl``;
    * queries: the argument ``topics``; ``queries.jsonl`` (BEIR); ``topics.<split>.tsv``, ``.txt``
      or no ending; ``topics.tsv``, ``topics.txt``, ``topics``; ``queries.tsv``. See
      :func:`~cormorant.eval.topics.read_queries` for the formats;
    * judgements: the argument ``qrels``; ``qrels/<split>.tsv`` (BEIR), ``qrels/<split>.txt``;
      ``qrels.<split>.tsv``, ``.txt`` or no ending; ``qrels.tsv``, ``qrels.txt``, ``qrels``. See
      :mod:`~cormorant.eval.qrels` for the formats.

    A name that is no folder, such as ``scifact`` or ``cqadupstack/android``, is looked up in the
    cache and else downloaded, see :func:`~cormorant.eval.download.beir_folder`; ``irds:`` and an id
    asks the package ir_datasets, see :mod:`~cormorant.eval.irds`; other names are refused. Queries
    that the split does not judge are left out.

    Raises :class:`~cormorant.errors.InputError`, naming file, line and field, for what cannot be
    read; for judgements of an unknown query, and when no query has a positive judgement.
    """
    folder = _folder(path, progress)
    _check_split(split)
    corpus = _first(folder, CORPUS_FILES, split, "documents")
    if next(read_json_lines(corpus), None) is None:
        raise InputError("no document in this file", file=corpus)
    qrels_file = _given(qrels) or _first(folder, QRELS_FILES, split, "judgements")
    queries_file = _given(topics) or _first(folder, QUERY_FILES, split, "queries")
    judgements = read_qrels(qrels_file)
    queries = read_queries(queries_file)
    if not judgements.keys() <= queries.keys():
        raise _without_query(qrels_file, queries_file, judgements.keys() - queries.keys())
    if not judged_queries(judgements):
        raise InputError("no query has a positive judgement", file=qrels_file)
    return Dataset(
        name=dataset_name(path),
        path=folder,
        split=split,
        corpus=corpus,
        queries_file=queries_file,
        qrels_file=qrels_file,
        queries={query: text for query, text in queries.items() if query in judgements},
        qrels=judgements,
    )


def dataset_paths(paths: Sequence[str], progress: Progress = silent) -> list[str]:
    """The same, with each of CQADupStack's parts in the place of the whole (see ``averages``)."""
    found: list[str] = []
    for path in paths:
        if Path(path).name != IN_PARTS:
            found.append(path)
            continue
        folder = _folder(path, progress)
        parts = sorted(str(corpus.parent) for corpus in folder.glob("*/corpus.jsonl"))
        found += parts or [path]
    return found


def dataset_name(path: str | Path) -> str:
    """What results and files call a data set, known before it is loaded.

    The folder's name, for a part of CQADupStack ``cqadupstack-android``; of an id of ir_datasets
    the whole, ``beir-scifact-test``.
    """
    if str(path).startswith(PREFIX):
        return irds_name(str(path))
    folder = Path(os.path.abspath(path))
    parent = folder.parent.name
    return f"{parent}-{folder.name}" if parent == IN_PARTS else folder.name


def _folder(path: str | Path, progress: Progress) -> Path:
    if str(path).startswith(PREFIX):
        return irds_folder(str(path), progress=progress)
    folder = Path(os.path.abspath(path))
    if folder.is_dir():
        return folder
    if folder.exists():
        raise InputError("a data set is a folder, this is a file", file=path)
    name = Path(path).as_posix()
    if "/" in name and name.partition("/")[0] not in BEIR_ZIPS:
        raise InputError("there is no such folder", file=path)
    return beir_folder(name, progress=progress)


def _check_split(split: str) -> None:
    if not split or any(mark in split for mark in "/\\\0"):
        raise InputError(f"a split is a plain name such as 'test', got {split!r}", field="split")


def _given(path: str | Path | None) -> Path | None:
    return None if path is None else Path(os.path.abspath(path))


def _first(folder: Path, names: tuple[str, ...], split: str, what: str) -> Path:
    plain = [name.format(split=split) for name in names]
    found = _found(folder, plain)
    if found is not None:
        return found
    message = f"no {what} in this folder; looked for {', '.join(plain)} (each also with .gz)"
    if what == "judgements" and (splits := _beir_splits(folder)):
        message += f"; it has the splits {', '.join(splits)}"
    if what == "documents" and (parts := _parts(folder)):
        message += f"; it holds several data sets: {', '.join(parts)}"
    raise InputError(message, file=folder)


def _found(folder: Path, names: Iterable[str]) -> Path | None:
    files = (folder / f"{name}{end}" for name in names for end in ("", ".gz"))
    return next((file for file in files if file.is_file()), None)


def has_split(folder: Path, split: str) -> bool:
    """Whether a folder has judgements that are of this split by their name."""
    names = [name.format(split=split) for name in QRELS_FILES if "{split}" in name]
    return _found(folder, names) is not None


def _beir_splits(folder: Path) -> list[str]:
    files = (folder / "qrels").glob("*.tsv*") if (folder / "qrels").is_dir() else ()
    return sorted({file.name.partition(".tsv")[0] for file in files})


def _parts(folder: Path) -> list[str]:
    return sorted(f"{folder.name}/{corpus.parent.name}" for corpus in folder.glob("*/corpus.jsonl"))


def _without_query(qrels_file: Path, queries_file: Path, missing: set[str]) -> InputError:
    first = next(
        judgement for judgement in read_judgements(qrels_file) if judgement.query_id in missing
    )
    return InputError(
        f"{len(missing)} judged queries are not in {queries_file.name}, the first is "
        f"{first.query_id!r}",
        file=qrels_file,
        line=first.line,
        field="query-id",
    )
