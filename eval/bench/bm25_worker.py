"""One job of the BM25 benchmark, in a process of its own; prints one line of JSON."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...documents import Document, JsonObject
from ...indexers.analysis import Analyzer
from ...indexers.bm25.settings import BM25
from ...retrieval.collection import Collection

K = 10
SINGLE_QUERIES = 500
CHECK_TOLERANCE = 1e-5
BM25S_SEARCH: JsonObject = {
    "n_threads": 1,
    "show_progress": False,
    "backend_selection": "numba",
}


def main(job: str, folder: Path, *arguments: str) -> JsonObject:
    """Run a job by its name."""
    task = json.loads((folder / "task.json").read_text())
    texts, queries = task["texts"], task["queries"]
    if job == "build-cormorant":
        path = folder / "ours.cm"
        return _build(lambda: _build_ours(texts, path), lambda: _ask_ours(path, queries), path)
    if job == "build-bm25s":
        path = folder / "bm25s"
        return _build(lambda: _build_bm25s(texts, path), lambda: _ask_bm25s(path, queries), path)
    if job == "compare":
        return _compare(texts, queries, folder, int(arguments[0]))
    return _rank_bm25(texts, queries)


def _build(build: Callable[[], None], ask: Callable[[], None], path: Path) -> JsonObject:
    """Build twice (the first loads code and caches), timed, and weigh it.

    ``peak_mb`` is that of the process that built and then answered every query;
    ``build_peak_mb`` before it answered any.
    """
    build_seconds = []
    for _ in range(2):
        shutil.rmtree(path, ignore_errors=True)
        start = time.perf_counter()
        build()
        build_seconds.append(time.perf_counter() - start)
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    build_peak_mb = _peak_mb()
    ask()
    return {
        "build_seconds": build_seconds[-1],
        "build_peak_mb": build_peak_mb,
        "peak_mb": _peak_mb(),
        "disk_mb": size / 1e6,
    }


def _peak_mb() -> float:
    """The peak of this process; getrusage would count what its parent held when it forked."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _ask_ours(path: Path, queries: Sequence[str]) -> None:
    with Collection.open(path, read_only=True) as collection:
        collection.search_batch(queries, K)


def _ask_bm25s(path: Path, queries: Sequence[str]) -> None:
    _load_bm25s(path).retrieve(_bm25s_tokens(queries), k=K, **BM25S_SEARCH)


def _build_ours(texts: Sequence[str], path: Path) -> None:
    """Texts to a durable collection: catalog, ids and BM25 segments, all synced."""
    with Collection.create(path, {"bm25": BM25()}) as collection:
        collection.add(Document(str(number), text) for number, text in enumerate(texts))
        collection.flush()


def _build_bm25s(texts: Sequence[str], path: Path) -> None:
    """Texts to saved, synced index files."""
    import bm25s

    retriever = bm25s.BM25(method="lucene", k1=1.2, b=0.75, backend="numba")
    retriever.index(_bm25s_tokens(texts), show_progress=False)
    retriever.save(str(path), show_progress=False)
    for file in path.iterdir():
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def _bm25s_tokens(texts: Sequence[str]) -> Any:
    import bm25s
    import Stemmer

    return bm25s.tokenize(
        list(texts), stopwords="en", stemmer=Stemmer.Stemmer("english"), show_progress=False
    )


def _load_bm25s(path: Path) -> Any:
    import bm25s

    peer = bm25s.BM25.load(str(path), show_progress=False)
    peer.backend = "numba"
    peer.activate_numba_scorer()
    return peer


def _compare(texts: Sequence[str], queries: Sequence[str], folder: Path, rounds: int) -> JsonObject:
    peer = _load_bm25s(folder / "bm25s")

    def ask_peer(batch: Sequence[str]) -> Any:
        return peer.retrieve(_bm25s_tokens(batch), k=K, **BM25S_SEARCH)

    with Collection.open(folder / "ours.cm", read_only=True) as ours:

        def ask_ours(batch: Sequence[str]) -> list[Sequence[str]]:
            return [result.ids for result in ours.search_batch(batch, K)]

        ask_peer(queries[:50])
        ask_ours(queries[:50])
        times: dict[str, list[float]] = {"cormorant": [], "bm25s": []}
        for _ in range(rounds):
            for name, ask in (("cormorant", ask_ours), ("bm25s", ask_peer)):
                start = time.perf_counter()
                ask(queries)
                times[name].append(time.perf_counter() - start)
        some = random.Random(7).sample(list(queries), min(SINGLE_QUERIES, len(queries)))
        singles: dict[str, list[float]] = {"cormorant": [], "bm25s": []}
        for query in some:
            start = time.perf_counter()
            ours.search(query, K)
            middle = time.perf_counter()
            ask_peer([query])
            singles["cormorant"].append(middle - start)
            singles["bm25s"].append(time.perf_counter() - middle)
        wrong = _wrong_queries(texts, queries, ours)
    report: JsonObject = {
        name: {
            "qps": len(queries) / statistics.median(times[name]),
            "single_p50_ms": float(np.percentile(singles[name], 50)) * 1000,
            "single_p95_ms": float(np.percentile(singles[name], 95)) * 1000,
        }
        for name in times
    }
    pairs = zip(times["bm25s"], times["cormorant"], strict=True)
    return report | {
        "qps_ratio": statistics.median(theirs / mine for theirs, mine in pairs),
        "wrong_queries": len(wrong),
        "first_wrong": wrong[0] if wrong else None,
    }


def _wrong_queries(texts: Sequence[str], queries: Sequence[str], ours: Collection) -> list[str]:
    """The queries whose top ten is not a top ten of the exact, exhaustive reference.

    Any member of a tie at the last place will do: the scores are compared place by place, and each
    hit's score with its own.
    """
    lexicon = Analyzer("en").lexicon()
    term_ids, offsets = lexicon.encode(texts)
    n_terms = len(lexicon.terms)
    lengths = np.diff(offsets).astype(np.float64)
    rows = np.repeat(np.arange(len(texts), dtype=np.int64), np.diff(offsets))
    pairs, counts = np.unique(term_ids.astype(np.int64) * len(texts) + rows, return_counts=True)
    starts = np.searchsorted(pairs // len(texts), np.arange(n_terms + 1))
    pair_rows = pairs % len(texts)
    norms = 1.2 * (1 - 0.75 + 0.75 * lengths / lengths.mean())
    wrong = []
    results = ours.search_batch(queries, K)
    for query, result in zip(queries, results, strict=True):
        encoded, _ = lexicon.encode([query])
        scores = np.zeros(len(texts))
        for term in encoded[encoded < n_terms]:
            place = slice(starts[term], starts[term + 1])
            here, tf = pair_rows[place], counts[place]
            df = len(here)
            idf = np.log1p((len(texts) - df + 0.5) / (df + 0.5))
            scores[here] += idf * tf / (tf + norms[here])
        best = np.sort(np.partition(scores, -K)[-K:])[::-1]
        best = best[best > 0]
        mine = np.array(result.scores)
        hit_rows = np.array([int(name) for name in result.ids], np.int64)
        if (
            len(mine) != len(best)
            or not np.allclose(mine, best, rtol=CHECK_TOLERANCE)
            or not np.allclose(scores[hit_rows], mine, rtol=CHECK_TOLERANCE)
        ):
            wrong.append(query)
    return wrong


def _rank_bm25(texts: Sequence[str], queries: Sequence[str]) -> JsonObject:
    """The pure-Python peer: its own class on our terms, a few seeded queries."""
    from rank_bm25 import BM25Okapi

    analyzer = Analyzer("en")
    start = time.perf_counter()
    peer = BM25Okapi([analyzer.terms(text) for text in texts])
    build_seconds = time.perf_counter() - start
    some = random.Random(7).sample(list(queries), min(50, len(queries)))
    start = time.perf_counter()
    for query in some:
        scores = peer.get_scores(analyzer.terms(query))
        np.argpartition(-scores, K)[:K]
    return {
        "build_seconds": build_seconds,
        "peak_mb": _peak_mb(),
        "qps": len(some) / (time.perf_counter() - start),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])) + "\n")
