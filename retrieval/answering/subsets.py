"""Passages in clusters, and subsets with one passage of every cluster."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from ...contracts import Float32Array, Int64Array
from .faithfulness import Encode
from .packing import Packed

_WORD_DIM = 512
_TURNS = 4


def vectors_of(passages: Sequence[Packed], encode: Encode | None) -> Float32Array:
    """(n, dim) float32, each of length 1: by the dense encoder, or else of hashed words."""
    texts = [packed.shown.text or packed.title for packed in passages]
    if encode is not None:
        return encode(texts)
    vectors = np.zeros((len(texts), _WORD_DIM), np.float32)
    for row, text in enumerate(texts):
        for word in set(re.findall(r"\w+", text.casefold())):
            vectors[row, int.from_bytes(word.encode()[:8], "little") % (_WORD_DIM - 1)] += 1
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Float32Array = vectors / np.maximum(1e-9, lengths)
    return scaled


def clusters(vectors: Float32Array, k: int) -> list[list[int]]:
    """At most ``k`` clusters of the rows of (n, dim) float32, none empty, by k-means.

    The first centre is the first row, each further one the row that is furthest from the centres
    so far; then Lloyd's steps until nothing moves.
    """
    k = min(k, len(vectors))
    if k == 0:
        return []
    centres = [vectors[0]]
    while len(centres) < k:
        nearest = np.max([vectors @ centre for centre in centres], axis=0)
        centres.append(vectors[int(nearest.argmin())])
    middle = np.array(centres)
    labels: Int64Array = np.full(len(vectors), -1, np.int64)
    for _ in range(100):
        distances = ((vectors[:, None] - middle[None]) ** 2).sum(-1)
        moved = distances.argmin(1)
        if np.array_equal(moved, labels):
            break
        labels = moved
        for cluster in range(k):
            if np.any(labels == cluster):
                middle[cluster] = vectors[labels == cluster].mean(0)
    groups = [np.flatnonzero(labels == cluster).tolist() for cluster in range(k)]
    return [group for group in groups if group]


def subsets(groups: Sequence[Sequence[int]], n: int, seed: int) -> list[list[int]]:
    """Up to ``n`` different subsets with one member of each group, in the order of the members.

    Each group's members are taken in turn, in orders of its own, so that all of them are used
    before one is used twice.
    """
    random = np.random.default_rng(seed)
    turns = _TURNS * n
    orders = [
        np.concatenate([random.permutation(group) for _ in range(-(-turns // len(group)))])
        for group in groups
    ]
    found: dict[tuple[int, ...], None] = {}
    for turn in range(turns):
        found.setdefault(tuple(sorted(int(order[turn]) for order in orders)))
    return [list(own) for own in found][:n]
