"""``cormorant bench bm25``: against bm25s (numba) and rank-bm25, query strings in, top ten out.

Each system builds in a process of its own, so that peak memory is its own; then both are opened in
one process and asked the same queries in turn, round after round, so that the machine's moods meet
both. One thread everywhere. Tokenising the queries is inside both times, ids are inside ours.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ...documents import JsonObject, read_jsonl
from ...errors import CormorantError, InputError, MissingDependencyError
from ..datasets import load_dataset
from ..synthetic import synthetic_queries, synthetic_sentences
from ..topics import read_queries
from .sentences import english_queries, shared_sentences
from .shown import show

if TYPE_CHECKING:
    from rich.console import Console

SEED = 20_261
SYNTHETIC_DOCUMENTS = 1_000_000
SYNTHETIC_QUERIES = 2_000
SUBSETS = (50_000, 125_000)
ROUNDS = 5
RANK_BM25_DOCUMENTS = 50_000
RANK_BM25_QUERIES = 50
ONE_THREAD = {
    name: "1"
    for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
}


class Setting(NamedTuple):
    """One corpus and its queries. ``slow_peer``: also ask rank-bm25, on a few queries."""

    name: str
    texts: Sequence[str]
    queries: Sequence[str]
    slow_peer: bool


def bench(
    *, full: bool, corpus: Path | None, console: Console
) -> tuple[list[JsonObject], dict[str, float], dict[str, str]]:
    """The rows, the ratios and the peers' versions."""
    peers = {}
    for package in ("bm25s", "rank-bm25"):
        try:
            peers[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            raise MissingDependencyError(package, "bench") from None
    rows: list[JsonObject] = []
    ratios: dict[str, float] = {}
    rounds = 3 * ROUNDS if full else ROUNDS
    for setting in _settings(corpus):
        n_texts = len(setting.texts)
        console.print(f"{setting.name}: {n_texts:,} texts, {len(setting.queries):,} queries")
        new_rows, new_ratios = _run(setting, rounds)
        rows += new_rows
        ratios |= {f"{name}@{setting.name}": value for name, value in new_ratios.items()}
        # The plain names are those of the last real corpus, or of the corpus given.
        if setting.name != "synthetic-1M" or not ratios.keys() & {"qps_vs_bm25s"}:
            ratios |= new_ratios
        show(new_rows, new_ratios, console)
    _show_trend(ratios, console)
    return rows, ratios, peers


def _settings(corpus: Path | None) -> Iterator[Setting]:
    if corpus is not None:
        data = load_dataset(corpus)
        texts = [f"{item.title} {item.text}".strip() for item in read_jsonl(data.corpus)]
        queries = list(read_queries(data.queries_file).values())
        yield Setting(data.name, texts, queries, slow_peer=len(texts) <= RANK_BM25_DOCUMENTS)
        return
    sentences = shared_sentences()
    if sentences is not None:
        queries = english_queries()
        for size in (*SUBSETS, len(sentences)):
            yield Setting(
                f"sentences-{size // 1000}k",
                sentences[:size],
                queries,
                slow_peer=size == RANK_BM25_DOCUMENTS,
            )
    yield Setting(
        "synthetic-1M",
        list(synthetic_sentences(SYNTHETIC_DOCUMENTS, SEED)),
        list(synthetic_queries(SYNTHETIC_QUERIES, SEED)),
        slow_peer=False,
    )


def _run(setting: Setting, rounds: int) -> tuple[list[JsonObject], dict[str, float]]:
    with tempfile.TemporaryDirectory(prefix="cormorant-bench-") as folder:
        task = Path(folder) / "task.json"
        task.write_text(json.dumps({"texts": setting.texts, "queries": setting.queries}))
        ours = _worker("build-cormorant", folder)
        peer = _worker("build-bm25s", folder)
        both = _worker("compare", folder, str(rounds))
        slow = _worker("rank-bm25", folder) if setting.slow_peer else None
    if both["wrong_queries"]:
        raise CormorantError(
            f"{both['wrong_queries']} queries of {setting.name} differ from the exact reference, "
            f"the first is {both['first_wrong']!r}"
        )
    rows: list[JsonObject] = [
        {"system": "cormorant", "setting": setting.name, **ours, **both["cormorant"]},
        {"system": "bm25s", "setting": setting.name, **peer, **both["bm25s"]},
    ]
    ratios = {
        "qps_vs_bm25s": both["qps_ratio"],
        "build_vs_bm25s": peer["build_seconds"] / ours["build_seconds"],
        "peak_memory_vs_bm25s": peer["peak_mb"] / ours["peak_mb"],
        "disk_vs_bm25s": peer["disk_mb"] / ours["disk_mb"],
        "latency_vs_bm25s": both["bm25s"]["single_p50_ms"] / both["cormorant"]["single_p50_ms"],
    }
    if slow is not None:
        rows.append({"system": "rank-bm25", "setting": setting.name, **slow})
        ratios["qps_vs_rank_bm25"] = both["cormorant"]["qps"] / slow["qps"]
    return rows, ratios


def _worker(job: str, folder: str, *arguments: str) -> Any:
    """Run one job in a fresh process with one thread; its last line of output is JSON."""
    command = [sys.executable, "-m", "cormorant.eval.bench.bm25_worker", job, folder, *arguments]
    done = subprocess.run(  # noqa: S603
        command, env=os.environ | ONE_THREAD, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise InputError(f"the benchmark's job {job!r} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _show_trend(ratios: dict[str, float], console: Console) -> None:
    trend = [
        f"{name.partition('@')[2]} {value:.2f}x"
        for name, value in ratios.items()
        if name.startswith("qps_vs_bm25s@")
    ]
    console.print("queries per second against bm25s: " + ", ".join(trend))
