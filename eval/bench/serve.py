"""``cormorant bench serve``: what HTTP adds to a search, and how the server bears many callers.

The sentences with their MiniLM vectors are one collection, searched by words, by meaning (the
server encodes the queries with the model itself) and by both. ``cormorant serve``, a bare FastAPI
route that returns the same bytes (the ceiling) and the callers are processes of their own. With one
caller, blocks of the same queries go to the collection in this process, to the server and to the
bare route in turn: the overhead is the difference of the medians of a block. With more, all take
turns, round after round; a figure is the median over the rounds.
"""

from __future__ import annotations

import http.client
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...contracts import Float32Array
from ...documents import Document, JsonObject, read_jsonl
from ...errors import CormorantError
from ...indexers.bm25.settings import BM25
from ...indexers.dense.settings import Dense
from ...retrieval.collection import Collection
from .. import stdlib_docs
from ..datasets import load_dataset
from ..stdlib_docs import read_stdlib
from ..topics import read_queries
from . import serve_bare
from .sentences import english_queries, sentence_vectors, shared_data, shared_sentences
from .serve_load import Load
from .serve_process import Serving, bare, put, serving
from .shown import show

if TYPE_CHECKING:
    from rich.console import Console

K = 10
PIPELINES = ("bm25", "dense", "hybrid")
CLIENTS = (1, 8, 64, 256)
MANY = 64
"""The callers whose rate is compared with one caller's."""
OVERLOAD_QUEUE = 64
PATIENT_SECONDS = 1.0
"""When a refused caller comes back that heeds Retry-After, which is at least a second."""
IMPATIENT_SECONDS = 0.05
OVERLOAD = (
    (64, PATIENT_SECONDS),
    (256, PATIENT_SECONDS),
    (512, PATIENT_SECONDS),
    (256, IMPATIENT_SECONDS),
)
"""(callers, how soon a refused one comes back)."""
DOCUMENTS = 125_000
SEED = 20_264
MEMORY_MARKS = tuple(range(10_000, 100_001, 10_000))
MEMORY_CLIENTS = 16
MEMORY_MIX = ("bm25",) * 8 + ("dense", "hybrid")


class Plan(NamedTuple):
    """How much is measured. ``documents`` None: all there are."""

    documents: int | None
    rounds: int
    block: int
    """Queries of one block of the overhead."""
    clients: Sequence[int]
    """Numbers of callers, one and ``MANY`` among them."""
    seconds: float
    """How long callers send in one round."""
    warm_seconds: float
    memory_marks: Sequence[int]
    """After how many requests memory is read."""


QUICK = Plan(DOCUMENTS, 3, 100, CLIENTS, 2.0, 0.4, ())
FULL = Plan(None, 5, 200, CLIENTS, 3.0, 1.0, MEMORY_MARKS)


class Material(NamedTuple):
    """What is served and asked. ``vectors`` None: the collection's model encodes the documents."""

    name: str
    documents: Sequence[Document]
    vectors: Float32Array | None
    queries: Sequence[str]
    dense: Dense = Dense()


def bench(
    *, full: bool, corpus: Path | None, console: Console
) -> tuple[list[JsonObject], dict[str, float], dict[str, str]]:
    """The rows, the ratios, and the versions of what answers HTTP.

    ``overhead_ms_p50`` is in milliseconds, less is better; ``batching_gain`` is the rate of dense
    queries with 64 callers over that with one; ``overload_p99`` is the p99 of accepted requests
    with 256 callers of a short queue over that with 64.
    """
    import importlib.metadata

    names = ("fastapi", "starlette", "uvicorn", "pydantic", "httptools", "uvloop")
    there = {item.metadata["Name"] for item in importlib.metadata.distributions()}
    versions = {name: importlib.metadata.version(name) for name in names if name in there}
    plan = FULL if full else QUICK
    return *run(material(corpus, plan.documents), plan, console), versions


def material(corpus: Path | None, n_documents: int | None) -> Material:
    """The shared sentences with their vectors; else a data set, or the standard library."""
    if corpus is None and shared_data() is not None:
        texts = shared_sentences()
        assert texts is not None
        vectors = sentence_vectors(None).base[:n_documents]
        documents = [Document(str(number), text) for number, text in enumerate(texts)]
        return Material(
            "sentences", documents[: len(vectors)], vectors, _shuffled(english_queries())
        )
    if corpus is None:
        asked = read_queries(Path(stdlib_docs.__file__).parent / "queries.jsonl")
        records = [Document(item.id, item.text, title=item.title) for item in read_stdlib()]
        return Material("stdlib", records[:n_documents], None, list(asked.values()))
    data = load_dataset(corpus)
    found = list(read_jsonl(data.corpus))[:n_documents]
    return Material(data.name, found, None, list(data.queries.values()))


def _shuffled(texts: Sequence[str]) -> list[str]:
    return [texts[place] for place in np.random.default_rng(SEED).permutation(len(texts))]


def run(data: Material, plan: Plan, console: Console) -> tuple[list[JsonObject], dict[str, float]]:
    """All of it: the rows and the ratios."""
    rows: list[JsonObject] = []
    ratios: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="cormorant-bench-") as name:
        folder = Path(name)
        path = folder / "served.cm"
        _build(path, data)
        console.print(
            f"{data.name}: {len(data.documents):,} documents, {len(data.queries):,} queries"
        )
        with serving(folder, path, {}) as server:
            body = _check(path, server, data.queries)
            with bare(folder, body) as ceiling:
                for measure in (_overheads, _crowds):
                    new_rows, new_ratios = measure(path, server, ceiling, data.queries, plan)
                    show(new_rows, new_ratios, console)
                    rows += new_rows
                    ratios |= new_ratios
        with serving(folder, path, {"CORMORANT_QUEUE": str(OVERLOAD_QUEUE)}) as server:
            new_rows, new_ratios = _overload(server, data.queries, plan)
            show(new_rows, new_ratios, console)
            rows += new_rows
            ratios |= new_ratios
        if plan.memory_marks:
            with serving(folder, path, {}) as server:
                new_rows, new_ratios = _memory(server, data.queries, plan)
                show(new_rows, new_ratios, console)
                rows += new_rows
                ratios |= new_ratios
    return rows, ratios


def _build(path: Path, data: Material) -> None:
    with Collection.create(path, {"bm25": BM25(), "dense": data.dense}) as collection:
        vectors = None if data.vectors is None else {"dense": data.vectors}
        collection.add(data.documents, vectors=vectors)
        collection.merge()


def _path(pipeline: str) -> str:
    return serve_bare.PATH if pipeline == "bare" else "/v1/collections/served/search"


def _bodies(pipeline: str, queries: Sequence[str]) -> list[str]:
    return [json.dumps({"query": query, "k": K, "pipeline": pipeline}) for query in queries]


def _check(path: Path, server: Serving, queries: Sequence[str]) -> bytes:
    """Compare the server's answers to those in this process; returns a typical answer's bytes."""
    bodies: list[bytes] = []
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    with Collection.open(path, read_only=True) as collection:
        for pipeline in PIPELINES:
            for query in queries[:20]:
                body = json.dumps({"query": query, "k": K, "pipeline": pipeline})
                headers = {"Content-Type": "application/json"}
                connection.request("POST", _path(pipeline), body, headers)
                bodies.append(connection.getresponse().read())
                hits = [(hit["id"], hit["score"]) for hit in json.loads(bodies[-1])["hits"]]
                own = collection.search(query, K, pipeline=pipeline)
                if hits != list(zip(own.ids, own.scores, strict=True)):
                    raise CormorantError(f"the server's hits differ for {query!r} by {pipeline}")
    connection.close()
    return sorted(bodies, key=len)[len(bodies) // 2]


def _overheads(
    path: Path, server: Serving, ceiling: Serving, queries: Sequence[str], plan: Plan
) -> tuple[list[JsonObject], dict[str, float]]:
    """One caller: milliseconds in this process, through the server, and of the bare route."""
    times: dict[tuple[str, str], list[JsonObject]] = {}
    with Collection.open(path, read_only=True) as collection:
        for number in range(-1, plan.rounds):  # the first warms up
            for pipeline in PIPELINES:
                start = (number + 1) * plan.block
                block = [
                    queries[place % len(queries)] for place in range(start, start + plan.block)
                ]
                taken = {
                    "in process": _embedded(collection, pipeline, block),
                    "cormorant": _served(server, pipeline, block),
                    "bare": _served(ceiling, "bare", block),
                }
                for system, figures in taken.items() if number >= 0 else ():
                    times.setdefault((system, pipeline), []).append(figures)
    rows: list[JsonObject] = [
        {"system": system, "setting": f"{pipeline}, one by one", **_medians(figures)}
        for (system, pipeline), figures in times.items()
    ]
    overheads = {
        pipeline: statistics.median(
            ours["p50_ms"] - own["p50_ms"]
            for ours, own in zip(
                times["cormorant", pipeline], times["in process", pipeline], strict=True
            )
        )
        for pipeline in PIPELINES
    }
    ratios = {"overhead_ms_p50": max(overheads.values())}
    return rows, ratios | {f"overhead_ms_p50@{name}": value for name, value in overheads.items()}


def _embedded(collection: Collection, pipeline: str, queries: Sequence[str]) -> JsonObject:
    taken = []
    for query in queries:
        start = time.perf_counter()
        collection.search(query, K, pipeline=pipeline)
        taken.append(1000 * (time.perf_counter() - start))
    p50, p95, p99 = np.percentile(taken, (50, 95, 99)).tolist()
    return {"p50_ms": p50, "p95_ms": p95, "p99_ms": p99}


def _served(server: Serving, pipeline: str, queries: Sequence[str]) -> JsonObject:
    bodies = _bodies(pipeline, queries)
    came = put(Load(server.port, _path(pipeline), bodies, clients=1, requests=len(bodies)))
    return _latencies(came)


def _latencies(came: JsonObject) -> JsonObject:
    """The percentiles of the answers that were no refusals."""
    found = came["latencies_ms"].get("200")
    if found is None:
        raise CormorantError(f"nothing was answered: {came['statuses']}")
    return {f"{name}_ms": found[name] for name in ("p50", "p95", "p99")}


def _crowds(
    path: Path, server: Serving, ceiling: Serving, queries: Sequence[str], plan: Plan
) -> tuple[list[JsonObject], dict[str, float]]:
    """Rates and latencies of each pipeline and of the bare route, by the number of callers."""
    bodies = {name: _bodies(name, queries) for name in (*PIPELINES, "bare")}
    found: dict[tuple[str, int], list[JsonObject]] = {}
    for _ in range(plan.rounds):
        for clients in plan.clients:
            for name, some in bodies.items():
                port = (ceiling if name == "bare" else server).port
                came = put(
                    Load(
                        port, _path(name), some, clients, plan.seconds,
                        warm_seconds=plan.warm_seconds,
                    )
                )  # fmt: skip
                found.setdefault((name, clients), []).append(_figures(came))
    rows: list[JsonObject] = []
    ratios: dict[str, float] = {}
    for (name, clients), figures in found.items():
        system = "bare" if name == "bare" else "cormorant"
        setting = f"{clients} callers" if name == "bare" else f"{name}, {clients} callers"
        rows.append({"system": system, "setting": setting, **_medians(figures)})
        if name != "bare":
            ratios[f"{name}_vs_bare@{clients}"] = statistics.median(
                own["qps"] / other["qps"]
                for own, other in zip(figures, found["bare", clients], strict=True)
            )
    for name in PIPELINES:
        one, many = (statistics.median(f["qps"] for f in found[name, n]) for n in (1, MANY))
        ratios["batching_gain" if name == "dense" else f"batching_gain@{name}"] = many / one
    return rows, ratios


def _figures(came: JsonObject) -> JsonObject:
    return {
        "qps": came["statuses"].get("200", 0) / came["elapsed_seconds"],
        **_latencies(came),
        "refused_share": came["statuses"].get("429", 0) / sum(came["statuses"].values()),
        "generator_cpu": came["generator_cpu"],
    }


def _medians(figures: Sequence[JsonObject]) -> JsonObject:
    return {name: statistics.median(item[name] for item in figures) for name in figures[0]}


def _overload(
    server: Serving, queries: Sequence[str], plan: Plan
) -> tuple[list[JsonObject], dict[str, float]]:
    """More callers than may wait: who is refused, and how long the others take.

    Raises :class:`~cormorant.errors.CormorantError` for a refusal without Retry-After.
    """
    bodies = _bodies("dense", queries)
    rows: list[JsonObject] = []
    for clients, pause_seconds in OVERLOAD:
        found = []
        for _ in range(plan.rounds):
            came = put(
                Load(
                    server.port, _path("dense"), bodies, clients, plan.seconds,
                    warm_seconds=plan.warm_seconds, pause_seconds=pause_seconds,
                )
            )  # fmt: skip
            bare_refusals = came["statuses"].get("429", 0) - came["retry_after"]
            if bare_refusals:
                raise CormorantError(f"{bare_refusals} refusals had no Retry-After")
            found.append(_figures(came))
        kind = "impatient callers" if pause_seconds < PATIENT_SECONDS else "callers"
        setting = f"dense, queue {OVERLOAD_QUEUE}, {clients} {kind}"
        rows.append({"system": "cormorant", "setting": setting, **_medians(found)})
    few, many = (row["p99_ms"] for row in rows[:2])
    return rows, {"overload_p99": many / few, "overload_refused": rows[1]["refused_share"]}


def _memory(
    server: Serving, queries: Sequence[str], plan: Plan
) -> tuple[list[JsonObject], dict[str, float]]:
    """What the server holds after so many requests of all pipelines, of changing queries."""
    bodies = [
        _bodies(MEMORY_MIX[number % len(MEMORY_MIX)], [query])[0]
        for number, query in enumerate(queries)
    ]
    rows: list[JsonObject] = []
    done = 0
    for mark in plan.memory_marks:
        n, start = mark - done, done % len(bodies)
        put(
            Load(
                server.port, _path("bm25"), bodies[start:] + bodies[:start], MEMORY_CLIENTS,
                requests=n,
            )
        )  # fmt: skip
        done = mark
        setting = f"after {done:,} requests"
        rows.append({"system": "cormorant", "setting": setting, **server.memory_mb()})
    half = rows[len(rows) // 2 :]
    growth = half[-1]["anonymous_mb"] / half[0]["anonymous_mb"]
    return rows, {"memory_growth_second_half": growth}
