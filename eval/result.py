"""What an evaluation gives: figures per data set and pipeline, and the files they are kept in."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..documents import JsonObject
from ..errors import InputError
from .textfiles import write_lines
from .trec import Run, write_run

if TYPE_CHECKING:
    from .cost import Cost
    from .significance import Against

_FILE_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+@=-]{0,99}")


@dataclass(frozen=True, slots=True)
class EvalResult:
    """One pipeline on one data set.

    ``measures``: the means, over ``queries`` queries (those with a positive judgement);
    ``per_query``: query id -> measure -> value; ``run``: what was retrieved, for every judged
    query. ``judgements``: how many pairs the data set judges. ``latency_ms``: p50, p95 and p99 of
    single searches, milliseconds. ``index_seconds``: from the first document read to the last
    index written; ``index_bytes``: of all the collection's
    segments, ``catalog_bytes`` of everything else in it. ``flags``: what a search said was cut,
    skipped or failed -> for how many queries. ``cost``: what a thousand queries take, where they
    were searched here. ``variants``: the same with changed queries, each called after the change.
    """

    dataset: str
    pipeline: str
    measures: dict[str, float]
    per_query: dict[str, dict[str, float]] = field(repr=False)
    run: Run = field(repr=False)
    queries: int
    judgements: int = 0
    latency_ms: dict[str, float] = field(default_factory=dict)
    index_seconds: float = 0.0
    index_bytes: int = 0
    catalog_bytes: int = 0
    flags: dict[str, int] = field(default_factory=dict)
    cost: Cost | None = None
    variants: tuple[EvalResult, ...] = field(default=(), repr=False)

    def as_json(self) -> JsonObject:
        """The figures as ``eval --json`` writes them; ``flags`` only when there are any."""
        value: JsonObject = {
            "dataset": self.dataset,
            "pipeline": self.pipeline,
            "measures": dict(self.measures),
            "latency_ms": dict(self.latency_ms),
            "index_seconds": self.index_seconds,
            "index_bytes": self.index_bytes,
            "queries": self.queries,
        }
        if self.cost is not None:
            value["cost"] = self.cost.as_json()
        return {**value, "flags": dict(self.flags)} if self.flags else value


def results_json(
    results: Sequence[EvalResult],
    environment: Mapping[str, object],
    against: Against | None = None,
) -> JsonObject:
    """The whole of what ``eval --json`` writes: one JSON object.

    With a baseline each result also says how it compares, under ``"against"``; the baseline's own
    has no measures there.
    """
    rows = [result.as_json() for result in results]
    if against is not None:
        for row, result in zip(rows, results, strict=True):
            row["against"] = against.as_json(result)
    return {"results": rows, "environment": dict(environment)}


def save_result(result: EvalResult, folder: str | Path) -> tuple[Path, Path]:
    """Write ``<dataset>.<pipeline>.run.gz`` and ``<dataset>.<pipeline>.per_query.jsonl``.

    The second has one object a query: ``{"query_id": ..., "measures": {"nDCG@10": ..., ...}}``.
    Returns both paths. Raises as :func:`check_file_word` and :func:`~cormorant.eval.trec.write_run`
    do.
    """
    for word in (result.dataset, result.pipeline):
        check_file_word(word)
    stem = f"{result.dataset}.{result.pipeline}"
    run_file, values_file = (
        Path(folder) / f"{stem}.run.gz",
        Path(folder) / f"{stem}.per_query.jsonl",
    )
    write_run(run_file, result.run, tag=result.pipeline)
    write_lines(
        values_file,
        (
            json.dumps({"query_id": query, "measures": values}, ensure_ascii=False)
            for query, values in result.per_query.items()
        ),
    )
    return run_file, values_file


def check_file_word(word: str) -> None:
    """Raise :class:`~cormorant.errors.InputError` for a name that cannot be part of a file name."""
    if _FILE_WORD.fullmatch(word) is None:
        raise InputError(
            "saved runs are named after the data set and the pipeline; such a name has 1 to 100 "
            f"letters, digits and . _ + @ = - and starts with a letter or digit, got {word!r}"
        )
