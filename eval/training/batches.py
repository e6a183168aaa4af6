"""Which documents meet in a batch: those that queries want, and those they are mistaken for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ...contracts import Int64Array
from ...errors import InputError

POSITIVES = 4
NEGATIVES = 4
"""At most so many documents of each kind a query brings into a batch."""
_FIRST = 0.6
"""How often a long document comes with its first passage."""


class Part(NamedTuple):
    """One source, as the sampler needs it.

    ``share``: of the batches. ``gains`` and ``candidates``: by query, document -> value.
    ``passages``: (n_documents + 1,) int64, where each document's passages begin, counted over all
    sources.
    """

    share: float
    gains: Sequence[Mapping[int, float]]
    candidates: Sequence[Mapping[int, float]]
    passages: Int64Array


class Batches:
    """Batches of passage numbers, each batch from one source; the same for the same seed and epoch.

    A batch is filled by random queries, each with up to 4 of its relevant documents and up to 4
    hard negatives: candidates of the teachers that nobody judged relevant. A document is in a batch
    once.
    """

    def __init__(self, parts: Sequence[Part], size: int, steps: int, seed: int) -> None:
        if size < 2 or not parts:
            raise InputError("a batch has 2 documents or more", field="batch_documents")
        self._parts = parts
        self.size = size
        self._steps, self._seed = steps, seed
        self._epoch = 0
        self._shares = np.array([part.share for part in parts]) / sum(p.share for p in parts)

    def set_epoch(self, epoch: int) -> None:
        """Which epoch comes next; the trainer calls it, also when it resumes."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._steps

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self._steps):
            random = np.random.default_rng((self._seed, self._epoch, step))
            part = self._parts[int(random.choice(len(self._parts), p=self._shares))]
            yield self._batch(part, random)

    def _batch(self, part: Part, random: np.random.Generator) -> list[int]:
        n_documents = len(part.passages) - 1
        size = min(self.size, n_documents)
        documents: dict[int, None] = {}
        for _ in range(4 * size):
            query = int(random.integers(len(part.gains)))
            gains, candidates = part.gains[query], part.candidates[query]
            negatives = [document for document in candidates if document not in gains]
            for pool, many in ((list(gains), POSITIVES), (negatives, NEGATIVES)):
                chosen = random.permutation(len(pool))[:many]
                documents.update(dict.fromkeys(pool[place] for place in chosen))
            if len(documents) >= size:
                break
        else:  # few documents are wanted by anyone
            documents.update(dict.fromkeys(random.permutation(n_documents).tolist()))
        return [self._passage(part, document, random) for document in list(documents)[:size]]

    def _passage(self, part: Part, document: int, random: np.random.Generator) -> int:
        first, end = int(part.passages[document]), int(part.passages[document + 1])
        if end - first == 1 or random.random() < _FIRST:
            return first
        return int(random.integers(first + 1, end))
