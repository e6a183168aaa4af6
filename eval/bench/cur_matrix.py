"""The exact scores of queries for all documents, made once: a file that grows row by row.

``scores.npy`` is (n_queries, n_documents) float32, NaN where nothing was computed yet. A row is
written whole and synced, so a kill costs the row under way; ``seconds.json`` says what all rows
took. :class:`MatrixScorer` plays the pair scorer over it, so that a search can be measured without
the model, and counts its calls.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from ...contracts import Float32Array
from ...documents import JsonObject
from ...errors import CorruptionError, InputError
from ...rankers.table import PAIR_SCORERS

ScoreRow = Callable[[str], Float32Array]
"""A query's scores for all texts: (n_documents,) float32."""


@dataclass(frozen=True, slots=True)
class Matrix:
    """The scores (n_queries, n_texts) float32 of ``queries`` for ``texts``, both distinct.

    ``ms_per_pair``: what a score took when it was computed; None where nobody noted it.
    """

    folder: Path
    queries: tuple[str, ...]
    texts: tuple[str, ...]
    scores: Float32Array
    ms_per_pair: float | None = None


def matrix(
    folder: Path,
    queries: Sequence[str],
    texts: Sequence[str],
    score: ScoreRow,
    progress: Callable[[int, int], None],
) -> Matrix:
    """The matrix in ``folder``; rows that are not there yet are computed, in order.

    Raises :class:`~cormorant.errors.InputError` where the folder holds one of other queries or
    texts, or ``score`` leaves a text without a number;
    :class:`~cormorant.errors.CorruptionError` for files that do not fit.
    """
    distinct, passages = tuple(dict.fromkeys(queries)), tuple(dict.fromkeys(texts))
    folder.mkdir(parents=True, exist_ok=True)
    names, file = folder / "names.json", folder / "scores.npy"
    wanted = {"queries": list(distinct), "texts": list(passages)}
    if names.is_file():
        if json.loads(names.read_text(encoding="utf-8")) != wanted:
            raise InputError(f"{folder} holds the scores of other queries or texts; remove it")
        scores = np.load(file, mmap_mode="r+")
        if scores.shape != (len(distinct), len(passages)) or scores.dtype != np.float32:
            raise CorruptionError(file, f"is {scores.dtype}{scores.shape}")
    else:
        scores = np.lib.format.open_memmap(
            file, mode="w+", dtype=np.float32, shape=(len(distinct), len(passages))
        )
        scores[...] = np.nan
        scores.flush()
        _write(names, wanted)  # last: without it, the file may hold zeros that nobody computed
    for number, query in enumerate(distinct):
        if np.isnan(scores[number]).any():
            begun = time.perf_counter()
            row = score(query)
            seconds = time.perf_counter() - begun
            if not np.isfinite(row).all():
                raise InputError(f"{query!r} has texts without a score, or with an infinite one")
            scores[number] = row
            scores.flush()
            _note(folder, len(passages), seconds)
            progress(number + 1, len(distinct))
    return Matrix(folder, distinct, passages, np.array(scores), _ms_per_pair(folder))


def is_whole(folder: Path) -> bool:
    """Whether every row is there."""
    if not (folder / "names.json").is_file():
        return False
    return not bool(np.isnan(np.load(folder / "scores.npy", mmap_mode="r")).any())


def _noted(folder: Path) -> tuple[int, float]:
    file = folder / "seconds.json"
    if not file.is_file():
        return 0, 0.0
    value = json.loads(file.read_text(encoding="utf-8"))
    return int(value["pairs"]), float(value["seconds"])


def _note(folder: Path, n: int, seconds: float) -> None:
    """Add a row's pairs and seconds to those noted."""
    pairs, before = _noted(folder)
    _write(folder / "seconds.json", {"pairs": pairs + n, "seconds": before + seconds})


def _write(file: Path, value: JsonObject) -> None:
    """All of it or nothing, wherever a kill comes."""
    whole = file.with_name(f"{file.name}.new")
    whole.write_text(json.dumps(value), encoding="utf-8")
    whole.replace(file)


def _ms_per_pair(folder: Path) -> float | None:
    pairs, seconds = _noted(folder)
    return 1000 * seconds / pairs if pairs else None


_OPEN: dict[str, tuple[Matrix, dict[str, int], dict[str, int]]] = {}
_CALLS: dict[str, int] = {}


def use(name: str, made: Matrix) -> MatrixScorer:
    """A pair scorer over a matrix, known by ``name`` while this process lives."""
    PAIR_SCORERS.setdefault(MatrixScorer.kind, f"{__name__}:MatrixScorer")
    queries = {text: place for place, text in enumerate(made.queries)}
    texts = {text: place for place, text in enumerate(made.texts)}
    _OPEN[name] = made, queries, texts
    return MatrixScorer(name)


@dataclass(frozen=True, slots=True)
class MatrixScorer:
    """Scores pairs by looking them up; see :func:`use`."""

    kind: ClassVar[str] = "score_matrix"
    name: str

    @property
    def identity(self) -> str:
        """The name."""
        return self.name

    @property
    def calls(self) -> int:
        """How many pairs were asked for since the process began."""
        return _CALLS.get(self.name, 0)

    def score_pairs(self, pairs: Sequence[tuple[str, str]]) -> Float32Array:
        """(n,) float32."""
        made, queries, texts = _OPEN[self.name]
        rows = [queries[query] for query, _ in pairs]
        columns = [texts[text] for _, text in pairs]
        _CALLS[self.name] = self.calls + len(pairs)
        found: Float32Array = made.scores[rows, columns]
        return found
