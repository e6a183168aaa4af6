"""The benchmark of shards on a little data, and its arithmetic by hand."""

import json

import numpy as np
import pytest

from cormorant.eval.bench import cluster
from cormorant.eval.bench.cluster_scale import FAN_OUTS, Measured, arithmetic, simulated
from cormorant.retrieval.cluster.executor import InProcess
from cormorant.terminal import console


def test_a_small_run_has_every_row(monkeypatch):
    monkeypatch.setattr("cormorant.eval.bench.cluster_scale.QUERIES", 200)
    monkeypatch.setattr(cluster, "EXECUTORS", {"in process": InProcess})
    given = cluster.material(None, cluster.Plan(400, 12))
    rows, ratios = cluster.run(given, console(stderr=True), shards=(1, 2))
    json.dumps(rows, allow_nan=False)
    settings = {(row["system"], row["setting"]) for row in rows}
    for pipeline in ("bm25", "dense"):
        assert ("one collection", pipeline) in settings
        assert {("in process", f"{pipeline} {n} shards") for n in (1, 2)} <= settings
        assert ("arithmetic", f"{pipeline} 10,000,000,000 documents") in settings
    measured = [row for row in rows if row["system"] == "in process"]
    for row in measured:
        assert row["p50_ms"] > 0
        assert row["slowest_p50_ms"] > 0
        assert row["qps"] > 0
        assert row["batch_qps"] > 0
    assert ratios == {}  # they are Ray's


def test_another_answer_ends_the_benchmark(monkeypatch):
    monkeypatch.setattr(cluster, "EXECUTORS", {"in process": InProcess})
    monkeypatch.setattr(cluster, "_same", lambda one, other: False)
    given = cluster.material(None, cluster.Plan(50, 3))
    with pytest.raises(cluster.CormorantError, match="query 0"):
        cluster.run(given, console(stderr=True), shards=(2,))


def test_the_arithmetic_is_that_of_the_page():
    index = Measured(
        "bm25",
        documents=1_000_000,
        memory_bytes=100.0,
        disk_bytes=500.0,
        documents_per_second=50_000.0,
        shard_ms=6.0,
        small_documents=100_000,
        small_ms=1.5,
    )
    assert index.line() == pytest.approx((1.0, 5e-6))
    [row] = arithmetic([index], [100_000_000])
    # n = (50 - 1) / 5e-6 = 9.8 million; S = 11; a query 11 * 1 + 1e8 * 5e-6 = 511 ms of a core
    assert row["shards"] == 11
    assert row["machines_for_memory"] == 1  # 2 * 10 GB of .8 * 64
    assert row["machines_for_disk"] == 1  # 2 * 50 GB of .8 * 2,000
    assert row["machines_for_cores"] == 4  # 100 * 511 / (1000 * 16 * .8) = 3.99
    assert (row["machines"], row["first_bottleneck"]) == (4, "cores")
    assert row["build_hours"] == pytest.approx(2e8 / (50_000 * 16 * 4) / 3600)
    assert row["queries_per_second"] == pytest.approx(4 * 1000 * 16 * 0.8 / 511)
    assert row["disk_tb"] == pytest.approx(0.1)


def test_a_time_that_does_not_grow_makes_no_negative_line():
    flat = Measured("x", 1000, 1.0, 1.0, 1.0, 0.5, 100, 0.6)
    fixed, slope = flat.line()
    assert fixed == pytest.approx(0.6)
    assert slope > 0


def test_replayed_tails_are_shorter_when_hedged(monkeypatch):
    monkeypatch.setattr("cormorant.eval.bench.cluster_scale.QUERIES", 2_000)
    random = np.random.default_rng(1)
    rows = simulated("bm25", random.gamma(4.0, 0.5, 500))
    assert len(rows) == 3 * len(FAN_OUTS)
    for place in range(0, len(rows), 3):
        plain, at_95, _ = rows[place : place + 3]
        assert at_95["p99_ms"] < plain["p99_ms"]
        assert 0.03 < at_95["extra_load"] < 0.12
        assert plain["busy"] == pytest.approx(0.3, rel=0.15)
