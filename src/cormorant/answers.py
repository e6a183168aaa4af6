"""What an answer is: its text, where each part of it comes from, and how sure the model was."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, NamedTuple

from .documents import JsonObject
from .results import Result, Span

NOT_FOUND = "Not in the passages."
"""What a model is asked to write where the passages do not hold the answer."""


class Citation(NamedTuple):
    """A stretch of an answer, and the passage it is owed to.

    ``start``, ``end``: characters of the answer's text. ``id``: the document; ``rank``: its hit,
    the number in brackets. ``span``: characters of the document's text. ``by``: ``marker``, where
    the model wrote the number, or ``copied``, where the text was drafted from the passage and
    accepted, so that it stands there token for token.
    """

    start: int
    end: int
    id: str
    rank: int
    span: Span
    by: str

    def as_json(self) -> JsonObject:
        """The citation as a JSON object."""
        return {**self._asdict(), "span": list(self.span)}


class Sentence(NamedTuple):
    """A sentence of an answer, and the passage it draws on (``rank`` None: no passage supports it).

    ``start``, ``end``: characters of the answer's text. ``cited``: the ranks that its markers name.
    ``id`` and ``span``: the document and the part of its text. ``overlap`` (0 to 1) and
    ``similarity`` (-1 to 1; None where no dense encoder was at hand) are of that part, or of the
    nearest there is; see :mod:`cormorant.retrieval.answering.faithfulness`.
    """

    start: int
    end: int
    cited: tuple[int, ...]
    rank: int | None
    id: str | None
    span: Span | None
    overlap: float
    similarity: float | None

    @property
    def supported(self) -> bool:
        """Whether a passage supports it."""
        return self.rank is not None

    def as_json(self) -> JsonObject:
        """The sentence as a JSON object."""
        span = None if self.span is None else list(self.span)
        return {
            **self._asdict(), "cited": list(self.cited), "span": span, "supported": self.supported
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to a question from the passages of a collection.

    ``found``: False where the model, or the lack of any hit, says that the passages do not hold the
    answer. ``result``: the hits, all of them, whether the prompt had room for their passages or
    not. ``mode``: ``standard`` or ``speculative_rag``. ``stopped``: ``end``, ``stop`` (a stop
    string) or ``length``. ``g_nll``: the negative log-likelihood of the text, in nats, by the
    model's own law; None where an endpoint does not give it. ``statistics``: tokens of prompt and
    answer, and what drafting did.
    """

    question: str
    text: str
    found: bool
    citations: tuple[Citation, ...]
    sentences: tuple[Sentence, ...]
    result: Result
    model: str
    mode: str
    stopped: str
    g_nll: float | None
    statistics: Mapping[str, Any] = field(default_factory=dict)
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    flags: tuple[str, ...] = ()

    @property
    def confidence(self) -> float | None:
        """The probability that the model gives this very text: exp(-g_nll).

        Of a greedy answer this is G-NLL as a measure of confidence (Aichberger et al., "Rethinking
        uncertainty estimation in natural language generation", 2024). It falls with the length;
        compare answers of a kind.
        """
        return None if self.g_nll is None else math.exp(-self.g_nll)

    def as_json(self) -> JsonObject:
        """The answer as one JSON object, as ``--json`` and the server write it."""
        return {
            "question": self.question,
            "text": self.text,
            "found": self.found,
            "citations": [citation.as_json() for citation in self.citations],
            "sentences": [sentence.as_json() for sentence in self.sentences],
            "model": self.model,
            "mode": self.mode,
            "stopped": self.stopped,
            "g_nll": self.g_nll,
            "confidence": self.confidence,
            "statistics": dict(self.statistics),
            "timings_ms": {name: round(value, 3) for name, value in self.timings_ms.items()},
            "flags": list(self.flags),
            "result": self.result.as_json(),
        }


class AnswerEvent(NamedTuple):
    """A step of an answer: ``hits`` (``result``), ``text`` (the next piece), ``done`` (``answer``).

    The pieces of text together are the answer's text.
    """

    kind: Literal["hits", "text", "done"]
    result: Result | None = None
    text: str = ""
    answer: Answer | None = None

    def as_json(self) -> JsonObject:
        """The event's data, as the server writes it."""
        if self.result is not None:
            return self.result.as_json()
        return {"text": self.text} if self.answer is None else self.answer.as_json()


class AnswerStream:
    """The events of an answer while it is written: ``hits``, then ``text`` pieces, then ``done``.

    Close one that is not read to its end (or use it as a context manager): that stops the work.
    """

    def __init__(
        self, events: Generator[AnswerEvent], cancel: Callable[[], None] = lambda: None
    ) -> None:
        self._events = events
        self._cancel = cancel

    def __iter__(self) -> AnswerStream:
        return self

    def __next__(self) -> AnswerEvent:
        return next(self._events)

    def cancel(self) -> None:
        """Stop the work, from any thread; whoever reads the events then comes to their end."""
        self._cancel()

    def close(self) -> None:
        """Stop the work, from the thread that reads the events."""
        self._cancel()
        self._events.close()

    def __enter__(self) -> AnswerStream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class AsyncAnswerStream:
    """:class:`AnswerStream` for ``async for``."""

    def __init__(self, events: AsyncGenerator[AnswerEvent]) -> None:
        self._events = events

    def __aiter__(self) -> AsyncAnswerStream:
        return self

    async def __anext__(self) -> AnswerEvent:
        return await anext(self._events)

    async def aclose(self) -> None:
        """Stop the work."""
        await self._events.aclose()

    async def __aenter__(self) -> AsyncAnswerStream:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()
