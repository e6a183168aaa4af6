"""The MaxSim benchmark runs, on a few documents, and measures what it says."""

from __future__ import annotations

import importlib.util

import pytest
from rich.console import Console

from cormorant.documents import JsonObject
from cormorant.eval.bench import maxsim as bench


def test_a_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "LEAST_SECONDS", 0.001)
    monkeypatch.setattr(bench, "GEMM_SIZE", 64)
    done = bench.measure(128, 2, ["maxsim_cpu"], n=30)
    systems = {(row["system"], row["setting"]) for row in done["rows"]}
    assert {("cormorant", "dim 128"), ("torch", "dim 128"), ("GEMM", "dim 128, peak")} <= systems
    assert ("sentence-transformers", "dim 128") in systems
    assert ("cormorant", "dim 128, int8") in systems
    assert set(done["ratios"]) == {"vs_torch", "vs_sentence_transformers", "gemm_fraction"}
    assert all(value > 0 for value in done["ratios"].values())
    for row in done["rows"]:
        flops = row["gflops"] * 1e9 / row["documents_per_second"]
        tokens = len(bench.data(128, 30).tokens.vectors)
        assert flops == pytest.approx(2 * 32 * 128 * tokens / 30)


def test_a_peer_with_other_scores_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "_torch", lambda held: lambda: bench._ours(held)() + 1)
    with pytest.raises(RuntimeError, match="torch gives other scores"):
        bench.measure(16, 1, ["maxsim_cpu"], n=5)


def test_a_peer_that_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole command, on few documents, where there is no maxsim-cpu."""
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "maxsim_cpu" else real(name)
    )
    monkeypatch.setattr(bench, "LEAST_SECONDS", 0.001)
    monkeypatch.setattr(bench, "GEMM_SIZE", 64)
    monkeypatch.setattr(bench, "WIDTHS", (16,))

    def here(job: str, dim: int, rounds: int, *without: str) -> JsonObject:
        assert job == "measure"
        return bench.measure(dim, 1, list(without), n=10)

    monkeypatch.setattr(bench, "_in_a_process", here)
    rows, ratios, packages = bench.bench(full=False, corpus=None, console=Console(quiet=True))
    assert {"system": "maxsim-cpu", "setting": "dim 16", "failed": "not installed"} in rows
    assert not any("maxsim_cpu" in name for name in ratios) and "vs_torch@16" in ratios
    assert set(packages) == {"torch", "sentence-transformers"}
