"""How patient a search must be: measured on samples when a segment is written.

No one knows the queries that will come, so samples are made of the segment's own documents: some
tokens in a row out of each of a few documents, drawn with a fixed seed, short, middling and long.
The document that a sample was taken from is no hit of it. For each sample all documents are scored
exactly, and it is seen where a search would stop (:mod:`.patience`), and what it would have found.

Users' queries are less like the documents than samples are. Patience carries over better than a
number of candidates, being a ratio to how far down a query's own hits stand. The least is taken
whose recall is above the target by ``_DEVIATIONS`` standard errors: samples are few.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ...contracts import Array, Float32Array, Int64Array
from ...documents import JsonObject
from ...kernels.maxsim import Tokens, score
from ...vectors import TokenVectors
from .patience import end_after, entries

SAMPLES, LEAST_SAMPLES = 120, 48
_FULL_TOKENS = 8_000_000
"""Stored tokens up to which all samples are asked; beyond, fewer, so that time stays bounded."""
DEPTHS = (10, 100)
LENGTHS = ((2, 4), (5, 9), (10, 20))
"""Tokens of short, middling and long samples: from, to."""
SEED = 6
_LADDER = (1.0, *(1 + 2 ** (step / 4) / 32 for step in range(41)))
"""Patiences that are tried: 1 to 33."""
_DEVIATIONS = 2.0
_AT_ONCE, _SCORES = 24, 1 << 25
"""Samples, and scores of these with all documents, that are held at a time."""


class Effort(NamedTuple):
    """How patient to be, how many candidates that took on average on samples, and their recall.

    ``patience``: None where exactly so many ``candidates`` are taken. ``lists``: how many are read
    where candidates come out of lists.
    """

    patience: float | None
    candidates: int
    recall: float
    lists: int | None = None


class Walk(NamedTuple):
    """What going down the proxy's list for one query finds; places count from 1, (m,) int64.

    ``entered``: where something came among the best; ``wanted``: where the true best stand.
    """

    entered: Int64Array
    wanted: Int64Array
    size: int

    def end(self, k: int, patience: float) -> int:
        """Where a search stops; see :func:`.patience.walked`."""
        end = min(self.size, end_after(k, patience))
        while end < self.size:
            deepest = int(self.entered[np.searchsorted(self.entered, end, side="right") - 1])
            if end_after(deepest, patience) <= end:
                break
            end = min(self.size, end_after(deepest, patience))
        return end

    def recall(self, end: int) -> float:
        """The share of the true best that was scored by then."""
        return float(np.mean(self.wanted <= end)) if len(self.wanted) else 1.0


def measure(
    tokens: Tokens,
    products: Callable[[TokenVectors], Float32Array],
    target: float,
    candidates: int | None,
    threads: int,
) -> JsonObject:
    """For each of ``DEPTHS`` the effort that reaches a target, or what ``candidates`` reach.

    ``products``: queries -> the proxy's products with all documents, (n_queries, n_documents).
    """
    walks = list(_walks(tokens, products, threads))
    measured = {}
    for number, depth in enumerate(DEPTHS):
        effort = least_effort([walk[number] for walk in walks], depth, target, candidates)
        measured[str(depth)] = (effort or all_of(tokens))._asdict()
    return measured


def all_of(tokens: Tokens) -> Effort:
    """The effort that misses nothing: every document."""
    return Effort(None, tokens.n_documents, 1.0)


def effort_for(measured: JsonObject, k: int) -> Effort:
    """The effort for the k best; beyond 100 it is that for 100.

    Between 10 and 100 the reciprocal of patience goes by the logarithm of k: patience itself falls
    fast at first. Beyond 100 lists are read in proportion.
    """
    few, many = (Effort(**measured[str(depth)]) for depth in DEPTHS)
    share = float(np.clip(np.log(k / DEPTHS[0]) / np.log(DEPTHS[1] / DEPTHS[0]), 0, 1))
    lists = (few if share == 0 else many).lists
    if lists is not None and k > DEPTHS[-1]:
        lists = -(-lists * k // DEPTHS[-1])
    if share in (0, 1) or few.patience is None or many.patience is None:
        found = few if not share or (share < 1 and few.patience is None) else many
        return found._replace(candidates=max(k, found.candidates), lists=lists)
    return Effort(
        1 / ((1 - share) / few.patience + share / many.patience),
        max(k, round(few.candidates + share * (many.candidates - few.candidates))),
        many.recall,
        lists,
    )


def walk_of(exact: Float32Array, guessed: Float32Array, source: int, k: int) -> Walk:
    """Exact scores and the proxy's products of all documents, (n,) each; ``source`` is no hit.

    Of equal scores the lower places are wanted, as results have them, wherever the list does.
    """
    order = np.argsort(-guessed, kind="stable")
    listed = order[order != source]
    scores = exact[listed]
    if k < len(scores):
        least = np.partition(scores, len(scores) - k)[len(scores) - k]
        above, level = np.flatnonzero(scores > least), np.flatnonzero(scores == least)
        first = level[np.argsort(listed[level])[: k - len(above)]]
        wanted = np.sort(np.concatenate([above, first]))
    else:
        wanted = np.arange(len(scores))
    return Walk(entries(scores, k), wanted + 1, len(scores))


def _walks(
    tokens: Tokens, products: Callable[[TokenVectors], Float32Array], threads: int
) -> Iterator[list[Walk]]:
    """One for each of ``DEPTHS``, for each sample."""
    for queries, places, scores in scored(tokens, threads):
        for place, exact, guessed in zip(places, scores, products(queries), strict=True):
            yield [walk_of(exact, guessed, int(place), depth) for depth in DEPTHS]


def scored(tokens: Tokens, threads: int) -> Iterator[tuple[TokenVectors, Int64Array, Float32Array]]:
    """Samples, the places they are taken from, and their exact scores, some at a time."""
    queries, places = sample(tokens)
    step = max(1, min(_AT_ONCE, _SCORES // tokens.n_documents))
    for first in range(0, len(queries), step):
        own = slice(first, first + step)
        yield queries[own], places[own], score(queries[own], tokens, threads=threads)


def least_effort(
    walks: Sequence[Walk], depth: int, target: float, candidates: int | None
) -> Effort | None:
    """The least patience that reaches a target, or what ``candidates`` reach; None: none does.

    Without walks nothing is known to reach anything.
    """

    def reached(ends: Array) -> Array:
        return np.array([walk.recall(end) for walk, end in zip(walks, ends, strict=True)])

    if not walks:
        return None
    if candidates is not None:
        found = reached(np.full(len(walks), max(candidates, depth)))
        return Effort(None, candidates, round(float(found.mean()), 4))
    for patience in _LADDER:
        ends = np.array([walk.end(depth, patience) for walk in walks])
        found = reached(ends)
        error = float(found.std() / np.sqrt(len(walks)))
        if found.mean() - _DEVIATIONS * error >= target:
            return Effort(patience, int(np.ceil(ends.mean())), round(float(found.mean()), 4))
    return None


def sample(tokens: Tokens) -> tuple[TokenVectors, Int64Array]:
    """Queries, and the places of the documents that they are taken from."""
    random = np.random.Generator(np.random.Philox(SEED))
    places = _sources(tokens, random)
    parts = [np.zeros((0, tokens.dim), np.float32)]
    starts = np.zeros(len(places) + 1, np.int64)
    for number, place in enumerate(places.tolist()):
        first, last = int(tokens.starts[place]), int(tokens.starts[place + 1])
        least, most = LENGTHS[number % len(LENGTHS)]
        size = min(last - first, int(random.integers(least, most + 1)))
        first += int(random.integers(0, last - first - size + 1))
        parts.append(tokens.widened(first, first + size))
        starts[number + 1] = starts[number] + size
    return TokenVectors(starts, np.concatenate(parts)), places


def sources(tokens: Tokens) -> Int64Array:
    """The documents that samples are taken from: what learns must not see them."""
    return _sources(tokens, np.random.Generator(np.random.Philox(SEED)))


def _sources(tokens: Tokens, random: np.random.Generator) -> Int64Array:
    n_tokens = int(tokens.starts[-1] - tokens.starts[0])
    wanted = int(np.clip(SAMPLES * _FULL_TOKENS / max(n_tokens, 1), LEAST_SAMPLES, SAMPLES))
    filled = np.flatnonzero(np.diff(tokens.starts))
    drawn: Int64Array = np.sort(random.choice(filled, min(wanted, len(filled)), replace=False))
    return drawn
