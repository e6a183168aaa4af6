"""From characters of the normalised text back to characters of the text as given."""

from __future__ import annotations

import unicodedata
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from .rule import blocks, starts_piece

Int64Array: TypeAlias = NDArray[np.int64]


def spans_before_normalisation(text: str, spans: Int64Array) -> Int64Array:
    """Spans of ``normalise(text)`` -> spans of ``text``: (n, 2) int64 -> (n, 2) int64.

    NFKC maps a text piece by piece (:func:`~.rule.starts_piece`). A character of the result has the
    span of its piece, and where NFKC leaves the piece as it is, its own. Both columns of ``spans``
    ascend.
    """
    result = np.empty_like(spans)
    firsts, lasts = np.ascontiguousarray(spans[:, 0]), spans[:, 1] - 1
    normalised_start = 0
    for start, end in blocks(text):
        begins, ends = _origins(text[start:end])
        normalised_end = normalised_start + len(begins)
        for column, chars, origins in ((0, firsts, begins), (1, lasts, ends)):
            rows = slice(*np.searchsorted(chars, (normalised_start, normalised_end)))
            result[rows, column] = start + origins[chars[rows] - normalised_start]
        normalised_start = normalised_end
    return result


def _origins(block: str) -> tuple[Int64Array, Int64Array]:
    """Where in ``block`` each character of its NFKC comes from: begins and ends."""
    if unicodedata.is_normalized("NFKC", block):
        own = np.arange(len(block))
        return own, own + 1
    code_points = np.frombuffer(block.encode("utf-32-le", "surrogatepass"), np.uint32)
    distinct, which = np.unique(code_points, return_inverse=True)
    chars = [chr(code_point) for code_point in distinct.tolist()]
    starts = np.array([starts_piece(char) for char in chars])[which]
    starts[0] = True
    lengths = np.array([len(unicodedata.normalize("NFKC", char)) for char in chars])[which]

    begins = np.flatnonzero(starts)
    ends = np.append(begins[1:], len(block))
    longer = ends - begins > 1
    for begin, end in zip(begins[longer].tolist(), ends[longer].tolist(), strict=True):
        normalised = unicodedata.normalize("NFKC", block[begin:end])
        if normalised == block[begin:end]:
            starts[begin:end] = True
        else:
            lengths[begin] = len(normalised)

    begins = np.flatnonzero(starts)
    ends = np.append(begins[1:], len(block))
    return np.repeat(begins, lengths[begins]), np.repeat(ends, lengths[begins])
