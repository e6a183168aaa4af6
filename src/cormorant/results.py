"""What a search returns: hits, how long it took, and what the caller should know about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .documents import Document, JsonObject


class Span(NamedTuple):
    """A passage of a document's text: characters from ``start`` up to, not including, ``end``."""

    start: int
    end: int


class Stored(NamedTuple):
    """What the collection holds for one hit: the document and the passage that matched best."""

    document: Document
    span: Span


class Result:
    """The hits of one query, best first: a sequence of :class:`Hit`.

    ``ids`` and ``scores`` are there at once. The documents behind the hits are read when first
    asked for, all together, exactly as they were in the version searched; a single ``search`` has
    read them already. ``version`` is that version's number. ``timings_ms`` holds the parts of the
    time and ``total_ms`` all of it; ``flags`` says what was cut, skipped, pending or failed.
    """

    __slots__ = (
        "_load",
        "_stored",
        "explanations",
        "flags",
        "ids",
        "scores",
        "timings_ms",
        "version",
    )

    def __init__(
        self,
        ids: Sequence[str],
        scores: Sequence[float],
        load: Callable[[], Sequence[Stored]],
        *,
        version: int,
        timings_ms: Mapping[str, float],
        flags: tuple[str, ...] = (),
        explanations: Sequence[JsonObject | None] = (),
    ) -> None:
        self.ids = ids
        self.scores = scores
        self.version = version
        self.timings_ms = timings_ms
        self.flags = flags
        self.explanations = explanations
        self._load = load
        self._stored: Sequence[Stored] | None = None

    def load(self) -> Result:
        """Read the documents behind the hits now, so that they outlive the collection."""
        if self._stored is None:
            self._stored = self._load()
        return self

    @property
    def total_ms(self) -> float:
        """The whole time of this search, in milliseconds (of its batch, when searched in one)."""
        return float(sum(self.timings_ms.values()))

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Hit]:
        return (Hit(self, place) for place in range(len(self.ids)))

    def __getitem__(self, place: int) -> Hit:
        return Hit(self, range(len(self.ids))[place])

    def __repr__(self) -> str:
        shown = ", ".join(
            f"{name}={score:.4f}" for name, score in zip(self.ids[:3], self.scores[:3], strict=True)
        )
        more = f", ... {len(self)} hits" if len(self) > 3 else ""
        return f"<Result {shown}{more}>"

    def as_json(self) -> JsonObject:
        """The result as one JSON object, as ``--json`` and the server write it."""
        return {
            "hits": [hit.as_json() for hit in self],
            "version": self.version,
            "timings_ms": {name: round(value, 3) for name, value in self.timings_ms.items()},
            "flags": list(self.flags),
        }

    def _at(self, place: int) -> Stored:
        self.load()
        assert self._stored is not None
        return self._stored[place]


class Hit:
    """One hit: its rank (from 1), id, score, and the document behind it."""

    __slots__ = ("_place", "_result")

    def __init__(self, result: Result, place: int) -> None:
        self._result = result
        self._place = place

    @property
    def rank(self) -> int:
        """Its place, from 1."""
        return self._place + 1

    @property
    def id(self) -> str:
        """The document's id."""
        return self._result.ids[self._place]

    @property
    def score(self) -> float:
        """The score of the pipeline's last stage; higher is better."""
        return float(self._result.scores[self._place])

    @property
    def document(self) -> Document:
        """The whole document, as it was in the version searched."""
        return self._result._at(self._place).document

    @property
    def title(self) -> str:
        """The document's title."""
        return self.document.title

    @property
    def text(self) -> str:
        """The document's text."""
        return self.document.text

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The document's metadata."""
        return self.document.metadata

    @property
    def span(self) -> Span:
        """The passage that matched best: the whole text unless the collection splits."""
        return self._result._at(self._place).span

    @property
    def passage(self) -> str:
        """The text of ``span``."""
        start, end = self.span
        return self.text[start:end]

    @property
    def explanation(self) -> JsonObject | None:
        """Which stage gave which score and why; None unless the search asked for it."""
        explanations = self._result.explanations
        return explanations[self._place] if explanations else None

    def as_json(self) -> JsonObject:
        """The hit as a JSON object."""
        value: JsonObject = {
            "rank": self.rank,
            "id": self.id,
            "score": self.score,
            "title": self.title,
            "text": self.text,
            "metadata": dict(self.metadata),
            "span": list(self.span),
        }
        if self.explanation is not None:
            value["explanation"] = self.explanation
        return value

    def __repr__(self) -> str:
        return f"Hit(rank={self.rank}, id={self.id!r}, score={self.score:.4f})"


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What ``check`` found. ``problems`` is empty for a sound collection."""

    files: int
    documents: int
    problems: tuple[str, ...] = field(default=())

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems
