"""The simulated tail against what probability theory says of it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cormorant.errors import InputError
from cormorant.eval.simulation import Failures, Fleet, simulate

EXPONENTIAL = -np.log(1 - (np.arange(20_000) + 0.5) / 20_000)
"""Times of an exponential shard with a mean of 1 ms, evenly over its quantiles."""
SPARSE = {"queries_per_second": 0.1, "seed": 1}
"""So few queries that none waits for another."""


@pytest.mark.parametrize("shards", [1, 8, 30])
def test_the_slowest_of_n_shards_is_the_largest_of_n_draws(shards):
    tail = simulate(EXPONENTIAL, Fleet(shards), queries=20_000, **SPARSE)
    for share, found in ((0.5, tail.p50_ms), (0.99, tail.p99_ms)):
        # P(all n <= t) = (1 - exp(-t))^n
        assert found == pytest.approx(-np.log(1 - share ** (1 / shards)), rel=0.06)
    assert tail.extra_load == 0
    assert tail.hedge_ms is None


def test_a_query_waits_only_for_the_shards_that_it_asks():
    few = simulate(EXPONENTIAL, Fleet(32, asked=6), queries=20_000, **SPARSE)
    assert few.p99_ms == pytest.approx(-np.log(1 - 0.99 ** (1 / 6)), rel=0.06)


def test_hedging_at_p95_costs_five_percent_and_buys_the_tail():
    fleet = Fleet(1, replicas=2, hedge=0.95)
    tail = simulate(EXPONENTIAL, fleet, queries=60_000, **SPARSE)
    delay = np.log(20)
    assert tail.extra_load == pytest.approx(0.05, abs=0.003)
    assert tail.hedge_ms == pytest.approx(delay, rel=0.02)
    # Beyond d: P(X > t) P(Y > t - d) = exp(-(2 t - d)), so t = (d + ln(1 / share)) / 2.
    assert tail.p99_ms == pytest.approx((delay + np.log(100)) / 2, rel=0.03)
    assert tail.p999_ms == pytest.approx((delay + np.log(1000)) / 2, rel=0.06)
    plain = simulate(EXPONENTIAL, replace(fleet, hedge=None), queries=60_000, **SPARSE)
    assert plain.p999_ms == pytest.approx(np.log(1000), rel=0.1)


def test_a_loaded_shard_queues_as_m_m_1_does():
    # Sojourn times of M/M/1 are exponential with rate mu - lambda: 1 - 0.6 per ms.
    tail = simulate(EXPONENTIAL, Fleet(1), queries=100_000, queries_per_second=600, seed=2)
    assert tail.p50_ms == pytest.approx(np.log(2) / 0.4, rel=0.06)
    assert tail.p99_ms == pytest.approx(np.log(100) / 0.4, rel=0.12)
    assert tail.busy == pytest.approx(0.6, rel=0.03)


def test_two_slots_bear_twice_the_load_of_one():
    one = simulate(EXPONENTIAL, Fleet(1), queries=20_000, queries_per_second=1600, seed=2)
    two = simulate(EXPONENTIAL, Fleet(1, slots=2), queries=20_000, queries_per_second=1600, seed=2)
    assert one.p50_ms > 100 * two.p50_ms
    assert two.busy == pytest.approx(0.8, rel=0.03)


def test_stragglers_are_met_by_nearly_every_query_of_many_shards():
    fleet = Fleet(50, stragglers=0.02, slower=100)
    tail = simulate([1.0], fleet, queries=4_000, **SPARSE)
    assert tail.p50_ms == 100  # 1 - 0.98^50 = 0.64
    lone = simulate([1.0], replace(fleet, shards=1), queries=4_000, **SPARSE)
    assert (lone.p50_ms, lone.p99_ms) == (1, 100)
    rescued = simulate([1.0], replace(fleet, replicas=2, hedge=0.95), queries=4_000, **SPARSE)
    assert rescued.p50_ms == 2  # the second answer, 1 ms after a wait of 1 ms
    assert rescued.extra_load == pytest.approx(0.02, rel=0.1)


def test_a_shard_is_missing_as_often_as_all_its_replicas_are_down():
    alone = Fleet(1, failures=Failures(up_seconds=90, down_seconds=10, detect_ms=0))
    at = {"queries": 60_000, "queries_per_second": 1, "seed": 3}
    assert simulate(EXPONENTIAL, alone, **at).partial == pytest.approx(0.1, rel=0.1)
    twice = simulate(EXPONENTIAL, replace(alone, replicas=2), **at)
    assert twice.partial == pytest.approx(0.01, rel=0.35)
    # Whom the router knows to be down is not asked.
    assert twice.extra_load == pytest.approx(-0.01, abs=0.005)


def test_a_death_that_nobody_noticed_is_rescued_by_hedging():
    slow_to_see = Failures(up_seconds=50, down_seconds=2, detect_ms=2_000)
    fleet = Fleet(1, replicas=2, failures=slow_to_see, deadline_ms=500)
    at = {"queries": 30_000, "queries_per_second": 10, "seed": 4}
    plain = simulate(EXPONENTIAL, fleet, **at)
    # Lost are the first 1.5 s of a death, or less: 2 (1 - exp(-1.5 / 2)) s of every 52.
    assert plain.partial == pytest.approx(1.055 / 52, rel=0.25)
    assert plain.p999_ms == 500
    hedged = simulate(EXPONENTIAL, replace(fleet, hedge=0.95), **at)
    assert hedged.partial < plain.partial / 5


times = st.lists(st.floats(0.01, 1000), min_size=1, max_size=30)


@settings(max_examples=25, deadline=None)
@given(times, st.integers(1, 6), st.sampled_from([0.5, 0.9, 0.99]), st.integers(0, 2**32))
def test_without_a_queue_hedging_makes_no_query_slower(service, shards, hedge, seed):
    fleet = Fleet(shards, replicas=2, stragglers=0.1)
    at = {"queries": 200, "queries_per_second": 1e-4, "seed": seed}
    plain = simulate(service, fleet, **at)
    hedged = simulate(service, replace(fleet, hedge=hedge), **at)
    assert hedged.p50_ms <= plain.p50_ms
    assert hedged.p99_ms <= plain.p99_ms
    assert hedged.p999_ms <= plain.p999_ms
    assert 0 <= hedged.extra_load <= 1
    assert hedged == simulate(service, replace(fleet, hedge=hedge), **at)


@pytest.mark.parametrize(
    "fleet",
    [
        {"shards": 0},
        {"shards": 2, "asked": 3},
        {"shards": 1, "slots": 0},
        {"shards": 1, "hedge": 0.95},
        {"shards": 1, "replicas": 2, "hedge": 1.0},
        {"shards": 1, "stragglers": 1.5},
        {"shards": 1, "deadline_ms": 0},
    ],
)
def test_a_fleet_that_cannot_be_is_refused(fleet):
    with pytest.raises(InputError):
        Fleet(**fleet)


@pytest.mark.parametrize("service", [[], [1.0, float("nan")], [0.0], [[1.0]]])
def test_times_that_are_none_are_refused(service):
    with pytest.raises(InputError, match="service_ms"):
        simulate(service, Fleet(1), queries=1, queries_per_second=1, seed=0)


def test_no_queries_are_refused():
    with pytest.raises(InputError, match="queries"):
        simulate([1.0], Fleet(1), queries=0, queries_per_second=1, seed=0)
