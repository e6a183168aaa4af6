"""The scores of anchor queries for every passage, kept as an index's segments are.

A passage's encoding is its column of the score matrix: one float32 for each anchor query, little-
endian. So the anchor scores share what encodings have: they are computed once, outside every
transaction, committed batch by batch, taken up again after a kill, kept when a document is added
again with the text it had, and dropped with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NoReturn

import numpy as np

from ...contracts import (
    Allowed,
    Array,
    ArraySink,
    BoolArray,
    EncodedQueries,
    Encodings,
    Float32Array,
    Int64Array,
    Queries,
)
from ...documents import Chunk, JsonObject
from ...errors import CormorantError, InputError
from ...ranking import Ranking
from ...stages import PairScorer
from ...vectors import Given
from ..table import PAIR_SCORERS
from .scorers import identity_of, scored_pairs

MAX_QUERIES = 10_000
_ASK_CUR = "an index of anchor scores answers no query by itself; name it in CUR(anchors=...)"


@dataclass(frozen=True, slots=True)
class Anchors:
    """The scores of anchor queries for every passage, which ANNCUR, ADACUR and AXN learn from.

    ``scorer``: as in :class:`~cormorant.rankers.cur.settings.CUR`. ``queries``: texts, best such as
    users ask; each costs one call of the scorer for every passage.
    """

    kind: ClassVar[str] = "anchors"
    scorer: PairScorer = field(metadata={"table": PAIR_SCORERS})
    queries: tuple[str, ...]

    def __post_init__(self) -> None:
        if not hasattr(self.scorer, "score_pairs"):
            raise InputError(
                f"scores pairs, as CrossEncoder(...) does; got {self.scorer!r}", field="scorer"
            )
        queries: Any = self.queries
        whole = isinstance(queries, tuple) and all(
            isinstance(text, str) and text.strip() for text in queries
        )
        if not whole or not 1 <= len(queries) <= MAX_QUERIES:
            raise InputError(
                f"is a tuple of 1 to {MAX_QUERIES:,} texts, none of them empty", field="queries"
            )

    def index(self) -> AnchorIndex:
        """The index these settings describe; loads no model."""
        return AnchorIndex(self)


@dataclass(frozen=True, slots=True)
class AnchorSegment:
    """Rows (n,) int64 and the anchor queries' scores of them (n, n_queries) float32."""

    rows: Int64Array
    scores: Float32Array


class AnchorIndex:
    """See :class:`Anchors`."""

    def __init__(self, settings: Anchors) -> None:
        self.settings = settings

    @property
    def width(self) -> int:
        """How many anchor queries there are."""
        return len(self.settings.queries)

    # -- encoding ---------------------------------------------------------------------------

    def encode(self, chunks: Sequence[Chunk]) -> Encodings:
        """The column of each passage.

        Raises :class:`~cormorant.errors.CormorantError` for a score that is not finite.
        """
        queries = self.settings.queries
        pairs = [(query, chunk.indexed_text) for chunk in chunks for query in queries]
        scores = scored_pairs(self.settings.scorer, pairs).reshape(len(chunks), len(queries))
        bad = np.argwhere(~np.isfinite(scores))
        if len(bad):
            place, query = bad[0].tolist()
            raise CormorantError(
                f"the scorer gave {scores[place, query]} to document {chunks[place].id!r} for the "
                f"anchor query {queries[query]!r}; a score is a finite number"
            )
        data = np.ascontiguousarray(scores, "<f4")
        return Encodings([row.tobytes() for row in data], self._made_by())

    @property
    def needs_vectors(self) -> bool:
        """False: the scorer is its encoder."""
        return False

    def accept(self, vectors: Given, first: int = 0) -> Encodings:
        """Ready anchor scores of passages: (n, n_queries), finite."""
        values = np.asarray(vectors)
        if values.ndim != 2 or values.shape[1] != self.width or values.dtype.kind not in "fiu":
            raise InputError(
                f"takes ready anchor scores (n, {self.width}), got {values.dtype}{values.shape}",
                field="vectors",
            )
        bad = np.argwhere(~np.isfinite(values.astype(np.float32)))
        if len(bad):
            raise InputError(f"text {first + int(bad[0][0])} has no finite score", field="vectors")
        return Encodings(
            [row.tobytes() for row in np.ascontiguousarray(values, "<f4")], self._made_by()
        )

    def _made_by(self) -> JsonObject:
        joined = "\x00".join(self.settings.queries).encode()
        return {
            "model": identity_of(self.settings.scorer),
            "anchors": hashlib.sha256(joined).hexdigest()[:16],
        }

    def encodings(self, segments: Sequence[AnchorSegment], rows: Int64Array) -> list[bytes | None]:
        """What the segments hold of given rows, as ``encode`` gave it; None where they do not."""
        found: list[bytes | None] = [None] * len(rows)
        for segment in segments:
            if not len(segment.rows):
                continue
            places = np.minimum(np.searchsorted(segment.rows, rows), len(segment.rows) - 1)
            for number in np.flatnonzero(segment.rows[places] == rows).tolist():
                found[number] = np.ascontiguousarray(
                    segment.scores[places[number]], "<f4"
                ).tobytes()
        return found

    def anchor_scores(self, segments: Sequence[AnchorSegment], rows: Int64Array) -> Float32Array:
        """Rows (n,) -> (n, n_queries) float32, NaN for a row that is in no segment."""
        found = np.full((len(rows), self.width), np.nan, np.float32)
        for segment in segments:
            if not len(segment.rows):
                continue
            places = np.minimum(np.searchsorted(segment.rows, rows), len(segment.rows) - 1)
            here = segment.rows[places] == rows
            found[here] = segment.scores[places[here]]
        return found

    # -- segments ---------------------------------------------------------------------------

    def build(self, chunks: Iterable[Chunk], sink: ArraySink) -> JsonObject:
        """Write the arrays of one segment over ``chunks`` (rows ascending); returns its summary."""
        rows, columns = [], []
        for chunk in chunks:
            rows.append(chunk.row)
            columns.append(chunk.encoding)
        scores = np.frombuffer(b"".join(columns), "<f4").reshape(len(rows), self.width)
        return self._write(np.array(rows, np.int64), scores, sink)

    def open(self, arrays: Mapping[str, Array], summary: JsonObject) -> AnchorSegment:
        """A segment from the arrays and the summary that ``build`` or ``merge`` wrote.

        Raises :class:`~cormorant.errors.CormorantError` for arrays that cannot be a segment.
        """
        rows, scores = arrays.get("rows"), arrays.get("scores")
        laid_out = (
            rows is not None
            and scores is not None
            and rows.dtype == np.int64
            and scores.dtype == np.float32
            and rows.ndim == 1
            and scores.shape == (len(rows), self.width)
        )
        if not laid_out or rows is None or scores is None:
            raise CormorantError(f"is no segment of anchor scores: it holds {sorted(arrays)}")
        return AnchorSegment(rows, scores)

    def merge(
        self,
        segments: Sequence[AnchorSegment],
        keep: Sequence[BoolArray | None],
        sink: ArraySink,
    ) -> JsonObject:
        """Write one segment of several, in row order; ``keep[i]`` masks ``segments[i].rows``."""
        kept = [slice(None) if mask is None else np.flatnonzero(mask) for mask in keep]
        rows = np.concatenate([s.rows[own] for s, own in zip(segments, kept, strict=True)])
        scores = np.concatenate([s.scores[own] for s, own in zip(segments, kept, strict=True)])
        order = np.argsort(rows, kind="stable")
        return self._write(rows[order], scores[order], sink)

    def _write(self, rows: Int64Array, scores: Array, sink: ArraySink) -> JsonObject:
        sink.put("rows", rows)
        sink.put("scores", np.ascontiguousarray(scores, np.float32))
        return {"n_rows": len(rows)}

    def check(self, segment: AnchorSegment) -> list[str]:
        """What is wrong inside a segment whose files are intact; empty when nothing is."""
        problems = []
        if np.any(np.diff(segment.rows) <= 0):
            problems.append("rows do not ascend")
        if not np.isfinite(segment.scores).all():
            problems.append("a score is not finite")
        return problems

    def describe(self, segments: Sequence[AnchorSegment]) -> JsonObject:
        """How many anchor queries, and how many calls of the scorer the scores have cost."""
        rows = sum(len(segment.rows) for segment in segments)
        return {"queries": self.width, "rows": rows, "calls": rows * self.width}

    # -- searching: CUR does that -----------------------------------------------------------

    @property
    def lowest_score(self) -> float | None:
        """None: there is no score."""
        return None

    def encode_queries(self, texts: Sequence[str]) -> EncodedQueries:
        """Raises :class:`~cormorant.errors.InputError`: CUR searches, not this index."""
        self._refuse()

    def accept_queries(self, vectors: Given) -> EncodedQueries:
        """Raises :class:`~cormorant.errors.InputError`: CUR searches, not this index."""
        self._refuse()

    def search(
        self, segments: Sequence[AnchorSegment], queries: Queries, k: int, allowed: Allowed
    ) -> Ranking:
        """Raises :class:`~cormorant.errors.InputError`: CUR searches, not this index."""
        self._refuse()

    def score(
        self,
        segments: Sequence[AnchorSegment],
        queries: Queries,
        rows: Int64Array,
        allowed: Allowed,
    ) -> Float32Array:
        """Raises :class:`~cormorant.errors.InputError`: CUR searches, not this index."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise InputError(_ASK_CUR, field="retrieve")
