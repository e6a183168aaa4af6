"""Writes and searches at once: rounds of skewed insert and delete, beside fresh builds.

Each round deletes the 1% of the rows that are nearest to a random one of them and adds as many,
the nearest to a random vector of a pool of the same kind, ``_BATCH`` documents a call; meanwhile a
thread asks query after query. Every ``_EACH`` rounds recall@10 is measured as it is, after a merge,
and in a fresh collection of the same rows. No page cache is dropped here.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...contracts import BoolArray, Float32Array, Int64Array
from ...documents import Document, JsonObject
from ...indexers.spann.settings import Spann
from ...retrieval.collection import Collection
from .spann_data import DEPTH, neighbours, synthetic, unit

if TYPE_CHECKING:
    from rich.console import Console

ROWS, DIM, ROUNDS = 50_000, 96, 100
_SHARE = 0.01
_BATCH = 100
_EACH = 10
_SEED = 13


def churn(
    console: Console,
    *,
    n: int = ROWS,
    rounds: int = ROUNDS,
    each: int = _EACH,
    settings: Spann | None = None,
) -> list[JsonObject]:
    """A row for each checkpoint and one for the whole."""
    vectors, queries = (unit(some) for some in synthetic(2 * n, DIM))
    settings = settings or Spann(model=None)
    random = np.random.Generator(np.random.Philox(_SEED))
    live = np.arange(2 * n) < n
    writes: list[float] = []
    searches: list[float] = []
    rows: list[JsonObject] = []
    with (
        tempfile.TemporaryDirectory(prefix="cormorant-bench-") as folder,
        _filled(Path(folder) / "c.cm", vectors, live, settings) as collection,
    ):
        for number in range(1, rounds + 1):
            gone, new = _round(vectors, live, max(1, int(_SHARE * n)), random)
            with _searching(collection, queries, searches):
                _write(collection, vectors, gone, new, writes)
            live[gone], live[new] = False, True
            if number % each == 0:
                rows.append(_checked(collection, vectors, queries, live, settings, folder))
                rows[-1] |= {"system": "cormorant", "setting": f"churn round {number}"}
                console.print(" ".join(f"{name}={value}" for name, value in rows[-1].items()))
        problems = collection.check().problems
    whole: JsonObject = {
        "system": "cormorant",
        "setting": f"churn {rounds} rounds of {_SHARE:.0%} of {n:,}",
        "recall@10": min(min(row["recall@10"], row["recall@10_merged"]) for row in rows),
        "recall@10_fresh": float(np.mean([row["recall@10_fresh"] for row in rows])),
        "most_below_fresh": max(
            row["recall@10_fresh"] - min(row["recall@10"], row["recall@10_merged"]) for row in rows
        ),
        "p99_write_ms": 1e3 * float(np.percentile(writes, 99)),
        "mean_search_ms": 1e3 * float(np.mean(searches)),
        "p99_search_ms": 1e3 * float(np.percentile(searches, 99)),
        "searches": len(searches),
        "problems": len(problems),
    }
    return [*rows, whole]


def _round(
    vectors: Float32Array, live: BoolArray, count: int, random: np.random.Generator
) -> tuple[Int64Array, Int64Array]:
    """Which rows go and which come: neighbours, each time of another place."""
    chosen = []
    for there in (np.flatnonzero(live), np.flatnonzero(~live)):
        near = neighbours(vectors[there], vectors[random.choice(there, 1)], count)[0]
        chosen.append(there[near])
    return chosen[0], chosen[1]


def _write(
    collection: Collection,
    vectors: Float32Array,
    gone: Int64Array,
    new: Int64Array,
    seconds: list[float],
) -> None:
    for first in range(0, len(gone), _BATCH):
        names = [str(row) for row in gone[first : first + _BATCH].tolist()]
        some = new[first : first + _BATCH]
        documents = [Document(id=str(row), text="") for row in some.tolist()]
        given = {"spann": vectors[some]}
        seconds.append(_seconds(partial(collection.delete, names)))
        seconds.append(_seconds(partial(collection.add, documents, vectors=given)))


@contextmanager
def _searching(
    collection: Collection, queries: Float32Array, seconds: list[float]
) -> Iterator[None]:
    """Another thread asks until the block ends; its error is raised here."""
    over = threading.Event()
    failed: list[BaseException] = []

    def ask() -> None:
        number = 0
        try:
            while not over.is_set():
                one = queries[number % len(queries)][None]
                asked = partial(collection.search_batch, vectors=one, k=DEPTH, pipeline="spann")
                seconds.append(_seconds(asked))
                number += 1
        except Exception as error:  # noqa: BLE001  raised below
            failed.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if failed:
        raise failed[0]


def _checked(
    collection: Collection,
    vectors: Float32Array,
    queries: Float32Array,
    live: BoolArray,
    settings: Spann,
    folder: str,
) -> JsonObject:
    there = np.flatnonzero(live)
    truth = there[neighbours(vectors[there], queries, DEPTH)]
    found = {"recall@10": _recall(collection, queries, truth)}
    start = time.perf_counter()
    collection.merge()
    found["merge_seconds"] = round(time.perf_counter() - start, 3)
    found["recall@10_merged"] = _recall(collection, queries, truth)
    found |= _effort(collection, settings, "")
    with (
        tempfile.TemporaryDirectory(dir=folder) as other,
        _filled(Path(other) / "f.cm", vectors, live, settings) as fresh,
    ):
        found["recall@10_fresh"] = _recall(fresh, queries, truth)
        found |= _effort(fresh, settings, "_fresh")
    return dict(found)


@contextmanager
def _filled(
    path: Path,
    vectors: Float32Array,
    live: BoolArray,
    settings: Spann,
) -> Iterator[Collection]:
    """A collection of the live rows in one segment."""
    with Collection.create(path, {"spann": settings}) as collection:
        there = np.flatnonzero(live)
        documents = (Document(id=str(row), text="") for row in there.tolist())
        collection.add(documents, vectors={"spann": vectors[there]})
        collection.merge()
        yield collection


def _effort(collection: Collection, settings: Spann, name: str) -> dict[str, float]:
    """Lists and codes that a query of the one segment's samples takes."""
    (segment,) = collection._reader.snapshot().searchable["spann"].segments
    efforts = segment.summary["spann"]["measured"][str(DEPTH)]
    own = next(one for one in efforts if one["target"] == settings.target_recall)
    return {f"{what}{name}": own[what] for what in ("lists", "codes")}


def _recall(collection: Collection, queries: Float32Array, truth: Int64Array) -> float:
    results = collection.search_batch(vectors=queries, k=DEPTH, pipeline="spann")
    hits = [
        len({int(name) for name in result.ids} & set(own.tolist()))
        for result, own in zip(results, truth, strict=True)
    ]
    return round(float(np.mean(hits)) / DEPTH, 4)


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
