"""The Triton version of MaxSim: interpreted against the reference, compiled for two generations.

Whether a kernel is interpreted is settled when it is decorated, so each check runs this file in a
process of its own. The interpreter shows that the kernel reads and writes the right places; how a
GPU rounds it cannot show.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest

from cormorant.errors import InputError
from cormorant.kernels import maxsim
from cormorant.kernels.maxsim import reference
from cormorant.kernels.residual import compress, n_centroids
from cormorant.vectors import TokenVectors

# The interpreter keeps a bfloat16 as the 16 bits of an integer, and reckons with those.
INTERPRETED = ("float32", "float16", "int8", "residual2", "residual4")


def test_interpreted_it_agrees_with_the_reference(interpreted: Callable[[str], None]) -> None:
    interpreted("agree")


def test_it_compiles_for_two_generations(compiled: Callable[[str], None]) -> None:
    compiled("compile")


def test_on_the_gpu_it_agrees_with_the_reference(on_cuda: Callable[[str], None]) -> None:
    on_cuda("device")


def test_without_a_device_tokens_stay_where_they_are() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    tokens = maxsim.tokens_of(np.ones((2, 4), np.float32), np.array([0, 2]))
    assert maxsim.placed(tokens) is tokens


def _agree(device: str, kinds: tuple[str, ...]) -> None:
    from cormorant.kernels.maxsim import gpu

    for kind in kinds:
        for dim, most_query, seed in ((40, 14, 0), (33, 35, 1)):
            random = np.random.default_rng(seed)
            tokens = _tokens(random, kind, 9, 90, dim, masked=seed == 0)
            asked = TokenVectors(
                np.array([0, 0, most_query, 2 * most_query - 1]),
                random.standard_normal((2 * most_query - 1, dim)).astype(np.float32),
            )
            expected = reference.score(asked, tokens)
            placed = gpu.on_device(tokens, device)
            scores = maxsim.score(asked, placed)
            np.testing.assert_allclose(scores, expected, rtol=2e-6, atol=2e-6 * dim)

            gpu.STRETCH = 4  # so that a search crosses from stretch to stretch
            gpu.QUERIES, gpu.PAIRS = 2, 3  # and from some queries, and candidates, to others
            assert np.array_equal(maxsim.score(asked, placed), scores)
            allowed = random.random(9) < 0.8
            for mask in (allowed,) if seed else (None, allowed):
                found = maxsim.search(asked, placed, 6, mask)
                places = np.arange(9) if mask is None else np.flatnonzero(mask)
                for number, row in enumerate(scores):
                    order = places[np.lexsort((places, -row[places]))][:6]
                    assert found.places[number, : len(order)].tolist() == order.tolist()
                    assert found.scores[number, : len(order)].tolist() == row[order].tolist()
                    assert (found.places[number, len(order) :] == -1).all()
            starts = np.array([0, 4, 4, 9])
            wanted = random.integers(-1, 9, 9)
            rescored = maxsim.rescore(asked, placed, wanted, starts)
            whose = np.repeat(np.arange(3), np.diff(starts))
            assert np.array_equal(rescored, np.where(wanted < 0, -np.inf, scores[whose, wanted]))
            assert not maxsim.rescore(asked, placed, [], [0, 0, 0, 0]).size
            found = maxsim.align(asked, placed, wanted, starts)
            aligned = maxsim.align(asked, tokens, wanted, starts)
            for one, other in zip(found, aligned, strict=True):
                assert np.array_equal(one, other)
            with pytest.raises(InputError, match="number of places"):
                maxsim.rescore(asked, placed, wanted, starts - 1 + (starts == 0))


def _tokens(
    random: np.random.Generator, kind: str, n: int, most: int, dim: int, *, masked: bool
) -> maxsim.Tokens:
    lengths = random.integers(0, most, n)
    lengths[2] = 0
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    vectors = random.standard_normal((starts[-1], dim)).astype(np.float32)
    vectors -= 2 * np.abs(vectors) * (random.random((starts[-1], 1)) < 0.3)
    mask = random.random(starts[-1]) < 0.7 if masked else None
    if masked:
        mask[starts[5] : starts[6]] = False
    if kind == "int8":
        scales = (np.abs(vectors).max(axis=1) / 127).astype(np.float32)
        codes = np.rint(vectors / scales[:, None]).astype(np.int8)
        return maxsim.tokens_of(codes, starts, scales=scales, mask=mask)
    if kind.startswith("residual"):
        bits = int(kind[-1])
        made = compress(vectors, starts, bits)
        begins = np.concatenate([[0], np.cumsum(n_centroids(np.diff(starts)))])[:-1]
        owners = (made.owners + np.repeat(begins, lengths)).astype(np.uint32)
        residual = maxsim.Residual(bits, owners, made.centroids, made.centroid_scales)
        return maxsim.tokens_of(
            made.codes, starts, scales=made.scales, mask=mask, residual=residual
        )
    if kind == "bfloat16":
        bits = (vectors.view(np.uint32) >> 16).astype(np.uint16)
        return maxsim.tokens_of(bits, starts, mask=mask)
    return maxsim.tokens_of(vectors.astype(kind), starts, mask=mask)


def _ties_and_nan(device: str) -> None:
    from cormorant.kernels.maxsim import gpu

    gpu.STRETCH, gpu.QUERIES, gpu.PAIRS = 4, 128, 1 << 24
    vectors = np.ones((20, 8), np.float32)
    vectors[4:6] = np.nan
    tokens = gpu.on_device(maxsim.tokens_of(vectors, np.arange(0, 21, 2)), device)
    asked = TokenVectors(np.array([0, 2]), np.ones((2, 8), np.float32))
    found = maxsim.search(asked, tokens, 10)
    assert found.places.tolist() == [[0, 1, 3, 4, 5, 6, 7, 8, 9, 2]]
    assert found.scores.tolist() == [[16.0] * 9 + [-np.inf]]


def _bounded(device: str) -> None:
    """All queries were asked at once: 32,768 of them were more programs than a grid has."""
    from cormorant.kernels.maxsim import gpu

    pairs, launch = [], gpu._launch

    def noting(queries: object, tokens: object, n_pairs: int, *more: object) -> object:
        pairs.append(n_pairs)
        return launch(queries, tokens, n_pairs, *more)

    gpu._launch = noting
    gpu.STRETCH, gpu.QUERIES, gpu.PAIRS = 4, 3, 10
    random = np.random.default_rng(3)
    held = maxsim.tokens_of(random.standard_normal((6, 8)).astype(np.float32), np.arange(7))
    asked = TokenVectors(np.arange(9), random.standard_normal((8, 8)).astype(np.float32))
    places, starts = np.tile(np.arange(6), 8), np.arange(0, 49, 6)
    tokens = gpu.on_device(held, device)
    expected = maxsim.score(asked, held)
    np.testing.assert_allclose(maxsim.score(asked, tokens), expected, rtol=1e-5, atol=1e-5)
    assert pairs == [12, 6, 12, 6, 8, 4]
    assert maxsim.search(asked, tokens, 2).places.tolist() == (
        maxsim.search(asked, held, 2).places.tolist()
    )
    assert pairs == 2 * [12, 6, 12, 6, 8, 4]
    rescored = maxsim.rescore(asked, tokens, places, starts)
    np.testing.assert_allclose(rescored, expected.ravel(), rtol=1e-5, atol=1e-5)
    assert pairs[12:] == [10, 10, 10, 10, 8]
    gpu._launch = launch


def _compile() -> None:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from cormorant.kernels.maxsim.gpu import DIMENSIONS, TILE, maxsim_kernel

    for kind, masked, listed, query_tile, generation in product(
        ("fp32", "fp16", "bf16", "i8"), (False, True), (False, True), (16, 32), (80, 90)
    ):
        constants = {
            "LISTED": listed, "SCALED": kind == "i8", "MASKED": masked, "QUERY_TILE": query_tile,
            "TOKEN_TILE": TILE, "DIMENSION_TILE": DIMENSIONS,
        }  # fmt: skip
        # What a variant does not read is given the starts of the queries, as in a launch.
        signature = {
            "query_vectors": "*fp32", "query_starts": "*i64", "vectors": f"*{kind}",
            "starts": "*i64", "scales": "*fp32" if kind == "i8" else "*i64",
            "mask": "*i1" if masked else "*i64", "listed_queries": "*i64",
            "listed_places": "*i64", "scores": "*fp32", "n_queries": "i32",
            "first_place": "i64", "dim": "i32",
        } | dict.fromkeys(constants, "constexpr")  # fmt: skip
        places = {(list(signature).index(name),): value for name, value in constants.items()}
        source = ASTSource(fn=maxsim_kernel, signature=signature, constexprs=places)
        made = triton.compile(source, target=GPUTarget("cuda", generation, 32))
        assert len(made.asm["cubin"]) > 1_000
        assert made.metadata.shared <= 48 * 1024


if __name__ == "__main__":
    chosen = sys.argv[1]
    if chosen == "agree":
        _agree("cpu", INTERPRETED)
        _ties_and_nan("cpu")
        _bounded("cpu")
    elif chosen == "device":
        _agree("cuda", (*INTERPRETED, "bfloat16"))
        _ties_and_nan("cuda")
        _bounded("cuda")
    else:
        _compile()
    print(f"{chosen} done")
