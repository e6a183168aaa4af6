"""Pair scorers for tests: known scores, counted calls, faults on demand."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from cormorant.rankers.table import PAIR_SCORERS

CALLS: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)


@dataclass(frozen=True)
class WordScorer:
    """Counts what query and passage share: a matrix of low rank, of whole numbers.

    ``calls`` are all pairs asked for under this ``name``; ``nan_for`` gets NaN; ``fail_after``
    raises when so many pairs were asked for before.
    """

    kind: ClassVar[str] = "word_scorer"
    name: str = "words"
    nan_for: str | None = None
    fail_after: int | None = None

    @property
    def identity(self) -> str:
        return "words"

    @property
    def calls(self) -> list[tuple[str, str]]:
        return CALLS[self.name]

    def score_pairs(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        if self.fail_after is not None and len(self.calls) >= self.fail_after:
            raise RuntimeError("the scorer broke")
        self.calls.extend(pairs)
        scores = []
        for query, text in pairs:
            words = text.split()
            score = float(sum(words.count(word) for word in query.split()))
            scores.append(np.nan if text == self.nan_for else score)
        return np.array(scores, np.float32)


def use_word_scorer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register it for one test, and forget what was asked before."""
    monkeypatch.setitem(PAIR_SCORERS, WordScorer.kind, f"{__name__}:WordScorer")
    CALLS.clear()
