"""What a cross-encoder learns to tell apart: of a query one relevant passage and hard negatives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ...errors import InputError
from .material import Source

MOST_ALIKE = 30
"""Negatives come from the first so many that teachers put high and nobody judged relevant."""
EASY = 1
"""Of a group's negatives, so many are any documents: else all that is learnt is the fine print."""


class Group(NamedTuple):
    """A query and documents by their numbers, the relevant one first."""

    query: int
    documents: list[int]


class Groups:
    """Groups of each step, the same for the same seed and step whatever came before.

    Queries come in an order that is shuffled anew each time all have been. The more a document is
    relevant, the likelier it is the group's.
    """

    def __init__(
        self, source: Source, candidates: Sequence[Mapping[int, float]], size: int, seed: int
    ) -> None:
        """``candidates``: by query, document -> what teachers think of it."""
        self._gains = [{d: gain for d, gain in own.items() if gain > 0} for own in source.gains]
        self._negatives = [
            [document for document in ranked(own) if document not in gains][:MOST_ALIKE]
            for own, gains in zip(candidates, self._gains, strict=True)
        ]
        self._queries = np.flatnonzero([bool(gains) for gains in self._gains])
        if not len(self._queries):
            raise InputError("no query has a relevant document, so there is nothing to learn")
        self._n_documents = len(source.documents)
        self._size, self._seed = size, seed

    def of_step(self, step: int, n_queries: int) -> list[Group]:
        """The groups of a step."""
        first = step * n_queries
        return [self._group(number) for number in range(first, first + n_queries)]

    def _group(self, number: int) -> Group:
        turn, place = divmod(number, len(self._queries))
        order = np.random.default_rng((self._seed, 0, turn)).permutation(len(self._queries))
        query = int(self._queries[order[place]])
        random = np.random.default_rng((self._seed, 1, number))
        gains, negatives = self._gains[query], self._negatives[query]
        weights = np.array(list(gains.values()))
        positive = int(random.choice(list(gains), p=weights / weights.sum()))
        hard = random.permutation(len(negatives))[: self._size - 1 - EASY]
        documents = dict.fromkeys([positive, *(negatives[place] for place in hard)])
        for document in random.permutation(self._n_documents).tolist():
            if len(documents) >= min(self._size, self._n_documents - len(gains) + 1):
                break
            if document not in gains:
                documents[document] = None
        return Group(query, list(documents))


def ranked(scores: Mapping[int, float]) -> list[int]:
    """Documents by their scores, of equal ones the lower number first."""
    return sorted(scores, key=lambda document: (-scores[document], document))
