"""Made-up sentences and queries for benchmarks: as many as asked for, the same everywhere.

Words are drawn from 200,000 pronounceable made-up ones by the law of Zipf and Mandelbrot, a word's
weight being 1 / (rank + 2.7) (Mandelbrot 1953, with exponent 1); lengths are log-normal, with
median 14 words and sigma 0.5. The same seed gives the same bytes on every platform: the weights are
integers (made by integer division, or in decimal arithmetic), and the only random numbers are
uniform doubles from PCG64, each multiplied once and cut to an integer. The first sentences of a
long corpus are those of a short one.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Context, Decimal, localcontext
from functools import cache

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

VOCABULARY = 200_000
MEDIAN_WORDS, SIGMA, MAX_WORDS = 14, "0.5", 100
QUERY_WORDS = (2, 8)
_CHUNK = 8192
_CONSONANTS = "bdfghjklmnprstvz"
_VOWELS = "aeiou"
_ENDINGS = ("", "n", "r", "l", "m", "x")
_SENTENCES, _QUERIES = 0, 1


def synthetic_sentences(n: int, seed: int) -> Iterator[str]:
    """``n`` sentences, 1 to 100 lower-case words each, separated by single spaces.

    ``seed``: an integer >= 0. About a microsecond a word, and no more memory for more sentences.
    Raises :class:`~cormorant.errors.InputError` for a negative ``n`` or ``seed``.
    """
    random = _random(n, seed, _SENTENCES)
    words, weights, lengths = vocabulary(), _word_weights(), _length_weights()
    for start in range(0, n, _CHUNK):
        sizes = _draw(random, lengths, _CHUNK) + 1
        ends = np.cumsum(sizes).tolist()
        drawn = words[_draw(random, weights, ends[-1])].tolist()
        begin = 0
        for end in ends[: n - start]:
            yield " ".join(drawn[begin:end])
            begin = end


def synthetic_queries(n: int, seed: int) -> Iterator[str]:
    """``n`` queries of 2 to 8 words, all lengths equally likely, for ``synthetic_sentences``.

    The first word is drawn as in sentences, mostly a frequent one; the second evenly from the whole
    vocabulary, mostly a rare one; each further word one way or the other. Raises as
    :func:`synthetic_sentences` does.
    """
    random = _random(n, seed, _QUERIES)
    words, weights = vocabulary(), _word_weights()
    shortest, longest = QUERY_WORDS
    even = np.arange(1, longest - shortest + 2, dtype=np.int64)
    for start in range(0, n, _CHUNK):
        sizes = (_draw(random, even, _CHUNK) + shortest).tolist()
        frequent = _draw(random, weights, _CHUNK * longest)
        rare = (random.random(_CHUNK * longest) * VOCABULARY).astype(np.int64)
        take_rare = random.random(_CHUNK * longest) < 0.5
        take_rare[0::longest], take_rare[1::longest] = False, True
        rows = words[np.where(take_rare, rare, frequent)].reshape(_CHUNK, longest).tolist()
        for row, size in zip(rows[: n - start], sizes, strict=False):
            yield " ".join(row[:size])


@cache
def vocabulary() -> NDArray[np.object_]:
    """The 200,000 words, most frequent first: (200000,) of str, letters only, all different.

    A word is consonant-vowel pairs and one of six endings, so that it can be taken apart in one way
    only; the more frequent the shorter. Words of equal length are in an order that looks random.
    """
    pairs = [consonant + vowel for consonant in _CONSONANTS for vowel in _VOWELS]
    words: list[str] = []
    syllables = 1
    while len(words) < VOCABULARY:
        count = len(pairs) ** syllables * len(_ENDINGS)
        step = _coprime_step(count)
        for place in range(min(count, VOCABULARY - len(words))):
            number, ending = divmod(place * step % count, len(_ENDINGS))
            word = _ENDINGS[ending]
            for _ in range(syllables):
                number, pair = divmod(number, len(pairs))
                word = pairs[pair] + word
            words.append(word)
        syllables += 1
    return np.array(words, dtype=object)


def _coprime_step(count: int) -> int:
    """A stride near the golden section of ``count`` that reaches every place once."""
    step = count * 618 // 1000
    while np.gcd(step, count) != 1:
        step += 1
    return step


def _random(n: int, seed: int, stream: int) -> np.random.Generator:
    if n < 0 or seed < 0:
        raise InputError(f"n and seed are at least 0, got {n} and {seed}")
    return np.random.Generator(np.random.PCG64([seed, stream]))


def _draw(random: np.random.Generator, cumulated: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """``n`` places, each as likely as its weight; ``cumulated``: running sums of the weights."""
    target = (random.random(n) * float(cumulated[-1])).astype(np.int64)
    np.minimum(target, cumulated[-1] - 1, out=target)  # the product may round up to the sum
    return np.searchsorted(cumulated, target, side="right")


@cache
def _word_weights() -> NDArray[np.int64]:
    """Running sums of 10 / (10 rank + 27), scaled to integers, rank from 1."""
    ranks = np.arange(1, VOCABULARY + 1, dtype=np.int64)
    return np.cumsum((1 << 48) // (10 * ranks + 27))


@cache
def _length_weights() -> NDArray[np.int64]:
    """Running sums of the log-normal density at 1, 2, ... 100 words, scaled to integers."""
    weights = []
    with localcontext(Context(prec=30)):
        for length in range(1, MAX_WORDS + 1):
            distance = (Decimal(length) / MEDIAN_WORDS).ln() / Decimal(SIGMA)
            weights.append(int((-distance * distance / 2).exp() / length * 10**12))
    return np.cumsum(np.array(weights, np.int64))
