"""``cormorant bench sparse``: against Seismic and a plain scan, on one thread, on the same vectors.

Ours answers through ``Collection.search_batch`` with ready vectors, ids out: an exact index, and
one for each recall asked for. Seismic (pyseismic-lsr) answers ``batch_search``, built with its
defaults and with fewer postings, over a sweep of query_cut and heap_factor. Recall at 10 is against
exact scores of the original float32 weights. Queries per second at a recall are read off each
system's best points, between two of them in proportion on a logarithmic scale; a point of more
recall than was asked for is as good.

Data: see ``sparse_vectors``; the sentences, and with ``--full`` a million documents mixed of them,
more of Seismic's sizes and more recalls asked of ours.
Building takes many minutes: where $CORMORANT_BENCH names a folder, vectors and indexes are kept
there, and a second run, or one after ``--prepare``, only measures.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...contracts import Int64Array
from ...documents import Document, JsonObject
from ...errors import CollectionError, MissingDependencyError
from ...indexers.sparse.settings import Sparse
from ...retrieval.collection import Collection
from ...vectors import SparseVectors
from .sentences import shared_sentences
from .shown import show
from .sparse_scan import lists_of, scan
from .sparse_vectors import SparseData, sentence_vectors

if TYPE_CHECKING:
    from rich.console import Console

K = 10
ROUNDS = 3
SINGLE_QUERIES = 200
MILLION = 1_000_000
TARGETS = (None, 0.99, 0.97, 0.95, 0.9)
QUICK_TARGETS = (None, 0.95, 0.9)
"""Recalls asked of ours; None is exact."""
RECALLS = (0.9, 0.95, 0.97, 0.99)
POSTINGS = (3500, 1000)
"""Seismic's default comes first."""
FLAT_CUTS, BROAD_CUTS = (4, 6, 8, 10), (5, 8, 12, 20)
HEAP_FACTORS = (1.0, 0.9, 0.8, 0.7)
Point = tuple[float, float]
"""Recall and queries per second."""


def bench(
    *, full: bool, corpus: Path | None, console: Console
) -> tuple[list[JsonObject], dict[str, float], dict[str, str]]:
    """The rows, the ratios and the peers' versions."""
    sentences = _sentences(corpus)
    rows: list[JsonObject] = []
    ratios: dict[str, float] = {}
    with ExitStack() as stack:
        kept = os.environ.get("CORMORANT_BENCH")
        folder = Path(kept or stack.enter_context(tempfile.TemporaryDirectory()))
        for n_mixed in _sizes(full):
            data = _data(folder, sentences, n_mixed)
            console.print(f"{data.name}: {len(data.base):,} documents, {len(data.flat):,} queries")
            new_rows, new_ratios = contest(data, folder, console, full=full)
            rows += new_rows
            prefix = "" if not n_mixed else "mixed_"
            ratios |= {f"{prefix}{name}": value for name, value in new_ratios.items()}
    return rows, ratios, {"pyseismic-lsr": importlib.metadata.version("pyseismic-lsr")}


def prepare(*, full: bool, corpus: Path | None, console: Console) -> None:
    """Make the vectors and all indexes in $CORMORANT_BENCH, one by one."""
    sentences = _sentences(corpus)
    kept = os.environ.get("CORMORANT_BENCH")
    if not kept:
        raise CollectionError("set CORMORANT_BENCH to the folder where indexes are to be kept")
    for n_mixed in _sizes(full):
        data = _data(Path(kept), sentences, n_mixed)
        console.print(f"{data.name}: {len(data.base):,} documents")
        for target in TARGETS if full else QUICK_TARGETS:
            start = time.perf_counter()
            path = _collection(Path(kept), data, target)
            console.print(f"{path.name}: {time.perf_counter() - start:.0f} s")
        for n_postings in POSTINGS if full else POSTINGS[:1]:
            start = time.perf_counter()
            seismic_index(data, n_postings, Path(kept))
            console.print(f"Seismic, {n_postings}: {time.perf_counter() - start:.0f} s")


def _sentences(corpus: Path | None) -> list[str]:
    if importlib.util.find_spec("seismic") is None:
        raise MissingDependencyError("pyseismic-lsr", None)
    sentences = shared_sentences()
    if sentences is None or corpus is not None:
        raise CollectionError("bench sparse runs on the shared sentences only")
    return sentences


def _sizes(full: bool) -> tuple[int, ...]:
    """0 for the sentences, or how many documents are mixed of them; $CORMORANT_BENCH_ONLY one."""
    only = os.environ.get("CORMORANT_BENCH_ONLY")
    named = {"sentences": 0, "mixed": MILLION}
    return (named[only],) if only in named else (0, MILLION) if full else (0,)


def _data(folder: Path, sentences: list[str], n_mixed: int) -> SparseData:
    file = folder / f"vectors_{n_mixed}.npz"
    if not file.exists():
        made = sentence_vectors(sentences, n_mixed)
        arrays = {
            f"{kind}_{name}": getattr(getattr(made, kind), name)
            for kind in ("base", "flat", "broad")
            for name in ("starts", "terms", "weights")
        }
        np.savez(file, name=np.array(made.name), **arrays)
    with np.load(file) as held:
        parts = [
            SparseVectors(*(held[f"{kind}_{name}"] for name in ("starts", "terms", "weights")))
            for kind in ("base", "flat", "broad")
        ]
        return SparseData(str(held["name"]), *parts)


def contest(
    data: SparseData, folder: Path, console: Console, *, full: bool
) -> tuple[list[JsonObject], dict[str, float]]:
    """All systems on one set of documents; their indexes lie in ``folder``, made if need be."""
    rows: list[JsonObject] = []
    points: dict[tuple[str, str], list[Point]] = {}
    n_terms = 1 + int(max(part.terms.max() for part in data[1:]))
    lists = lists_of(data.base, n_terms)
    queries = {"flat": data.flat, "broad": data.broad}
    truth = {kind: scan(lists, asked, K, exact=True)[0] for kind, asked in queries.items()}
    rates: dict[tuple[str, str], float] = {}
    sizes = np.diff(lists.starts)
    for kind, asked in queries.items():
        seconds = _median_seconds(partial(scan, lists, asked, K))
        rates["scan", kind] = len(asked) / seconds
        rows.append(
            {
                "system": "scan",
                "setting": kind,
                "recall@10": recall_of(scan(lists, asked, K)[0], truth[kind]),
                "qps": rates["scan", kind],
                "postings_per_second": float(sizes[asked.terms].sum()) / seconds,
                "disk_mb": (8.0 * len(data.base.terms)) / 1e6,
            }
        )
    ours: dict[str, float] = {}
    for target in TARGETS if full else QUICK_TARGETS:
        with Collection.open(_collection(folder, data, target), read_only=True) as collection:
            facts = collection.describe()["indexes"]["sparse"]
            ours.setdefault("bytes", facts["bytes"])
            for kind, asked in queries.items():

                def ask(vectors: SparseVectors, collection: Collection = collection) -> Int64Array:
                    results = collection.search_batch(vectors=vectors, k=K, pipeline="sparse")
                    return _padded([[int(name) for name in result.ids] for result in results])

                point = _point(ask, asked, truth[kind])
                if target is None:
                    rates["exact", kind] = point[1]
                points.setdefault(("cormorant", kind), []).append(point)
                rows.append(
                    {
                        "system": "cormorant",
                        "setting": f"{kind} {'exact' if target is None else target}",
                        "recall@10": point[0],
                        "qps": point[1],
                        "single_p50_ms": _single_ms(ask, asked),
                        "disk_mb": facts["bytes"] / 1e6,
                        "measured": facts.get("recall", 1.0),
                    }
                )
    show(rows, {}, console)
    theirs: dict[int, float] = {}
    for n_postings in POSTINGS if full else POSTINGS[:1]:
        index, theirs[n_postings] = seismic_index(data, n_postings, folder)
        for kind, asked in queries.items():
            new = seismic_rows(index, n_postings, kind, asked, truth[kind])
            points.setdefault(("seismic", kind), []).extend(
                (row["recall@10"], row["qps"]) for row in new
            )
            for row in new:
                row["disk_mb"] = theirs[n_postings] / 1e6
            rows += new
            show(new, {}, console)
        del index
    ratios: dict[str, float] = {}
    for kind, name in (("flat", "qps"), ("broad", "qps_splade")):
        for recall in RECALLS:
            own, peer = (
                rate_at(points[system, kind], recall) for system in ("cormorant", "seismic")
            )
            ratios[f"{name}_vs_seismic@{recall:.2f}"] = own / peer if peer else float("nan")
    ratios["bytes_vs_seismic"] = theirs[POSTINGS[0]] / ours["bytes"]
    ratios["bytes_vs_smallest_seismic"] = min(theirs.values()) / ours["bytes"]
    ratios["exact_vs_scan"] = rates["exact", "flat"] / rates["scan", "flat"]
    ratios["exact_vs_scan_splade"] = rates["exact", "broad"] / rates["scan", "broad"]
    show([], ratios, console)
    return rows, ratios


def rate_at(points: Sequence[Point], recall: float) -> float:
    """Queries per second at a recall; 0 where none reaches it.

    Of the points that no other beats in both, the one just above and the one just below are joined
    by a line, recall against the logarithm of the rate.
    """
    best: list[Point] = []
    for point in sorted(points, key=lambda item: (-item[0], -item[1])):
        if not best or point[1] > best[-1][1]:
            best.append(point)
    above = [point for point in best if point[0] >= recall]
    below = [point for point in best if point[0] < recall]
    if not above:
        return 0.0
    (high, slow) = above[-1]
    if not below or high == recall:
        return slow
    low, fast = below[0]
    share = (high - recall) / (high - low)
    return float(np.exp(np.log(slow) * (1 - share) + np.log(fast) * share))


def recall_of(found: Int64Array, truth: Int64Array) -> float:
    """The mean share of the true hits that were found; both (n, K), -1 where there is none."""
    shares = []
    for own, best in zip(found.tolist(), truth.tolist(), strict=True):
        wanted = set(best) - {-1}
        if wanted:
            shares.append(len(wanted & set(own)) / len(wanted))
    return float(np.mean(shares))


def _collection(folder: Path, data: SparseData, target: float | None) -> Path:
    """The collection for a recall asked for; made, if it is not there."""
    path = folder / f"{data.name}_{target}.cm"
    if not path.exists():
        unfinished = path.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        with Collection.create(unfinished, {"sparse": Sparse(target_recall=target)}) as collection:
            documents = (Document(id=str(number), text="") for number in range(len(data.base)))
            collection.add(documents, vectors={"sparse": data.base})
            collection.merge()
        unfinished.rename(path)
    return path


def seismic_index(data: SparseData, n_postings: int, folder: Path) -> tuple[Any, float]:
    """Seismic's index with its defaults but for ``n_postings``, and its bytes."""
    seismic: Any = importlib.import_module("seismic")
    stem = folder / f"{data.name}_{n_postings}"
    file = Path(f"{stem}.index.seismic")
    if not file.exists():
        vectors = seismic.SeismicDataset()
        base = data.base
        names = [str(number) for number in range(len(base))]
        vectors.add_documents_by_id(names, base.terms, base.weights, base.starts)
        seismic.SeismicIndex.build_from_dataset(vectors, n_postings=n_postings).save(str(stem))
    return seismic.SeismicIndex.load(str(file)), float(file.stat().st_size)


def seismic_rows(
    index: Any, n_postings: int, kind: str, asked: SparseVectors, truth: Int64Array
) -> list[JsonObject]:
    """A row for each setting of the sweep."""
    seismic: Any = importlib.import_module("seismic")
    text = seismic.get_seismic_string()
    cuts = np.split(np.arange(len(asked.terms)), asked.starts[1:-1])
    names = [np.array([str(term) for term in asked.terms[cut].tolist()], text) for cut in cuts]
    weights = [asked.weights[cut] for cut in cuts]
    numbers = np.array([str(number) for number in range(len(asked))], text)
    rows = []
    for query_cut, heap_factor in itertools.product(
        FLAT_CUTS if kind == "flat" else BROAD_CUTS, HEAP_FACTORS
    ):
        ask = partial(
            index.batch_search,
            numbers,
            names,
            weights,
            k=K,
            query_cut=query_cut,
            heap_factor=heap_factor,
            num_threads=1,
        )
        lists: list[list[int]] = [[] for _ in range(len(asked))]
        for hits in ask():
            for query, _, name in hits:
                lists[int(query)].append(int(name))
        rows.append(
            {
                "system": "seismic",
                "setting": f"{kind} n{n_postings} cut{query_cut} hf{heap_factor}",
                "recall@10": recall_of(_padded(lists), truth),
                "qps": len(asked) / _median_seconds(ask),
            }
        )
    return rows


def _point(
    ask: Callable[[SparseVectors], Int64Array], asked: SparseVectors, truth: Int64Array
) -> Point:
    recall = recall_of(ask(asked), truth)
    return recall, len(asked) / _median_seconds(partial(ask, asked))


def _single_ms(ask: Callable[[SparseVectors], Int64Array], asked: SparseVectors) -> float:
    seconds = []
    for number in range(SINGLE_QUERIES):
        one = asked[number : number + 1]
        start = time.perf_counter()
        ask(one)
        seconds.append(time.perf_counter() - start)
    return 1000.0 * float(np.median(seconds))


def _median_seconds(task: Callable[[], object]) -> float:
    """The median of a few rounds."""
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        task()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))


def _padded(lists: Sequence[Sequence[int]]) -> Int64Array:
    rows = np.full((len(lists), K), -1, np.int64)
    for place, hits in enumerate(lists):
        rows[place, : len(hits)] = hits
    return rows
