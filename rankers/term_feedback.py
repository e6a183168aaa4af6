"""Pseudo relevance feedback by terms: the query takes on terms of the best documents.

For any index of weighted terms: BM25, where a term's weight in a document is its count, and sparse
indexes, where it is the one that is stored.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np

from ..contracts import Queries, Terms
from ..stages import Candidates, Evidence
from .checks import check_feedback, check_integer, check_number

Weights: TypeAlias = dict[Any, float]
"""Terms with weights."""


@dataclass(frozen=True, slots=True)
class RM3:
    """The relevance model, interpolated with the query.

    Each of the ``depth`` best documents says how likely each of its terms is (its weight's share);
    they are averaged, a document counting by its share of the scores; the ``terms`` likeliest are
    kept. The new query is ``original`` of the old one and the rest of that, together as heavy as
    the old one. Terms that more than ``max_share`` of the documents have are no evidence.

    Source: Abdul-Jaleel et al., "UMass at TREC 2004: Novelty and HARD", section 3.
    """

    kind: ClassVar[str] = "rm3"
    index: str = "bm25"
    depth: int = 10
    terms: int = 10
    original: float = 0.5
    max_share: float = 0.1
    interpolate: str = "both"

    def __post_init__(self) -> None:
        check_feedback(self.index, self.depth, self.interpolate)
        check_integer("terms", self.terms, 1, 10_000)
        check_number("original", self.original, 0, 1)
        check_number("max_share", self.max_share, 0, 1)

    def expand(self, evidence: Evidence) -> Queries:
        """The expanded queries, as the index takes them."""
        return _expanded(evidence, self.max_share, self._expand)

    def _expand(self, asked: Terms, found: Sequence[Terms], scores: Sequence[float]) -> Weights:
        model: Weights = defaultdict(float)
        for terms, share in zip(found, _shares(scores), strict=True):
            total = sum(terms.values())
            for term, weight in terms.items():
                model[term] += share * weight / total
        model = _heaviest(model, self.terms)
        mass = sum(asked.values()) or 1.0  # no word of the query is known, but documents were found
        return _sum(
            {term: self.original * weight for term, weight in asked.items()},
            _scaled(model, (1 - self.original) * mass / sum(model.values())),
        )


@dataclass(frozen=True, slots=True)
class Rocchio:
    """Rocchio's formula, its positive part: ``alpha`` query + ``beta`` mean of the documents.

    The query and each of the ``depth`` best documents are brought to length 1; of the mean the
    ``terms`` heaviest are kept. Terms that more than ``max_share`` of the documents have are no
    evidence.

    Source: Rocchio, "Relevance Feedback in Information Retrieval", in The SMART Retrieval System,
    1971.
    """

    kind: ClassVar[str] = "rocchio"
    index: str = "bm25"
    depth: int = 10
    terms: int = 10
    alpha: float = 1.0
    beta: float = 0.75
    max_share: float = 0.1
    interpolate: str = "both"

    def __post_init__(self) -> None:
        check_feedback(self.index, self.depth, self.interpolate)
        check_integer("terms", self.terms, 1, 10_000)
        check_number("alpha", self.alpha, 0, 1e6)
        check_number("beta", self.beta, 0, 1e6)
        check_number("max_share", self.max_share, 0, 1)

    def expand(self, evidence: Evidence) -> Queries:
        """The expanded queries, as the index takes them."""
        return _expanded(evidence, self.max_share, self._expand)

    def _expand(self, asked: Terms, found: Sequence[Terms], scores: Sequence[float]) -> Weights:
        mean: Weights = defaultdict(float)
        for terms in found:
            length = float(np.linalg.norm(list(terms.values())))
            for term, weight in terms.items():
                mean[term] += weight / length / len(found)
        size = float(np.linalg.norm(list(asked.values()))) or 1.0
        return _sum(
            _scaled(asked, self.alpha / size), _scaled(_heaviest(mean, self.terms), self.beta)
        )


def _expanded(
    evidence: Evidence,
    max_share: float,
    expand: Callable[[Terms, Sequence[Terms], Sequence[float]], Weights],
) -> Queries:
    """Every query expanded; one without a document that has terms stays as it is."""
    asked, candidates = evidence.query_terms(), evidence.candidates
    terms = _terms_of(evidence, candidates, max_share)
    expanded: list[Terms] = []
    for query, item in zip(asked, candidates, strict=True):
        kept = [
            (terms[row], score)
            for row, score in zip(item.rows.tolist(), item.scores.tolist(), strict=True)
            if terms[row]
        ]
        if kept:
            expanded.append(expand(query, [own for own, _ in kept], [score for _, score in kept]))
        else:
            expanded.append(query)
    return evidence.term_queries(expanded)


def _terms_of(
    evidence: Evidence, candidates: Sequence[Candidates], max_share: float
) -> Mapping[int, Terms]:
    """The terms of every document that feeds back, each read once."""
    every = [item.rows for item in candidates] or [np.zeros(0, np.int64)]
    rows = np.unique(np.concatenate(every))
    return dict(zip(rows.tolist(), evidence.row_terms(rows, max_share), strict=True))


def _shares(scores: Sequence[float]) -> list[float]:
    """What each document counts: its share of the scores above 0; all alike where none is."""
    kept = [max(0.0, score) if np.isfinite(score) else 0.0 for score in scores]
    total = sum(kept)
    return [score / total if total else 1 / len(kept) for score in kept]


def _heaviest(weights: Weights, n: int) -> Weights:
    """The n heaviest terms, of equal ones those that sort first."""
    return dict(heapq.nsmallest(n, weights.items(), key=lambda pair: (-pair[1], pair[0])))


def _scaled(weights: Terms, factor: float) -> Weights:
    return {term: factor * weight for term, weight in weights.items()}


def _sum(one: Terms, other: Terms) -> Weights:
    """Both together, without terms of weight 0."""
    total = {term: one.get(term, 0.0) + other.get(term, 0.0) for term in {**one, **other}}
    return {term: weight for term, weight in total.items() if weight > 0}
