"""Multi-vector retrieval as an index: candidates from each segment, then their true MaxSim."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

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
    TokenEncoder,
)
from ...documents import Chunk, JsonObject
from ...errors import InputError
from ...kernels.maxsim import carve, rescore
from ...ranking import NO_ROW, Ranking
from ...vectors import Given, TokenVectors
from ..encoders.pieces import ReadsPieces, name_tokens
from . import explaining, searching, writing
from .checking import check_layout, problems_of
from .coded import Tabled
from .searching import Asked
from .segment import TokenSegment, sized, spread
from .settings import Muvera
from .snippets import snippet
from .threads import threads
from .tuning import DEPTHS
from .vectors import begins_of, checked, narrow, pack, parts_of


class MuveraIndex:
    """A vector for each token of a passage; see :class:`Muvera`.

    A score is the MaxSim of the query's vectors and the stored ones (``kernels/maxsim``), whichever
    way a row was found: the proxy can miss a row, but gives no row another score.
    """

    def __init__(self, settings: Muvera) -> None:
        self.settings = settings

    @property
    def lowest_score(self) -> float | None:
        """None: a sum over a query's tokens has no least value that all queries share."""
        return None

    # -- encoding ---------------------------------------------------------------------------

    def encode(self, chunks: Sequence[Chunk]) -> Encodings:
        """Encode title and text of each passage."""
        encoder = self._encoder()
        encoded = encoder.encode_document([chunk.indexed_text for chunk in chunks])

        def named(text: int) -> str:
            return f"document {chunks[text].id!r}"

        vectors = self._checked(encoded.vectors, "text", named)
        asked = None
        if self.settings.learns:
            asked = self._asked([snippet(chunk.indexed_text) for chunk in chunks], named)
        data = self._packed(vectors, encoded.cut, asked)
        return Encodings(data, {"model": encoder.identity, "dim": encoder.dim})

    @property
    def needs_vectors(self) -> bool:
        """Whether it has no encoder of its own and takes ready vectors only."""
        return self.settings.model is None

    def accept(self, vectors: Given, first: int = 0) -> Encodings:
        """Ready token vectors of passages, checked and kept as they are, to the storage's rounding.

        They are not normalised: that is for whoever made them.
        """

        def named(text: int) -> str:
            return f"text {first + text}"

        values = self._checked(vectors, "vectors", named)
        none = np.zeros(len(values), np.bool_)
        return Encodings(self._packed(values, none, None), _dim_of(values))

    def encode_queries(self, texts: Sequence[str]) -> EncodedQueries:
        """Encode queries; flags how many were longer than the model's window."""
        encoder = self._encoder()
        encoded = encoder.encode_query(texts)
        n_cut = int(np.count_nonzero(encoded.cut))
        what = "the query was" if len(texts) == 1 else f"{n_cut} queries were"
        flags = (f"{what} cut to the model's window of tokens",) if n_cut else ()
        vectors = checked(encoded.vectors, "float32", "query", "query {}".format)
        return EncodedQueries(vectors, {"model": encoder.identity, "dim": encoder.dim}, flags)

    def accept_queries(self, vectors: Given) -> EncodedQueries:
        """Ready token vectors of queries, checked."""
        values = checked(vectors, "float32", "vectors", "query {}".format)
        return EncodedQueries(values, _dim_of(values))

    def encodings(self, segments: Sequence[TokenSegment], rows: Int64Array) -> list[bytes | None]:
        """What the segments hold of given rows, as ``encode`` gave it; None where they do not."""
        found: list[bytes | None] = [None] * len(rows)
        storage = self.settings.storage
        for segment in segments:
            places = segment.places(rows)
            here = np.flatnonzero(places >= 0)
            own, begins, arrays = places[here], {}, {}
            for name, old in segment.begins.items():
                begins[name] = np.zeros(len(here) + 1, np.int64)
                np.cumsum(np.diff(old)[own], out=begins[name][1:])
            for part in parts_of(storage, segment.dim, self.settings.learns):
                arrays[part.name] = segment.arrays[part.name][spread(segment.begins[part.per], own)]
            if "owners" in arrays:
                before = segment.begins["centroid"][own]
                arrays["owners"] -= np.repeat(before, np.diff(begins["token"])).astype(np.uint32)
            packed = pack(arrays, begins, segment.dim, segment.cut[own], storage)
            for place, encoding in zip(here.tolist(), packed, strict=True):
                found[place] = encoding
        return found

    def _checked(self, vectors: Given, what: str, named: Callable[[int], str]) -> TokenVectors:
        """Those of documents, of which a proxy can be made."""
        values = checked(vectors, self.settings.storage, what, named)
        if self.settings.d_proj is None and self.settings.target_recall is not None:
            self.settings.check_width(values.vectors.shape[1])
        return values

    def _asked(self, snippets: Sequence[str], named: Callable[[int], str]) -> TokenVectors:
        """Snippets encoded as queries; no tokens where there is no snippet."""
        there = [number for number, text in enumerate(snippets) if text]
        encoder = self._encoder()
        if not there:
            none = np.zeros((0, encoder.dim), np.float32)
            return TokenVectors(np.zeros(len(snippets) + 1, np.int64), none)
        encoded = encoder.encode_query([snippets[number] for number in there]).vectors
        vectors = checked(encoded, "float16", "text", lambda text: named(there[text]))
        counts = np.zeros(len(snippets) + 1, np.int64)
        counts[np.array(there) + 1] = np.diff(vectors.starts)
        return TokenVectors(np.cumsum(counts), vectors.vectors)

    def _packed(
        self, vectors: TokenVectors, cut: BoolArray, asked: TokenVectors | None
    ) -> list[bytes]:
        arrays, begins = narrow(vectors, self.settings.storage), begins_of(vectors.starts, None)
        if asked is not None:
            arrays["asked"] = asked.vectors.astype(np.float16)
            begins["asked"] = asked.starts
        return pack(arrays, begins, vectors.vectors.shape[1], cut, self.settings.storage)

    def _encoder(self) -> TokenEncoder:
        if self.settings.model is None:
            raise InputError(
                "this multi-vector index has no model (model=None): give ready vectors, as "
                "add(documents, vectors={...}) and search_batch(vectors=...)"
            )
        from ..encoders.token_encoder import load_token_encoder

        return load_token_encoder(
            self.settings.model,
            revision=self.settings.revision,
            precision=self.settings.precision,
        )

    # -- segments ---------------------------------------------------------------------------

    def build(self, chunks: Iterable[Chunk], sink: ArraySink) -> JsonObject:
        """Write the arrays of one segment over ``chunks`` (rows ascending); returns its summary."""
        return writing.build(chunks, self.settings, sink)

    def open(self, arrays: Mapping[str, Array], summary: JsonObject) -> TokenSegment:
        """A segment from the arrays and the summary that ``build`` or ``merge`` wrote.

        Raises :class:`~cormorant.errors.CormorantError` for arrays that cannot be a segment.
        """
        check_layout(arrays, summary, self.settings)
        return TokenSegment(arrays, summary, self.settings)

    def merge(
        self,
        segments: Sequence[TokenSegment],
        keep: Sequence[BoolArray | None],
        sink: ArraySink,
    ) -> JsonObject:
        """Write one segment of several, in row order; ``keep[i]`` masks ``segments[i].rows``."""
        return writing.merge(segments, keep, self.settings, sink)

    def check(self, segment: TokenSegment) -> list[str]:
        """What is wrong inside a segment whose files are intact; empty when nothing is."""
        return problems_of(segment, self.settings)

    def describe(self, segments: Sequence[TokenSegment]) -> JsonObject:
        """How many vectors; candidates scored for ten hits on samples, and the recall measured."""
        facts: JsonObject = {
            "vectors": sum(len(segment.rows) for segment in segments),
            "tokens": sum(int(segment.starts[-1]) for segment in segments),
            "dim": max((segment.dim for segment in segments), default=0),
            "empty": sum(segment.summary["n_empty"] for segment in segments),
            "cut": sum(segment.summary["n_cut"] for segment in segments),
        }
        efforts = [
            effort
            for effort in (searching.effort_of(s, self.settings, 10, len(s.rows)) for s in segments)
            if effort is not None
        ]
        if efforts:
            proxies = [s.summary["proxy"] for s in segments if s.proxy is not None]
            facts["proxy"] = sorted({item["kind"] for item in proxies})
            tried = [item["tried"] for item in proxies if item["tried"]]
            if tried:
                facts["tried"] = tried
            facts["candidates@10"] = sum(effort.candidates for effort in efforts)
            facts["recall@10"] = min(effort.recall for effort in efforts)
            listed = [s.listed for s in segments if s.listed is not None]
            if listed:
                facts["lists"] = sum(len(one.sizes) for one in listed)
                facts["lists@10"] = sum(effort.lists or 0 for effort in efforts)
                facts["memory_bytes"] = sum(one.kept_bytes for one in listed)
            patience = [effort.patience for effort in efforts if effort.patience is not None]
            if patience:
                facts["patience@10"] = patience
        return facts

    # -- searching --------------------------------------------------------------------------

    def search(
        self, segments: Sequence[TokenSegment], queries: Queries, k: int, allowed: Allowed
    ) -> Ranking:
        """The k best allowed rows of each query, by true score."""
        given = _tokens(queries)
        carved = self._carved(given)
        reached: list[float] = []
        rankings = []
        codes: dict[str, Array | Tabled] = {}
        for segment in segments:
            if not len(segment.rows):
                continue
            own = None
            if segment.proxy is not None:
                name = segment.proxy.identity
                if name not in codes:
                    codes[name] = segment.proxy.queries(sized(segment, given))
                own = codes[name]
            asked = Asked(sized(segment, carved), own)
            ranking, recall = searching.best(segment, self.settings, asked, k, allowed)
            rankings.append(ranking)
            reached += [] if recall is None else [recall]
        if not rankings:
            return Ranking.empty(len(given), k)
        merged = Ranking.merge(rankings, k)
        result = Ranking.empty(len(given), k, merged.flags)
        result.rows[:, : merged.depth] = merged.rows
        result.scores[:, : merged.depth] = merged.scores
        if not reached:
            return result
        found = f"approximate: found {min(reached):.3f} of the best {10 if k <= 10 else 100}"
        flags: tuple[str, ...] = (f"{found} of samples by exhaustive MaxSim",)
        if k > DEPTHS[-1]:
            flags += (f"recall measured for the {DEPTHS[-1]} best only",)
        return Ranking(result.rows, result.scores, flags)

    def score(
        self,
        segments: Sequence[TokenSegment],
        queries: Queries,
        rows: Int64Array,
        allowed: Allowed,
    ) -> Float32Array:
        """True scores of given rows: rows (n_queries, m) int64 -> (n_queries, m) float32.

        -inf where a row is -1, absent, or not visible; 0 for a row without tokens.
        """
        asked = self._carved(_tokens(queries))
        scores = np.full(rows.shape, -np.inf, np.float32)
        seen = _visible(rows, allowed)
        for segment in segments:
            if not len(segment.rows):
                continue
            places = segment.places(seen)
            if segment.tokens is None:
                scores[places >= 0] = 0.0
                continue
            numbers, columns = np.nonzero(places >= 0)
            starts = np.zeros(len(rows) + 1, np.int64)
            np.cumsum(np.bincount(numbers, minlength=len(rows)), out=starts[1:])
            held = places[numbers, columns]
            own = sized(segment, asked)
            scores[numbers, columns] = rescore(own, segment.tokens, held, starts, threads=threads())
        return scores

    def explain(
        self,
        segments: Sequence[TokenSegment],
        query: Queries,
        rows: Sequence[int],
        allowed: Allowed,
    ) -> list[JsonObject]:
        """For each row which of its tokens each token of the query found; {} if not visible.

        ``tokens``: how many the row has. ``alignment``: for each token of the query (as it is
        carved), in order, ``token``, the number of the best token of the row (None where there is
        none), and their ``similarity``; they add up to the score; ``name_tokens`` adds the words.
        Where the search was not exhaustive, ``listed``: the row's place in the proxy's list, and
        how far a search for ten goes down it: ``patience``, ``candidates`` and ``recall`` as
        measured on samples; ``lists`` and what is read of them (``spann``) where there are any.
        """
        whole = _tokens(query)[:1]
        wanted = _visible(np.array([rows], np.int64), allowed)[0]
        return explaining.reasons(
            segments, self.settings, whole, self._carved(whole), wanted, allowed
        )

    def name_tokens(
        self, query: str, chunks: Sequence[Chunk], reasons: Sequence[JsonObject]
    ) -> list[JsonObject]:
        """What ``explain`` said of rows, with words: the query's text, and the passage of each row.

        Each entry of an ``alignment`` gets ``query``, the text of the query's token; and of the
        passage's ``text``, ``field`` (title or text) and ``span``, its characters there, from and
        to. A token that the model added (a mark, padding that counts) has the tokenizer's name for
        text, and no field and span. Where the numbers of tokens do not agree (carved queries,
        vectors that came ready-made), and without a model, nothing is added.
        """
        if self.needs_vectors:
            return list(reasons)
        encoder = self._encoder()
        if not isinstance(encoder, ReadsPieces):
            return list(reasons)
        return name_tokens(encoder, query, chunks, reasons)

    def _carved(self, queries: TokenVectors) -> TokenVectors:
        """Queries as they are scored: whole, or with like tokens taken together."""
        return queries if self.settings.carve is None else carve(queries, self.settings.carve)

    def highlights(self, query: str, text: str) -> list[tuple[int, int]]:
        """None: a token that was found need not be the query's word."""
        return []


def _visible(rows: Int64Array, allowed: Allowed) -> Int64Array:
    """The rows, -1 for those that may not be seen."""
    if allowed.visible is None:
        return rows
    there = (rows >= 0) & (rows < len(allowed.visible))
    there[there] = allowed.visible[rows[there]]
    return np.where(there, rows, NO_ROW)


def _dim_of(vectors: TokenVectors) -> JsonObject:
    """What all vectors of one index share; texts without any token say nothing."""
    return {"dim": vectors.vectors.shape[1]} if len(vectors.vectors) else {}


def _tokens(queries: Queries) -> TokenVectors:
    if not isinstance(queries, TokenVectors):
        raise TypeError("a multi-vector index is searched with token vectors")
    return queries
