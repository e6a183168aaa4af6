"""Answers given before, to the same tenant, from the same documents.

Off unless it is asked for, since what one user was answered would show another, by the time an
answer takes, that it was asked before. Answers are kept under a :class:`Key`, all of which must be
equal: the tenant, the access labels of the searcher, the collection's version, and the model whose
token ids they are. There is no way to a history without its key.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import ClassVar, NamedTuple

import numpy as np

from ....contracts import Int64Array
from ....errors import InputError
from ....kernels.suffix import Automaton
from ....rankers.checks import check_integer
from ..decoding.types import Drafting, Prompt, Tools
from .proposal import Proposing
from .suffixes import Following, Reading, pieces


class Key(NamedTuple):
    """Whose answers these are: who may see what, in which version of what, in which model's ids.

    ``rights``: None sees everything, which is not the same as a searcher without labels.
    """

    tenant: str
    rights: frozenset[str] | None
    collection: str
    version: int
    model: str


class Histories:
    """Answers by their keys, in memory: the last ``answers`` of each of the last ``keys``.

    For several threads.
    """

    def __init__(self, answers: int = 100, keys: int = 100) -> None:
        check_integer("answers", answers, 1, 100_000)
        check_integer("keys", keys, 1, 100_000)
        self._answers = answers
        self._keys = keys
        self._held: OrderedDict[Key, deque[Int64Array]] = OrderedDict()
        self._lock = Lock()

    def remember(self, key: Key, tokens: Sequence[int] | Int64Array) -> None:
        """Keep an answer, its end token included if it has one."""
        with self._lock:
            held = self._held.setdefault(key, deque(maxlen=self._answers))
            held.append(np.array(tokens, np.int64))
            self._held.move_to_end(key)
            if len(self._held) > self._keys:
                self._held.popitem(last=False)

    def recall(self, key: Key) -> list[Int64Array]:
        """The answers of exactly this key, oldest first."""
        with self._lock:
            return list(self._held.get(key, ()))


@dataclass(frozen=True, slots=True)
class History(Reading):
    """Drafts from earlier answers; ``of`` says whose. Without that it refuses to begin."""

    kind: ClassVar[str] = "history"
    minimum_match: int = 3

    def of(self, histories: Histories, key: Key) -> HistoryOf:
        """The drafter over the answers of one key."""
        return HistoryOf(self, histories, key)

    def begin(self, prompt: Prompt, tools: Tools) -> Drafting:
        """Raises :class:`~cormorant.errors.InputError`: whose history is not said."""
        raise InputError(
            "a history is kept by tenant, access rights and collection version; ask for it through "
            "an answer, or give them: History().of(histories, key)",
            field="drafters",
        )


@dataclass(frozen=True, slots=True)
class HistoryOf:
    """A :class:`History` with its key."""

    kind: ClassVar[str] = "history"
    settings: History
    histories: Histories
    key: Key

    def begin(self, prompt: Prompt, tools: Tools) -> Proposing:
        """Index the answers; what is committed is followed from the first token of the answer."""
        texts = []
        for answer in self.histories.recall(self.key):
            ends = np.flatnonzero(np.isin(answer, sorted(tools.end)))
            whole = answer[: ends[0] + 1] if len(ends) else answer
            texts += [tokens for _, tokens in pieces(whole, tools.special - tools.end)]
        context = np.zeros(0, np.int64)
        return Following(self.kind, self.settings, Automaton(texts), None, context)
