"""How many candidates the proxy must give: measured on samples when a segment is written.

No one knows the queries that will come, so samples are made of the segment's own documents: some
tokens in a row out of each of a few documents, drawn with a fixed seed. A short query needs more
candidates than a long one, so samples are short, middling and long, and a search goes by what was
measured for queries like its own. The document that a sample was taken from is no hit of it. For
each sample the exhaustive best 10 and 100 are found by exact MaxSim, and how far down the proxy's
list each of them stands.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ...contracts import Int64Array
from ...documents import JsonObject
from ...kernels.maxsim import Tokens, search
from ...vectors import TokenVectors

SAMPLES = 40
LEAST_SAMPLES = 16
"""Of each length."""
_FULL_TOKENS = 8_000_000
"""Stored tokens up to which all samples are asked; beyond, fewer, so that time stays bounded."""
DEPTHS = (10, 100)
LENGTHS = ((2, 4), (5, 9), (10, 20))
"""Tokens of short, middling and long samples: from, to."""
SEED = 6
_STEP = 2**0.125
"""Candidates are rounded up to a step: by a twentieth on average, by a fifth with 2^(1/2)."""
_MARGIN = 2
"""How many times the measured candidates are taken: users' queries are less like the documents than
samples of these are. On nfcorpus, 0.955 on samples was 0.88 on its queries without it."""


class Effort(NamedTuple):
    """How many candidates to take, and the recall that was measured for so many."""

    candidates: int
    recall: float


def measure(
    tokens: Tokens, ranks: Callable[[TokenVectors, Int64Array], Int64Array], threads: int
) -> JsonObject:
    """``candidates``, ascending; and for each of ``LENGTHS`` by depth the recall of the best.

    ``ranks``: (queries, places (n_queries, m)) -> how many documents the proxy puts before each.
    """
    ladder = _ladder(tokens.n_documents)
    lengths = [_of_length(tokens, ranks, length, ladder, threads) for length in LENGTHS]
    return {"candidates": ladder, "lengths": lengths}


def _of_length(
    tokens: Tokens,
    ranks: Callable[[TokenVectors, Int64Array], Int64Array],
    length: tuple[int, int],
    ladder: list[int],
    threads: int,
) -> JsonObject:
    queries, sources = sample(tokens, length)
    deepest = min(DEPTHS[-1], tokens.n_documents - 1)
    places = search(queries, tokens, deepest + 1, threads=threads).places
    true = np.array(
        [row[row != source][:deepest] for row, source in zip(places, sources, strict=True)],
        np.int64,
    ).reshape(len(queries), deepest)
    # The proxy's list has the sample's own document in it, which a user's query would not find.
    before = ranks(queries, true)
    result: JsonObject = {"tokens": length[1], "samples": len(queries)}
    for depth in DEPTHS:
        own = before[:, :depth]
        recalls = [float(np.mean(own < count)) if own.size else 1.0 for count in ladder]
        result[str(depth)] = [round(value, 4) for value in recalls]
    return result


def sample(tokens: Tokens, length: tuple[int, int]) -> tuple[TokenVectors, Int64Array]:
    """Queries, and the places of the documents that they are taken from."""
    random = np.random.Generator(np.random.Philox(SEED))
    sources = _sources(tokens, random)
    parts = [np.zeros((0, tokens.dim), np.float32)]
    starts = np.zeros(len(sources) + 1, np.int64)
    for number, place in enumerate(sources.tolist()):
        first, last = int(tokens.starts[place]), int(tokens.starts[place + 1])
        size = min(last - first, int(random.integers(length[0], length[1] + 1)))
        first += int(random.integers(0, last - first - size + 1))
        parts.append(tokens.widened(first, first + size))
        starts[number + 1] = starts[number] + size
    return TokenVectors(starts, np.concatenate(parts)), sources


def sources(tokens: Tokens) -> Int64Array:
    """The documents that samples are taken from, of any length: what learns must not see them."""
    return _sources(tokens, np.random.Generator(np.random.Philox(SEED)))


def _sources(tokens: Tokens, random: np.random.Generator) -> Int64Array:
    n_tokens = int(tokens.starts[-1] - tokens.starts[0])
    wanted = int(np.clip(SAMPLES * _FULL_TOKENS / max(n_tokens, 1), LEAST_SAMPLES, SAMPLES))
    filled = np.flatnonzero(np.diff(tokens.starts))
    drawn: Int64Array = np.sort(random.choice(filled, min(wanted, len(filled)), replace=False))
    return drawn


def class_of(lengths: Int64Array) -> Int64Array:
    """Which of ``LENGTHS`` queries of so many tokens are like: (n,) int64."""
    return np.searchsorted([length[1] for length in LENGTHS[:-1]], lengths)


def effort_of_all(
    measured: JsonObject, k: int, target: float | None, candidates: int | None
) -> Effort:
    """What is enough for queries of any length, and the least recall of any."""
    efforts = [
        effort_for(measured, number, k, target, candidates) for number in range(len(LENGTHS))
    ]
    return Effort(max(e.candidates for e in efforts), min(e.recall for e in efforts))


def effort_for(
    measured: JsonObject, number: int, k: int, target: float | None, candidates: int | None
) -> Effort:
    """What reaches the target for the k best; ``candidates`` says so outright.

    ``number``: which of ``LENGTHS``. Between 10 and 100 it is between what both need; for more than
    100 in proportion.
    """
    ladder, curves = measured["candidates"], measured["lengths"][number]
    margin = 1
    if candidates is not None:
        counted = candidates
    else:
        assert target is not None
        margin = _MARGIN
        least, most = (_needed(ladder, curves[str(depth)], target) for depth in DEPTHS)
        if k <= DEPTHS[0]:
            counted = least
        elif k <= DEPTHS[1]:
            share = (k - DEPTHS[0]) / (DEPTHS[1] - DEPTHS[0])
            counted = int(np.ceil(least + share * max(0, most - least)))
        else:
            counted = int(np.ceil(most * k / DEPTHS[1]))
    counted = max(counted, k)
    depth = DEPTHS[0] if k <= DEPTHS[0] else DEPTHS[1]
    reached = [0.0] + [
        recall for count, recall in zip(ladder, curves[str(depth)], strict=True) if count <= counted
    ]
    return Effort(counted * margin, max(reached))


def _needed(ladder: list[int], recalls: list[float], target: float) -> int:
    for count, recall in zip(ladder, recalls, strict=True):
        if recall >= target:
            return count
    return ladder[-1]


def _ladder(n: int) -> list[int]:
    """Numbers of candidates in even ratios, from 10 to all documents."""
    steps: list[int] = []
    count = 10.0
    while count < n:
        steps.append(round(count))
        count *= _STEP
    return [*steps, n]
