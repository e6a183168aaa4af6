"""Synthetic sentences: the same everywhere, and of the shape that was asked for."""

import hashlib
import itertools

import numpy as np
import pytest

from cormorant.errors import InputError
from cormorant.eval import synthetic
from cormorant.eval.synthetic import synthetic_queries, synthetic_sentences, vocabulary

SENTENCES = "31077405b43450f851c80fba60fc3c8452eb8ab32336a3afe310fe50bd3929e0"
QUERIES = "c678596ca878c5814f775cadb25311e544b3d6bba31f7d1ecfc3dc8d30d0a7ab"
WORDS = "27e6d8f2eece2bb969331a93e09469d6a05ec87341c87a87293a4b3bc399cdf7"


def digest(lines):
    return hashlib.sha256("\n".join(lines).encode("ascii")).hexdigest()


def test_the_same_bytes_for_the_same_seed_everywhere():
    """Recorded once; another value here means that old benchmark figures no longer compare."""
    assert digest(synthetic_sentences(20_000, seed=1)) == SENTENCES
    assert digest(synthetic_queries(10_000, seed=1)) == QUERIES
    assert digest(vocabulary().tolist()) == WORDS


def test_seeds_and_streams_differ():
    first = list(synthetic_sentences(100, seed=1))
    assert first == list(synthetic_sentences(100, seed=1))
    assert first != list(synthetic_sentences(100, seed=2))
    assert not set(synthetic_queries(100, seed=1)) & set(first)


def test_a_short_corpus_is_the_beginning_of_a_long_one(monkeypatch):
    monkeypatch.setattr(synthetic, "_CHUNK", 50)
    long = list(synthetic_sentences(130, seed=3))
    assert (len(long), list(synthetic_sentences(70, seed=3))) == (130, long[:70])
    queries = list(synthetic_queries(130, seed=3))
    assert (len(queries), list(synthetic_queries(70, seed=3))) == (130, queries[:70])


def test_the_vocabulary():
    words = vocabulary()
    assert words.shape == (200_000,)
    assert len(set(words)) == 200_000
    assert all(word.isalpha() and word.isascii() and word.islower() for word in words)
    assert len(words[0]) <= len(words[1000]) <= len(words[-1])


def test_lengths_and_frequencies():
    sentences = [line.split(" ") for line in synthetic_sentences(20_000, seed=5)]
    lengths = np.array([len(words) for words in sentences])
    assert np.median(lengths) == 14
    assert 15 < lengths.mean() < 17
    assert lengths.min() >= 1
    assert lengths.max() <= 100
    rank = {word: place for place, word in enumerate(vocabulary(), 1)}
    ranks = np.array([rank[word] for word in itertools.chain.from_iterable(sentences)])
    total = sum(1 / (place + 2.7) for place in range(1, 200_001))
    for place in (1, 10, 100):
        expected = len(ranks) / (place + 2.7) / total
        assert abs((ranks == place).sum() - expected) < 5 * expected**0.5
    assert (ranks > 100_000).mean() == pytest.approx(np.log(2) / total, rel=0.05)


def test_queries_mix_frequent_and_rare_words():
    queries = [line.split(" ") for line in synthetic_queries(5000, seed=5)]
    assert {len(words) for words in queries} == set(range(2, 9))
    rank = {word: place for place, word in enumerate(vocabulary(), 1)}
    assert np.median([rank[words[0]] for words in queries]) < 2000
    assert 90_000 < np.median([rank[words[1]] for words in queries]) < 110_000


@pytest.mark.parametrize(("n", "seed"), [(-1, 0), (1, -1)])
def test_negative_numbers_are_refused(n, seed):
    for make in (synthetic_sentences, synthetic_queries):
        with pytest.raises(InputError, match="at least 0"):
            list(make(n, seed))


def test_none_at_all():
    assert list(synthetic_sentences(0, seed=1)) == list(synthetic_queries(0, seed=1)) == []
