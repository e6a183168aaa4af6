"""The queries that two pipelines answer most differently, side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from ...documents import Document, JsonObject
from ..datasets import Dataset
from ..result import EvalResult
from ..significance import TIE
from .reasons import reasons

EACH_WAY = 3
HITS = 5
RELEVANT = 8
SNIPPET_CHARACTERS = 280
TITLE_CHARACTERS = 100

Explain: TypeAlias = Callable[[str, str], Mapping[str, JsonObject | None]]
"""(pipeline, query) -> document id -> the explanation of that hit, of at least ``HITS`` hits."""


class Shown(NamedTuple):
    """A hit on the page. ``grade`` is None where nobody judged it."""

    id: str
    score: float
    grade: int | None
    title: str
    text: str
    reasons: list[str]


class Side(NamedTuple):
    """What one pipeline made of the query."""

    pipeline: str
    value: float
    hits: list[Shown]


class Relevant(NamedTuple):
    """A relevant document and its rank in both runs, None where it is in none.

    ``title``: or how its text begins, where it has none.
    """

    id: str
    grade: int
    title: str
    ranks: tuple[int | None, int | None]


class Contrast(NamedTuple):
    """One query and both answers to it; of ``n_relevant`` documents the best judged are listed."""

    query_id: str
    query: str
    sides: tuple[Side, Side]
    relevant: list[Relevant]
    n_relevant: int

    @property
    def difference(self) -> float:
        """The other's value minus the baseline's."""
        return self.sides[1].value - self.sides[0].value


def find_contrasts(
    dataset: Dataset, pairs: Sequence[tuple[EvalResult, EvalResult]], measure: str, explain: Explain
) -> list[list[Contrast]]:
    """For each pair (baseline, other) its queries of the largest gain, then of the largest loss.

    Texts are read from the corpus, once for all.
    """
    chosen = [_queries(base, other, measure) for base, other in pairs]
    wanted: set[str] = set()
    for pair, queries in zip(pairs, chosen, strict=True):
        for query in queries:
            wanted |= {document for document, _ in _relevant(dataset, query)[:RELEVANT]}
            wanted |= {document for one in pair for document, _ in one.run.get(query, [])[:HITS]}
    # Another system's run may name what the corpus lacks, and so may a few judgements.
    texts = {name: Document(id=name, text="") for name in wanted}
    texts |= {document.id: document for document in dataset.documents() if document.id in wanted}

    def contrast(query: str, pair: tuple[EvalResult, EvalResult]) -> Contrast:
        base, other = (_side(dataset, one, query, measure, texts, explain) for one in pair)
        relevant = _relevant(dataset, query)
        listed = [
            Relevant(
                id=name,
                grade=grade,
                title=texts[name].title or _snippet(texts[name].text, TITLE_CHARACTERS),
                ranks=(_rank(pair[0], query, name), _rank(pair[1], query, name)),
            )
            for name, grade in relevant[:RELEVANT]
        ]
        return Contrast(query, dataset.queries[query], (base, other), listed, len(relevant))

    return [
        [contrast(query, pair) for query in queries]
        for pair, queries in zip(pairs, chosen, strict=True)
    ]


def _queries(base: EvalResult, other: EvalResult, measure: str) -> list[str]:
    """The largest gains, largest first, then the largest losses, largest first."""
    gains = {
        query: values[measure] - base.per_query[query][measure]
        for query, values in other.per_query.items()
    }
    rising = sorted(gains, key=gains.__getitem__)
    most = [query for query in rising[::-1][:EACH_WAY] if gains[query] > TIE]
    return most + [query for query in rising[:EACH_WAY] if gains[query] < -TIE]


def _relevant(dataset: Dataset, query: str) -> list[tuple[str, int]]:
    """The relevant documents of a query, best judged first."""
    judged = [(name, grade) for name, grade in dataset.qrels[query].items() if grade > 0]
    return sorted(judged, key=lambda one: -one[1])


def _rank(result: EvalResult, query: str, document: str) -> int | None:
    names = [name for name, _ in result.run.get(query, [])]
    return names.index(document) + 1 if document in names else None


def _side(
    dataset: Dataset,
    result: EvalResult,
    query: str,
    measure: str,
    texts: Mapping[str, Document],
    explain: Explain,
) -> Side:
    explained = explain(result.pipeline, dataset.queries[query])
    hits = []
    for name, score in result.run.get(query, [])[:HITS]:
        document = texts[name]
        hits.append(
            Shown(
                id=name,
                score=score,
                grade=dataset.qrels[query].get(name),
                title=document.title,
                text=_snippet(document.text, SNIPPET_CHARACTERS),
                reasons=reasons(explained.get(name)),
            )
        )
    return Side(result.pipeline, result.per_query[query][measure], hits)


def _snippet(text: str, most: int) -> str:
    words = " ".join(text.split())
    return words if len(words) <= most else f"{words[:most]}\u2026"
