"""What to learn from, read from files: test collections, text pairs, bare corpora."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...documents import read_json_lines, read_jsonl
from ...errors import InputError
from ..datasets import load_dataset
from .material import Source, pairs_source, with_own_queries

DevelopmentSet = tuple[Sequence[str], Sequence[str], Sequence[Mapping[int, int]]]
"""Document texts, queries, and for each query document number -> grade."""


def judged_source(folder: Path, split: str = "train") -> Source:
    """A collection in BEIR layout: its documents, the queries of a split, its judgements."""
    dataset = load_dataset(folder, split=split)
    documents = list(dataset.documents())
    numbers = {document.id: number for number, document in enumerate(documents)}
    queries = list(dataset.queries)
    gains = [
        {
            numbers[document]: float(grade)
            for document, grade in dataset.qrels[query].items()
            if grade > 0
        }
        for query in queries
    ]
    texts = [(document.title or "", document.text) for document in documents]
    return Source(dataset.name, texts, [dataset.queries[query] for query in queries], gains)


def collection_source(folder: Path, split: str = "train") -> Source:
    """The same with titles (or first sentences) as further queries.

    Teachers have something to say about them.
    """
    return with_own_queries(judged_source(folder, split))


def sampled(source: Source, queries: int, seed: int = 1) -> Source:
    """The same documents with a random sample of the queries."""
    chosen = sorted(
        random.Random(seed).sample(range(len(source.queries)), min(queries, len(source.queries)))
    )
    return Source(
        source.name,
        source.documents,
        [source.queries[number] for number in chosen],
        [source.gains[number] for number in chosen],
    )


def corpus_source(file: Path) -> Source:
    """A bare corpus (JSON lines of documents): its titles or first sentences are the queries."""
    documents = [(document.title or "", document.text) for document in read_jsonl(file)]
    return with_own_queries(Source(file.stem, documents, [], []))


def pairs_file(file: Path, at_most: int | None = None, seed: int = 0) -> Source:
    """Text pairs: JSON lines with ``query``, ``text``, and perhaps ``title``.

    ``at_most``: a random sample of so many. A title that is the query itself is left out of the
    text, where it would be all that is learnt.
    """
    pairs = []
    for line, row in read_json_lines(file):
        if not isinstance(row, dict):
            raise InputError("is an object with query and text", file=file, line=line)
        query, text, title = row.get("query"), row.get("text"), row.get("title") or ""
        if not (isinstance(query, str) and isinstance(text, str) and isinstance(title, str)):
            raise InputError("has query and text, both strings", file=file, line=line)
        pairs.append((query, "" if title == query else title, text))
    random.Random(seed).shuffle(pairs)
    return pairs_source(file.name.partition(".")[0], pairs[:at_most])


def development_set(
    folder: Path, split: str = "dev", *, queries: int = 100, documents: int = 700, seed: int = 1
) -> DevelopmentSet:
    """A sample of a collection's development split, small enough to measure on every few minutes.

    Random queries with some of their relevant documents, and random others up to ``documents``.
    nDCG@10 on it is higher than on the whole collection: it is for comparing states, not systems.
    """
    dataset = load_dataset(folder, split=split)
    rows = list(dataset.documents())
    numbers = {document.id: number for number, document in enumerate(rows)}
    chosen = random.Random(seed)
    names = sorted(dataset.queries)
    if not names:
        raise InputError(f"qrels/{split}.tsv judges no query", file=folder)
    names = sorted(chosen.sample(names, min(queries, len(names))))
    each = max(1, 2 * documents // (3 * len(names)))
    wanted: set[int] = set()
    for name in names:
        relevant = sorted(numbers[d] for d, grade in dataset.qrels[name].items() if grade > 0)
        wanted |= set(chosen.sample(relevant, min(each, len(relevant))))
    rest = [number for number in range(len(rows)) if number not in wanted]
    chosen.shuffle(rest)
    kept = sorted(wanted | set(rest[: max(0, documents - len(wanted))]))
    place = {old: new for new, old in enumerate(kept)}
    texts = [
        f"{rows[number].title}\n{rows[number].text}" if rows[number].title else rows[number].text
        for number in kept
    ]
    gains = [
        {
            place[numbers[document]]: grade
            for document, grade in dataset.qrels[name].items()
            if numbers[document] in place
        }
        for name in names
    ]
    return texts, [dataset.queries[name] for name in names], gains
