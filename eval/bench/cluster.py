"""``cormorant bench cluster``: what a collection in shards costs, on one machine.

Made-up sentences with random vectors, as one collection and in 1, 2, 3 and 8 shards, the shards in
this process and in actors of a Ray of this machine. For each query the search of the cluster is
timed, and after it each shard's own search as an ordinary collection: overhead is what the former
took beyond the slowest of the latter. One query after another; then eight callers at once, and all
queries in one batch, against one collection in one process. The first answers must be those of the
one collection, scores included.

What the shards of the widest cluster took is replayed by :mod:`cormorant.eval.simulation`, with
stragglers and failures, hedged and not; and what was measured goes into the arithmetic for 100
million and 10 billion documents. With ``--corpus`` texts and queries are those of a data set.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...contracts import Float32Array, IndexSettings
from ...documents import Document, JsonObject
from ...errors import CormorantError
from ...indexers.bm25.settings import BM25
from ...indexers.dense.settings import Dense
from ...results import Result
from ...retrieval.cluster.cluster import Cluster
from ...retrieval.cluster.collection import ShardedCollection
from ...retrieval.cluster.executor import Executor, InProcess
from ...retrieval.cluster.ray import Ray
from ...retrieval.cluster.starting import replica_path
from ...retrieval.collection import Collection
from ..datasets import load_dataset
from ..synthetic import synthetic_queries, synthetic_sentences
from .cluster_scale import Measured, arithmetic, simulated
from .shown import show

if TYPE_CHECKING:
    from rich.console import Console

SHARDS = (1, 2, 3, 8)
PIPELINES = ("bm25", "dense")
INDEXES: dict[str, IndexSettings] = {"bm25": BM25(language="none"), "dense": Dense(model=None)}
DIM = 384
SEED = 20_266
K = 10
CALLERS = 8
CHECKED = 20
EXECUTORS: dict[str, Callable[[], Executor]] = {"in process": InProcess, "ray": Ray}
Search: TypeAlias = Callable[[int], Result]


class Plan(NamedTuple):
    """How much is measured."""

    documents: int
    queries: int


QUICK = Plan(100_000, 300)
FULL = Plan(1_000_000, 1_000)


class Material(NamedTuple):
    """What is searched: ``vectors`` are (n_documents, dim), ``asked`` (n_queries, dim)."""

    documents: Sequence[Document]
    vectors: Float32Array
    queries: Sequence[str]
    asked: Float32Array

    def search(self, there: Collection | ShardedCollection, pipeline: str) -> Search:
        """Searches by the number of a query."""
        if pipeline == "bm25":
            return lambda n: there.search(self.queries[n], K, pipeline="bm25")
        return lambda n: there.search_batch(vectors=self.asked[n : n + 1], k=K, pipeline=pipeline)[
            0
        ].load()

    def batch(self, there: Collection | ShardedCollection, pipeline: str) -> list[Result]:
        """All queries at once."""
        if pipeline == "bm25":
            return there.search_batch(self.queries, K, pipeline="bm25")
        return there.search_batch(vectors=self.asked, k=K, pipeline=pipeline)


def bench(
    *, full: bool, corpus: Path | None, console: Console
) -> tuple[list[JsonObject], dict[str, float], dict[str, str]]:
    """The rows, the ratios, and the version of Ray.

    ``qps_vs_one_process@N`` is the rate of eight callers with BM25 in N shards on Ray over that of
    one collection in this process; ``overhead_ms_p50@N`` is in milliseconds.
    """
    rows, ratios = run(material(corpus, FULL if full else QUICK), console)
    return rows, ratios, {"ray": version("ray")}


def material(corpus: Path | None, plan: Plan) -> Material:
    """Texts and queries, with vectors of length 1 drawn evenly."""
    if corpus is None:
        texts = synthetic_sentences(plan.documents, SEED)
        documents = [Document(str(number), text) for number, text in enumerate(texts)]
        queries = list(synthetic_queries(plan.queries, SEED))
    else:
        dataset = load_dataset(corpus)
        documents = list(dataset.documents())
        queries = list(dataset.queries.values())[: plan.queries]
    random = np.random.default_rng(SEED)
    return Material(
        documents, _vectors(random, len(documents)), queries, _vectors(random, len(queries))
    )


def _vectors(random: np.random.Generator, n: int) -> Float32Array:
    drawn = random.standard_normal((n, DIM), dtype=np.float32)
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    return drawn


def run(
    given: Material, console: Console, shards: Sequence[int] = SHARDS
) -> tuple[list[JsonObject], dict[str, float]]:
    """Measure everything, in a temporary folder."""
    rows: list[JsonObject] = []
    ratios: dict[str, float] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        single = stack.enter_context(Collection.create(folder / "one.cm", INDEXES))
        build_seconds = _built(single, given)
        alone = {p: _timed(given.search(single, p), len(given.queries)) for p in PIPELINES}
        rates = {p: _rate(given.search(single, p), len(given.queries)) for p in PIPELINES}
        for pipeline in PIPELINES:
            times = _percentiles("", alone[pipeline]) | {"qps": rates[pipeline]}
            rows.append({"system": "one collection", "setting": pipeline, **times})
        widest: dict[str, NDArray[np.float64]] = {}
        for count in shards:
            path = folder / f"in-{count}"
            with Cluster.create(path, shards=count) as cluster:
                _built(cluster.create_collection("papers", INDEXES), given)
            widest = {p: _each_alone(path, count, given, p) for p in PIPELINES}
            for name, executor in EXECUTORS.items():
                new = _measured(path, executor(), given, single, widest)
                for pipeline, row in zip(PIPELINES, new, strict=True):
                    rows.append({"system": name, "setting": f"{pipeline} {count} shards", **row})
                    if (name, pipeline) == ("ray", "bm25"):
                        ratios[f"qps_vs_one_process@{count}"] = row["qps"] / rates["bm25"]
                        ratios[f"overhead_ms_p50@{count}"] = row["overhead_p50_ms"]
                    show(rows[-1:], {}, console)
        measured = _arithmetic_inputs(given, single, alone, widest, build_seconds)
    rows += [{"system": "arithmetic", "setting": "measured", **asdict(item)} for item in measured]
    rows += [row for p in PIPELINES for row in simulated(p, widest[p].ravel())]
    rows += arithmetic(measured)
    return rows, ratios


def _built(there: Collection | ShardedCollection, given: Material) -> float:
    begun = time.perf_counter()
    there.add(given.documents, vectors={"dense": given.vectors})
    there.flush()
    return time.perf_counter() - begun


def _measured(
    path: Path,
    executor: Executor,
    given: Material,
    single: Collection,
    shard_ms: dict[str, NDArray[np.float64]],
) -> Iterator[JsonObject]:
    """A row for each pipeline."""
    before = _resident_mb("self")
    with Cluster.open(path, executor=executor) as cluster:
        papers = cluster["papers"]
        for pipeline in PIPELINES:
            search, known = given.search(papers, pipeline), given.search(single, pipeline)
            for number in range(min(CHECKED, len(given.queries))):
                if not _same(search(number), known(number)):
                    raise CormorantError(f"{pipeline} in shards answers query {number} otherwise")
            total = _timed(search, len(given.queries))
            slowest = shard_ms[pipeline].max(axis=0)
            given.batch(papers, pipeline)  # compiles, and makes what only batches need
            begun = time.perf_counter()
            given.batch(papers, pipeline)
            batch_seconds = time.perf_counter() - begun
            yield {
                **_percentiles("", total),
                **_percentiles("slowest_", slowest),
                **_percentiles("overhead_", total - slowest),
                "qps": _rate(search, len(given.queries)),
                "batch_qps": len(given.queries) / batch_seconds,
                "mb_per_shard": _mb_per_shard(executor, len(shard_ms[pipeline]), before),
            }


def _each_alone(path: Path, count: int, given: Material, pipeline: str) -> NDArray[np.float64]:
    """(shards, queries) ms of each shard searched as the ordinary collection that it is."""
    times = []
    for shard in range(count):
        own = replica_path(path / "collections" / "papers", shard, 0)
        with Collection.open(own, read_only=True) as there:
            times.append(_timed(given.search(there, pipeline), len(given.queries)))
    return np.array(times)


def _timed(search: Search, n_queries: int) -> NDArray[np.float64]:
    """Milliseconds of each query, after a few that warm up."""
    for number in range(min(CHECKED, n_queries)):
        search(number)
    times = np.empty(n_queries)
    for number in range(n_queries):
        begun = time.perf_counter()
        search(number)
        times[number] = (time.perf_counter() - begun) * 1000
    return times


def _rate(search: Search, n_queries: int) -> float:
    """Queries a second of several callers."""
    with ThreadPoolExecutor(CALLERS) as callers:
        begun = time.perf_counter()
        for _ in callers.map(search, range(n_queries)):
            pass
        return n_queries / (time.perf_counter() - begun)


def _percentiles(what: str, times: NDArray[np.float64]) -> JsonObject:
    p50, p99 = np.quantile(times, (0.5, 0.99))
    return {f"{what}p50_ms": float(p50), f"{what}p99_ms": float(p99)}


def _same(one: Result, other: Result) -> bool:
    """Whether two answers agree, whoever is left out of a tie at the last place."""
    scores = np.array(one.scores, np.float32).tolist()
    if scores != np.array(other.scores, np.float32).tolist():
        return False
    sure = [place for place, score in enumerate(scores) if score > scores[-1]]
    return {one.ids[place] for place in sure} == {other.ids[place] for place in sure}


def _mb_per_shard(executor: Executor, shards: int, before: float) -> float:
    """Resident memory: of an actor's process, or by how much this one grew for each shard."""
    if not isinstance(executor, Ray):
        return (_resident_mb("self") - before) / shards
    sizes = [_resident_mb(str(process)) for process in executor.process_ids()]
    return sum(sizes) / len(sizes)


def _resident_mb(process: str) -> float:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    [size] = [line.split()[1] for line in lines if line.startswith("VmRSS")]
    return int(size) / 1024


def _arithmetic_inputs(
    given: Material,
    single: Collection,
    alone: dict[str, NDArray[np.float64]],
    widest: dict[str, NDArray[np.float64]],
    build_seconds: float,
) -> list[Measured]:
    described = single.describe()
    common = described["catalog_bytes"] + described["ids_bytes"]
    n = len(given.documents)
    return [
        Measured(
            pipeline,
            documents=n,
            memory_bytes=described["indexes"][pipeline]["bytes"] / n,
            disk_bytes=(common + described["indexes"][pipeline]["bytes"]) / n,
            documents_per_second=n / build_seconds,
            shard_ms=float(np.median(alone[pipeline])),
            small_documents=n / len(widest[pipeline]),
            small_ms=float(np.median(widest[pipeline])),
        )
        for pipeline in PIPELINES
    ]
