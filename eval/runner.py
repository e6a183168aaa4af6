"""Measure pipelines on a data set: build one collection, ask it every query, time it, score it."""

from __future__ import annotations

import stat
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..contracts import IndexSettings
from ..documents import Document
from ..errors import InputError
from .asking import Searched, ask_all, without_self
from .cost import FREE, Prices, cost_of
from .datasets import Dataset
from .measures import DEFAULT_MEASURES, depth, evaluate, judged_queries, measure_names
from .progress import Progress, silent
from .result import EvalResult, check_file_word, save_result
from .trec import Run, check_word, read_run

LATENCY_QUERIES = 200
LATENCY_K = 10
WARM_UP_QUERIES = 10
CATALOG_BYTES = ""
_REPORT_EVERY = 1000


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
    examine: Callable[[Any, list[EvalResult]], None] | None = None,
    exclude_self: bool = False,
    prices: Prices = FREE,
    memory: Callable[[Path, Any, Sequence[str]], int] | None = None,
    variants: Mapping[str, Mapping[str, str]] | None = None,
) -> list[EvalResult]:
    """Build one collection of the data set and measure every pipeline on it.

    ``pipelines``: name -> a built-in name or a ``cm.Pipeline``; ``create``:
    ``cm.Collection.create``; ``indexes``: what the collection is created with. The collection lives
    in a temporary folder (inside ``workdir``) that is removed at the end. Every judged query is
    searched, in batches, to the depth of the deepest measure and at least ``k``. Latency is that of
    one ``search`` with k = 10, one at a time, over up to 200 queries spread over all of them, after
    ten that are not counted. Runs and values per query are kept in the folder ``runs``.
    ``index_seconds`` includes reading the corpus. ``clock`` gives seconds. ``examine`` is called
    with the collection and all results, before the collection is removed. ``memory``: the bytes
    that a pipeline takes (:func:`~cormorant.eval.footprint.memory_of`). ``variants``: name of a
    change -> query id -> changed query; each pipeline is measured on these, too.

    A document whose id equals the query's (ArguAna, Quora) stays in the run and counts as any
    other; with ``exclude_self`` it is left out, as the ``beir`` package does, and one more is asked
    for in its place.

    Raises :class:`~cormorant.errors.InputError` before anything is built: an unknown measure, no
    pipeline, names that cannot be written to the files asked for; and while it is, as
    :meth:`~cormorant.eval.datasets.Dataset.documents` does.
    """
    measures = measure_names(measures)
    _check(dataset, pipelines, k, with_runs=runs is not None)
    results = []
    with tempfile.TemporaryDirectory(prefix="cormorant-eval-", dir=workdir) as folder:
        path = Path(folder) / "collection"
        absent: dict[str, int] = {}
        documents = _watched(dataset, progress, absent, with_runs=runs is not None)
        start = clock()
        collection = create(path, indexes=indexes)
        try:
            collection.add(documents)
            collection.flush()
            index_seconds = clock() - start
            sizes = _bytes_on_disk(path)
            catalog_bytes = sizes.pop(CATALOG_BYTES)
            ask = partial(
                ask_all,
                collection,
                k=depth(measures, k),
                exclude_self=exclude_self,
                progress=progress,
                clock=clock,
            )
            for name, pipeline in pipelines.items():
                what = f"{dataset.name}: {name}"
                texts = list(dataset.queries.values())
                # So that what the first search loads and compiles is in no pipeline's cost.
                collection.search_batch(texts[:1], k=depth(measures, k), pipeline=pipeline)
                asked = ask(dataset.queries, pipeline, what=what)
                took_ms = latency_ms(collection, texts, pipeline, clock, LATENCY_QUERIES)
                cost = cost_of(asked.spent, len(dataset.queries), pipeline, sizes, prices)
                if memory is not None:
                    cost = replace(cost, memory_bytes=memory(path, pipeline, texts))
                result = replace(
                    scored(dataset, name, asked.run, measures),
                    latency_ms=took_ms,
                    index_seconds=index_seconds,
                    index_bytes=sum(sizes.values()),
                    catalog_bytes=catalog_bytes,
                    flags=absent | asked.flags,
                    cost=cost,
                    variants=tuple(
                        scored(
                            dataset,
                            change,
                            ask(queries, pipeline, what=f"{what}, {change}").run,
                            measures,
                        )
                        for change, queries in (variants or {}).items()
                    ),
                )
                if runs is not None:
                    save_result(result, runs)
                results.append(result)
            if examine is not None:
                examine(collection, results)
        finally:
            collection.close()
    return results


def run_files(
    dataset: Dataset,
    files: Sequence[Path],
    *,
    measures: Sequence[str] = DEFAULT_MEASURES,
    exclude_self: bool = False,
) -> list[EvalResult]:
    """Measure TREC run files, made here or by anyone; they have no times and no index.

    Raises :class:`~cormorant.errors.InputError` as :func:`judged_run` and :func:`run_names` do.
    """
    measures = measure_names(measures)
    results = []
    for name, file in run_names(files).items():
        run = judged_run(read_run(file), dataset.qrels, file)
        if exclude_self:
            run = without_self(run)
        results.append(scored(dataset, name, run, measures))
    return results


def scored(dataset: Dataset, name: str, run: Run, measures: Sequence[str]) -> EvalResult:
    """What a run is worth on a data set; no times, no index."""
    evaluation = evaluate(measures, dataset.qrels, run)
    return EvalResult(
        dataset=dataset.name,
        pipeline=name,
        measures=evaluation.means,
        per_query=evaluation.per_query,
        run=run,
        queries=len(evaluation.per_query),
        judgements=sum(map(len, dataset.qrels.values())),
    )


def judged_run(found: Run, qrels: Mapping[str, Mapping[str, int]], file: Path) -> Run:
    """What a file holds of the queries that count, in the order of the judgements.

    Raises :class:`~cormorant.errors.InputError` where that is nothing: it is a run of other
    queries.
    """
    queries = judged_queries(qrels)
    run = {query: found[query] for query in queries if query in found}
    if queries and not run:
        raise InputError(
            f"no query of this run has a relevant judgement: its first is {next(iter(found))!r}, "
            f"that of the judgements {queries[0]!r}",
            file=file,
        )
    return run


def run_names(files: Sequence[Path]) -> dict[str, Path]:
    """Name -> file: the files' own names without ``.run`` and ``.gz``, else the whole paths.

    Raises :class:`~cormorant.errors.InputError` for a file given twice.
    """
    plain = [file.name.removesuffix(".gz").removesuffix(".run") for file in files]
    names = plain if len(set(plain)) == len(files) else [str(file) for file in files]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError("is given twice", file=twice)
    return dict(zip(names, files, strict=True))


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


def _watched(
    dataset: Dataset, progress: Progress, absent: dict[str, int], *, with_runs: bool
) -> Iterator[Document]:
    """The corpus; an id that no run file can hold is refused now, not after the last search."""
    what, done = f"{dataset.name}: indexing", 0
    for done, document in enumerate(dataset.documents(absent), 1):
        if with_runs:
            check_word(document.id, "document id")
        yield document
        if done % _REPORT_EVERY == 0:
            progress(what, done, None)
    progress(what, done, done)


def _bytes_on_disk(collection: Path) -> Counter[str]:
    """The bytes of each index's segments by its name, and of all other files."""
    while True:
        try:
            return _counted(collection)
        except FileNotFoundError:  # merging in the background has removed what it replaced
            continue


def _counted(collection: Path) -> Counter[str]:
    sizes: Counter[str] = Counter({CATALOG_BYTES: 0})
    for file in collection.rglob("*"):
        parts = file.relative_to(collection).parts
        state = file.stat()
        if stat.S_ISREG(state.st_mode):
            sizes[parts[1] if parts[0] == "segments" else CATALOG_BYTES] += state.st_size
    return sizes


def latency_ms(
    collection: Searched,
    texts: Sequence[str],
    pipeline: Any,
    clock: Callable[[], float],
    most: int,
) -> dict[str, float]:
    """p50, p95 and p99 of at most so many single searches, milliseconds, interpolated linearly."""
    chosen = min(len(texts), most)
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
