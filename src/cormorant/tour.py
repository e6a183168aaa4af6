"""``make run``: a corpus that every machine has, indexed, searched and measured in one go."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .documents import Document, JsonObject
from .errors import InputError, MissingDependencyError, ModelNotFoundError
from .eval import stdlib_docs
from .eval.measures import DEFAULT_MEASURES, evaluate
from .eval.qrels import read_qrels
from .eval.stdlib_docs import read_stdlib
from .eval.topics import read_queries
from .indexers.dense.settings import DEFAULT_MODEL
from .indexers.encoders.models import find_model
from .indexers.table import index_settings
from .retrieval.collection import Collection
from .terminal import progress_bar, show_hits

if TYPE_CHECKING:
    from rich.console import Console

INDEXES = ("bm25", "dense")
PIPELINES = ("bm25", "dense", "hybrid")
QUERIES = (
    "delete a directory and everything in it",
    "split a command line the way a shell does",
    "compare two sequences and show the differences",
)
_JUDGEMENTS = Path(stdlib_docs.__file__).parent


def run_tour(into: Path, console: Console) -> JsonObject:
    """Index the standard library's docstrings, search them, measure; returns the figures."""
    if into.exists():
        _remove_earlier_tour(into)
    names: Sequence[str] = INDEXES
    pipelines: Sequence[str] = PIPELINES
    try:
        model = find_model(DEFAULT_MODEL)
        console.print(f"0. Model {model.name}, from: {model.source}.\n", markup=False)
    except (MissingDependencyError, ModelNotFoundError) as error:
        console.print(f"0. {error}.\n   Going on without meaning: BM25 alone.\n", markup=False)
        names, pipelines = INDEXES[:1], PIPELINES[:1]
    start = time.perf_counter()
    indexes = {name: index_settings(name) for name in names}
    with Collection.create(into, indexes) as collection:
        with progress_bar("docstrings") as progress:
            total = collection.add(stdlib_documents(), progress=progress)
            collection.flush(progress=progress)
        seconds = time.perf_counter() - start
        console.print(
            f"1. Indexed {total:,} docstrings of Python's standard library in {seconds:.1f} s "
            f"({', '.join(names)}).\n",
            markup=False,
        )
        start = time.perf_counter()
        collection.search(QUERIES[0], pipeline="bm25")
        compiled = time.perf_counter() - start
        note = f" (the first one ever compiled the hot loops: {compiled:.1f} s)"
        console.print(f"2. Searches{note if compiled > 1 else ''}:", markup=False)
        for query in QUERIES:
            for pipeline in pipelines:
                result = collection.search(query, 3, pipeline=pipeline)
                console.print(f'\n"{query}" ({pipeline}, {result.total_ms:.1f} ms)', markup=False)
                show_hits(result, query, collection.highlights)
        results = [_measured(collection, pipeline) for pipeline in pipelines]
    n_queries = results[0]["queries"]
    console.print(f"\n3. Measured on {n_queries} questions, judged by reading:\n", markup=False)
    console.print(_table(results))
    console.print(
        "\nTry next:\n"
        f'  .venv/bin/cormorant search {into} "run a function when the interpreter exits"\n'
        f'  .venv/bin/cormorant search {into} "open a file" --filter '
        '\'{"module": "pathlib"}\' --explain\n'
        f"  .venv/bin/cormorant check {into}\n"
        "  .venv/bin/cormorant index YOUR.jsonl --into yours.cm     "
        '(lines such as {"id": "1", "text": "..."})\n'
        "  .venv/bin/cormorant eval BEIR-FOLDER --pipeline bm25 --pipeline hybrid --baseline bm25",
        markup=False,
    )
    return {"documents": total, "index_seconds": seconds, "results": results}


def _remove_earlier_tour(into: Path) -> None:
    """Remove what an earlier tour made; refuse to touch anything else."""
    with Collection.open(into) as collection:  # nobody else writes to it
        ours = {document.id for document in stdlib_documents()}
        other = next((item.id for item in collection.scroll() if item.id not in ours), None)
    if other is not None:
        raise InputError(
            f"{into} holds other documents, such as {other!r}; choose another path with --into"
        )
    shutil.rmtree(into)


def stdlib_documents() -> Iterator[Document]:
    """The docstrings as documents."""
    for item in read_stdlib():
        yield Document(id=item.id, title=item.title, text=item.text, metadata=item.metadata)


def _measured(collection: Collection, pipeline: str) -> JsonObject:
    queries = read_queries(_JUDGEMENTS / "queries.jsonl")
    qrels = read_qrels(_JUDGEMENTS / "qrels.tsv")
    start = time.perf_counter()
    answers = collection.search_batch(list(queries.values()), 100, pipeline=pipeline)
    milliseconds = (time.perf_counter() - start) * 1000 / len(queries)
    run = {
        name: list(zip(answer.ids, answer.scores, strict=True))
        for name, answer in zip(queries, answers, strict=True)
    }
    means = evaluate(DEFAULT_MEASURES, qrels, run).means
    return {
        "pipeline": pipeline,
        "measures": means,
        "ms_per_query": milliseconds,
        "queries": len(queries),
    }


def _table(results: list[JsonObject]) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    table.add_column("pipeline")
    for name in (*results[0]["measures"], "ms per query"):
        table.add_column(name, justify="right")
    for result in results:
        figures = [f"{value:.3f}" for value in result["measures"].values()]
        table.add_row(result["pipeline"], *figures, f"{result['ms_per_query']:.2f}")
    return table
