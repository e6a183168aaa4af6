"""A passage's encoding as bytes, and back.

Little-endian: one byte of flags (1: the text was cut; 2: terms are tokens; 4: words follow), the
number of terms (uint32), their weights (float32 each), and the terms: numbers (uint32 each), or the
tokens' lengths in bytes (uint32 each) and their UTF-8. Then, where flagged, the number of words and
their numbers (uint32): the distinct tokens of the text, which document frequencies are counted of.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from ...contracts import BoolArray, Int64Array
from ...vectors import SparseVectors
from .weighted import Weighted

CUT, TOKENS, WORDS = 1, 2, 4
_SIZE = 4


class Encoded(NamedTuple):
    """Passages as their encodings say: weighted terms, their words, and which texts were cut."""

    vectors: Weighted
    words: SparseVectors | None
    """Distinct tokens of each text; their weights say nothing."""
    cut: BoolArray


def pack(encoded: Encoded) -> list[bytes]:
    """One encoding a passage."""
    vectors, words, cut = encoded
    tokens = None if vectors.tokens is None else [token.encode() for token in vectors.tokens]
    weights = vectors.weights.astype("<f4").tobytes()
    numbers = vectors.terms.astype("<u4").tobytes() if tokens is None else b""
    named = b"" if words is None else words.terms.astype("<u4").tobytes()
    flags = (TOKENS if tokens is not None else 0) | (WORDS if words is not None else 0)
    starts = vectors.starts.tolist()
    word_starts = starts if words is None else words.starts.tolist()
    packed = []
    for place, is_cut in enumerate(cut.tolist()):
        begin, end = starts[place], starts[place + 1]
        parts = [
            bytes([flags | (CUT if is_cut else 0)]),
            (end - begin).to_bytes(_SIZE, "little"),
            weights[_SIZE * begin : _SIZE * end],
        ]
        if tokens is None:
            parts.append(numbers[_SIZE * begin : _SIZE * end])
        else:
            own = [tokens[number] for number in vectors.terms[begin:end].tolist()]
            parts.append(np.array([len(token) for token in own], "<u4").tobytes())
            parts += own
        if words is not None:
            begin, end = word_starts[place], word_starts[place + 1]
            parts.append((end - begin).to_bytes(_SIZE, "little"))
            parts.append(named[_SIZE * begin : _SIZE * end])
        packed.append(b"".join(parts))
    return packed


def unpack(encodings: Iterable[bytes]) -> Encoded:
    """What ``pack`` packed; passages without words have none where others have some."""
    weights, numbers, words = [b""], [b""], [b""]
    sizes, word_sizes, cuts = [0], [0], []
    known: dict[bytes, int] = {}
    flags = 0
    for encoding in encodings:
        flags |= encoding[0]
        cuts.append(bool(encoding[0] & CUT))
        n = int.from_bytes(encoding[1 : 1 + _SIZE], "little")
        at = 1 + _SIZE
        weights.append(encoding[at : at + _SIZE * n])
        at += _SIZE * n
        if encoding[0] & TOKENS:
            ends = at + _SIZE * n + np.cumsum(np.frombuffer(encoding, "<u4", n, at), dtype=np.int64)
            at += _SIZE * n
            own = []
            for end in ends.tolist():
                own.append(known.setdefault(encoding[at:end], len(known)))
                at = end
            numbers.append(np.array(own, "<u4").tobytes())
        else:
            numbers.append(encoding[at : at + _SIZE * n])
            at += _SIZE * n
        sizes.append(n)
        m = 0
        if encoding[0] & WORDS:
            m = int.from_bytes(encoding[at : at + _SIZE], "little")
            words.append(encoding[at + _SIZE : at + _SIZE + _SIZE * m])
        word_sizes.append(m)
    tokens = tuple(token.decode() for token in known) if flags & TOKENS else None
    vectors = Weighted(
        _starts(sizes), _numbers(numbers), np.frombuffer(b"".join(weights), "<f4"), tokens
    )
    found = None
    if flags & WORDS:
        terms = _numbers(words)
        found = SparseVectors(_starts(word_sizes), terms, np.ones(len(terms), np.float32))
    return Encoded(vectors, found, np.array(cuts, np.bool_))


def _starts(sizes: Sequence[int]) -> Int64Array:
    return np.cumsum(np.array(sizes, np.int64))


def _numbers(parts: Sequence[bytes]) -> Int64Array:
    return np.frombuffer(b"".join(parts), "<u4").astype(np.int64)
