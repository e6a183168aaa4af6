"""A judging pool: of each query the documents that any run has among its first.

It is written as qrels in BEIR's format whose third column is still empty::

    query-id<TAB>corpus-id<TAB>score
    301<TAB>FT911-1<TAB>

Judges fill it in; what they leave empty is not judged, and the file is read as qrels at any time.
Documents are sorted by their ids: neither a rank nor a system's name is there to sway a judge.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

from ..errors import InputError
from .grids import Cell, Grid
from .qrels import BEIR_HEADER
from .trec import Run

Pool: TypeAlias = dict[str, dict[str, tuple[str, ...]]]
"""Query id -> document id -> the names of the runs that brought it."""


def make_pool(runs: Mapping[str, Run], depth: int, judged: Mapping[str, Mapping[str, int]]) -> Pool:
    """The union of the runs' first ``depth`` documents, without the pairs that are judged already.

    Raises :class:`~cormorant.errors.InputError` for a depth below 1.
    """
    if depth < 1:
        raise InputError(f"is at least 1, got {depth}", field="depth")
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for name, run in runs.items():
        for query, hits in run.items():
            pooled, known = found.setdefault(query, {}), judged.get(query, {})
            for document, _ in hits[:depth]:
                if document not in known:
                    pooled[document] = (*pooled.get(document, ()), name)
    return {query: dict(sorted(pooled.items())) for query, pooled in found.items() if pooled}


def pool_lines(pool: Pool) -> Iterator[str]:
    """The file: queries in the order in which the runs have them."""
    yield "\t".join(BEIR_HEADER)
    for query, pooled in pool.items():
        for document in pooled:
            yield f"{query}\t{document}\t"


def pool_grid(pool: Pool, runs: Mapping[str, Run]) -> Grid:
    """One row a run: how many pairs it brought, and how many of them no other run did."""
    brought = [names for pooled in pool.values() for names in pooled.values()]
    rows = [
        [
            Cell(name),
            Cell(str(sum(name in names for names in brought))),
            Cell(str(sum(names == (name,) for names in brought))),
        ]
        for name in runs
    ]
    note = f"{len(brought)} pairs to judge, of {len(pool)} queries"
    return Grid(("run",), ("in the pool", "alone"), rows, [note])
