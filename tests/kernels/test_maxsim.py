"""MaxSim against its float64 specification, and what must never change a score."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cormorant.errors import InputError
from cormorant.kernels import maxsim
from cormorant.kernels.maxsim import carving, reference
from cormorant.ranking import Ranking
from cormorant.vectors import TokenVectors

KINDS = ["float32", "float16", "bfloat16", "int8"]


def _starts(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _queries(random: np.random.Generator, n: int, most: int, dim: int) -> TokenVectors:
    starts = _starts(random.integers(0, most + 1, n))
    return TokenVectors(starts, random.standard_normal((starts[-1], dim)).astype(np.float32))


def _tokens(
    random: np.random.Generator, n: int, most: int, dim: int, kind: str, masked: float | None
) -> maxsim.Tokens:
    starts = _starts(random.integers(0, most + 1, n))
    vectors = random.standard_normal((starts[-1], dim)).astype(np.float32)
    mask = None if masked is None else random.random(len(vectors)) >= masked
    return _of_kind(vectors, starts, kind, mask)


def _of_kind(
    vectors: np.ndarray, starts: np.ndarray, kind: str, mask: np.ndarray | None
) -> maxsim.Tokens:
    if kind == "float16":
        return maxsim.tokens_of(vectors.astype(np.float16), starts, mask=mask)
    if kind == "bfloat16":
        bits = (vectors.view(np.uint32) >> 16).astype(np.uint16)
        return maxsim.tokens_of(bits, starts, mask=mask)
    if kind == "int8":
        scales = (np.abs(vectors).max(axis=1, initial=1e-3) / 127).astype(np.float32)
        codes = np.rint(vectors / scales[:, None]).astype(np.int8)
        return maxsim.tokens_of(codes, starts, scales=scales, mask=mask)
    return maxsim.tokens_of(vectors, starts, mask=mask)


def _one_by_one(queries: TokenVectors, tokens: maxsim.Tokens) -> np.ndarray:
    """Every query with every document, each pair in a call and an array of its own."""
    scores = np.empty((len(queries), tokens.n_documents), np.float32)
    for place in range(tokens.n_documents):
        first, last = tokens.starts[place : place + 2]
        alone = maxsim.tokens_of(
            tokens.vectors[first:last].copy(),
            np.array([0, last - first]),
            scales=None if tokens.scales is None else tokens.scales[first:last].copy(),
            mask=None if tokens.mask is None else tokens.mask[first:last].copy(),
        )
        for number in range(len(queries)):
            scores[number, place] = maxsim.score(queries[number : number + 1], alone)[0, 0]
    return scores


@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 30),
    st.sampled_from([1, 5, 16, 48, 131]),
    st.sampled_from(KINDS),
    st.sampled_from([None, 0.0, 0.4, 1.0]),
)
@settings(deadline=None, max_examples=80)
def test_every_way_of_asking_agrees_with_the_reference(
    seed: int, n: int, dim: int, kind: str, masked: float | None
) -> None:
    random = np.random.default_rng(seed)
    tokens = _tokens(random, n, 45, dim, kind, masked)
    queries = _queries(random, 4, 40, dim)
    expected = reference.score(queries, tokens)
    scores = maxsim.score(queries, tokens)
    # A token dropped or put into the wrong place is off by about 0.01 or more; rounding by 1e-5.
    np.testing.assert_allclose(scores, expected, rtol=2e-6, atol=2e-6 * dim)

    allowed = random.random(n) < 0.7
    for mask in (None, allowed):
        best = maxsim.search(queries, tokens, 5, mask)
        places = np.arange(n) if mask is None else np.flatnonzero(mask)
        for number, row in enumerate(scores):
            order = places[np.lexsort((places, -row[places]))][:5]
            assert best.places[number, : len(order)].tolist() == order.tolist()
            assert best.scores[number, : len(order)].tolist() == row[order].tolist()
            assert (best.places[number, len(order) :] == -1).all()
            assert (best.scores[number, len(order) :] == -np.inf).all()

    places = random.integers(-1, n, 12) if n else np.full(12, -1)
    starts = np.array([0, 5, 5, 11, 12])
    rescored = maxsim.rescore(queries, tokens, places, starts)
    whose = np.repeat(np.arange(4), np.diff(starts))
    if n:
        assert rescored.tolist() == np.where(places < 0, -np.inf, scores[whose, places]).tolist()
    else:
        assert (rescored == -np.inf).all()


@given(st.integers(0, 2**32 - 1), st.sampled_from(KINDS))
@settings(deadline=None, max_examples=40)
def test_batch_order_threads_and_neighbours_change_no_bit(seed: int, kind: str) -> None:
    random = np.random.default_rng(seed)
    tokens = _tokens(random, 25, 60, 40, kind, 0.3)
    queries = _queries(random, 5, 50, 40)
    scores = maxsim.score(queries, tokens)
    assert np.array_equal(_one_by_one(queries, tokens), scores)

    order = random.permutation(25)
    pieces = [np.arange(tokens.starts[i], tokens.starts[i + 1]) for i in order]
    shuffled = np.concatenate([random.permutation(piece) for piece in pieces])
    moved = maxsim.tokens_of(
        tokens.vectors[shuffled],
        _starts(np.array([len(piece) for piece in pieces])),
        scales=None if tokens.scales is None else tokens.scales[shuffled],
        mask=None if tokens.mask is None else tokens.mask[shuffled],
    )
    assert np.array_equal(maxsim.score(queries, moved), scores[:, order])


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(KINDS),
    st.integers(0, 1_500),
    st.integers(2, 6),
    st.lists(st.integers(0, 1_500), max_size=5),
)
@settings(deadline=None, max_examples=25)
def test_threads_and_shards_change_no_bit(
    seed: int, kind: str, n: int, threads: int, cuts: list[int]
) -> None:
    random = np.random.default_rng(seed)
    tokens = _tokens(random, n, 8, 16, kind, 0.2)
    queries = _queries(random, 3, 20, 16)
    scores = maxsim.score(queries, tokens)
    assert np.array_equal(maxsim.score(queries, tokens, threads=threads), scores)
    one, many = (maxsim.search(queries, tokens, 40, threads=t) for t in (1, threads))
    assert np.array_equal(one.places, many.places)
    assert np.array_equal(one.scores, many.scores)
    places, starts = np.tile(np.arange(n), 3), n * np.arange(4)
    rescored = maxsim.rescore(queries, tokens, places, starts, threads=threads)
    assert np.array_equal(rescored.reshape(3, n), scores)

    bounds = [0, *sorted(min(cut, n) for cut in cuts), n]
    shards = [
        tokens._replace(starts=tokens.starts[first : last + 1]) for first, last in pairwise(bounds)
    ]
    parts = [maxsim.score(queries, shard, threads=threads) for shard in shards]
    assert np.array_equal(np.concatenate(parts, axis=1), scores)
    found = [maxsim.search(queries, shard, 40, threads=threads) for shard in shards]
    merged = Ranking.merge(
        [
            Ranking(np.where(best.places < 0, -1, best.places + first), best.scores)
            for best, first in zip(found, bounds[:-1], strict=True)
        ],
        40,
    )
    assert np.array_equal(merged.rows, one.places)
    assert np.array_equal(merged.scores, one.scores)


@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.sampled_from(KINDS))
@settings(deadline=None, max_examples=40)
def test_padding_never_changes_a_score_even_when_all_similarities_are_negative(
    seed: int, padding: int, kind: str
) -> None:
    """Implementations that multiply by a mask, or start from zero, clamp such a score to 0."""
    random = np.random.default_rng(seed)
    vectors = -np.abs(random.standard_normal((9, 24))).astype(np.float32)
    queries = TokenVectors(
        np.array([0, 6]), np.abs(random.standard_normal((6, 24))).astype(np.float32)
    )
    plain = maxsim.score(queries, _of_kind(vectors, np.array([0, 9]), kind, None))
    assert plain[0, 0] < 0
    padded = np.concatenate([vectors, np.zeros((padding, 24), np.float32)])
    mask = np.arange(9 + padding) < 9
    order = random.permutation(9 + padding)  # holes, not a tail
    tokens = _of_kind(padded[order], np.array([0, 9 + padding]), kind, mask[order])
    assert np.array_equal(maxsim.score(queries, tokens), plain)


def test_nothing_scores_nothing() -> None:
    random = np.random.default_rng(0)
    tokens = maxsim.tokens_of(
        -np.abs(random.standard_normal((4, 8))).astype(np.float32),
        np.array([0, 0, 2, 4, 4]),
        mask=np.array([True, True, False, False]),
    )
    queries = TokenVectors(np.array([0, 0, 3]), np.ones((3, 8), np.float32))
    scores = maxsim.score(queries, tokens)
    assert (scores[0] == 0).all()
    assert scores[1, [0, 2, 3]].tolist() == [0, 0, 0]
    assert scores[1, 1] < 0
    assert maxsim.search(queries, tokens, 4).places[1].tolist() == [0, 2, 3, 1]
    none = maxsim.tokens_of(np.zeros((0, 8), np.float32), np.array([0]))
    assert maxsim.score(queries, none).shape == (2, 0)
    assert maxsim.search(queries, none, 3).places.tolist() == [[-1] * 3] * 2
    assert maxsim.search(queries, tokens, 0).places.shape == (2, 0)


def test_ties_go_to_the_lower_place() -> None:
    vectors = np.tile(np.eye(4, dtype=np.float32), (600, 1))
    tokens = maxsim.tokens_of(vectors, np.arange(0, 2401, 4))
    queries = TokenVectors(np.array([0, 4]), np.eye(4, dtype=np.float32))
    for threads in (1, 2):
        best = maxsim.search(queries, tokens, 5, threads=threads)
        assert best.places.tolist() == [[0, 1, 2, 3, 4]]
        assert best.scores.tolist() == [[4.0] * 5]


@pytest.mark.parametrize("kind", ["float32", "float16", "bfloat16"])
def test_a_document_of_nan_sorts_last_and_disturbs_no_other(kind: str) -> None:
    random = np.random.default_rng(3)
    vectors = random.standard_normal((30, 16)).astype(np.float32)
    queries = _queries(random, 2, 8, 16)
    queries = TokenVectors(np.array([0, 3, 7]), random.standard_normal((7, 16)).astype(np.float32))
    starts = np.array([0, 10, 20, 30])
    clean = maxsim.score(queries, _of_kind(vectors, starts, kind, None))
    vectors[10:20] = np.nan
    vectors[25] = np.nan
    tokens = _of_kind(vectors, starts, kind, None)
    scores = maxsim.score(queries, tokens)
    assert (scores[:, 1] == -np.inf).all()
    assert np.array_equal(scores[:, 0], clean[:, 0])
    np.testing.assert_allclose(scores, reference.score(queries, tokens), rtol=1e-5)
    assert maxsim.search(queries, tokens, 3).places[:, 2].tolist() == [1, 1]


def test_infinities_are_ordered() -> None:
    vectors = np.ones((6, 8), np.float32)
    vectors[1, 0], vectors[2:4, 0] = np.inf, -np.inf
    tokens = maxsim.tokens_of(vectors, np.array([0, 2, 4, 6]))
    queries = TokenVectors(np.array([0, 2]), np.ones((2, 8), np.float32))
    assert maxsim.score(queries, tokens).tolist() == [[np.inf, -np.inf, 16.0]]


@given(st.integers(0, 2**32 - 1), st.sampled_from(KINDS))
@settings(deadline=None, max_examples=40)
def test_an_alignment_adds_up_to_the_score(seed: int, kind: str) -> None:
    random = np.random.default_rng(seed)
    tokens = _tokens(random, 8, 20, 12, kind, 0.3)
    queries = _queries(random, 3, 20, 12)
    places = random.integers(-1, 8, 9)
    starts = np.array([0, 4, 4, 9])
    found = maxsim.align(queries, tokens, places, starts)
    scores = maxsim.rescore(queries, tokens, places, starts)
    whose = np.repeat(np.arange(3), np.diff(starts))
    for i, (place, number) in enumerate(zip(places, whose, strict=True)):
        own = slice(found.starts[i], found.starts[i + 1])
        asked = queries.vectors[queries.starts[number] : queries.starts[number + 1]]
        assert own.stop - own.start == len(asked)
        if place < 0 or (held := tokens.starts[place : place + 2])[0] == held[1]:
            assert (found.tokens[own] == -1).all()
            continue
        counting = np.arange(held[0], held[1])
        counting = counting if tokens.mask is None else counting[tokens.mask[counting]]
        if len(counting) == 0:
            assert (found.tokens[own] == -1).all()
            continue
        products = asked.astype(np.float64) @ reference.document(tokens, place).T
        chosen = found.tokens[own] + held[0]
        assert set(chosen) <= set(counting)
        columns = np.searchsorted(counting, chosen)
        if len(asked):
            gap = products.max(axis=1) - products[np.arange(len(asked)), columns]
            assert gap.max() < 1e-5
        total = np.float32(found.similarities[own].astype(np.float64).sum())
        assert total == pytest.approx(scores[i], rel=1e-6, abs=1e-6)


def test_of_equal_tokens_the_first_is_aligned() -> None:
    tokens = maxsim.tokens_of(np.ones((6, 4), np.float32), np.array([0, 2, 6]))
    queries = TokenVectors(np.array([0, 2]), np.ones((2, 4), np.float32))
    assert maxsim.align(queries, tokens, [1], [0, 1]).tokens.tolist() == [0, 0]


@given(st.integers(0, 2**32 - 1), st.integers(0, 30))
@settings(deadline=None, max_examples=60)
def test_carving_keeps_the_sum_and_ends_at_the_query_itself(seed: int, n: int) -> None:
    random = np.random.default_rng(seed)
    vectors = random.standard_normal((n, 6)).astype(np.float32)
    vectors /= np.maximum(1e-9, np.linalg.norm(vectors, axis=1, keepdims=True))
    queries = TokenVectors(np.array([0, n // 2, n]), vectors)
    whole = maxsim.carve(queries, 1.5)
    assert np.array_equal(whole.vectors, vectors)
    assert np.array_equal(whole.starts, queries.starts)
    all_in_one = maxsim.carve(queries, -1.5)
    assert np.diff(all_in_one.starts).tolist() == [int(n // 2 > 0), int(n - n // 2 > 0)]
    carved = maxsim.carve(queries, 0.5)
    assert (np.diff(carved.starts) <= np.diff(queries.starts)).all()
    for number in range(2):
        own = slice(queries.starts[number], queries.starts[number + 1])
        mine = slice(carved.starts[number], carved.starts[number + 1])
        np.testing.assert_allclose(
            carved.vectors[mine].sum(axis=0), vectors[own].sum(axis=0), atol=1e-5
        )


def test_carving_takes_the_first_token_left_with_all_that_are_near() -> None:
    angles = np.radians([0, 30, 50, 200])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    carved = maxsim.carve(TokenVectors(np.array([0, 4]), vectors), 0.8)
    expected = [vectors[:2].sum(axis=0), vectors[2], vectors[3]]
    np.testing.assert_allclose(carved.vectors, expected, rtol=1e-6)


@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 40),
    st.sampled_from([-0.5, 0.0, 0.3, 0.7, 1.0]),
    st.integers(1, 60),
)
@settings(deadline=None, max_examples=60)
def test_carving_is_the_references_in_blocks_of_any_size(
    seed: int, n: int, tau: float, numbers: int
) -> None:
    random = np.random.default_rng(seed)
    vectors = random.standard_normal((n, 5)) * 10.0 ** random.integers(-6, 6, (n, 1))
    vectors[1::6] = 0
    vectors[2::7] = vectors[:1]
    queries = TokenVectors(np.array([0, n // 3, n]), vectors.astype(np.float32))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(carving, "SIMILARITIES", numbers)
        carved = maxsim.carve(queries, tau)
    expected = reference.carve(queries, tau)
    assert np.array_equal(carved.starts, expected.starts)
    np.testing.assert_allclose(carved.vectors, expected.vectors, rtol=1e-6)


def test_carving_compares_directions_not_lengths() -> None:
    """Inner products were compared: short tokens were never carved, long ones of cosine .1 were."""
    vectors = np.array([[1, 0], [0.9, 0.1], [0.1, 1], [0, 0], [0, 0]], np.float32)
    starts = np.array([0, 5])
    for scale in (0.125, 1, 64):
        carved = maxsim.carve(TokenVectors(starts, vectors * np.float32(scale)), 0.7)
        expected = np.array([[1.9, 0.1], [0.1, 1], [0, 0], [0, 0]]) * scale
        np.testing.assert_allclose(carved.vectors, expected, rtol=1e-6)


def test_equal_tokens_have_a_cosine_of_one() -> None:
    drawn = np.random.default_rng(7).standard_normal((200, 24)).astype(np.float32)
    for row in drawn:
        twice = TokenVectors(np.array([0, 2]), np.stack([row, row * 3]))
        assert len(maxsim.carve(twice, 1.0).vectors) == 1


def test_carving_a_long_query_needs_no_square_of_its_tokens() -> None:
    """All pairs of 6,000 tokens took 288 MB, and those of 100,000 would take 80 GB."""
    vectors = np.random.default_rng(1).standard_normal((6_000, 16)).astype(np.float32)
    queries = TokenVectors(np.array([0, 6_000]), vectors)
    tracemalloc.start()
    carved = maxsim.carve(queries, 0.9)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 3_000 < len(carved.vectors) < 6_000
    assert peak < 64 << 20


def test_a_document_of_a_hundred_thousand_tokens() -> None:
    random = np.random.default_rng(5)
    vectors = random.standard_normal((100_000, 8)).astype(np.float32)
    tokens = maxsim.tokens_of(vectors, np.array([0, 100_000]))
    queries = TokenVectors(np.array([0, 33]), random.standard_normal((33, 8)).astype(np.float32))
    expected = (vectors.astype(np.float64) @ queries.vectors.T).max(axis=0).sum()
    assert maxsim.score(queries, tokens)[0, 0] == pytest.approx(expected, rel=1e-6)


def test_offsets_beyond_two_to_the_31_elements(tmp_path: object) -> None:
    """Kernels with offsets of 32 bits read somewhere else, or nowhere."""
    n_tokens, dim = (1 << 31) // 128 + 1_000, 128
    held = np.memmap(f"{tmp_path}/tokens", np.int8, "w+", shape=(n_tokens, dim))  # sparse: no disk
    random = np.random.default_rng(1)
    held[-20:] = random.integers(-100, 100, (20, dim))
    scales = np.full(n_tokens, 0.01, np.float32)
    starts = np.array([0, 5, n_tokens - 20, n_tokens])
    tokens = maxsim.tokens_of(held, np.delete(starts, 1), scales=scales)
    last = maxsim.Tokens(tokens.vectors, starts[2:], tokens.scales, None)
    queries = TokenVectors(np.array([0, 5]), random.standard_normal((5, dim)).astype(np.float32))
    expected = reference.score(queries, last)
    np.testing.assert_allclose(maxsim.score(queries, last), expected, rtol=1e-5)
    rescored = maxsim.rescore(queries, tokens, [1], [0, 1])
    np.testing.assert_allclose(rescored, expected[0], rtol=1e-5)
    aligned = maxsim.align(queries, tokens, [1], [0, 1])
    assert (aligned.tokens < 20).all()


def test_arrays_that_may_only_be_read() -> None:
    """A segment's arrays are mapped read-only."""
    random = np.random.default_rng(9)
    tokens = _tokens(random, 6, 9, 12, "int8", 0.3)
    queries = _queries(random, 2, 9, 12)
    expected = maxsim.score(queries, tokens)
    for array in (tokens.vectors, tokens.starts, tokens.scales, tokens.mask):
        assert array is not None
        array.flags.writeable = False
    assert np.array_equal(maxsim.score(queries, tokens), expected)
    assert (maxsim.search(queries, tokens, 6).scores == -np.sort(-expected, axis=1)).all()


def test_a_bfloat16_tensor_is_taken_as_it_is() -> None:
    import torch

    vectors = torch.randn((6, 8), generator=torch.Generator().manual_seed(0)).bfloat16()
    tokens = maxsim.tokens_of(vectors, np.array([0, 2, 6]))
    queries = TokenVectors(np.array([0, 1]), np.ones((1, 8), np.float32))
    expected = [float(vectors[cut].float().sum(dim=1).max()) for cut in (slice(2), slice(2, 6))]
    np.testing.assert_allclose(maxsim.score(queries, tokens)[0], expected, rtol=1e-5)


@pytest.mark.parametrize("kind", ["float32", "float16", "uint16"])
def test_vectors_at_odd_addresses_are_refused(kind: str) -> None:
    """A field of a packed record passed, and its scores were other numbers (1.5e36)."""
    starts = np.array([0, 4])
    record = np.zeros(4, [("mark", np.int8), ("vector", kind, 8)])
    record["vector"] = 1
    with pytest.raises(InputError, match="packed record") as raised:
        maxsim.tokens_of(record["vector"], starts)
    assert raised.value.field == "vectors"
    moved = np.frombuffer(bytes(1 + 32 * record["vector"].itemsize), kind, 32, 1).reshape(4, 8)
    with pytest.raises(InputError, match="packed record"):
        maxsim.tokens_of(moved, starts)
    maxsim.tokens_of(record["vector"].copy(), starts)


def test_vectors_may_be_rows_of_something_wider_in_any_order() -> None:
    random = np.random.default_rng(5)
    queries = _queries(random, 2, 9, 12)
    for kind in ("float32", "float16"):
        wide = random.standard_normal((40, 17)).astype(kind)
        for held in (wide[:, 5:], wide[::2, 5:], wide[::-1, :12], wide[:, :12]):
            cut = held[:, :12]
            starts = np.array([0, 7, len(cut)])
            expected = maxsim.score(queries, maxsim.tokens_of(cut.copy(), starts))
            assert np.array_equal(maxsim.score(queries, maxsim.tokens_of(cut, starts)), expected)
    coded = np.zeros(9, [("code", np.int8, 12), ("scale", np.float32)])
    coded["code"] = random.integers(-127, 128, (9, 12))
    coded["scale"] = 0.01
    starts = np.array([0, 4, 9])
    taken = maxsim.tokens_of(coded["code"], starts, scales=coded["scale"])
    copied = maxsim.tokens_of(coded["code"].copy(), starts, scales=coded["scale"].copy())
    assert np.array_equal(maxsim.score(queries, taken), maxsim.score(queries, copied))


def test_what_does_not_fit_is_refused() -> None:
    vectors = np.ones((4, 8), np.float32)
    starts = np.array([0, 2, 4])
    tokens = maxsim.tokens_of(vectors, starts)
    queries = TokenVectors(np.array([0, 2]), np.ones((2, 8), np.float32))
    for call, field in (
        (lambda: maxsim.tokens_of(vectors.astype(np.float64), starts), "vectors"),
        (lambda: maxsim.tokens_of(vectors[0], starts), "vectors"),
        (lambda: maxsim.tokens_of(vectors.T, starts), "vectors"),
        (lambda: maxsim.tokens_of(vectors, np.array([0, 3, 2, 4])), "starts"),
        (lambda: maxsim.tokens_of(vectors, np.array([0, 5])), "starts"),
        (lambda: maxsim.tokens_of(vectors, np.array([0.0, 4.0])), "starts"),
        (lambda: maxsim.tokens_of(vectors.astype(np.int8), starts), "scales"),
        (lambda: maxsim.tokens_of(vectors, starts, scales=np.ones(4, np.float32)), "scales"),
        (lambda: maxsim.tokens_of(vectors, starts, mask=np.ones(3, np.bool_)), "mask"),
        (lambda: maxsim.score(TokenVectors(queries.starts, vectors[:2, :5]), tokens), "queries"),
        (
            lambda: maxsim.score(TokenVectors(queries.starts, vectors[:2] * np.nan), tokens),
            "queries",
        ),
        (lambda: maxsim.search(queries, tokens, -1), "k"),
        (lambda: maxsim.search(queries, tokens, 1, np.ones(3, np.bool_)), "allowed"),
        (lambda: maxsim.score(queries, tokens, threads=0), "threads"),
        (lambda: maxsim.rescore(queries, tokens, [2], [0, 1]), "places"),
        (lambda: maxsim.rescore(queries, tokens, [-2], [0, 1]), "places"),
        (lambda: maxsim.rescore(queries, tokens, [0], [0, 1, 1]), "places"),
        (lambda: maxsim.rescore(queries, tokens, [0, 1], [1, 2]), "starts"),
        (lambda: maxsim.rescore(queries, tokens, [0, 1], [0, 1]), "starts"),
        (lambda: maxsim.align(queries, tokens, [0, 1], [0, 1]), "starts"),
        (lambda: maxsim.carve(queries, np.nan), "tau"),
    ):
        with pytest.raises(InputError) as raised:
            call()
        assert raised.value.field == field
