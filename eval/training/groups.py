"""What a cross-encoder learns from in a step: a query, some passages, and how they should rank.

What nobody judged is not irrelevant: much of what the teachers put first would be judged relevant
if anybody looked. So no passage is called wrong. Every one of a group has a target: the teachers'
score, and on top of it, for a passage that was judged relevant, a lift by its grade that puts it
before whatever the teachers like.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ...errors import InputError
from .material import Source
from .teachers import Said

POSITIVES = 4
"""One passage in so many of a group is relevant, where the query has as many."""
EASY = 4
"""One in so many of the others is any document, or all that is learnt is the fine print."""
TOP = 20
"""Half of the rest come from the teachers' first so many, half from further down."""
TEACHER_SCALE = 4.0
LABEL_LIFT = 4.0
"""A grade of 1 is worth as much as all that the teachers' scores, 0 to 1, can say."""


class Group(NamedTuple):
    """A query and documents by their numbers, with the logits that are wanted of them."""

    query: int
    documents: list[int]
    targets: list[float]


class Groups:
    """Groups of each step, the same for the same seed and step whatever came before.

    Queries come in an order that is shuffled anew each time all have been. The more a document is
    relevant, the likelier it is in the group.
    """

    def __init__(self, source: Source, said: Said, size: int, seed: int) -> None:
        """``said``: what the teachers think; a document that they do not speak of has 0."""
        self._gains = source.gains
        self._candidates, self._scores = said
        self._others = [
            [document for document in ranked(own) if document not in gains]
            for own, gains in zip(said.candidates, source.gains, strict=True)
        ]
        self._queries = np.flatnonzero([bool(gains) for gains in source.gains])
        if not len(self._queries):
            raise InputError("no query has a relevant document, so there is nothing to learn")
        self._n_documents = len(source.documents)
        self._size, self._seed = min(size, self._n_documents), seed

    def of_step(self, step: int, n_queries: int) -> list[Group]:
        """The groups of a step."""
        first = step * n_queries
        return [self._group(number) for number in range(first, first + n_queries)]

    def _group(self, number: int) -> Group:
        turn, place = divmod(number, len(self._queries))
        order = np.random.default_rng((self._seed, 0, turn)).permutation(len(self._queries))
        query = int(self._queries[order[place]])
        random = np.random.default_rng((self._seed, 1, number))
        gains, others = self._gains[query], self._others[query]
        weights = np.array(list(gains.values()))
        relevant = min(len(gains), max(1, self._size // POSITIVES))
        chosen = random.choice(list(gains), relevant, replace=False, p=weights / weights.sum())
        documents = dict.fromkeys(chosen.tolist())
        listed = self._size - relevant
        listed -= math.ceil(listed / EASY)
        for pool, many in ((others[:TOP], math.ceil(listed / 2)), (others[TOP:], listed // 2)):
            places = random.permutation(len(pool))[:many]
            documents.update(dict.fromkeys(pool[place] for place in places))
        for document in random.permutation(self._n_documents).tolist():
            if len(documents) == self._size:
                break
            documents[document] = None  # a relevant one, too: it has its lift
        return Group(query, list(documents), [self._target(query, each) for each in documents])

    def _target(self, query: int, document: int) -> float:
        if self._scores is not None:
            score = float(self._scores[query, document])
        else:
            score = self._candidates[query].get(document, 0.0)
        return TEACHER_SCALE * score + LABEL_LIFT * math.log2(
            1.0 + self._gains[query].get(document, 0.0)
        )


def ranked(scores: Mapping[int, float]) -> list[int]:
    """Documents by their scores, of equal ones the lower number first."""
    return sorted(scores, key=lambda document: (-scores[document], document))
