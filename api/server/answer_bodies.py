"""The bodies of a question and of its answer."""

from __future__ import annotations

from typing import Literal

from .bodies import Answer, Body, Count, JsonValue, SearchAnswer


class AnswerBody(Body):
    """A question. ``settings``: those of ``cm.Answering``, but what drafts."""

    question: str
    k: Count = 5
    pipeline: JsonValue | str | None = None
    filter: JsonValue | None = None
    model: str | None = None
    mode: Literal["standard", "speculative_rag"] = "standard"
    settings: JsonValue | None = None
    timeout_ms: Count | None = None


class CitationAnswer(Answer):
    """A stretch of the text, and the part of a document's text that it is owed to."""

    start: int
    end: int
    id: str
    rank: int
    span: list[int]
    by: Literal["marker", "copied"]


class SentenceAnswer(Answer):
    """A sentence of the text, and the part of a document's text that it draws on, if any."""

    start: int
    end: int
    cited: list[int]
    rank: int | None
    id: str | None
    span: list[int] | None
    overlap: float
    similarity: float | None
    supported: bool


class AnswerAnswer(Answer):
    """An answer; ``result`` holds the hits that it was written from."""

    question: str
    text: str
    found: bool
    citations: list[CitationAnswer]
    sentences: list[SentenceAnswer]
    model: str
    mode: str
    stopped: str
    g_nll: float | None
    confidence: float | None
    statistics: JsonValue
    timings_ms: JsonValue
    flags: list[str]
    result: SearchAnswer
