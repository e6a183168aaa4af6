"""Files of sparse vectors: JSON lines as Anserini and Seismic read them, and BigANN's CSR.

A JSON line is ``{"id": ..., "vector": {token: weight}}``, with ``content`` (Seismic) or
``contents`` (Anserini) for the text where there is one. Anserini wants weights that are integers;
``write_jsonl(..., scale=100)`` rounds 100 times each weight, as SPLADE's own exports do.

A CSR file is, little-endian and with nothing between: three int64 (rows, columns, weights),
rows + 1 int64 where each row begins, an int32 column of each weight, a float32 weight of each.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...documents import read_json_lines
from ...errors import InputError
from ...kernels.postings.layout import LARGEST_WEIGHT
from ...vectors import SparseVectors
from .weighted import checked

LARGEST_COLUMN = (1 << 31) - 1
_CONTENTS = ("contents", "content", "text")


class Line(NamedTuple):
    """One document of a file of JSON lines."""

    id: str
    text: str
    vector: dict[str, float]


def read_jsonl(path: str | Path) -> Iterator[Line]:
    """The documents of a file, one by one; weights of 0 are kept as they stand.

    Raises :class:`~cormorant.errors.InputError`, naming file and line.
    """
    for number, item in read_json_lines(Path(path)):
        yield _line(item, path, number)


def _line(item: Any, path: str | Path, number: int) -> Line:
    def refused(message: str, field: str | None = None) -> InputError:
        return InputError(message, file=path, line=number, field=field)

    if not isinstance(item, dict) or not isinstance(item.get("id"), str | int):
        raise refused('is an object with an "id" and a "vector"', "id")
    vector = item.get("vector")
    if not isinstance(vector, dict):
        raise refused("is an object of tokens and weights", "vector")
    for token, weight in vector.items():
        usable = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not usable or not 0 <= weight <= LARGEST_WEIGHT:
            raise refused(
                f"has the weight {weight!r:.40} for {token!r}; a weight is a number from 0 to "
                f"{LARGEST_WEIGHT:.0e}",
                "vector",
            )
    text = next((item[name] for name in _CONTENTS if isinstance(item.get(name), str)), "")
    return Line(str(item["id"]), text, {token: float(own) for token, own in vector.items()})


def write_jsonl(
    path: str | Path,
    documents: Iterable[tuple[str, str, Mapping[str, float]]],
    scale: float | None = None,
) -> int:
    """Write (id, text, vector) a line; with a scale, weights as integers; returns how many.

    A weight that scaled rounds to 0 is left out. Raises :class:`~cormorant.errors.InputError` for a
    scale that is not above 0.
    """
    if scale is not None and not 0 < scale < math.inf:
        raise InputError(f"is a number above 0, got {scale}", field="scale")
    n = 0
    with Path(path).open("w", encoding="utf-8") as lines:
        for name, text, vector in documents:
            weights: Mapping[str, Any] = vector
            if scale is not None:
                scaled = {token: round(weight * scale) for token, weight in vector.items()}
                weights = {token: weight for token, weight in scaled.items() if weight}
            item = {"id": name, "contents": text, "vector": dict(weights)}
            lines.write(json.dumps(item, ensure_ascii=False) + "\n")
            n += 1
    return n


def read_csr(path: str | Path) -> SparseVectors:
    """The vectors of a CSR file, checked as ready vectors are.

    Raises :class:`~cormorant.errors.InputError` where the sizes do not fit, rows do not ascend, a
    column is beyond the last, or a weight cannot be used.
    """
    size = Path(path).stat().st_size
    if size < 24:
        raise InputError(f"is no CSR file: it has {size} bytes", file=path)
    n, columns, n_weights = np.fromfile(path, "<i8", 3).tolist()
    expected = 24 + 8 * (n + 1) + 8 * n_weights
    if min(n, columns, n_weights) < 0 or size != expected:
        raise InputError(
            f"is no CSR file: it says {n} rows, {columns} columns and {n_weights} weights and has "
            f"{size} bytes, not {expected}",
            file=path,
        )
    starts = np.fromfile(path, "<i8", n + 1, offset=24)
    terms = np.fromfile(path, "<i4", n_weights, offset=24 + 8 * (n + 1)).astype(np.int64)
    weights = np.fromfile(path, "<f4", n_weights, offset=24 + 8 * (n + 1) + 4 * n_weights)
    if starts[0] != 0 or starts[-1] != n_weights or (np.diff(starts) < 0).any():
        raise InputError("is no CSR file: its rows do not ascend to its end", file=path)
    held = SparseVectors(starts.astype(np.int64), terms, weights.astype(np.float32))
    try:
        return checked(held, None, columns, "weights", "row {}".format)
    except InputError as error:
        raise InputError(str(error), file=path) from None


def write_csr(path: str | Path, vectors: SparseVectors, n_terms: int | None = None) -> None:
    """Write vectors; ``n_terms`` columns, or as many as there must be."""
    used = int(vectors.terms.max()) + 1 if len(vectors.terms) else 0
    columns = used if n_terms is None else n_terms
    if columns < used or columns > LARGEST_COLUMN + 1:
        raise InputError(
            f"is from {used} (the terms there) to {LARGEST_COLUMN + 1}, got {columns}",
            field="n_terms",
        )
    with Path(path).open("wb") as file:
        np.array([len(vectors), columns, len(vectors.terms)], "<i8").tofile(file)
        vectors.starts.astype("<i8").tofile(file)
        vectors.terms.astype("<i4").tofile(file)
        vectors.weights.astype("<f4").tofile(file)
