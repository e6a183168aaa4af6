"""Ask a collection every query of a set, in batches, and note what that takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from ..documents import Document
from ..results import Result
from .progress import Progress
from .spending import Spent, counted
from .trec import Run

BATCH = 512


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


class Asked(NamedTuple):
    """The run, the flags that searches raised with the number of their queries, and the cost."""

    run: Run
    flags: dict[str, int]
    spent: Spent


def ask_all(
    collection: Searched,
    queries: Mapping[str, str],
    pipeline: Any,
    *,
    k: int,
    exclude_self: bool,
    what: str,
    progress: Progress,
    clock: Callable[[], float],
) -> Asked:
    """The k best documents of every query: query id -> text."""
    names, texts = list(queries), list(queries.values())
    run: Run = {}
    flags: Counter[str] = Counter()
    spent = Spent()
    observed = counted(pipeline, spent)
    for start in range(0, len(names), BATCH):
        batch = slice(start, start + BATCH)
        began = clock()
        results = collection.search_batch(texts[batch], k=k + exclude_self, pipeline=observed)
        spent.search_seconds += clock() - began
        spent.add_timings(results[0].timings_ms)
        for name, result in zip(names[batch], results, strict=True):
            run[name] = list(zip(result.ids, map(float, result.scores), strict=True))
            flags.update(set(result.flags))
        progress(what, len(run), len(names))
    if exclude_self:
        run = without_self(run, k)
    return Asked(run, dict(sorted(flags.items())), spent)


def without_self(run: Run, k: int | None = None) -> Run:
    """The k best hits of each query, or all, without those whose id is the query's own."""
    return {query: [hit for hit in hits if hit[0] != query][:k] for query, hits in run.items()}
