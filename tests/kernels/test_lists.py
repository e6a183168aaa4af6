"""Which lists are read, and which vectors are looked at, against the specification."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cormorant.kernels.lists import (
    Lists,
    Rule,
    choose,
    closest,
    distances,
    grouped,
    members,
    nearer,
    opened,
    rearrange,
    reference,
    survivors,
    walk,
)
from cormorant.kernels.rabitq import QUERY_BITS, encode, record_bytes
from cormorant.kernels.rabitq import reference as codes

DIM = 64
NOBODY = np.zeros(0, np.int32)
ANY = np.zeros(0, np.bool_)


def lists_of(seed: int, m: int, bits: int = 4) -> tuple[Lists, np.ndarray]:
    """Lists of some vectors, one in five in two of them; the vectors."""
    random = np.random.default_rng(seed)
    codes = random.integers(-127, 128, (m, DIM)).astype(np.int8)
    scales = random.uniform(0.01, 0.02, m).astype(np.float32)
    points = codes.astype(np.float32) * scales[:, None]
    members: list[list[int]] = [[] for _ in range(m)]
    vectors = []
    for place in range(random.integers(0, 12 * m)):
        number = int(random.integers(m))
        vectors.append(points[number] + 0.3 * random.standard_normal(DIM))
        members[number].append(place)
        if m > 1 and random.random() < 0.2:
            members[(number + 1) % m].append(place)
    held = np.array(vectors, np.float32).reshape(-1, DIM)
    records = []
    for number, places in enumerate(members):
        record = np.zeros(record_bytes(len(places), DIM, bits), np.uint8)
        encode(held[places] - points[number], bits, record)
        record[: 4 * len(places)].view(np.int32)[:] = places
        records.append(record)
    counts = np.array([len(places) for places in members], np.int32)
    sizes = np.array([len(record) for record in records])
    offsets = np.cumsum(sizes) - sizes
    paged = np.concatenate(records)
    lists = opened(codes, scales, counts, offsets, paged, bits)
    # Every other list is in memory.
    slots = np.where(np.arange(m) % 2, offsets, -1)
    return lists._replace(slots=slots, kept=paged.copy()), held


def most_moved(lists: Lists, query: np.ndarray) -> float:
    """How far rounding the query may move an estimate (as in the codes' own tests)."""
    most = 0.0
    for number, centroid in enumerate(reference.centroids_of(lists)):
        residual = query - centroid
        count, first = int(lists.counts[number]), int(lists.offsets[number])
        record = lists.paged[first : first + record_bytes(count, DIM, lists.bits)]
        held = codes.read(record, count, DIM, lists.bits)
        step = (residual.max() - residual.min()) / (2**QUERY_BITS - 1)
        noise = 10 * held.steps * np.linalg.norm(held.points, axis=1) * step
        most = max([most, *(noise + 1e-5 * (held.squares + residual @ residual)).tolist()])
    return most


@given(st.integers(0, 6), st.integers(1, 9), st.integers(1, 12), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=50)
def test_the_closest(n: int, m: int, width: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    products = random.integers(-3, 4, (n, m)).astype(np.float32)
    squares = random.integers(0, 5, m).astype(np.float32)
    ids, apart = closest(products, squares, width)
    wanted = squares - 2 * products
    order = np.argsort(wanted, axis=1, kind="stable")[:, :width]
    assert ids.tolist() == order.tolist()
    assert apart.tolist() == np.take_along_axis(wanted, order, axis=1).tolist()


@given(
    st.integers(1, 12),
    st.sampled_from([0.0, 0.1, 0.5, 3.0, np.inf]),
    st.integers(1, 14),
    st.integers(1, 40),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
@settings(deadline=None, max_examples=120)
def test_the_lists_chosen(
    m: int, eps2: float, most: int, least: int, filtered: bool, seed: int
) -> None:
    lists, _ = lists_of(seed, m)
    random = np.random.default_rng(seed + 1)
    query = random.standard_normal(DIM).astype(np.float32)
    apart = reference.distances(lists, query)
    assert np.allclose(distances(lists, query), apart, rtol=0.02)
    allowed = random.integers(0, lists.counts + 1).astype(np.int32) if filtered else NOBODY
    rule = Rule(eps2, 1.0, most, least)
    chosen = choose(lists, query, rule, allowed).tolist()
    assert len(set(chosen)) == len(chosen)
    # Rounding the query moves borders a little; a rule a little tighter and looser holds it.
    exact = [
        set(reference.choose(lists, query, rule._replace(eps2=eps2 + slack), allowed))
        for slack in (-0.03, 0.03)
    ]
    if most >= m and not filtered and (lists.counts[chosen].sum() > least + 12):
        assert exact[0] - exact[1] <= set(chosen) | exact[1]
        assert len(exact[0]) <= len(chosen) + 1
        assert len(chosen) <= len(exact[1]) + 1
    assert np.all(np.diff(apart[chosen]) > -0.05 * apart.max())
    if filtered:
        assert np.all(allowed[chosen] > 0)
        ruled = choose(lists, query, rule, NOBODY)
        wanted = min(max(int(lists.counts[ruled].sum()), least), int(allowed.sum()))
        unfiltered = min(least, int(lists.counts.sum()))
        assert allowed[chosen].sum() >= min(wanted, unfiltered)
    else:
        assert lists.counts[chosen].sum() >= min(least, int(lists.counts.sum()))


def test_no_pruning_is_plain_probing() -> None:
    """``eps2`` of 0 reads the nearest list, infinity the ``most`` nearest, whatever the scale."""
    for scale in (1e-9, 1.0, 1e9):
        lists, _ = lists_of(5, 12)
        lists = lists._replace(
            scales=lists.scales * np.float32(scale), squares=lists.squares * np.float32(scale**2)
        )
        query = np.random.default_rng(1).standard_normal(DIM).astype(np.float32)
        query *= np.float32(scale)
        order = np.argsort(distances(lists, query), kind="stable").tolist()
        assert choose(lists, query, Rule(0.0, scale, 12, 0), NOBODY).tolist() == order[:1]
        for most in (1, 5, 12):
            rule = Rule(np.inf, scale, most, 0)
            assert choose(lists, query, rule, NOBODY).tolist() == order[:most]


def test_lists_of_near_groups_are_compared() -> None:
    """Those of the nearest groups, ``8 most + 512`` at least; all of them where that is half."""
    random = np.random.default_rng(0)
    m, g, most = 1500, 30, 3
    codes = random.integers(-127, 128, (m, DIM)).astype(np.int8)
    centres = random.integers(-127, 128, (g, DIM)).astype(np.int8)
    ends = np.sort(random.choice(np.arange(1, m), g - 1, replace=False))
    starts = np.concatenate([[0], ends, [m]]).astype(np.int32)
    groups = grouped(centres, np.ones(g, np.float32), starts)
    one, no_bytes = np.ones(m, np.float32), np.zeros(0, np.uint8)
    counts, offsets = np.full(m, 5, np.int32), np.zeros(m, np.int64)
    plain = opened(codes, one, counts, offsets, no_bytes, 1)
    lists = opened(codes, one, counts, offsets, no_bytes, 1, groups)
    for _ in range(20):
        query = random.integers(-127, 128, DIM).astype(np.float32)
        query[0] = 127.0  # a query that is its own rounding
        apart = reference.distances(plain, query)
        far = np.linalg.norm(centres - query, axis=1)
        compared = np.zeros(m, np.bool_)
        for group in np.argsort(far):
            if compared.sum() >= 8 * most + 512:
                break
            compared[starts[group] : starts[group + 1]] = True
        assert 8 * most + 512 <= compared.sum() < m
        wanted = np.argsort(np.where(compared, apart, np.inf), kind="stable")[:most].tolist()
        rule = Rule(9.0, 1.0, most, 1)
        assert choose(lists, query, rule, NOBODY).tolist() == wanted
        every = np.argsort(apart, kind="stable").tolist()
        assert choose(plain, query, rule, NOBODY).tolist() == every[:most]
        for wider in (rule._replace(eps2=np.inf), rule._replace(most=30), rule._replace(least=400)):
            found = choose(lists, query, wider, NOBODY).tolist()
            assert found == every[: max(wider.most, wider.least // 5)]
        assert choose(lists, query, rule, counts).tolist() == every[:most]


def test_distance_is_not_squared() -> None:
    codes = np.zeros((3, DIM), np.int8)
    codes[:, 0] = 10, 15, 25
    lists = opened(
        codes,
        np.ones(3, np.float32),
        np.ones(3, np.int32),
        np.zeros(3, np.int64),
        np.zeros(400, np.uint8),
        1,
    )
    query = np.zeros(DIM, np.float32)
    chosen = choose(lists, query, Rule(0.6, 0.0, 3, 1), NOBODY)
    assert chosen.tolist() == [0, 1]  # 15 <= 1.6 * 10 < 25; squared, 225 > 160


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_the_survivors(bits: int) -> None:
    for seed in range(25):
        lists, vectors = lists_of(seed, 1 + seed % 7, bits)
        random = np.random.default_rng(seed)
        query = random.standard_normal(DIM).astype(np.float32)
        numbers = np.arange(len(lists.counts), dtype=np.int32)
        mask = random.random(len(vectors)) < 0.6 if seed % 2 else ANY
        k = 1 + seed % 5
        found = survivors(lists, query, numbers, k, 1.0, 10_000, mask)
        assert found.codes == lists.counts.sum()
        assert len(set(found.places.tolist())) == len(found.places)
        assert np.all(np.diff(found.estimates) >= 0)
        assert not len(mask) or mask[found.places].all()
        # Rounding the query moves estimates a little, and so whom a bound lets through.
        moved = 2 * most_moved(lists, query)
        sure, maybe = (
            reference.survivors(lists, query, numbers.tolist(), k, 1.0, 10_000, mask, more)
            for more in (-moved, moved)
        )
        assert set(sure) <= set(found.places.tolist()) <= set(maybe)
        # A little less slack than it needs, and a vector is left out.
        for place, need in zip(found.places.tolist(), found.needs.tolist(), strict=True):
            assert 0.0 <= need <= 1.001
            for slack in (0.998 * need - 1e-3, 1.002 * need + 1e-3):
                if slack > 0:
                    again = survivors(lists, query, numbers, k, slack, 10_000, mask).places
                    assert (place in again) == (slack > need)
        if bits == 4 and len(vectors):
            # Six spreads never miss the nearest.
            there = np.flatnonzero(mask) if len(mask) else np.arange(len(vectors))
            sure = survivors(lists, query, numbers, k, 6.0, 10_000, mask).places
            nearest = there[np.argsort(((vectors[there] - query) ** 2).sum(axis=1))[:k]]
            assert set(nearest.tolist()) <= set(sure.tolist())


def test_no_list_and_no_vector() -> None:
    lists, _ = lists_of(3, 4)
    query = np.zeros(DIM, np.float32)
    found = survivors(lists, query, NOBODY, 3, 1.0, 10, ANY)
    assert (len(found.places), found.codes) == (0, 0)
    nobody = np.zeros(len(lists.counts), np.int32)
    assert choose(lists, query, Rule(1.0, 1.0, 4, 1), nobody).tolist() == []


@given(st.permutations(range(12)), st.integers(1, 9))
@settings(deadline=None)
def test_rows_rearranged_in_place(order: list[int], width: int) -> None:
    rows = np.arange(12 * width, dtype=np.uint8).reshape(12, width)
    wanted = rows[order]
    rearrange(rows, np.array(order, np.int64))
    assert np.array_equal(rows, wanted)


@given(st.integers(1, 6), st.integers(1, 12), st.integers(1, 9), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=60)
def test_the_closest_of_parts_in_any_order(n: int, m: int, width: int, seed: int) -> None:
    """With ties; and a query that is compared with some parts only."""
    random = np.random.default_rng(seed)
    products = random.integers(-3, 4, (n, m)).astype(np.float32)
    squares = random.integers(0, 5, m).astype(np.float32)
    wanted = squares - 2 * products
    ids = np.full((n, width), -1, np.int32)
    apart = np.full((n, width), np.inf, np.float32)
    for part in np.array_split(random.permutation(m).astype(np.int32), 3):
        rows = np.flatnonzero(random.random(n) < 0.7)
        left = np.setdiff1d(np.arange(n), rows)
        wanted[left[:, None], part] = np.inf
        nearer(products[np.ix_(rows, part)], squares[part], part, rows, ids, apart)
    order = np.argsort(wanted, axis=1, kind="stable")[:, :width]
    best = np.take_along_axis(wanted, order, axis=1)
    order[np.isinf(best)] = -1
    assert ids[:, : order.shape[1]].tolist() == order.tolist()
    assert apart[:, : order.shape[1]].tolist() == best.tolist()
    assert (ids[:, order.shape[1] :] == -1).all()


@given(st.integers(1, 20), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_a_walk_goes_to_the_nearest_that_is_left(n: int, seed: int) -> None:
    apart = np.random.default_rng(seed).integers(0, 6, (n, n)).astype(np.float32)
    wanted = [0]
    while len(wanted) < n:
        left = [place for place in range(n) if place not in wanted]
        wanted.append(min(left, key=lambda place: (apart[wanted[-1], place], place)))
    assert walk(apart).tolist() == wanted


@given(st.integers(0, 30), st.integers(1, 7), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_who_stands_in_a_list(n: int, m: int, seed: int) -> None:
    lists = np.random.default_rng(seed).integers(-1, m, (n, 3)).astype(np.int32)
    counts, rows = members(lists, m)
    wanted = [
        [*np.flatnonzero(lists[:, 0] == number), *np.nonzero(lists[:, 1:] == number)[0]]
        for number in range(m)
    ]
    assert counts.tolist() == [len(own) for own in wanted]
    assert rows.tolist() == [row for own in wanted for row in own]


def test_thousands_of_one_vector() -> None:
    """All estimates tie; so many are kept as may be, each once."""
    record = np.zeros(record_bytes(3000, DIM, 2), np.uint8)
    encode(np.zeros((3000, DIM), np.float32), 2, record)
    record[:12_000].view(np.int32)[:] = np.arange(3000)
    lists = opened(
        np.ones((1, DIM), np.int8),
        np.ones(1, np.float32),
        np.array([3000], np.int32),
        np.zeros(1, np.int64),
        record,
        2,
    )
    query = np.ones(DIM, np.float32)
    found = survivors(lists, query, np.zeros(1, np.int32), 10, 2.0, 144, ANY)
    assert found.places.tolist() == list(range(144))
    assert np.all(found.estimates == 0.0)
