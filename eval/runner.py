"""Measure pipelines on a data set: build one collection, ask it every query, time it, score it."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..contracts import IndexSettings
from ..documents import Document
from ..errors import InputError
from ..results import Result
from .datasets import Dataset
from .measures import DEFAULT_MEASURES, depth, evaluate, measure_names
from .progress import Progress, silent
from .result import EvalResult, check_file_word, save_result
from .trec import Run, check_word, read_run

BATCH = 512
LATENCY_QUERIES = 200
LATENCY_K = 10
WARM_UP_QUERIES = 10
_REPORT_EVERY = 1000


class Searched(Protocol):
    """What the runner asks of a collection. A pipeline is a name or a ``cm.Pipeline``."""

    def add(self, documents: Iterable[Document], /) -> object:
        """Add documents."""

    def flush(self) -> object:
        """Bring everything added into the indexes' segments."""

    def search(self, query: str, /, *, k: int, pipeline: Any) -> Result:
        """The k best documents of one query."""

    def search_batch(self, queries: Sequence[str], /, *, k: int, pipeline: Any) -> Sequence[Result]:
        """The k best documents of each query."""

    def close(self) -> object:
        """Let go of the files."""


class CreateCollection(Protocol):
    """``cm.Collection.create``, or what plays it."""

    def __call__(self, path: Path, /, *, indexes: Mapping[str, IndexSettings]) -> Searched:
        """A new collection at ``path``."""


def run_dataset(
    dataset: Dataset,
    pipelines: Mapping[str, Any],
    *,
    create: CreateCollection,
    indexes: Mapping[str, IndexSettings],
    measures: Sequence[str] = DEFAULT_MEASURES,
    k: int = 100,
    workdir: str | Path | None = None,
    runs: str | Path | None = None,
    progress: Progress = silent,
    clock: Callable[[], float] = time.perf_counter,
) -> list[EvalResult]:
    """Build one collection of the data set and measure every pipeline on it.

    ``pipelines``: name -> a built-in name or a ``cm.Pipeline``; ``create``:
    ``cm.Collection.create``; ``indexes``: what the collection is created with. The collection lives
    in a temporary folder (inside ``workdir``) that is removed at the end. Every judged query is
    searched, in batches, to the depth of the deepest measure and at least ``k``. Latency is that of
    one ``search`` with k = 10, one at a time, over up to 200 queries spread over all of them, after
    ten that are not counted. Runs and values per query are kept in the folder ``runs``.
    ``index_seconds`` includes reading the corpus. ``clock`` gives seconds.

    Nothing is dropped on the way: a document whose id equals the query's (ArguAna, Quora) stays in
    the run and counts as any other; the ``beir`` package leaves such hits out by default.

    Raises :class:`~cormorant.errors.InputError` before anything is built: an unknown measure, no
    pipeline, names that cannot be written to the files asked for; and while it is, as
    :meth:`~cormorant.eval.datasets.Dataset.documents` does.
    """
    measures = measure_names(measures)
    _check(dataset, pipelines, k, with_runs=runs is not None)
    results = []
    with tempfile.TemporaryDirectory(prefix="cormorant-eval-", dir=workdir) as folder:
        path = Path(folder) / "collection"
        documents = _watched(dataset, progress, with_runs=runs is not None)
        start = clock()
        collection = create(path, indexes=indexes)
        try:
            collection.add(documents)
            collection.flush()
            index_seconds = clock() - start
            index_bytes, catalog_bytes = _bytes_on_disk(path)
            for name, pipeline in pipelines.items():
                what = f"{dataset.name}: {name}"
                run, flags = _search(
                    collection, dataset.queries, depth(measures, k), pipeline, what, progress
                )
                latency_ms = _latency(collection, list(dataset.queries.values()), pipeline, clock)
                evaluation = evaluate(measures, dataset.qrels, run)
                result = EvalResult(
                    dataset=dataset.name,
                    pipeline=name,
                    measures=evaluation.means,
                    per_query=evaluation.per_query,
                    run=run,
                    latency_ms=latency_ms,
                    index_seconds=index_seconds,
                    index_bytes=index_bytes,
                    catalog_bytes=catalog_bytes,
                    queries=len(evaluation.per_query),
                    flags=flags,
                )
                if runs is not None:
                    save_result(result, runs)
                results.append(result)
        finally:
            collection.close()
    return results


def run_files(
    dataset: Dataset, files: Sequence[Path], *, measures: Sequence[str] = DEFAULT_MEASURES
) -> list[EvalResult]:
    """Measure TREC run files, made here or by anyone; they have no times and no index."""
    measures = measure_names(measures)
    results = []
    for file in files:
        run = {query: hits for query, hits in read_run(file).items() if query in dataset.queries}
        evaluation = evaluate(measures, dataset.qrels, run)
        results.append(
            EvalResult(
                dataset=dataset.name,
                pipeline=run_name(file),
                measures=evaluation.means,
                per_query=evaluation.per_query,
                run=run,
                latency_ms={},
                index_seconds=0.0,
                index_bytes=0,
                catalog_bytes=0,
                queries=len(evaluation.per_query),
                flags={},
            )
        )
    return results


def run_name(file: Path) -> str:
    """What the results of a TREC run file are called: its name without ``.run`` and ``.gz``."""
    return file.name.removesuffix(".gz").removesuffix(".run")


def _check(dataset: Dataset, pipelines: Mapping[str, Any], k: int, *, with_runs: bool) -> None:
    if not pipelines:
        raise InputError("there is no pipeline to measure; name at least one, such as 'bm25'")
    if k < 1:
        raise InputError(f"k is at least 1, got {k}", field="k")
    if with_runs:
        for word in (dataset.name, *pipelines):
            check_file_word(word)
        for query in dataset.queries:
            check_word(query, "query id")


def _watched(dataset: Dataset, progress: Progress, *, with_runs: bool) -> Iterator[Document]:
    """The corpus; an id that no run file can hold is refused now, not after the last search."""
    what, done = f"{dataset.name}: indexing", 0
    for done, document in enumerate(dataset.documents(), 1):
        if with_runs:
            check_word(document.id, "document id")
        yield document
        if done % _REPORT_EVERY == 0:
            progress(what, done, None)
    progress(what, done, done)


def _bytes_on_disk(collection: Path) -> tuple[int, int]:
    """(bytes of the segments' files, bytes of all other files)."""
    sizes: Counter[bool] = Counter()
    for file in collection.rglob("*"):
        if file.is_file():
            sizes[file.relative_to(collection).parts[0] == "segments"] += file.stat().st_size
    return sizes[True], sizes[False]


def _search(
    collection: Searched,
    queries: Mapping[str, str],
    k: int,
    pipeline: Any,
    what: str,
    progress: Progress,
) -> tuple[Run, dict[str, int]]:
    names, texts = list(queries), list(queries.values())
    run: Run = {}
    flags: Counter[str] = Counter()
    for start in range(0, len(names), BATCH):
        batch = slice(start, start + BATCH)
        results = collection.search_batch(texts[batch], k=k, pipeline=pipeline)
        for name, result in zip(names[batch], results, strict=True):
            run[name] = [
                (document, float(score))
                for document, score in zip(result.ids, result.scores, strict=True)
            ]
            flags.update(set(result.flags))
        progress(what, len(run), len(names))
    return run, dict(sorted(flags.items()))


def _latency(
    collection: Searched, texts: Sequence[str], pipeline: Any, clock: Callable[[], float]
) -> dict[str, float]:
    """p50, p95 and p99 in milliseconds, interpolated linearly between searches."""
    chosen = min(len(texts), LATENCY_QUERIES)
    spread = [texts[place * len(texts) // chosen] for place in range(chosen)]
    for text in spread[:WARM_UP_QUERIES]:
        collection.search(text, k=LATENCY_K, pipeline=pipeline)
    taken_ms = []
    for text in spread:
        start = clock()
        collection.search(text, k=LATENCY_K, pipeline=pipeline)
        taken_ms.append((clock() - start) * 1000.0)
    p50, p95, p99 = (float(value) for value in np.percentile(taken_ms, [50, 95, 99]))
    return {"p50": p50, "p95": p95, "p99": p99}
