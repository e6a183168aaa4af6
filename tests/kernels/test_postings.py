"""The impact kernels against the reference, and their roundings against hand-made ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cormorant.kernels.bm25.heaps import sort_best_first
from cormorant.kernels.postings import build, cpu, layout, reference
from cormorant.kernels.postings.layout import EXACT, Effort, Impacts, Queries, no_best

NO_BITS = np.zeros(0, np.uint64)
NO_BITS.flags.writeable = False


def frozen(arrays: tuple[np.ndarray, ...]) -> list[np.ndarray]:
    for array in arrays:
        array.flags.writeable = False
    return list(arrays)


def impacts_of(
    starts: np.ndarray,
    terms: np.ndarray,
    weights: np.ndarray,
    n_terms: int,
    rows: np.ndarray | None = None,
    wide: bool = False,
) -> Impacts:
    """Invert documents."""
    n = len(starts) - 1
    terms = terms.astype(np.uint32 if wide else np.uint16)
    weights = weights.astype(np.float32)
    own = np.arange(n) if rows is None else rows
    impacts = build.invert(
        own, starts, terms, weights, n_terms, lambda _, dtype, shape: np.zeros(shape, dtype)
    )
    return Impacts(*frozen(impacts))


def documents_of(
    random: np.random.Generator, n: int, n_terms: int, shape: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Starts, terms and weights of random documents."""
    chances = 1.0 / np.arange(1, n_terms + 1) ** random.choice([0.0, 1.0, 2.0])
    holds = random.random((n, n_terms)) < np.minimum(0.95, chances / chances.sum() * 6)
    if shape == "repeated":
        holds = holds[np.arange(n) % 7 % max(n, 1)] if n else holds
    if shape == "empty":
        holds[random.random(n) < 0.7] = False
    starts = np.zeros(n + 1, np.int64)
    np.cumsum(holds.sum(axis=1), out=starts[1:])
    terms = np.nonzero(holds)[1]
    if shape == "ties":
        weights = random.choice([0.5, 1.0, 2.0], len(terms))
    elif shape == "wild":
        weights = 10.0 ** random.uniform(-12, 9, len(terms))
    else:
        weights = random.gamma(0.7, 1.0, len(terms)) + 1e-3
    if shape == "repeated":
        weights = 1.0 + (terms % 5)
    return starts, terms, weights


def queries_of(random: np.random.Generator, n: int, n_terms: int) -> Queries:
    sizes = random.choice([0, 1, 2, 5, 20], n)
    chosen = [np.sort(random.permutation(n_terms)[:size]) for size in sizes]
    offsets = np.concatenate([[0], np.cumsum([len(some) for some in chosen])]).astype(np.int64)
    terms = np.concatenate([np.empty(0, np.int64), *chosen])
    terms[random.random(len(terms)) < 0.1] = -1
    weights = (random.choice([1e-6, 0.01, 1.0, 7.5], len(terms)) * random.uniform(1, 2)).astype(
        np.float32
    )
    return Queries(*frozen((terms, weights, offsets)))


def bits_of(random: np.random.Generator, n: int, share: float) -> np.ndarray:
    if share == 1.0 or n == 0:
        return NO_BITS
    padded = np.zeros((n + 63) // 64 * 64, np.bool_)
    padded[:n] = random.random(n) < share
    bits = np.packbits(padded, bitorder="little").view(np.uint64)
    bits.flags.writeable = False
    return bits


def check_search(parts: list[Impacts], queries: Queries, allowed: list[np.ndarray], k: int) -> None:
    n = len(queries.offsets) - 1
    found, expected = no_best(n, k), no_best(n, k)
    for part, bits in zip(parts, allowed, strict=True):
        cpu.search(part, queries, EXACT, bits, found)
        reference.search(part, queries, EXACT, bits, expected)
    sort_best_first(found)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([0, 1, 31, 63, 64, 65, 700, 3000]),
    st.sampled_from(["plain", "ties", "repeated", "wild", "empty"]),
    st.sampled_from([1, 3, 10, 100, 4000]),
    st.sampled_from([1.0, 0.5, 0.02, 0.0]),
    st.booleans(),
)
def test_exact_search_is_the_reference(
    seed: int, n: int, shape: str, k: int, share: float, wide: bool
) -> None:
    random = np.random.default_rng(seed)
    n_terms = int(random.choice([20, 60]))
    parts = []
    first = 0
    for size in (n, n // 3):
        rows = first + np.arange(size) * 3
        first += 3 * size
        parts.append(impacts_of(*documents_of(random, size, n_terms, shape), n_terms, rows, wide))
    queries = queries_of(random, 6, n_terms)
    check_search(parts, queries, [bits_of(random, len(p.rows), share) for p in parts], k)
    documents = random.integers(-1, max(n, 1), (6, 9)) if n else np.full((6, 9), -1)
    found, expected = np.full((6, 9), -7, np.float32), np.full((6, 9), -7, np.float32)
    cpu.score(parts[0], queries, documents, found)
    reference.score(parts[0], queries, documents, expected)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("n", [layout.BLOCK - 1, layout.BLOCK, layout.BLOCK + 1, 3 * layout.BLOCK])
def test_no_block_is_lost(n: int) -> None:
    """Other engines drop the last block, or what lies below the first threshold."""
    random = np.random.default_rng(n)
    n_terms = 400
    per_document = 5
    terms = np.sort(random.zipf(1.3, (n, per_document)).clip(1, n_terms) - 1, axis=1)
    keep = np.ones(terms.shape, np.bool_)
    keep[:, 1:] = terms[:, 1:] != terms[:, :-1]
    starts = np.concatenate([[0], np.cumsum(keep.sum(axis=1))]).astype(np.int64)
    weights = random.choice([0.25, 0.5, 1.0, 3.0], int(starts[-1]))
    impacts = impacts_of(starts, terms[keep], weights, n_terms)
    assert (impacts.row_numbers >= 0).any() and (impacts.row_numbers < 0).any()
    queries = queries_of(random, 20, n_terms)
    for k in (1, 10, 1500):
        check_search([impacts], queries, [NO_BITS], k)
    check_search([impacts], queries, [bits_of(random, n, 0.5)], 10)


def test_the_best_document_is_the_very_last() -> None:
    n = layout.BLOCK + 1
    starts = np.arange(n + 1, dtype=np.int64)
    weights = np.ones(n)
    weights[-1] = 1.5
    impacts = impacts_of(starts, np.zeros(n, np.int64), weights, 1)
    queries = Queries(
        *frozen((np.zeros(1, np.int64), np.ones(1, np.float32), np.array([0, 1], np.int64)))
    )
    best = no_best(1, 3)
    cpu.search(impacts, queries, EXACT, NO_BITS, best)
    sort_best_first(best)
    assert best.rows[0].tolist() == [n - 1, 0, 1]


def test_equal_scores_of_float32s_smallest_steps_are_ties() -> None:
    """1.5 and 2 of these steps are both 2; the lower row counts, though its sum was the smaller."""
    step = np.finfo(np.float32).smallest_subnormal
    weights = float(step) * np.array([3, 4, 8])
    impacts = impacts_of(np.arange(4), np.array([0, 0, 1]), weights, 2)
    queries = Queries(
        *frozen((np.array([0, 1]), np.full(2, 0.5, np.float32), np.array([0, 2], np.int64)))
    )
    check_search([impacts], queries, [NO_BITS], 2)


def test_a_query_of_thousands_of_terms_and_documents_as_long() -> None:
    """Sums of 16 bits would not hold so many; and documents have more terms than 65,535."""
    n_terms = 70_000
    random = np.random.default_rng(1)
    sizes = [n_terms, 66_000, 3, 0, 2_500]
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    terms = np.concatenate([np.sort(random.permutation(n_terms)[:size]) for size in sizes])
    weights = random.gamma(1.0, 1.0, len(terms)) + 1e-3
    impacts = impacts_of(starts, terms, weights, n_terms, wide=True)
    asked = [np.arange(n_terms), np.arange(0, n_terms, 35), np.arange(1_500)]
    queries = Queries(
        *frozen(
            (
                np.concatenate(asked),
                random.random(sum(map(len, asked))).astype(np.float32) + np.float32(0.1),
                np.cumsum([0, *map(len, asked)]),
            )
        )
    )
    assert len(asked[1]) <= cpu.MANY_TERMS < len(asked[0])
    check_search([impacts], queries, [NO_BITS], 3)


def test_less_effort_misses_but_never_misjudges() -> None:
    random = np.random.default_rng(4)
    n, n_terms = 2 * layout.BLOCK + 100, 60
    impacts = impacts_of(*documents_of(random, n, n_terms, "plain"), n_terms)
    asked = np.concatenate([np.sort(random.permutation(n_terms)[:8]) for _ in range(40)])
    weights = random.uniform(0.5, 1.5, 320).astype(np.float32)
    queries = Queries(*frozen((asked, weights, np.arange(41) * 8)))
    expected = no_best(40, 10)
    reference.search(impacts, queries, EXACT, NO_BITS, expected)
    missed = 0
    for effort in (Effort(1.5, 0.8), Effort(4.0, 0.95)):
        best = no_best(40, 10)
        cpu.search(impacts, queries, effort, NO_BITS, best)
        sort_best_first(best)
        assert best.sizes.tolist() == expected.sizes.tolist()
        for query in range(40):
            truth = reference.scores_of_all(impacts, queries, query)
            there = best.rows[query] >= 0
            np.testing.assert_array_equal(best.scores[query, there], truth[best.rows[query, there]])
            missed += len(set(expected.rows[query].tolist()) - set(best.rows[query].tolist()))
    assert missed > 0


def test_less_effort_where_most_of_the_allowed_lie_in_the_first_block() -> None:
    """A share of the allowed documents foretells as large a share of the hits; not one of all."""
    random = np.random.default_rng(6)
    n, k = 8 * layout.BLOCK, 100
    starts, terms = 2 * np.arange(n + 1), np.tile([0, 1], n)
    impacts = impacts_of(starts, terms, random.gamma(0.7, 1.0, 2 * n) + 1e-3, 2)
    allowed = random.random(n) < 0.01
    allowed[:20_000] = True
    bits = np.packbits(allowed, bitorder="little").view(np.uint64)
    bits.flags.writeable = False
    weights = random.uniform(0.5, 1.5, 20).astype(np.float32)
    queries = Queries(*frozen((np.tile([0, 1], 10), weights, 2 * np.arange(11))))
    true, found = no_best(10, k), no_best(10, k)
    cpu.search(impacts, queries, EXACT, bits, true)
    cpu.search(impacts, queries, Effort(0.9, 0.86), bits, found)
    pairs = zip(true.rows.tolist(), found.rows.tolist(), strict=True)
    assert np.mean([len(set(a) & set(b)) / k for a, b in pairs]) > 0.95


@settings(max_examples=100, deadline=None)
@given(
    st.floats(0, 1e9, width=32, exclude_min=True),
    st.floats(0, 1e9, width=32, exclude_min=True),
    st.sampled_from([layout.LIST_STEPS, layout.ROW_STEPS]),
)
def test_impacts_are_rounded_up_by_less_than_a_step(a: float, b: float, steps: int) -> None:
    weight, largest = np.float32(min(a, b)), np.float32(max(a, b))
    held = build.impact(weight, largest, steps)
    step = float(largest) / steps
    assert 1 <= held <= steps
    assert held * step >= float(weight) * (1 - 1e-12)
    assert held == 1 or (held - 1) * step < float(weight) * (1 + 1e-12)


def test_golden_quantisation() -> None:
    """What the files hold of seven documents, a list and a row, byte by byte."""
    n = 300
    terms = np.zeros(n, np.int64)
    starts = np.arange(n + 1, dtype=np.int64)
    weights = np.arange(1, n + 1) / n
    impacts = impacts_of(starts, terms, weights, 1)
    assert impacts.row_numbers.tolist() == [0]
    # Documents 0 and 32 share the first byte: ceil(15 / 300) = 1, ceil(15 * 33 / 300) = 2.
    assert impacts.row_impacts[0] == 0x21
    # Documents 31 and 63: ceil(15 * 32 / 300) = 2, ceil(15 * 64 / 300) = 4.
    assert impacts.row_impacts[31] == 0x42
    # Documents 268 and 300, which is not there: ceil(15 * 269 / 300) = 14.
    assert impacts.row_impacts[4 * 32 + 12] == 0x0E
    assert len(impacts.row_impacts) == 160
    small = impacts_of(
        np.array([0, 2, 3, 5], np.int64),
        np.array([0, 1, 1, 0, 1]),
        np.array([0.5, 1.0, 0.001, 2.0, 0.25]),
        2,
    )
    assert small.row_numbers.tolist() == [-1, -1]
    assert small.run_starts.tolist() == [0, 1, 2] and small.run_blocks.tolist() == [0, 0]
    assert small.run_begins.tolist() == [0, 2, 5]
    assert small.listed.tolist() == [2, 0, 0, 2, 1]
    assert small.impacts.tolist() == [255, 64, 255, 64, 1]
