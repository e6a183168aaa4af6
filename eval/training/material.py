"""What a sparse encoder learns from: documents, queries, who is relevant, and what teachers say.

An inference-free query costs nothing to encode, so every query of a source is asked of every
document in a batch: what matters is only which documents meet. Judgements and teachers' scores are
kept by document for that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...contracts import Float32Array, Int64Array
from ...errors import InputError


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """One collection to learn from.

    ``documents``: (title, text) pairs, the title may be empty. ``queries``: texts.
    ``gains``: for each query, document number -> gain above 0; may be empty.
    """

    name: str
    documents: Sequence[tuple[str, str]]
    queries: Sequence[str]
    gains: Sequence[Mapping[int, float]]

    def __post_init__(self) -> None:
        if len(self.queries) != len(self.gains):
            raise InputError(
                f"{self.name}: {len(self.queries)} queries with {len(self.gains)} lists of gains"
            )
        for query, gains in enumerate(self.gains):
            if any(not 0 <= number < len(self.documents) for number in gains):
                raise InputError(
                    f"{self.name}: query {query} has gains for documents that are not there"
                )

    @property
    def texts(self) -> list[str]:
        """Title and text, joined as a collection joins them."""
        return [f"{title}\n{text}" if title else text for title, text in self.documents]


def pairs_source(name: str, pairs: Sequence[tuple[str, str, str]]) -> Source:
    """A source of (query, title, text): each text is relevant to its query."""
    numbers: dict[tuple[str, str], int] = {}
    gains: dict[str, dict[int, float]] = {}
    for query, title, text in pairs:
        document = numbers.setdefault((title, text), len(numbers))
        gains.setdefault(query, {})[document] = 1.0
    return Source(name, list(numbers), list(gains), list(gains.values()))


def with_own_queries(source: Source) -> Source:
    """A source and, as further queries, each document's title or first sentence.

    From a bare corpus that is all there is to learn from; the document is relevant to it.
    """
    queries, gains = list(source.queries), list(source.gains)
    for number, (title, text) in enumerate(source.documents):
        query = title or first_sentence(text)
        if query:
            queries.append(query)
            gains.append({number: 1.0})
    return Source(source.name, source.documents, queries, gains)


def first_sentence(text: str) -> str:
    """The text up to its first full stop, question or exclamation mark; at most 200 characters."""
    return re.split(r"(?<=[.!?])\s", text.strip(), maxsplit=1)[0][:200]


class Met(NamedTuple):
    """What the queries of a source make of the documents in a batch.

    ``queries``: (m,) int64 numbers. ``gains``: (m, documents) float32. ``teacher``: the same shape,
    the ensemble's scores, 0 to 1; -inf for a document that no teacher spoke of.
    """

    queries: Int64Array
    gains: Float32Array
    teacher: Float32Array


class ByDocument:
    """Pairs of query and document with a value, found by document."""

    def __init__(self, n_documents: int, rows: Sequence[Mapping[int, float]]) -> None:
        lengths = np.array([len(row) for row in rows], np.int64)
        queries = np.repeat(np.arange(len(rows), dtype=np.int64), lengths)
        documents = np.array([document for row in rows for document in row], np.int64)
        values = np.array([value for row in rows for value in row.values()], np.float32)
        order = np.argsort(documents, kind="stable")
        self._queries, self._values = queries[order], values[order]
        self._starts = np.zeros(n_documents + 1, np.int64)
        np.cumsum(np.bincount(documents, minlength=n_documents), out=self._starts[1:])

    def met(self, documents: Int64Array) -> tuple[Int64Array, Int64Array, Float32Array]:
        """Of the batch's documents: query numbers, places in the batch, and values."""
        firsts, ends = self._starts[documents], self._starts[documents + 1]
        lengths = ends - firsts
        places = np.repeat(np.arange(len(documents)), lengths)
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        entries = np.repeat(firsts, lengths) + within
        return self._queries[entries], places, self._values[entries]


class Targets:
    """Judgements and teachers' scores of one source, asked for by batch."""

    def __init__(
        self,
        n_documents: int,
        gains: Sequence[Mapping[int, float]],
        teacher: Sequence[Mapping[int, float]],
        scores: NDArray[np.float16] | None = None,
    ) -> None:
        """``scores``: (queries, documents), the teacher's of all documents, where there are."""
        most = [max(row.values(), default=1.0) for row in gains]
        self.n_queries = len(gains)
        self._gains = ByDocument(
            n_documents,
            [
                {document: gain / top for document, gain in row.items()}
                for row, top in zip(gains, most, strict=True)
            ],
        )
        self._teacher = ByDocument(n_documents, teacher)
        self._scores = scores

    def met(self, documents: Int64Array, at_most: int) -> Met:
        """What queries make of a batch; ``at_most`` of them, those with most to say first.

        A query says nothing when the batch holds no document that is relevant to it or that a
        teacher listed. A document that is in the batch twice counts twice.
        """
        judged = self._gains.met(documents)
        listed = self._teacher.met(documents)
        say = np.bincount(
            np.concatenate([judged[0], listed[0]]),
            weights=np.concatenate([judged[2] * 4, listed[2]]),
            minlength=self.n_queries,
        )
        queries = np.argsort(-say, kind="stable")[: min(at_most, np.count_nonzero(say))]
        queries = np.sort(queries)
        row = np.full(self.n_queries, -1, np.int64)
        row[queries] = np.arange(len(queries))
        gains = np.zeros((len(queries), len(documents)), np.float32)
        teacher = np.full(gains.shape, -np.inf, np.float32)
        for table, (numbers, places, values) in ((gains, judged), (teacher, listed)):
            kept = row[numbers] >= 0
            table[row[numbers[kept]], places[kept]] = values[kept]
        if self._scores is not None:
            teacher = self._scores[np.ix_(queries, documents)].astype(np.float32)
        return Met(queries.astype(np.int64), gains, teacher)
