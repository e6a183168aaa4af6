"""Fixed dimensional encodings against their specification, and what they promise."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cormorant.errors import InputError
from cormorant.kernels import fde, maxsim
from cormorant.kernels.fde import cpu, philox, plans, reference
from cormorant.kernels.fde import settings as matrices
from cormorant.vectors import TokenVectors

KINDS = ["float32", "float16", "bfloat16", "int8"]
ENCODINGS = [
    fde.Fde(16, 3, 4, 8, seed=1),
    fde.Fde(16, 0, 2, None),
    fde.Fde(1, 2, 3, None, seed=2),
    fde.Fde(24, 6, 3, 7, seed=3),
    fde.Fde(40, 4, 5, 7, 33, seed=4),
    fde.Fde(40, 4, 5, 7, 33, "dense", seed=5),
    fde.Fde(20, 5, 40, 20, 50, seed=2**64 - 1),
    fde.Fde(131, 5, 20, 16, seed=6),
]


def _ragged(random: np.random.Generator, n: int, most: int, dim: int) -> TokenVectors:
    starts = np.concatenate([[0], np.cumsum(random.integers(0, most + 1, n))]).astype(np.int64)
    vectors = random.standard_normal((starts[-1], dim)).astype(np.float32)
    vectors /= np.maximum(1e-9, np.linalg.norm(vectors, axis=1, keepdims=True))
    return TokenVectors(starts, vectors)


def _of_kind(texts: TokenVectors, kind: str, mask: np.ndarray | None = None) -> maxsim.Tokens:
    vectors, scales = texts.vectors, None
    if kind == "float16":
        vectors = vectors.astype(np.float16)
    elif kind == "bfloat16":
        vectors = (vectors.view(np.uint32) >> 16).astype(np.uint16)
    elif kind == "int8":
        scales = (np.abs(vectors).max(axis=1, initial=1e-3) / 127).astype(np.float32)
        vectors = np.rint(vectors / scales[:, None]).astype(np.int8)
    return maxsim.tokens_of(vectors, texts.starts, scales=scales, mask=mask)


def _chamfer(query: np.ndarray, document: np.ndarray) -> float:
    return float((query.astype(np.float64) @ document.astype(np.float64).T).max(axis=1).sum())


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(ENCODINGS),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, 0.5]),
)
@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=30)
def test_encodings_are_the_references(
    kind: str, seed: int, parameters: fde.Fde, centred: bool, filled: bool, masked: float | None
) -> None:
    random = np.random.default_rng(seed)
    texts = _ragged(random, 6, 90, parameters.dim)
    mask = None if masked is None else random.random(len(texts.vectors)) >= masked
    tokens = _of_kind(texts, kind, mask)
    mean = random.standard_normal(parameters.dim).astype(np.float32) / 10 if centred else None
    # A token in another cell, dropped, or filling another cell is off by some 0.01.
    np.testing.assert_allclose(
        fde.encode_documents(parameters, tokens, mean=mean, filled=filled),
        reference.documents(parameters, tokens, mean, filled),
        atol=2e-5,
    )
    queries = _ragged(random, 4, 40, parameters.dim)
    np.testing.assert_allclose(
        fde.encode_queries(parameters, queries, mean=mean),
        reference.queries(parameters, queries, mean),
        atol=2e-5,
    )


@given(st.integers(0, 2**32 - 1), st.sampled_from(ENCODINGS), st.integers(1, 6))
@settings(deadline=None, max_examples=40)
def test_batch_padding_and_sharding_change_no_bit(
    seed: int, parameters: fde.Fde, padding: int
) -> None:
    random = np.random.default_rng(seed)
    texts = _ragged(random, 9, 60, parameters.dim)
    together = fde.encode_documents(parameters, maxsim.tokens_of(texts.vectors, texts.starts))
    asked = fde.encode_queries(parameters, texts)
    for number in range(9):
        alone = texts[number : number + 1]
        n = len(alone.vectors)
        where = np.sort(random.permutation(n + padding)[:n])
        padded = random.standard_normal((n + padding, parameters.dim)).astype(np.float32)
        padded[where] = alone.vectors
        mask = np.zeros(n + padding, np.bool_)
        mask[where] = True
        tokens = maxsim.tokens_of(padded, np.array([0, n + padding]), mask=mask)
        assert np.array_equal(fde.encode_documents(parameters, tokens)[0], together[number])
        assert np.array_equal(fde.encode_queries(parameters, alone)[0], asked[number])


@given(
    st.data(),
    st.integers(0, 2**32 - 1),
    st.sampled_from(ENCODINGS),
    st.sampled_from(KINDS),
    st.booleans(),
)
@settings(deadline=None, max_examples=60)
def test_the_order_of_tokens_changes_no_more_than_rounding(
    data: st.DataObject, seed: int, parameters: fde.Fde, kind: str, filled: bool
) -> None:
    """Filled documents too: a fill that took the first of equally near tokens changed a third."""
    random = np.random.default_rng(seed)
    n = data.draw(st.integers(0, 80))
    vectors = random.standard_normal((n, parameters.dim)).astype(np.float32)
    vectors[1::7] = vectors[:1]  # some tokens come more than once
    order = np.array(data.draw(st.permutations(range(n))), np.int64)
    texts = TokenVectors(np.array([0, n]), vectors)
    moved = TokenVectors(texts.starts, vectors[order])
    np.testing.assert_allclose(
        fde.encode_queries(parameters, texts),
        fde.encode_queries(parameters, moved),
        rtol=2e-7,
        atol=2e-5,
    )
    np.testing.assert_allclose(
        fde.encode_documents(parameters, _of_kind(texts, kind), filled=filled),
        fde.encode_documents(parameters, _of_kind(moved, kind), filled=filled),
        rtol=2e-7,
        atol=2e-6,
    )


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(
        [fde.Fde(24, 3, 4, 8), fde.Fde(24, 3, 4, 8, 40), fde.Fde(24, 3, 2, 8, 40, "dense")]
    ),
    st.booleans(),
    st.integers(0, 1_500),
    st.integers(2, 6),
    st.lists(st.integers(0, 1_500), max_size=5),
)
@settings(deadline=None, max_examples=25)
def test_threads_and_shards_change_no_bit(
    seed: int, parameters: fde.Fde, filled: bool, n: int, threads: int, cuts: list[int]
) -> None:
    texts = _ragged(np.random.default_rng(seed), n, 6, 24)
    tokens = maxsim.tokens_of(texts.vectors, texts.starts)
    one = fde.encode_documents(parameters, tokens, filled=filled)
    many = fde.encode_documents(parameters, tokens, filled=filled, threads=threads)
    assert np.array_equal(many, one)
    for first, last in pairwise([0, *sorted(min(cut, n) for cut in cuts), n]):
        shard = tokens._replace(starts=tokens.starts[first : last + 1])
        alone = fde.encode_documents(parameters, shard, filled=filled, threads=threads)
        assert np.array_equal(alone, one[first:last])


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([fde.Fde(24, 3, 4, 8), fde.Fde(24, 3, 4, 8, 40)]),
    st.integers(0, 300),
    st.integers(2, 6),
)
@settings(deadline=None, max_examples=25)
def test_threads_change_no_bit_of_queries(
    seed: int, parameters: fde.Fde, n: int, threads: int
) -> None:
    texts = _ragged(np.random.default_rng(seed), n, 6, 24)
    one = fde.encode_queries(parameters, texts, threads=1)
    assert np.array_equal(fde.encode_queries(parameters, texts, threads=threads), one)
    assert np.array_equal(fde.encode_queries(parameters, texts), one)


def test_many_queries_are_encoded_by_several_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """All but a program of one thread used one, whatever numba was allowed."""
    seen: list[int] = []
    monkeypatch.setattr(cpu, "run", lambda tasks: seen.append(len(tasks)))
    for n, threads in ((1, 4), (63, 4), (400, 4), (400, 1)):
        texts = _ragged(np.random.default_rng(n), n, 3, 8)
        monkeypatch.setattr(numba, "get_num_threads", lambda threads=threads: threads)
        fde.encode_queries(fde.Fde(8, 2, 2, 4), texts)
    assert seen == [1, 1, 4, 1]


@pytest.mark.parametrize(
    "parameters",
    [
        fde.Fde(24, 3, 20, 8, seed=21),
        fde.Fde(24, 2, 600, 4, seed=22),
        fde.Fde(24, 6, 40, 24, 128, seed=23),
        fde.Fde(24, 1, 600, 4, 16, "dense", seed=24),
    ],
)
def test_matrices_are_drawn_once(parameters: fde.Fde, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each query packed them all anew; of more than 512 repetitions it drew them anew as well."""
    query = _ragged(np.random.default_rng(1), 1, 20, 24)
    monkeypatch.setattr(plans, "KEPT", plans.Kept(1 << 26))
    first = fde.encode_queries(parameters, query)
    drawn, words = [], philox.words

    def draw(*given: int) -> np.ndarray:
        drawn.append(given)
        return words(*given)

    for module in (matrices, philox):
        monkeypatch.setattr(module, "words", draw)
    centred = fde.encode_queries(parameters, query, mean=np.full(24, 0.1))
    assert not np.array_equal(centred, first)
    assert np.array_equal(fde.encode_queries(parameters, query), first)
    final = 2 * parameters.r_reps if parameters.final == "dense" else 0  # too large to be kept
    assert len(drawn) == final


def test_kept_plans_are_bounded_and_the_last_encodings() -> None:
    few, many, other = fde.Fde(16, 2, 4, 8), fde.Fde(16, 2, 40, 8, 4), fde.Fde(16, 2, 4, 7)
    room = 8 * plans.bytes_of(plans.drawn(many, 0, 4))  # of ten that will be asked for
    kept = plans.Kept(room)
    plan = kept.plan(few, 0, 4)
    assert kept.plan(few, 0, 4) is plan
    assert kept.plan(other, 0, 4) is not plan
    assert kept.plan(few, 0, 4) is plan
    parts = [kept.plan(many, first, first + 4) for first in range(0, 40, 4)]
    assert kept.n_bytes <= room
    again = [kept.plan(many, first, first + 4) for first in range(0, 40, 4)]
    hits = [one is two for one, two in zip(parts, again, strict=True)]
    assert hits[0] and not hits[-1]  # those that do not fit push none of the others out
    assert hits == sorted(hits, reverse=True)
    assert kept.plan(few, 0, 4) is not plan  # another's last use was longer ago
    for one, two in zip(parts[-1], again[-1], strict=True):
        assert np.array_equal(one, two)


def test_plans_are_kept_by_many_threads_at_once() -> None:
    """Bytes stay counted, and everyone gets what was asked for."""
    kept = plans.Kept(60_000)
    asked = [fde.Fde(8 + number % 7, 2, 6, 4, seed=number % 11) for number in range(300)]
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda one: kept.plan(one, 0, 6), asked))
    for parameters, plan in zip(asked, made, strict=True):
        assert np.array_equal(plan.normals[0], matrices.hyperplanes(parameters, 0)[0])
    assert 0 < kept.n_bytes <= 60_000


@given(st.integers(0, 2**32 - 1), st.integers(0, 7), st.sampled_from([2, 5, 16]))
@settings(deadline=None, max_examples=80)
def test_without_inner_projection_a_repetition_never_exceeds_chamfer(
    seed: int, k_sim: int, dim: int
) -> None:
    """Section 2.1: a cell's mean, or any one token, is no better than the best token."""
    random = np.random.default_rng(seed)
    parameters = fde.Fde(dim, k_sim, 1, None, seed=seed)
    documents, queries = _ragged(random, 8, 30, dim), _ragged(random, 4, 30, dim)
    documents = TokenVectors(documents.starts, documents.vectors)
    encoded = fde.encode_documents(
        parameters, maxsim.tokens_of(documents.vectors, documents.starts)
    )
    estimates = fde.encode_queries(parameters, queries).astype(np.float64) @ encoded.T
    for number in range(4):
        for place in range(8):
            document = documents[place : place + 1].vectors
            if len(document):
                exact = _chamfer(queries[number : number + 1].vectors, document)
                assert estimates[number, place] <= exact + 1e-5


def test_estimates_come_near_chamfer_as_repetitions_grow() -> None:
    """The mean over repetitions ranks like the exact score: what the whole thing is for."""
    random = np.random.default_rng(11)
    centres = random.standard_normal((60, 32)).astype(np.float32)
    words = centres[random.integers(0, 60, (200, 20))]
    vectors = (words + random.standard_normal((200, 20, 32)) / 3).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    query = vectors[17, :8] + random.standard_normal((8, 32)).astype(np.float32) / 20
    tokens = maxsim.tokens_of(vectors.reshape(-1, 32), np.arange(0, 4001, 20))
    asked = TokenVectors(np.array([0, 8]), query.astype(np.float32))
    exact = maxsim.score(asked, tokens)[0]
    agreement = []
    for repetitions in (1, 4, 32):
        parameters = fde.Fde(32, 4, repetitions, 16, seed=5)
        scores = (
            fde.encode_queries(parameters, asked) @ fde.encode_documents(parameters, tokens).T
        )[0]
        agreement.append(np.corrcoef(scores, exact)[0, 1])
    assert agreement[0] < agreement[1] < agreement[2]
    assert agreement[2] > 0.85


@given(st.integers(0, 2**32 - 1), st.integers(0, 8), st.integers(1, 40))
@settings(deadline=None, max_examples=80)
def test_the_fill_is_brute_force(seed: int, k_sim: int, n: int) -> None:
    """Every empty cell has a token that is nearest by Hamming distance, of least tie number."""
    random = np.random.default_rng(seed)
    parameters = fde.Fde(12, k_sim, 2, None, seed=seed)
    vectors = random.standard_normal((n, 12)).astype(np.float32)
    tokens = maxsim.tokens_of(vectors, np.array([0, n]))
    encoded = fde.encode_documents(parameters, tokens).reshape(2, 1 << k_sim, 12)
    ties = reference.ties(parameters, vectors.astype(np.float64)).tolist()
    assert len(set(ties)) == n
    for repetition in range(2):
        normals = matrices.hyperplanes(parameters, repetition).astype(np.float64)
        bits = vectors.astype(np.float64) @ normals.T > 0
        numbers = (bits * (1 << np.arange(k_sim))).sum(axis=1).astype(np.int64)
        for cell in set(range(1 << k_sim)) - set(numbers.tolist()):
            distances = [int(number ^ cell).bit_count() for number in numbers]
            nearest = min(range(n), key=lambda token: (distances[token], ties[token]))
            assert np.array_equal(encoded[repetition, cell], vectors[nearest])


def test_queries_are_never_filled_and_are_sums() -> None:
    parameters = fde.Fde(8, 3, 1, None)
    vector = np.arange(8, dtype=np.float32)
    twice = TokenVectors(np.array([0, 2]), np.stack([vector, vector]))
    cells = fde.encode_queries(parameters, twice).reshape(8, 8)
    (touched,) = np.flatnonzero(cells.any(axis=1))
    assert np.array_equal(cells[touched], 2 * vector)
    document = fde.encode_documents(parameters, maxsim.tokens_of(twice.vectors, twice.starts))
    assert np.array_equal(document.reshape(8, 8), np.tile(vector, (8, 1)))


def test_a_token_on_a_hyperplane_is_below_it() -> None:
    """And so is one so near that float32 cannot tell, whatever it is batched with."""
    parameters = fde.Fde(3, 2, 1, None, seed=9)
    first, second = matrices.hyperplanes(parameters, 0).astype(np.float64)
    along = np.cross(first, second)
    near = (along / np.linalg.norm(along)).astype(np.float32)  # on both but for its rounding
    vectors = np.stack([np.zeros(3, np.float32), near, -near, near * np.float32(1e-30)])
    exact = (vectors.astype(np.float64)[:, None] * np.stack([first, second])).sum(axis=2) > 0
    for row, bits in zip(vectors, exact, strict=True):
        asked = TokenVectors(np.array([0, 1]), row[None])
        cells = fde.encode_queries(parameters, asked).reshape(4, 3)
        assert np.array_equal(cells[bits[0] + 2 * bits[1]], row)


def test_nothing_encodes_to_zeros() -> None:
    vectors = np.ones((4, 8), np.float32)
    tokens = maxsim.tokens_of(
        vectors, np.array([0, 0, 2, 4]), mask=np.array([True, True, False, False])
    )
    for parameters in (
        fde.Fde(8, 2, 2, 4),
        fde.Fde(8, 2, 2, 4, 5),
        fde.Fde(8, 2, 2, 4, 5, "dense"),
    ):
        encoded = fde.encode_documents(parameters, tokens)
        assert encoded.any(axis=1).tolist() == [False, True, False]
        none = TokenVectors(np.array([0, 0]), vectors[:0])
        assert not fde.encode_queries(parameters, none).any()


def test_a_hundred_thousand_tokens_in_bounded_room() -> None:
    random = np.random.default_rng(2)
    vectors = random.standard_normal((100_000, 8)).astype(np.float32)
    parameters = fde.Fde(8, 3, 2, None)
    tokens = maxsim.tokens_of(vectors, np.array([0, 100_000]))
    encoded = fde.encode_documents(parameters, tokens)[0].reshape(2, 8, 8)
    for repetition in range(2):
        normals = matrices.hyperplanes(parameters, repetition).astype(np.float64)
        numbers = ((vectors @ normals.T > 0) * (1 << np.arange(3))).sum(axis=1)
        for cell in range(8):
            mean = vectors[numbers == cell].astype(np.float64).mean(axis=0)
            np.testing.assert_allclose(encoded[repetition, cell], mean, atol=1e-6)


def test_offsets_beyond_two_to_the_31_elements(tmp_path: Path) -> None:
    n_tokens, dim = (1 << 31) // 128 + 1_000, 128
    held = np.memmap(tmp_path / "tokens", np.int8, "w+", shape=(n_tokens, dim))  # sparse: no disk
    held[-20:] = np.random.default_rng(1).integers(-100, 100, (20, dim))
    scales = np.full(n_tokens, 0.01, np.float32)
    tokens = maxsim.tokens_of(
        held, np.array([n_tokens - 20, n_tokens - 7, n_tokens]), scales=scales
    )
    parameters = fde.Fde(dim, 3, 2, 16)
    np.testing.assert_allclose(
        fde.encode_documents(parameters, tokens),
        reference.documents(parameters, tokens, None, True),
        atol=2e-5,
    )


def test_centring_moves_every_filled_document_alike() -> None:
    """It may change who is in which cell; what it adds to a score is the same for all."""
    random = np.random.default_rng(4)
    texts = _ragged(random, 12, 25, 10)
    # On a grid, so that the mean comes off again to the last bit and the same tokens fill.
    texts = TokenVectors(texts.starts, np.rint(texts.vectors * 1024) / np.float32(1024))
    mean = np.full(10, 0.25, np.float32)
    parameters = fde.Fde(10, 3, 2, None, seed=3)
    shifted = TokenVectors(texts.starts, texts.vectors + mean)
    queries = TokenVectors(np.array([0, 5]), random.standard_normal((5, 10)).astype(np.float32))
    plain = fde.encode_documents(parameters, maxsim.tokens_of(texts.vectors, texts.starts))
    centred = fde.encode_documents(
        parameters, maxsim.tokens_of(shifted.vectors, shifted.starts), mean=mean
    )
    np.testing.assert_allclose(centred, plain, atol=1e-6)
    held = fde.encode_queries(parameters, queries, mean=mean).reshape(-1, 10).sum(axis=0)
    np.testing.assert_allclose(held, 2 * queries.vectors.sum(axis=0), atol=1e-5)


def test_fewer_repetitions_are_the_first_of_more() -> None:
    texts = _ragged(np.random.default_rng(6), 3, 20, 12)
    tokens = maxsim.tokens_of(texts.vectors, texts.starts)
    few, many = fde.Fde(12, 3, 4, 8, seed=7), fde.Fde(12, 3, 9, 8, seed=7)
    more = fde.encode_documents(many, tokens)
    assert np.array_equal(fde.encode_documents(few, tokens), more[:, : few.size])


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ([0] * 4, 0, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([0xFFFFFFFF] * 4, 2**64 - 1, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            0x299F31D0A4093822,
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_philox_gives_its_published_words(
    counter: list[int], key: int, expected: list[int]
) -> None:
    assert philox.philox(np.array([counter], np.uint32), key)[0].tolist() == expected


def test_the_bell_is_a_gaussian_nearly() -> None:
    from scipy.special import ndtr

    drawn = np.sort(philox.bell(1, 1, 0, 500_000)).astype(np.float64) / np.sqrt(24 + 1 / 12)
    gap = np.abs(ndtr(drawn) - (np.arange(len(drawn)) + 0.5) / len(drawn)).max()
    assert gap < 0.003
    assert abs(np.mean(drawn**4) - 3) < 0.05
    assert len(np.unique(drawn)) > 400_000


def test_golden_matrices() -> None:
    """An index written on one machine is searched on another, and by later versions."""
    assert philox.bell(7, 1, 2, 4).tolist() == [
        15.717491149902344, 0.7897720336914062, -0.47658538818359375, -1.9916152954101562,
    ]  # fmt: skip
    assert philox.signs(7, 1, 2, 12).tolist() == [1, -1, -1, -1, 1, -1, 1, -1, 1, 1, -1, 1]
    parameters, digest = fde.Fde(128), hashlib.sha256()
    for repetition in range(20):
        for matrix in (matrices.hyperplanes, matrices.inner):
            digest.update(matrix(parameters, repetition).astype("<f4").tobytes())
    assert digest.hexdigest() == "a9495bc2e1e83f5d87b7faebc6423315367978035845ef1c5a5ea1da2b286ef0"


def test_golden_ties() -> None:
    """What fills a cell must not depend on the machine either."""
    vectors = np.array([[-1, -0.5, 0, 0.5], [1, -1, -0.5, 0], [0.5, 1, -1, -0.5]])
    parameters = fde.Fde(4, 2, 2, 3, seed=11)
    assert matrices.tie_factors(parameters).tolist() == [
        -3395074939740523271, -6707886228242974523, -8197593496621006577, 483097664711369531,
    ]  # fmt: skip
    assert reference.ties(parameters, vectors).tolist() == [
        143139866015563776, 112102373472075776, 269823327966068736,
    ]  # fmt: skip


def test_golden_encodings() -> None:
    vectors = np.array([[-1, -0.5, 0, 0.5], [1, -1, -0.5, 0], [0.5, 1, -1, -0.5]], np.float32)
    tokens, queries = (
        maxsim.tokens_of(vectors, np.array([0, 3])),
        TokenVectors(np.array([0, 3]), vectors),
    )
    half, three, one, both, last, far = (
        0.5773502588272095, 0.8660253882408142, 0.14433756470680237, 1.0103628635406494,
        0.28867512941360474, 1.443375587463379,
    )  # fmt: skip
    assert fde.encode_documents(fde.Fde(4, 2, 2, 3, seed=11), tokens)[0].tolist() == [
        three, three, three, -half, -2 * half, -2 * half, three, three, three, -half, 0, 0,
        one, both, one, -three, far, last, -three, far, last, 0, -half, half,
    ]  # fmt: skip
    assert fde.encode_queries(fde.Fde(4, 2, 2, 3, seed=11), queries)[0].tolist() == [
        0, 0, 0, -half, -2 * half, -2 * half, three, three, three, -half, 0, 0,
        2 * one, 2.020725727081299, 2 * one, 0, 0, 0, 0, 0, 0, 0, -half, half,
    ]  # fmt: skip
    sketched = fde.Fde(4, 2, 2, 3, 5, "sketch", seed=11)
    assert fde.encode_documents(sketched, tokens)[0].tolist() == [
        1.5877131223678589, -0.8660253286361694, 1.4433757066726685, 2.020725965499878,
        -0.8660253882408142,
    ]  # fmt: skip
    dense = fde.Fde(4, 2, 2, 3, 5, "dense", seed=11)
    assert fde.encode_documents(dense, tokens)[0].tolist() == [
        1.0973451137542725, 1.2264446020126343, 2.7756378650665283, 0.7100470066070557,
        -3.2920358180999756,
    ]  # fmt: skip


def test_what_does_not_fit_is_refused() -> None:
    vectors = np.ones((4, 8), np.float32)
    tokens = maxsim.tokens_of(vectors, np.array([0, 2, 4]))
    broken = vectors.copy()
    broken[3, 1] = np.nan
    sample = np.zeros((10, 16), np.float32)
    quantiser = fde.Product(np.zeros((2, 256, 8), np.float32))
    sparse = fde.sparse(fde.Fde(8, 1, 1, 8), np.ones((1, 16), np.float32))
    for call, field in (
        (lambda: fde.Fde(8, k_sim=13), "k_sim"),
        (lambda: fde.Fde(0), "dim"),
        (lambda: fde.Fde(8, r_reps=0), "r_reps"),
        (lambda: fde.Fde(8, seed=2**64), "seed"),
        (lambda: fde.Fde(8, seed=-1), "seed"),
        (lambda: fde.Fde(8, d_final=0), "d_final"),
        (lambda: fde.Fde(8, final="other"), "final"),
        (lambda: fde.encode_documents(fde.Fde(9), tokens), "dim"),
        (lambda: fde.encode_documents(fde.Fde(8), tokens, mean=np.ones(7)), "mean"),
        (lambda: fde.encode_documents(fde.Fde(8), tokens, mean=np.full(8, np.nan)), "mean"),
        (lambda: fde.encode_documents(fde.Fde(8), tokens, threads=0), "threads"),
        (lambda: fde.encode_documents(fde.Fde(8), tokens._replace(vectors=broken)), "tokens"),
        (lambda: fde.encode_queries(fde.Fde(8), TokenVectors(tokens.starts, broken)), "queries"),
        (lambda: fde.encode_queries(fde.Fde(9), TokenVectors(tokens.starts, vectors)), "queries"),
        (
            lambda: fde.encode_queries(fde.Fde(8), TokenVectors(tokens.starts, vectors), threads=0),
            "threads",
        ),
        (lambda: fde.sparse(fde.Fde(8, d_final=9), sample), "d_final"),
        (lambda: fde.score_sparse(sparse, sample[:, :8]), "encodings"),
        (lambda: fde.score_sparse(sparse, sample.astype(np.int8)), "encodings"),
        (lambda: fde.product_quantiser(sample), "sample"),
        (lambda: fde.product_quantiser(sample, 7), "group"),
        (lambda: quantiser.encode(sample[:, :8]), "encodings"),
        (
            lambda: fde.score_product(sample[:, :8], quantiser, np.zeros((1, 2), np.uint8)),
            "queries",
        ),
        (
            lambda: fde.score_product(sample, quantiser, np.zeros((1, 2), np.uint8), threads=0),
            "threads",
        ),
    ):
        with pytest.raises(InputError) as raised:
            call()
        assert raised.value.field == field
