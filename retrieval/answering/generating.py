"""What writes an answer's text: one small interface for models here and behind an endpoint."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeVar

from ...documents import JsonObject
from .prompts import Asked
from .settings import Answering
from .stopping import Stop

T = TypeVar("T")


class Copied(NamedTuple):
    """Characters [start, end) of a text, copied from characters [first, last) of a passage.

    The passage's characters are counted in its text as the prompt shows it.
    """

    start: int
    end: int
    id: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Written:
    """A text, and what it cost. ``log_probability``: of its tokens, the end's too, where known."""

    text: str
    stopped: str
    prompt_tokens: int
    tokens: int
    log_probability: float | None = None
    copied: tuple[Copied, ...] = ()
    statistics: JsonObject = field(default_factory=dict)


class Draft(NamedTuple):
    """A draft as it is scored without its passages.

    ``consistency``: a prompt, and the text whose likelihood behind it is meant; ``reflection``: the
    question that is answered "Yes" or "No".
    """

    consistency: tuple[str, str]
    reflection: str


class Scored(NamedTuple):
    """Log-probabilities of a draft: of its own text, and of "Yes"; None where not to be had."""

    consistency: float | None
    reflection: float | None


def returned(generator: Generator[Any, None, T]) -> T:
    """What a generator returns in the end, whatever it yields before."""
    while True:
        try:
            next(generator)
        except StopIteration as end:
            value: T = end.value
            return value


class Writer(Protocol):
    """A language model that writes answers."""

    @property
    def forbidden(self) -> Sequence[str]:
        """Control tokens that no passage may bring."""
        ...

    def count(self, text: str) -> int:
        """A text's tokens, or an estimate that is rather too high."""
        ...

    def room(self, prompt: Asked, settings: Answering) -> int:
        """How many tokens are left beside this prompt and its answer."""
        ...

    def write(
        self, prompt: Asked, settings: Answering, stop: Stop
    ) -> Generator[str, None, Written]:
        """Pieces of the text while it is written; all of it in the end."""
        ...

    def write_all(self, prompts: Sequence[Asked], settings: Answering, stop: Stop) -> list[Written]:
        """Several texts, side by side."""
        ...

    def score(self, drafts: Sequence[Draft], stop: Stop) -> list[Scored]:
        """How likely drafts are without the passages that they were written from."""
        ...
