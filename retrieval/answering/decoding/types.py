"""The words that the engine, the drafters and the answers share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ....contracts import Float32Array, Int64Array
from ....documents import check_text
from ....errors import InputError

Float64Array = NDArray[np.float64]

Rule = Literal["match", "p_over_q", "without_replacement"]
Stopped = Literal["end", "stop", "length", "cancelled"]

RULES = ("match", "p_over_q", "without_replacement")
LEAST_TEMPERATURE = 1e-4


class Passage(NamedTuple):
    """Where a passage stands in a prompt: its tokens are at positions [begin, end).

    ``sentences``: [begin, end) of each of its sentences. ``marker``: the tokens that are to stand
    behind a sentence that is taken from it.
    """

    id: str
    begin: int
    end: int
    sentences: tuple[tuple[int, int], ...] = ()
    marker: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """A prompt's tokens (n,) int64, and where its passages stand."""

    tokens: Int64Array
    passages: tuple[Passage, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """A tree of tokens that may come next, flat; n may be 0.

    ``tokens``, ``parents``: (n,) int64; a parent stands before its children, and -1 is the last
    committed token. ``sources``: the name of the drafter of each node. ``passages``: the passage
    and the token of it that a node was read from, or None. ``laws``: (n, vocabulary) float64, the
    law q that a node was drawn from, with nothing removed for its earlier siblings; a row of zeros,
    or None for all: drafted without a law. ``chances``: (n,) float64, the drafter's estimate that a
    node and all above it are right, no greater than its parent's; None: it makes none.
    """

    tokens: Int64Array
    parents: Int64Array
    sources: tuple[str, ...]
    passages: tuple[tuple[str, int] | None, ...]
    laws: Float64Array | None = None
    chances: Float64Array | None = None

    @classmethod
    def empty(cls) -> Draft:
        """Nothing drafted."""
        none = np.zeros(0, np.int64)
        return cls(none, none, (), ())

    def __len__(self) -> int:
        return len(self.tokens)


class Budget(NamedTuple):
    """How large a draft may be: how many nodes in all, and on the longest way down."""

    nodes: int
    depth: int


class Tools(NamedTuple):
    """What a drafter may know of the model. ``special`` ids are never drafted, ``end`` as leaves.

    ``seed``: of what the drafter draws, if it draws. ``memory``: what it keeps from one text of a
    decoder to the next: how often it was right, and nothing of what a text says.
    """

    vocabulary: int
    special: frozenset[int]
    end: frozenset[int]
    seed: int
    memory: dict[str, Any]


class Drafting(Protocol):
    """A drafter's state for one row."""

    wants_logits: bool

    def propose(self, budget: Budget) -> Draft:
        """What may follow the tokens committed so far; no more than the budget."""
        ...

    def commit(self, tokens: Sequence[int], logits: Float32Array | None) -> None:
        """Take in what was accepted, in order.

        ``logits``: (len(tokens), vocabulary) float32, the target's processed logits that each
        token was chosen from; None unless ``wants_logits``, and for tokens of long ago.
        """
        ...


class Drafter(Protocol):
    """A drafter's settings: a frozen dataclass with a ``kind``, so tagged JSON, and hashable."""

    kind: ClassVar[str]

    def begin(self, prompt: Prompt, tools: Tools) -> Drafting:
        """The state of one row, which has read the prompt."""
        ...


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a text is decoded and where it stops.

    ``temperature``: 0 is greedy; between 0 and ``LEAST_TEMPERATURE`` logits would overflow.
    ``top_k`` and ``top_p`` restrict what is drawn (as transformers does). ``seed``: with the
    position of a token it decides the draw, so a text is the same with and without drafting, alone
    and in a batch. ``max_tokens``: of the answer. ``stop``: the answer ends before the first of
    these. ``rule``: how drafts are verified where something is drawn; ``match`` keeps the text, the
    others keep its law only.
    """

    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    seed: int = 0
    max_tokens: int = 256
    stop: tuple[str, ...] = ()
    rule: Rule = "match"

    def __post_init__(self) -> None:
        temperature: Any = self.temperature
        top_p: Any = self.top_p
        seed: Any = self.seed
        top_k = self.top_k
        warm = is_number(temperature) and (
            temperature == 0 or LEAST_TEMPERATURE <= temperature <= 100
        )
        _check("temperature", temperature, f"0, or from {LEAST_TEMPERATURE} to 100", warm)
        stop: Any = self.stop
        _check("top_k", top_k, "an integer from 1, or None", top_k is None or _is_count(top_k))
        share = top_p is None or (is_number(top_p) and 0 < top_p <= 1)
        _check("top_p", top_p, "above 0 and at most 1, or None", share)
        whole = isinstance(seed, int) and not isinstance(seed, bool)
        _check("seed", seed, "an integer", whole)
        _check("max_tokens", self.max_tokens, "an integer from 1", _is_count(self.max_tokens))
        texts = isinstance(stop, tuple) and all(isinstance(text, str) and text for text in stop)
        _check("stop", stop, "a tuple of texts that are not empty", texts)
        for text in self.stop:
            check_text("stop", text)
        _check("rule", self.rule, f"one of {', '.join(RULES)}", self.rule in RULES)


def is_number(value: Any) -> bool:
    """Whether it is one, which True is not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _check(name: str, value: Any, expected: str, holds: bool) -> None:
    if not holds:
        raise InputError(f"is {expected}, got {value!r}", field=name)


@dataclass(frozen=True, slots=True)
class DraftingStatistics:
    """What drafting did for one text.

    ``forwards``: of the target, the prompt's included; ``plain_forwards``: what plain decoding
    needs. ``drafted``, ``accepted``: nodes by the drafter's name. ``realignment_share``: the part
    of the time that went into moving the cache. ``switched_off``: nothing was drafted when the text
    ended, since it did not pay or might have cost too much.
    """

    forwards: int
    plain_forwards: int
    drafted: dict[str, int]
    accepted: dict[str, int]
    realignment_share: float = 0.0
    switched_off: bool = False


@dataclass(frozen=True, slots=True)
class Generation:
    """A text decoded.

    ``tokens``: without the end token, which is ``end`` where there was one; ``text``: their text,
    cut before a stop string.
    ``log_probability``: the sum of the log-probabilities of what was chosen, end token included,
    by the model's own law (temperature 1, before processors). ``copied``: (place in ``tokens``,
    passage, token of that passage) of every accepted token that was drafted from a passage, and of
    those around it that stand there in the passage too.
    """

    tokens: tuple[int, ...]
    text: str
    stopped: Stopped
    log_probability: float
    copied: tuple[tuple[int, str, int], ...]
    statistics: DraftingStatistics
    end: int | None = None
