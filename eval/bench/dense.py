"""``cormorant bench dense``: encoding against sentence-transformers, searching against FAISS.

Searching: the sentence vectors of the shared data through ``Collection.search_batch`` and bare
FAISS indexes with the same parameters, in one process with the same threads, asked in turn, round
after round. Ours ends with the ids of the hits, FAISS with numbers. Recall is against the exact
neighbours. Building: from vectors (ours: and documents) in memory to synced files.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from ...contracts import Float32Array, Int64Array
from ...documents import Document, JsonObject
from ...errors import MissingDependencyError
from ...indexers.dense.exact import has_faiss
from ...indexers.dense.settings import HNSW, IVF, Dense
from ...retrieval.collection import Collection
from .dense_encode import encode_rows
from .sentences import sentence_vectors
from .shown import show

if TYPE_CHECKING:
    from rich.console import Console

K = 10
ROUNDS = 5
SINGLE_QUERIES = 100
SHARES = (0.5, 0.1, 0.01, 0.001)
SEED = 20_263
MAX_ANN_ROWS = 50_000
LONG = ("ivf_sq8", "ivf_pq48")
"""Measured by ``--full`` only: training and filling lists again takes minutes."""


class Contest(NamedTuple):
    """One structure on both sides. ``peer`` makes FAISS's, trained and filled."""

    name: str
    ann: HNSW | IVF | None
    peer: Callable[[Float32Array], Any]
    parameters: Callable[[Any, Any], Any]
    """(selector or None, FAISS's index) -> FAISS's search parameters."""


def bench(
    *, full: bool, corpus: Path | None, console: Console
) -> tuple[list[JsonObject], dict[str, float], dict[str, str]]:
    """The rows, the ratios and the peers' versions."""
    import importlib.metadata

    if not has_faiss():
        raise MissingDependencyError("faiss-cpu", None)
    peers = {
        name: importlib.metadata.version(name) for name in ("faiss-cpu", "sentence-transformers")
    }
    rounds = 3 * ROUNDS if full else ROUNDS
    rows, ratios = encode_rows(rounds if full else 3)
    show(rows, ratios, console)
    name, base, queries, neighbours = sentence_vectors(corpus)
    console.print(f"{name}: {len(base):,} vectors of {base.shape[1]}, {len(queries):,} queries")
    for contest in _contests(len(base)):
        if contest.name in LONG and not full:
            continue
        new_rows, new_ratios = _run(contest, base, queries, neighbours, rounds)
        rows += new_rows
        ratios |= new_ratios
        show(new_rows, new_ratios, console)
    return rows, ratios, peers


def _contests(n: int) -> Iterator[Contest]:
    import faiss

    metric = faiss.METRIC_INNER_PRODUCT
    lists = max(1, min(4 * int(n**0.5), n // 39))
    probes = max(1, lists // 16)
    hnsw = HNSW()

    def graph(base: Float32Array) -> Any:
        index = faiss.IndexHNSWFlat(base.shape[1], hnsw.m, metric)
        index.hnsw.efConstruction = hnsw.ef_construction
        index.add(base)
        return index

    def flat(base: Float32Array) -> Any:
        index = faiss.IndexFlatIP(base.shape[1])
        index.add(base)
        return index

    def inverted(factory: str) -> Callable[[Float32Array], Any]:
        def make(base: Float32Array) -> Any:
            index = faiss.index_factory(base.shape[1], f"IVF{lists},{factory}", metric)
            index.train(base)
            index.add(base)
            return index

        return make

    def of_lists(selector: Any, index: Any) -> Any:
        inner = faiss.SearchParametersIVF(nprobe=probes)
        if selector is not None:
            inner.sel = selector
        if not isinstance(index, faiss.IndexRefine):
            return inner
        return faiss.IndexRefineSearchParameters(k_factor=IVF().refine, base_index_params=inner)

    def of_graph(selector: Any, _: Any) -> Any:
        parameters = faiss.SearchParametersHNSW(efSearch=hnsw.ef_search)
        if selector is not None:
            parameters.sel = selector
        return parameters

    def of_flat(selector: Any, _: Any) -> Any:
        return None if selector is None else faiss.SearchParameters(sel=selector)

    yield Contest("flat", None, flat, of_flat)
    yield Contest("hnsw", hnsw, graph, of_graph)
    yield Contest("ivf", IVF(), inverted("Flat"), of_lists)
    yield Contest("ivf_sq8", IVF(quantizer="sq8"), inverted("SQ8,RFlat"), of_lists)
    yield Contest("ivf_pq48", IVF(quantizer="pq"), inverted("PQ48,RFlat"), of_lists)


def _run(
    contest: Contest,
    base: Float32Array,
    queries: Float32Array,
    neighbours: Int64Array,
    rounds: int,
) -> tuple[list[JsonObject], dict[str, float]]:
    import faiss

    with tempfile.TemporaryDirectory(prefix="cormorant-bench-") as folder:
        start = time.perf_counter()
        peer = contest.peer(base)
        file = Path(folder) / "peer.faiss"
        faiss.write_index(peer, str(file))
        _sync(file)
        theirs: JsonObject = {
            "build_seconds": time.perf_counter() - start,
            "disk_mb": file.stat().st_size / 1e6,
        }
        path = Path(folder) / "ours.cm"
        start = time.perf_counter()
        _build(path, contest, base)
        ours: JsonObject = {"build_seconds": time.perf_counter() - start}
        with Collection.open(path, read_only=True) as collection:
            ours["disk_mb"] = collection.describe()["indexes"]["dense"]["bytes"] / 1e6

            def ask(vectors: Float32Array, share: float | None = None) -> list[list[int]]:
                condition = None if share is None else {"place": {"lt": share}}
                results = collection.search_batch(
                    vectors=vectors, k=K, pipeline="dense", filter=condition
                )
                return [[int(name) for name in result.ids] for result in results]

            def ask_peer(vectors: Float32Array, selector: Any = None) -> list[list[int]]:
                parameters = contest.parameters(selector, peer)
                found = peer.search(vectors, K, params=parameters)[1]
                return cast("list[list[int]]", found.tolist())

            ratios = _compare(ask, ask_peer, queries, neighbours, rounds, ours, theirs)
            for share in SHARES:
                truth = _filtered_truth(base, queries, share)
                ours[f"recall_{share:.1%}"] = _recall(ask(queries, share), truth)
                ours[f"qps_{share:.1%}"] = _rate(partial(ask, queries, share), len(queries))
                mask = np.packbits(_places(len(base)) < share, bitorder="little")
                selector = faiss.IDSelectorBitmap(mask)
                theirs[f"recall_{share:.1%}"] = _recall(ask_peer(queries, selector), truth)
                theirs[f"qps_{share:.1%}"] = _rate(
                    partial(ask_peer, queries, selector), len(queries)
                )
    rows = [
        {"system": "cormorant", "setting": contest.name, **ours},
        {"system": "faiss", "setting": contest.name, **theirs},
    ]
    ratios["build"] = theirs["build_seconds"] / ours["build_seconds"]
    plain = {f"{contest.name}_vs_faiss": ratios.pop("qps")}
    return rows, plain | {f"{contest.name}_{key}_vs_faiss": ratios[key] for key in ratios}


def _build(path: Path, contest: Contest, base: Float32Array) -> None:
    """A collection of the vectors; ``place`` is what the filters of the benchmark ask for."""
    places = _places(len(base)).tolist()
    ann_rows = min(MAX_ANN_ROWS, max(256, len(base) // 2))
    settings = Dense(model=None, similarity="dot", ann=contest.ann, ann_rows=ann_rows)
    with Collection.create(path, {"dense": settings}) as collection:
        collection.add(
            (
                Document(id=str(number), text="", metadata={"place": place})
                for number, place in enumerate(places)
            ),
            vectors={"dense": base},
        )
        collection.merge()


def _places(n: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """A number in [0, 1) for each row: a filter of a share lets those below it through."""
    return np.random.default_rng(SEED).random(n)


def _compare(
    ask: Callable[[Float32Array], list[list[int]]],
    ask_peer: Callable[[Float32Array], list[list[int]]],
    queries: Float32Array,
    neighbours: Int64Array,
    rounds: int,
    ours: JsonObject,
    theirs: JsonObject,
) -> dict[str, float]:
    """Fill in recall, queries per second and latency of both; the ratios of the last two."""
    for asked, into in ((ask, ours), (ask_peer, theirs)):  # also warms both up
        into["recall@10"] = _recall(asked(queries), neighbours[:, :K])
    batch: list[tuple[float, float]] = []
    for _ in range(rounds):
        batch.append((_seconds(partial(ask, queries)), _seconds(partial(ask_peer, queries))))
    single: list[tuple[float, float]] = []
    for number in range(SINGLE_QUERIES):
        one = queries[number : number + 1]
        single.append((_seconds(partial(ask, one)), _seconds(partial(ask_peer, one))))
    for place, into in ((0, ours), (1, theirs)):
        into["qps"] = len(queries) / float(np.median([pair[place] for pair in batch]))
        into["single_p50_ms"] = 1000 * float(np.median([pair[place] for pair in single]))
    return {
        "qps": float(np.median([peer / own for own, peer in batch])),
        "latency": theirs["single_p50_ms"] / ours["single_p50_ms"],
    }


def _seconds(task: Callable[[], object]) -> float:
    start = time.perf_counter()
    task()
    return time.perf_counter() - start


def _rate(task: Callable[[], object], n_queries: int) -> float:
    return n_queries / min(_seconds(task) for _ in range(2))


def _recall(found: Sequence[Sequence[int]], truth: Int64Array) -> float:
    shares = [
        len(set(own) & set(best.tolist())) / len(best)
        for own, best in zip(found, truth, strict=True)
    ]
    return float(np.mean(shares))


def _filtered_truth(base: Float32Array, queries: Float32Array, share: float) -> Int64Array:
    """The exact neighbours among the rows that a filter lets through: (n_queries, K)."""
    through = np.flatnonzero(_places(len(base)) < share)
    best = np.argsort(-(queries @ base[through].T), axis=1)[:, :K]
    return through[best]


def _sync(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
