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


def _nothing_more(number: int) -> Sequence[Stored]:
    raise AssertionError("every result was loaded before its source was let go")


class Answers:
    """The answers to a batch of queries, laid end to end; a :class:`Result` is a view of one.

    ``ids`` and ``scores`` are flat, ``starts`` (n_queries + 1) cuts them; ``load`` reads what is
    stored for the hits of one query, ``explain`` gives their explanations.
    """

    __slots__ = (
        "explain", "flags", "ids", "load", "scores", "shards", "starts", "timings_ms", "version",
    )  # fmt: skip

    def __init__(
        self,
        ids: Sequence[str],
        scores: Sequence[float],
        starts: Sequence[int],
        load: Callable[[int], Sequence[Stored]],
        *,
        version: int,
        timings_ms: Mapping[str, float],
        flags: tuple[str, ...] = (),
        shards: tuple[int, ...] | None = None,
        explain: Callable[[int], Sequence[JsonObject]] | None = None,
    ) -> None:
        self.ids = ids
        self.scores = scores
        self.starts = starts
        self.load = load
        self.version = version
        self.timings_ms = timings_ms
        self.flags = flags
        self.shards = shards
        self.explain = explain

    def forget_source(self) -> None:
        """Let go of what the hits were read from, once every result has been loaded."""
        self.load, self.explain = _nothing_more, None

    def results(self) -> list[Result]:
        """One result for each query."""
        return [Result(self, number) for number in range(len(self.starts) - 1)]


class Result:
    """The hits of one query, best first: a sequence of :class:`Hit`.

    ``ids`` and ``scores`` are there at once. The documents behind the hits are read when first
    asked for, all together, exactly as they were in the version searched; a single ``search`` has
    read them already.
    """

    # Nothing but a view: a batch of ten thousand results is ten thousand objects, not seventy.
    __slots__ = ("_answers", "_explanations", "_number", "_stored")

    def __init__(self, answers: Answers, number: int) -> None:
        self._answers = answers
        self._number = number
        self._stored: Sequence[Stored] | None = None
        self._explanations: Sequence[JsonObject] | None = None

    @property
    def ids(self) -> list[str]:
        """The ids of the hits, best first."""
        answers, number = self._answers, self._number
        return list(answers.ids[answers.starts[number] : answers.starts[number + 1]])

    @property
    def scores(self) -> list[float]:
        """The scores of the hits, not increasing."""
        answers, number = self._answers, self._number
        return list(answers.scores[answers.starts[number] : answers.starts[number + 1]])

    @property
    def version(self) -> int:
        """The number of the committed version that was searched."""
        return self._answers.version

    @property
    def timings_ms(self) -> Mapping[str, float]:
        """The parts of the time, in milliseconds (of its batch, when searched in one)."""
        return self._answers.timings_ms

    @property
    def flags(self) -> tuple[str, ...]:
        """What was cut, skipped, pending or failed on the way."""
        return self._answers.flags

    @property
    def shards(self) -> tuple[int, ...] | None:
        """The shards of a cluster that answered; None of a collection that is not in one."""
        return self._answers.shards

    @property
    def total_ms(self) -> float:
        """The whole time of this search, in milliseconds (of its batch, when searched in one)."""
        return float(sum(self.timings_ms.values()))

    def load(self) -> Result:
        """Read the documents behind the hits now, so that they outlive the collection."""
        if self._stored is None:
            self._stored = self._answers.load(self._number)
            if self._answers.explain is not None:
                self._explanations = self._answers.explain(self._number)
        return self

    def __len__(self) -> int:
        starts = self._answers.starts
        return starts[self._number + 1] - starts[self._number]

    def __iter__(self) -> Iterator[Hit]:
        return (Hit(self, place) for place in range(len(self)))

    def __getitem__(self, place: int) -> Hit:
        return Hit(self, range(len(self))[place])

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
            "total_ms": round(self.total_ms, 3),
            "timings_ms": {name: round(value, 3) for name, value in self.timings_ms.items()},
            "flags": list(self.flags),
        }

    def _at(self, place: int) -> Stored:
        self.load()
        assert self._stored is not None
        return self._stored[place]

    def _explanation(self, place: int) -> JsonObject | None:
        self.load()
        return None if self._explanations is None else self._explanations[place]


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
        answers = self._result._answers
        return answers.ids[answers.starts[self._result._number] + self._place]

    @property
    def score(self) -> float:
        """The score of the pipeline's last stage; higher is better."""
        answers = self._result._answers
        return float(answers.scores[answers.starts[self._result._number] + self._place])

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
        return self._result._explanation(self._place)

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
