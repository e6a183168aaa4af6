"""The randomisation test against its slow twin and scipy; Holm against numbers worked by hand."""

import itertools
import math
import tracemalloc

import numpy as np
import pytest

from cormorant.errors import InputError
from cormorant.eval.result import EvalResult
from cormorant.eval.significance import (
    check_baseline,
    compare,
    compare_all,
    holm,
    randomisation_test,
)


def result(pipeline, values, dataset="toy", measure="nDCG@10"):
    """A result whose queries q0, q1, ... have these values."""
    per_query = {f"q{place}": {measure: value} for place, value in enumerate(values)}
    return EvalResult(
        dataset=dataset,
        pipeline=pipeline,
        measures={measure: sum(values) / len(values)},
        per_query=per_query,
        run={},
        latency_ms={},
        index_seconds=0.0,
        index_bytes=0,
        catalog_bytes=0,
        queries=len(values),
        flags={},
    )


def brute_force(differences):
    """All 2^n ways, in whole numbers: no rounding, no allowance for it."""
    seen = abs(sum(differences))
    ways = list(itertools.product((1, -1), repeat=len(differences)))
    extreme = sum(
        abs(sum(sign * value for sign, value in zip(signs, differences, strict=True))) >= seen
        for signs in ways
    )
    return extreme / len(ways)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 11])
def test_exact_is_what_enumerating_all_ways_gives(n):
    random = np.random.default_rng(n)
    for _ in range(20):
        whole = [int(value) for value in random.integers(-6, 9, n)]
        assert randomisation_test(whole) == brute_force(whole)
        # Tenths do not add up exactly: ways that tie with what was seen still count.
        assert randomisation_test([value / 10 for value in whole]) == brute_force(whole)


def test_sixteen_are_exact_and_seventeen_are_sampled():
    rising = [2.0**-place for place in range(16)]
    assert randomisation_test(rising) == 2 / 2**16
    assert randomisation_test([*rising, *[0.0] * 50]) == 2 / 2**16, "a zero has no sign to flip"
    assert randomisation_test([1.0] * 17) == pytest.approx(2 / 100_001, abs=3 / 100_001)
    assert randomisation_test([1.0] * 300) == 1 / 100_001, "what was seen is one of the ways"


@pytest.mark.parametrize(
    "differences",
    [
        [0.1, 0.2, -0.05, 0.3, 0.0, 0.25],
        [1.0, 1.0, 1.0, 1.0, -1.0, 0.0, 0.0, 1.0],  # P@1: ties and zeros
        [0.5, -0.5, 0.25, -0.25],
        [0.31, -0.12, 0.44, 0.02, 0.18, -0.07, 0.29, 0.33, -0.21, 0.11, 0.27, 0.05],
    ],
)
def test_exact_is_scipys(differences):
    stats = pytest.importorskip("scipy.stats")
    theirs = stats.permutation_test(
        (np.array(differences),),
        lambda values, axis: values.sum(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf,
    ).pvalue
    assert randomisation_test(differences) == pytest.approx(theirs, abs=1e-12)


def test_p_is_uniform_over_pairs_that_might_have_been_swapped():
    """Values as measures give them, in steps and often equal: so p may only be too large."""
    random = np.random.default_rng(3)
    steps = np.array([0.0, 0.0, 0.2, 0.3155, 0.5, 0.6309, 1.0])
    found = []
    for _ in range(600):
        pair = random.choice(steps, (2, 18))
        one, other = result("a", pair[0].tolist()), result("b", pair[1].tolist())
        found.append(compare(one, other, "nDCG@10").p)
    for level in (0.05, 0.1, 0.25, 0.5):
        spread = math.sqrt(level * (1 - level) / len(found))
        share = np.mean(np.array(found) <= level)
        assert level - 4 * spread - 0.02 < share < level + 4 * spread, level


@pytest.mark.parametrize("n", [17, 40, 323])
@pytest.mark.parametrize("effect", [0.0, 1.5, 2.5])
def test_sampling_is_near_scipy(n, effect):
    stats = pytest.importorskip("scipy.stats")
    differences = np.random.default_rng(n).normal(size=n)
    differences += effect / math.sqrt(n) - differences.mean()
    resamples = 40_000
    theirs = stats.permutation_test(
        (differences,),
        lambda values, axis: values.mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        batch=1000,
        rng=1,
    ).pvalue
    # Theirs is twice the smaller tail; five of its standard errors.
    spread = 5 * math.sqrt(2 * theirs / resamples)
    assert randomisation_test(differences) == pytest.approx(theirs, abs=spread)
    assert randomisation_test(differences, rounds=300_000) == pytest.approx(theirs, abs=spread)


def test_p_is_uniform_where_the_null_is_true():
    random = np.random.default_rng(11)
    found = np.array(
        [randomisation_test(random.normal(size=25), rounds=999, seed=7) for _ in range(1000)]
    )
    for level in (0.01, 0.05, 0.1, 0.25, 0.5, 0.75):
        spread = math.sqrt(level * (1 - level) / len(found))
        assert abs(np.mean(found <= level) - level) < 4 * spread, level


@pytest.mark.parametrize("n", [9, 60])
def test_neither_the_order_nor_the_side_matters_to_the_last_bit(n):
    random = np.random.default_rng(n)
    differences = random.normal(0.2, 1.0, n)
    differences[::4] = 0.0
    p = randomisation_test(differences)
    assert 0.0 < p < 1.0
    assert randomisation_test(-differences) == p
    assert randomisation_test(random.permutation(differences)) == p
    assert randomisation_test(differences * 1e-6) == p
    assert randomisation_test(list(differences)) == p


def test_the_seed_decides_and_nothing_else():
    differences = np.random.default_rng(0).normal(0.1, 1.0, 100)
    assert randomisation_test(differences, seed=1) == randomisation_test(differences, seed=1)
    assert len({randomisation_test(differences, seed=seed) for seed in range(5)}) > 1


def test_equal_or_single_queries_say_nothing():
    assert randomisation_test([0.0] * 40) == 1.0
    assert randomisation_test([0.7]) == 1.0
    assert randomisation_test([0.1, -0.1] * 20) == 1.0


def test_memory_is_bounded():
    differences = np.random.default_rng(0).normal(size=20_000)
    tracemalloc.start()
    randomisation_test(differences, rounds=3000)
    randomisation_test(differences[:50], rounds=1_000_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16e6


@pytest.mark.parametrize(
    ("differences", "rounds", "message"),
    [
        ([], 10, "finite differences"),
        ([0.1, math.nan], 10, "finite differences"),
        ([[0.1], [0.2]], 10, "finite differences"),
        ([0.1], 0, "rounds is at least 1, got 0"),
    ],
)
def test_what_cannot_be_tested_is_refused(differences, rounds, message):
    with pytest.raises(InputError, match=message):
        randomisation_test(differences, rounds=rounds)


def test_holm_by_hand():
    # Sorted .005 .01 .03 .04: times 4, 3, 2, 1 gives .02 .03 .06 .04, and .04 is lifted to .06.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([0.02, 0.02, 0.02]) == pytest.approx([0.06] * 3)
    assert holm([0.2]) == [0.2]
    assert holm([]) == []


def test_a_comparison():
    base = result("bm25", [0.5, 0.2, 0.1 + 0.2, 0.9])
    other = result("hybrid", [0.75, 0.1, 0.3, 1.0])
    one = compare(base, other, "nDCG@10")
    assert (one.dataset, one.pipeline, one.baseline) == ("toy", "hybrid", "bm25")
    assert (one.wins, one.losses, one.ties) == (2, 1, 1), "0.1 + 0.2 ties with 0.3"
    assert one.difference == pytest.approx(0.25 / 4)
    # Of the eight sums of .25 .1 .1 under all signs, six reach .25: -.05 and .05 do not.
    assert one.p == one.p_holm == 6 / 8
    back = compare(other, base, "nDCG@10")
    assert (back.p, back.wins, back.difference) == (one.p, 1, -one.difference)


def test_noise_in_the_last_bits_is_no_difference():
    one = compare(result("a", [0.3] * 30), result("b", [0.1 + 0.2] * 30), "nDCG@10")
    assert (one.difference, one.ties, one.p, one.mark) == (0.0, 30, 1.0, "")


@pytest.mark.parametrize(
    ("other", "measure", "message"),
    [
        (result("b", [0.5] * 3), "nDCG@10", r"different queries: 1 .*'q2'"),
        (result("b", [0.5] * 2, dataset="other"), "nDCG@10", "different data sets"),
        (result("b", [0.5] * 2, measure="AP"), "nDCG@10", "not both measured with nDCG@10"),
    ],
)
def test_only_like_is_compared_with_like(other, measure, message):
    with pytest.raises(InputError, match=message):
        compare(result("a", [0.5] * 2), other, measure)


def test_holms_family_is_one_data_set():
    low, high = [0.0] * 8, [0.5] * 8  # p = 2 / 2^8
    mixed = [0.5, -0.5] * 4  # p = 1
    p = 2 / 2**8
    alone = compare_all([result("a", low), result("b", high)], "a")
    assert [one.p_holm for one in alone.comparisons] == [p]
    more = [
        result("b", high),
        result("a", low),
        result("c", mixed),
        result("a", low, dataset="d2"),
        result("b", high, dataset="d2"),
    ]
    against = compare_all(more, "a")
    assert [(one.dataset, one.pipeline, one.p_holm) for one in against.comparisons] == [
        ("toy", "b", 2 * p),
        ("toy", "c", 1.0),
        ("d2", "b", p),
    ]
    assert against.as_json(more[0]) == {
        "baseline": "a",
        "measures": {
            "nDCG@10": {
                "difference": 0.5, "wins": 8, "losses": 0, "ties": 0, "p": p, "p_holm": 2 * p,
            }
        },
    }  # fmt: skip
    assert against.as_json(more[1]) == {"baseline": "a", "measures": {}}
    assert [one.mark for one in against.comparisons] == ["+", "", "+"]
    assert [one.mark for one in compare_all(more[:2], "b").comparisons] == ["-"]


def test_a_baseline_is_one_name():
    check_baseline("a", ["a", "b"])
    with pytest.raises(InputError, match=r"no pipeline 'c'; one of 'a', 'b'"):
        check_baseline("c", ["a", "b"])
    with pytest.raises(InputError, match="two pipelines are called 'b'"):
        check_baseline("a", ["a", "b", "b"])
    assert compare_all([result("a", [0.1])], "a").comparisons == ()
