"""What rankers and feedback see of a query: rows and scores, and what they ask for beyond these."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import overload

from ..contracts import Float32Array, Int64Array
from ..documents import Chunk
from ..ranking import NO_ROW, Ranking
from ..stages import Candidates


class ReadWhenAsked(Sequence[Chunk]):
    """Passages that are read, all at once, when the first of them is asked for."""

    def __init__(self, rows: Int64Array, read: Callable[[Int64Array], list[Chunk]]) -> None:
        self._rows = rows
        self._read = read
        self._chunks: list[Chunk] | None = None

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, place: int) -> Chunk: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Chunk]: ...
    def __getitem__(self, place: int | slice) -> Chunk | Sequence[Chunk]:
        return self._all()[place]

    def __iter__(self) -> Iterator[Chunk]:
        return iter(self._all())

    def _all(self) -> list[Chunk]:
        if self._chunks is None:
            self._chunks = self._read(self._rows)
        return self._chunks


def candidates_of(
    queries: Sequence[str],
    ranking: Ranking,
    read: Callable[[Int64Array], list[Chunk]],
    score: Callable[[str, int, Int64Array], Float32Array],
    encode: Callable[[str, int, Sequence[Chunk]], Float32Array],
) -> list[Candidates]:
    """The candidates of every query.

    ``read(rows)`` gives their passages, ``score(index, number, rows)`` an index's true scores for
    the query of that number, ``encode(index, number, chunks)`` those its encoder makes now.
    """
    candidates = []
    for number, query in enumerate(queries):
        there = ranking.rows[number] != NO_ROW
        rows = ranking.rows[number][there]
        chunks = ReadWhenAsked(rows, read)
        candidates.append(
            Candidates(
                query,
                rows,
                ranking.scores[number][there],
                chunks,
                partial(_scored, score, number, rows),
                partial(_encoded, encode, number, chunks),
            )
        )
    return candidates


def _scored(
    score: Callable[[str, int, Int64Array], Float32Array],
    number: int,
    rows: Int64Array,
    index: str,
) -> Float32Array:
    return score(index, number, rows)


def _encoded(
    encode: Callable[[str, int, Sequence[Chunk]], Float32Array],
    number: int,
    chunks: Sequence[Chunk],
    index: str,
) -> Float32Array:
    return encode(index, number, chunks)
