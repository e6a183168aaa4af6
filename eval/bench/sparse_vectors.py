"""Stand-ins for what a trained sparse encoder makes of the shared sentences, seeded.

Documents. The words of a text are its distinct WordPiece tokens (MiniLM's, the first 128). Which
tokens go together is counted in the sentences: association(t, u) = PPMI(t, u) * ln(1 + how many
sentences have both), for at least 2; of each token the 30 strongest are kept, the strongest made 1.
A text's expansions are the 60 tokens, not its own, with the largest sum of
association * min(idf, 8) over its words, times a random factor from 0.5 to 1.5. Own words weigh
u (0.25 + 1.5 idf / (idf + 2.5)), u random from 0.4 to 1; expansions 0.9 (sum / largest sum)^1.5 v,
v random from 0.5 to 1, at least 0.02. That is some 87 terms a sentence, 27 of them its own.

Queries. 5 to 13 consecutive tokens of each of the last 1,000 sentences, which are no documents,
each weighted by its idf in the sentences (``flat``, as inference-free encoders do); or weighted and
expanded by 25 tokens as documents are (``broad``, as SPLADE does).

A million. Each document has some random half of the tokens of one sentence, drawn at random, and
the other half of those of another; expanded the same way.
"""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ...contracts import Float32Array, Int64Array
from ...indexers.encoders.models import MINILM, find_model
from ...indexers.encoders.sparse_tokens import TokenWords
from ...indexers.sparse.tuning import rarity
from ...vectors import SparseVectors

SEED = 20_265
QUERIES = 1_000
NEIGHBOURS = 30
EXPANSIONS, BROAD_EXPANSIONS = 60, 25
LONGEST = 128


class SparseData(NamedTuple):
    """Documents, and the same queries weighted in two ways."""

    name: str
    base: SparseVectors
    flat: SparseVectors
    broad: SparseVectors


class Associations(NamedTuple):
    """Of each token its idf, the tokens that go with it (-1: no more), and how strongly."""

    idf: Float32Array
    neighbours: Int64Array
    strengths: Float32Array


def sentence_vectors(sentences: list[str], n_mixed: int) -> SparseData:
    """The sentences but for the last thousand; or ``n_mixed`` documents mixed of them."""
    words = TokenWords(find_model(MINILM).path)
    starts, terms = _words(words, sentences)
    n = len(sentences) - QUERIES
    base_starts, base_terms = starts[: n + 1], terms[: starts[n]]
    known = associations(base_starts, base_terms, len(words.tokens))
    random = np.random.default_rng(SEED)
    asked_starts, asked = _spans(words, sentences[n:], random)
    flat = SparseVectors(asked_starts, asked, known.idf[asked])
    broad = expanded(asked_starts, asked, known, BROAD_EXPANSIONS, SEED + 1)
    if not n_mixed:
        name = "sentences"
        base = expanded(base_starts, base_terms, known, EXPANSIONS, SEED + 2)
    else:
        name = f"mixed_{n_mixed}"
        pairs = random.integers(0, n, (2, n_mixed))
        mixed = _mix(base_starts, base_terms, pairs, random.random(len(base_terms)) < 0.5)
        base = expanded(mixed[0], mixed[1], known, EXPANSIONS, SEED + 3)
    return SparseData(name, base, flat, broad)


def _words(words: TokenWords, sentences: list[str]) -> tuple[Int64Array, Int64Array]:
    found = words(sentences)
    kept = np.arange(len(found.terms)) - np.repeat(found.starts[:-1], np.diff(found.starts))
    starts = np.zeros(len(found.starts), np.int64)
    np.cumsum(np.minimum(np.diff(found.starts), LONGEST), out=starts[1:])
    return starts, found.terms[kept < LONGEST]


def _spans(
    words: TokenWords, sentences: list[str], random: np.random.Generator
) -> tuple[Int64Array, Int64Array]:
    """Words of each sentence that stand beside each other: 5 to 13 pieces of it."""
    asked = []
    for sentence in sentences:
        pieces = sentence.split()
        size = int(random.integers(4, 10))
        first = int(random.integers(0, max(1, len(pieces) - size + 1)))
        asked.append(" ".join(pieces[first : first + size]))
    found = words(asked)
    return found.starts, found.terms


def associations(starts: Int64Array, terms: Int64Array, n_terms: int) -> Associations:
    """Which tokens go together, counted in texts."""
    sparse: Any = importlib.import_module("scipy.sparse")  # half typed, and optional
    n = len(starts) - 1
    texts = sparse.csr_matrix((np.ones(len(terms), np.float32), terms, starts), (n, n_terms))
    frequencies = np.bincount(terms, minlength=n_terms).astype(np.int64)
    together = (texts.T @ texts).tocoo()
    kept = (together.row != together.col) & (together.data >= 2)
    rows, columns, counts = together.row[kept], together.col[kept], together.data[kept]
    lift = counts * n / (frequencies[rows].astype(np.float64) * frequencies[columns])
    strength = np.log(lift) * np.log1p(counts)
    kept = strength > 0
    rows, columns, strength = rows[kept], columns[kept], strength[kept]
    order = np.lexsort((columns, -strength, rows))
    rows, columns, strength = rows[order], columns[order], strength[order]
    place = np.arange(len(rows)) - np.searchsorted(rows, np.arange(n_terms + 1))[rows]
    first = place < NEIGHBOURS
    neighbours = np.full((n_terms, NEIGHBOURS), -1, np.int64)
    strengths = np.zeros((n_terms, NEIGHBOURS), np.float32)
    neighbours[rows[first], place[first]] = columns[first]
    strengths[rows[first], place[first]] = strength[first]
    strengths /= np.maximum(strengths.max(axis=1, keepdims=True), 1e-6)
    return Associations(rarity(n, frequencies).astype(np.float32), neighbours, strengths)


def expanded(
    starts: Int64Array, terms: Int64Array, known: Associations, n_expansions: int, seed: int
) -> SparseVectors:
    """Words weighted and expanded; see the module."""
    return SparseVectors(*_expand(starts, terms, *known, n_expansions, seed))


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _chance(a: int, b: int, seed: int) -> float:
    """A number from 0 to 1 that these three decide (SplitMix64's finish)."""
    x = np.uint64(a) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(b)
    x = x * np.uint64(0xD1342543DE82EF95) + np.uint64(seed)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((x ^ (x >> np.uint64(31))) >> np.uint64(11)) * 2.0**-53


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _associate(
    own: Int64Array,
    idf: Float32Array,
    neighbours: Int64Array,
    strengths: Float32Array,
    sums: NDArray[np.float64],
    state: NDArray[np.int8],
    candidates: Int64Array,
) -> int:
    """Sum up what goes with a text's words; returns how many candidates there are.

    ``state``: 1 for the words, 2 for the candidates.
    """
    n_candidates = 0
    for term in own:
        state[term] = 1
    for term in own:
        for place in range(neighbours.shape[1]):
            other = neighbours[term, place]
            if other < 0:
                break
            if state[other] == 0:
                state[other] = 2
                candidates[n_candidates] = other
                n_candidates += 1
            if state[other] == 2:
                sums[other] += strengths[term, place] * min(idf[term], np.float32(8.0))
    return n_candidates


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _expand(
    starts: Int64Array,
    terms: Int64Array,
    idf: Float32Array,
    neighbours: Int64Array,
    strengths: Float32Array,
    n_expansions: int,
    seed: int,
) -> tuple[Int64Array, Int64Array, Float32Array]:
    n, n_terms = len(starts) - 1, len(idf)
    room = len(terms) + n * n_expansions
    out_starts = np.zeros(n + 1, np.int64)
    out_terms, out_weights = np.empty(room, np.int64), np.empty(room, np.float32)
    sums, state = np.zeros(n_terms), np.zeros(n_terms, np.int8)
    candidates, size = np.empty(n_terms, np.int64), 0
    for text in range(n):
        own = terms[starts[text] : starts[text + 1]]
        n_candidates = _associate(own, idf, neighbours, strengths, sums, state, candidates)
        values = np.empty(n_candidates)
        for i in range(n_candidates):
            values[i] = -sums[candidates[i]] * (0.5 + _chance(text, candidates[i], seed))
        best = np.argsort(values)[:n_expansions]
        n_all = len(own) + len(best)
        all_terms, all_weights = np.empty(n_all, np.int64), np.empty(n_all, np.float32)
        for i in range(len(own)):
            term = own[i]
            all_terms[i] = term
            all_weights[i] = (0.4 + 0.6 * _chance(text, term, seed + 100)) * (
                0.25 + 1.5 * idf[term] / (idf[term] + 2.5)
            )
        for i in range(len(best)):
            term = candidates[best[i]]
            share = values[best[i]] / values[best[0]]
            chance = 0.5 + 0.5 * _chance(text, term, seed + 200)
            all_terms[len(own) + i] = term
            all_weights[len(own) + i] = max(0.02, 0.9 * share**1.5 * chance)
        order = np.argsort(all_terms)
        out_terms[size : size + n_all] = all_terms[order]
        out_weights[size : size + n_all] = all_weights[order]
        size += n_all
        out_starts[text + 1] = size
        for i in range(n_candidates):
            sums[candidates[i]] = 0.0
            state[candidates[i]] = 0
        for term in own:
            state[term] = 0
    return out_starts, out_terms[:size].copy(), out_weights[:size].copy()


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _mix(
    starts: Int64Array, terms: Int64Array, pairs: Int64Array, first_half: NDArray[np.bool_]
) -> tuple[Int64Array, Int64Array]:
    """The tokens of one half of one text and of the other half of another, for each pair."""
    n = pairs.shape[1]
    sizes = np.zeros(n + 1, np.int64)
    for i in range(n):
        a, b = pairs[0, i], pairs[1, i]
        sizes[i + 1] = sizes[i] + starts[a + 1] - starts[a] + starts[b + 1] - starts[b]
    out_starts, out = np.zeros(n + 1, np.int64), np.empty(sizes[n], np.int64)
    size = 0
    for i in range(n):
        found = np.empty(sizes[i + 1] - sizes[i], np.int64)
        m = 0
        for half in range(2):
            text = pairs[half, i]
            for place in range(starts[text], starts[text + 1]):
                if first_half[place] == (half == 0):
                    found[m] = terms[place]
                    m += 1
        for term in np.unique(found[:m]):
            out[size] = term
            size += 1
        out_starts[i + 1] = size
    return out_starts, out[:size].copy()
