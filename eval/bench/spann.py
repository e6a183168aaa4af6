"""``cormorant bench spann``: the disk-hybrid index with its page cache dropped, at several recalls.

The sentence vectors of the shared data, and with ``--full`` a million seeded vectors of 96 numbers
in skewed clusters. Collections are built through ``Collection.create`` and ``add``, merged into one
segment, and kept in the cache of benchmarks by checksum (``--prepare``). Each is then opened and
asked query by query, after the kernel was told to forget the files' pages (Linux:
``posix_fadvise``), and again every ``_FORGET`` queries, so that an answer has to be read from disk.
Memory is what opening and searching added: anonymous and mapped resident pages, of ``/proc``.
No peer is measured here yet.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...contracts import Float32Array, Int64Array
from ...documents import Document, JsonObject
from ...indexers.spann.settings import Spann
from ...retrieval.collection import Collection
from ..download import cache_folder
from .sentences import sentence_vectors

if TYPE_CHECKING:
    from rich.console import Console

K = 10
TARGETS = (0.90, 0.95, 0.98)
QUERIES = 500
_FORGET = 25
_SEED = 7
_VERSION = 1
"""Part of the cache's key: another number builds again."""


class Data(NamedTuple):
    """Vectors to find, queries, and each query's exact neighbours, best first."""

    name: str
    base: Float32Array
    queries: Float32Array
    neighbours: Int64Array


def prepare(*, full: bool, corpus: Path | None, console: Console) -> None:
    """Build every collection and time it."""
    for data in _data(full, corpus):
        for target in TARGETS:
            built = _built(data, target)
            console.print(f"{data.name} {target}: built in {built['build_seconds']:.0f} s")


def bench(
    *, full: bool, corpus: Path | None, console: Console
) -> tuple[list[JsonObject], dict[str, float], dict[str, str]]:
    """The rows, the ratios and the peers' versions."""
    rows: list[JsonObject] = []
    for data in _data(full, corpus):
        for target in TARGETS:
            row = _measured(data, target)
            rows.append(row)
            console.print(
                f"{data.name} recall {row['recall@10']:.3f}: {row['mean_ms']:.3f} ms, "
                f"p99 {row['p99_ms']:.3f}, {row['memory_mb']:.0f} MB"
            )
    return rows, {}, {}


def _data(full: bool, corpus: Path | None) -> list[Data]:
    found = [Data(*sentence_vectors(corpus))]
    return [*found, _synthetic(1_000_000, 96)] if full else found


def _synthetic(n: int, dim: int) -> Data:
    """Low intrinsic dimension, skewed clusters; the last 1,000 are queries."""
    random = np.random.Generator(np.random.Philox(_SEED))
    n_clusters, inner = 2000, 16
    sizes = random.pareto(1.2, n_clusters) + 0.05
    owners = random.choice(n_clusters, n + 1000, p=sizes / sizes.sum())
    centres = random.standard_normal((n_clusters, inner)).astype(np.float32)
    points = centres[owners] + 0.35 * random.standard_normal((n + 1000, inner), np.float32)
    vectors = points @ random.standard_normal((inner, dim), np.float32)
    vectors += 0.1 * random.standard_normal((n + 1000, dim), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    base, queries = vectors[:n], vectors[n:]
    best = np.empty((len(queries), 100), np.int64)
    for first in range(0, len(queries), 100):
        scores = queries[first : first + 100] @ base.T
        near = np.argpartition(-scores, 100, axis=1)[:, :100]
        order = np.argsort(-np.take_along_axis(scores, near, axis=1), axis=1, kind="stable")
        best[first : first + 100] = np.take_along_axis(near, order, axis=1)
    return Data("synthetic", base, queries, best)


def _built(data: Data, target: float) -> JsonObject:
    """The collection of some data, built unless it is in the cache; how long building took."""
    settings = Spann(model=None, target_recall=target)
    key = hashlib.sha256(f"{_VERSION} {settings!r} {data.base.shape}".encode())
    key.update(np.ascontiguousarray(data.base[:: max(1, len(data.base) // 1000)]).tobytes())
    folder = _cache() / f"{data.name}-{key.hexdigest()[:16]}"
    facts = folder / "facts.json"
    if facts.is_file():
        return {"path": str(folder / "c.cm"), **json.loads(facts.read_text())}
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    start = time.perf_counter()
    with Collection.create(folder / "c.cm", {"spann": settings}) as collection:
        for first in range(0, len(data.base), 20_000):
            block = data.base[first : first + 20_000]
            documents = [Document(id=str(first + i), text="") for i in range(len(block))]
            collection.add(documents, vectors={"spann": block})
        collection.flush()
        collection.merge()
    built: JsonObject = {"build_seconds": time.perf_counter() - start}
    built["disk_mb"] = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 1e6
    facts.write_text(json.dumps(built))
    return {"path": str(folder / "c.cm"), **built}


def _measured(data: Data, target: float) -> JsonObject:
    built = _built(data, target)
    path = Path(built["path"])
    queries = data.queries[:QUERIES]
    with Collection.open(path, read_only=True) as collection:  # code is loaded before the count
        collection.search_batch(vectors=queries[-1:], k=K, pipeline="spann")
    before = _resident()
    with Collection.open(path, read_only=True) as collection:
        seconds, hits = [], []
        for number in range(len(queries)):
            if number % _FORGET == 0:
                _forget(path)
            start = time.perf_counter()
            (result,) = collection.search_batch(
                vectors=queries[number : number + 1], k=K, pipeline="spann"
            )
            seconds.append(time.perf_counter() - start)
            found = {int(hit.id) for hit in result}
            hits.append(len(found & set(data.neighbours[number, :K].tolist())))
        memory = _resident() - before
    times = np.array(seconds) * 1e3
    return {
        "system": "cormorant",
        "setting": f"{data.name} target_recall={target}",
        "recall@10": float(np.mean(hits)) / K,
        "mean_ms": float(times.mean()),
        "p50_ms": float(np.median(times)),
        "p99_ms": float(np.percentile(times, 99)),
        "qps": 1e3 / float(times.mean()),
        "memory_mb": memory / 1e6,
        "raw_mb": data.base.nbytes / 1e6,
        "build_seconds": built["build_seconds"],
        "disk_mb": built["disk_mb"],
    }


def _forget(folder: Path) -> None:
    """Drop the page cache of every file; they are synced already."""
    if not hasattr(os, "posix_fadvise"):
        return
    for path in folder.rglob("*"):
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            try:
                os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(handle)


def _resident() -> int:
    """Bytes of anonymous and mapped resident memory; 0 where there is no ``/proc``."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return 0
    lines = [line.split() for line in status.read_text().splitlines()]
    kinds = ("RssAnon:", "RssFile:", "RssShmem:")
    return sum(int(line[1]) * 1024 for line in lines if line and line[0] in kinds)


def _cache() -> Path:
    return cache_folder().parent / "bench" / "spann"
