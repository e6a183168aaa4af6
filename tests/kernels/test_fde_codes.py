"""Encodings in fewer bytes, and queries of fewer cells, score what they stand for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cormorant.kernels import fde, maxsim
from cormorant.kernels.fde import codes as fde_codes
from cormorant.vectors import TokenVectors


def _ragged(random: np.random.Generator, n: int, most: int, dim: int) -> TokenVectors:
    starts = np.concatenate([[0], np.cumsum(random.integers(0, most + 1, n))]).astype(np.int64)
    vectors = random.standard_normal((starts[-1], dim)).astype(np.float32)
    vectors /= np.maximum(1e-9, np.linalg.norm(vectors, axis=1, keepdims=True))
    return TokenVectors(starts, vectors)


@given(st.integers(0, 2**32 - 1), st.sampled_from([4, 8, 16, 24]))
@settings(deadline=None, max_examples=30)
def test_sparse_queries_score_like_whole_ones(seed: int, width: int) -> None:
    random = np.random.default_rng(seed)
    parameters = fde.Fde(32, 4, 3, width, seed=seed)
    documents, queries = _ragged(random, 20, 30, 32), _ragged(random, 5, 12, 32)
    encoded = fde.encode_documents(
        parameters, maxsim.tokens_of(documents.vectors, documents.starts)
    )
    asked = fde.encode_queries(parameters, queries)
    sparse = fde.sparse(parameters, asked)
    touched = asked.reshape(5, -1, width).any(axis=2)
    assert np.diff(sparse.starts).tolist() == touched.sum(axis=1).tolist()
    expected = asked.astype(np.float64) @ encoded.astype(np.float64).T
    scores = fde.score_sparse(sparse, encoded)
    np.testing.assert_allclose(scores, expected, atol=2e-5)
    for place in range(20):
        alone = fde.score_sparse(sparse, encoded[place : place + 1])
        assert np.array_equal(alone[:, 0], scores[:, place])

    coded = fde.as_bytes(encoded)
    assert (
        np.abs(coded.codes * coded.scales[:, None] - encoded).max() <= coded.scales.max() * 0.5001
    )
    narrow = fde.score_sparse(sparse, coded.codes, coded.scales)
    whole = asked.astype(np.float64) @ (coded.codes * coded.scales[:, None].astype(np.float64)).T
    np.testing.assert_allclose(narrow, whole, atol=2e-5)


def test_a_product_quantiser_finds_the_nearest_centroids_and_scores_what_it_decodes() -> None:
    random = np.random.default_rng(8)
    parameters = fde.Fde(16, 3, 2, 8)
    documents, queries = _ragged(random, 400, 12, 16), _ragged(random, 4, 10, 16)
    encoded = fde.encode_documents(
        parameters, maxsim.tokens_of(documents.vectors, documents.starts)
    )
    asked = fde.encode_queries(parameters, queries)
    product = fde.product_quantiser(encoded, 8, rounds=5)
    again = fde.product_quantiser(encoded, 8, rounds=5)
    assert np.array_equal(product.centroids, again.centroids)
    codes = product.encode(encoded)
    parts = encoded.reshape(400, 16, 1, 8).astype(np.float64)
    distances = ((parts - product.centroids.astype(np.float64)) ** 2).sum(axis=3)
    taken = np.take_along_axis(distances, codes[:, :, None].astype(np.int64), axis=2)[:, :, 0]
    assert (taken - distances.min(axis=2)).max() < 1e-5
    start = fde.product_quantiser(encoded, 8, rounds=0)
    lost = ((start.decode(start.encode(encoded)) - encoded) ** 2).sum()
    assert ((product.decode(codes) - encoded) ** 2).sum() < lost
    scores = fde.score_product(asked, product, codes)
    expected = asked.astype(np.float64) @ product.decode(codes).astype(np.float64).T
    np.testing.assert_allclose(scores, expected, atol=1e-4)


@given(st.integers(0, 2**32 - 1), st.integers(0, 40), st.integers(1, 13), st.integers(1, 9))
@settings(deadline=None, max_examples=40)
def test_product_codes_score_alike_in_any_batch_and_by_any_threads(
    seed: int, n_queries: int, groups: int, group: int
) -> None:
    random = np.random.default_rng(seed)
    product = fde.Product(random.standard_normal((groups, 256, group)).astype(np.float32))
    codes = random.integers(0, 256, (700, groups)).astype(np.uint8)
    queries = random.standard_normal((n_queries, groups * group)).astype(np.float32)
    queries[random.random(queries.shape) < 0.3] = 0
    queries[:, : group * int(random.integers(0, groups + 1))] = 0  # cells that no query touches
    scores = fde.score_product(queries, product, codes, threads=1)
    expected = queries.astype(np.float64) @ product.decode(codes).astype(np.float64).T
    np.testing.assert_allclose(scores, expected, atol=2e-5)
    assert np.array_equal(fde.score_product(queries, product, codes, threads=3), scores)
    assert np.array_equal(fde.score_product(queries, product, codes), scores)
    for number in range(0, n_queries, 7):
        alone = fde.score_product(queries[number : number + 1], product, codes[:300])
        assert np.array_equal(alone[0], scores[number, :300])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fde_codes, "MOST_GROUPS", groups - 1)
        assert np.array_equal(fde.score_product(queries, product, codes), scores)
    some = np.sort(random.permutation(700)[:90])
    assert np.array_equal(fde.score_product(queries, product, codes[some]), scores[:, some])
