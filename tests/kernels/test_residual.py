"""Residual codes: the bytes say what the contract says, and MaxSim reads them so."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cormorant.errors import InputError
from cormorant.kernels import fde, maxsim
from cormorant.kernels.maxsim import Residual, Tokens, reference, tokens_of
from cormorant.kernels.residual import LEVELS, SHARE, Compressed, compress, n_centroids
from cormorant.vectors import TokenVectors

RELATIVE_ERROR = {2: 0.36, 4: 0.11}
"""What these levels leave of a Gaussian: sqrt(0.1175) and sqrt(0.0095), and room for short ones."""


def text_like(lengths: list[int], dim: int, seed: int) -> TokenVectors:
    """Unit vectors of which those of one text have much in common."""
    random = np.random.default_rng(seed)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    common = np.repeat(random.standard_normal((len(lengths), dim)), lengths, axis=0)
    drawn = common + random.standard_normal((int(starts[-1]), dim))
    drawn /= np.maximum(np.linalg.norm(drawn, axis=1, keepdims=True), 1e-9)
    return TokenVectors(starts, drawn.astype(np.float32))


def stored(made: Compressed, starts: np.ndarray, bits: int) -> Tokens:
    begins = np.concatenate([[0], np.cumsum(n_centroids(np.diff(starts)))])[:-1]
    owners = (made.owners + np.repeat(begins, np.diff(starts))).astype(np.uint32)
    residual = Residual(bits, owners, made.centroids, made.centroid_scales)
    return tokens_of(made.codes, starts, scales=made.scales, residual=residual)


def decoded(made: Compressed, owner: int, token: int, bits: int, dim: int) -> np.ndarray:
    """One vector, number by number, as the contract says."""
    values = []
    for i in range(dim):
        code = (int(made.codes[token, i * bits // 8]) >> (i * bits % 8)) % (1 << bits)
        held = np.float32(made.centroids[owner, i]) * made.centroid_scales[owner]
        values.append(held + LEVELS[bits][code] * made.scales[token])
    return np.array(values, np.float32)


@given(
    st.lists(st.integers(0, 80), min_size=1, max_size=5),
    st.integers(1, 40),
    st.sampled_from([2, 4]),
    st.integers(0, 9),
)
@settings(max_examples=40, deadline=None)
def test_every_version_reads_the_same_vectors(
    lengths: list[int], dim: int, bits: int, seed: int
) -> None:
    given_ = text_like(lengths, dim, seed)
    made = compress(given_.vectors, given_.starts, bits)
    tokens = stored(made, given_.starts, bits)
    wide = tokens.widened(0, len(given_.vectors))
    for token in range(0, len(wide), 7):
        assert tokens.residual is not None
        owner = int(tokens.residual.owners[token])
        np.testing.assert_array_equal(wide[token], decoded(made, owner, token, bits, dim))
    random = np.random.default_rng(seed)
    asked = TokenVectors(np.array([0, 3, 4]), random.standard_normal((4, dim)).astype(np.float32))
    scores = maxsim.score(asked, tokens)
    plain = tokens_of(wide, given_.starts)
    np.testing.assert_array_equal(scores, maxsim.score(asked, plain))
    np.testing.assert_allclose(scores, reference.score(asked, tokens), rtol=1e-4, atol=1e-4)
    own = fde.Fde(dim=dim, k_sim=2, r_reps=2, d_proj=None)
    np.testing.assert_array_equal(
        fde.encode_documents(own, tokens), fde.encode_documents(own, plain)
    )


@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("lengths", [[1], [40, 300], [700]])
def test_the_error_is_that_of_the_levels(bits: int, lengths: list[int]) -> None:
    given_ = text_like(lengths, 128, 3)
    made = compress(given_.vectors, given_.starts, bits)
    wide = stored(made, given_.starts, bits).widened(0, len(given_.vectors))
    error = np.sqrt(((wide - given_.vectors) ** 2).sum(axis=1))
    assert error.max() <= RELATIVE_ERROR[bits], "of unit vectors"
    assert error.mean() <= RELATIVE_ERROR[bits] * 0.85, "a centroid takes what is common"
    assert len(made.centroids) == sum(-(-n // SHARE) for n in lengths)


@pytest.mark.parametrize("bits", [2, 4])
def test_a_text_is_compressed_alone(bits: int) -> None:
    given_ = text_like([5, 0, 290, 33], 24, 1)
    whole = compress(given_.vectors, given_.starts, bits)
    begins = np.concatenate([[0], np.cumsum(n_centroids(np.diff(given_.starts)))])
    for text in range(4):
        one = given_[text : text + 1]
        alone = compress(one.vectors, one.starts, bits)
        tokens = slice(int(given_.starts[text]), int(given_.starts[text + 1]))
        centroids = slice(int(begins[text]), int(begins[text + 1]))
        for name in ("codes", "scales", "owners"):
            np.testing.assert_array_equal(getattr(alone, name), getattr(whole, name)[tokens])
        for name in ("centroids", "centroid_scales"):
            np.testing.assert_array_equal(getattr(alone, name), getattr(whole, name)[centroids])


def test_zeros_and_equal_tokens_stay_what_they_are() -> None:
    vectors = np.zeros((40, 8), np.float32)
    vectors[20:] = 127.0
    made = compress(vectors, np.array([0, 20, 40]), 2)
    np.testing.assert_array_equal(stored(made, np.array([0, 20, 40]), 2).widened(0, 40), vectors)


def test_masked_tokens_of_codes_are_excluded() -> None:
    given_ = text_like([6, 9], 16, 2)
    tokens = stored(compress(given_.vectors, given_.starts, 4), given_.starts, 4)
    mask = np.array([True, False, True] * 5)
    asked = TokenVectors(np.array([0, 2]), given_.vectors[:2])
    kept = np.flatnonzero(mask)
    plain = tokens_of(tokens.widened(0, 15)[kept], np.searchsorted(kept, given_.starts))
    np.testing.assert_array_equal(
        maxsim.score(asked, tokens._replace(mask=mask)), maxsim.score(asked, plain)
    )


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("owners", np.full(6, 99, np.uint32), "below 1"),
        ("owners", np.zeros(5, np.uint32), "uint32"),
        ("owners", np.zeros(12, np.uint32)[::2], "side by side"),
        ("centroids", np.zeros((1, 17), np.int8), "codes of 2 bits"),
        ("centroids", np.zeros((1, 16), np.float32), "int8"),
        ("centroid_scales", np.zeros(2, np.float32), "float32 scale"),
        ("bits", 3, "2 or 4 bits"),
    ],
)
def test_codes_that_would_be_read_beyond_their_end(part: str, value: object, message: str) -> None:
    given_ = text_like([6], 16, 2)
    tokens = stored(compress(given_.vectors, given_.starts, 2), given_.starts, 2)
    assert tokens.residual is not None
    wrong = tokens.residual._replace(**{part: value})
    with pytest.raises(InputError, match=message):
        tokens_of(tokens.vectors, tokens.starts, scales=tokens.scales, residual=wrong)
