"""One system of ``cormorant bench spann``, in a process and an interpreter of its own.

    python spann_worker.py build SYSTEM FOLDER INDEX MEMORY_BYTES
    python spann_worker.py measure SYSTEM FOLDER INDEX THREADS

FOLDER holds ``vectors.npy``, ``queries.npy``, ``truth.npy`` and the like in ``warm``; the index is
its subfolder INDEX. It imports nothing of ours but for our own turn, so that an interpreter
with an old numpy can run it. The last line that is printed is JSON.

Every system is measured by the same loop. The process may use THREADS processors. It opens and
searches the smaller index first, so that code and libraries are loaded; memory is the growth of its
resident set from then on (``/proc/self/smaps_rollup``: anonymous pages and mapped ones alike), the
most that was seen. Before each ``ROUND`` queries the kernel is told to take mapped pages of the
index from the process and to forget what it cached of them (``MADV_PAGEOUT``,
``POSIX_FADV_DONTNEED``); our ids and catalog, which no peer has, are left there, and count as
memory. With one thread each query is a call; with more, a round is. Bytes read are those that came
from the disk (``/proc/self/io``).
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import importlib.metadata
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np

K = 10
ROUND = 25
_PAGEOUT = 21
"""``MADV_PAGEOUT`` of Linux, which older Pythons do not name."""


class System(Protocol):
    """A system opened on its index. ``settings``: what is swept, least effort first."""

    package: str
    settings: tuple[Any, ...]
    pages: str
    """The folder, in the index's, whose pages are dropped."""

    @staticmethod
    def build(vectors: Any, folder: Path, memory_bytes: int, threads: int) -> None:
        """An index of (n, dim) float32 vectors in an empty folder."""

    def __init__(self, folder: Path, threads: int) -> None:
        """Open it."""

    def ask(self, queries: Any, setting: Any) -> Any:
        """The K nearest of each query, as numbers."""


class Cormorant:
    """Ours, by its public surface; the index knows the effort for several targets."""

    package = "cormorant"
    settings = (0.85, 0.9, 0.94, 0.95, 0.96, 0.98, 0.99)
    pages = "c.cm/segments/spann"

    @staticmethod
    def build(vectors: Any, folder: Path, memory_bytes: int, threads: int) -> None:
        """A collection, merged into one segment. Documents are given in one call, by number.

        With lists however few vectors there are. What ids take is taken off the memory.
        """
        import cormorant as cm

        room = max(memory_bytes - 4 * len(vectors), 0)
        settings = cm.Spann(model=None, memory=room / vectors.nbytes, list_rows=256)
        with cm.Collection.create(folder / "c.cm", {"spann": settings}) as collection:
            documents = (cm.Document(id=str(number), text="") for number in range(len(vectors)))
            collection.add(documents, vectors={"spann": vectors})
            collection.merge()

    def __init__(self, folder: Path, threads: int) -> None:
        import cormorant as cm

        self._collection = cm.Collection.open(folder / "c.cm", read_only=True)
        view = self._collection._reader.snapshot().searchable["spann"]
        self._index: Any = view.index

    def ask(self, queries: Any, setting: float) -> list[list[int]]:
        """``target_recall`` is the index's own setting, whose effort the segment holds."""
        from dataclasses import replace

        if self._index.spann.target_recall != setting:
            self._index.spann = replace(self._index.spann, target_recall=setting)
        found = self._collection.search_batch(vectors=queries, k=K, pipeline="spann")
        return [[int(name) for name in result.ids] for result in found]


class DiskAnn:
    """DiskANN's disk index; its documentation's degree, and codes as large as the memory."""

    package = "diskannpy"
    settings = tuple(
        (width, size) for size in (10, 14, 20, 30, 45, 70, 110, 180) for width in (2, 4)
    )
    pages = "."

    @staticmethod
    def build(vectors: Any, folder: Path, memory_bytes: int, threads: int) -> None:
        """``build_disk_index``."""
        diskannpy = importlib.import_module("diskannpy")
        diskannpy.build_disk_index(
            data=np.array(vectors),
            distance_metric="l2",
            index_directory=str(folder),
            complexity=100,
            graph_degree=64,
            search_memory_maximum=memory_bytes / 2**30,
            build_memory_maximum=4.0,
            num_threads=threads,
        )

    def __init__(self, folder: Path, threads: int) -> None:
        diskannpy = importlib.import_module("diskannpy")
        self._threads = threads
        self._index = diskannpy.StaticDiskIndex(
            index_directory=str(folder),
            num_threads=threads + 1,  # with one it waits for ever for a second
            num_nodes_to_cache=0,
            cache_mechanism=0,
        )

    def ask(self, queries: Any, setting: Any) -> Any:
        """(beam width, length of the candidates' list)."""
        beam, size = setting
        if len(queries) == 1:
            return [self._index.search(queries[0], K, size, beam).identifiers]
        return self._index.batch_search(queries, K, size, self._threads, beam).identifiers


class Faiss:
    """FAISS's inverted lists of full vectors, mapped from a file."""

    package = "faiss-cpu"
    settings = (1, 2, 4, 8, 16, 32, 64, 128)
    pages = "."

    @staticmethod
    def build(vectors: Any, folder: Path, memory_bytes: int, threads: int) -> None:
        """``merge_ondisk`` of one part."""
        faiss = importlib.import_module("faiss")
        ondisk = importlib.import_module("faiss.contrib.ondisk")
        faiss.omp_set_num_threads(threads)
        lists = int(4 * len(vectors) ** 0.5)
        index = faiss.index_factory(vectors.shape[1], f"IVF{lists},Flat")
        index.train(np.array(vectors))
        empty, part = folder / "empty.faiss", folder / "part.faiss"
        faiss.write_index(index, str(empty))
        index.add(np.array(vectors))
        faiss.write_index(index, str(part))
        index = faiss.read_index(str(empty))
        with contextlib.redirect_stdout(sys.stderr):
            ondisk.merge_ondisk(index, [str(part)], str(folder / "lists.ivfdata"))
        faiss.write_index(index, str(folder / "index.faiss"))
        empty.unlink()
        part.unlink()

    def __init__(self, folder: Path, threads: int) -> None:
        faiss = importlib.import_module("faiss")
        faiss.omp_set_num_threads(threads)
        self._index = faiss.read_index(str(folder / "index.faiss"))

    def ask(self, queries: Any, setting: int) -> Any:
        """Lists probed."""
        self._index.nprobe = setting
        return self._index.search(queries, K)[1]


class Lance:
    """LanceDB's IVF_PQ, a code byte for four numbers, with refining."""

    package = "lancedb"
    settings = ((4, 5), (8, 5), (8, 10), (16, 10), (32, 10), (32, 30), (64, 30), (128, 50))
    pages = "."

    @staticmethod
    def build(vectors: Any, folder: Path, memory_bytes: int, threads: int) -> None:
        """One table of numbers and vectors."""
        arrow = importlib.import_module("pyarrow")
        flat = arrow.array(np.array(vectors).reshape(-1))
        columns = {
            "id": arrow.array(np.arange(len(vectors))),
            "vector": arrow.FixedSizeListArray.from_arrays(flat, vectors.shape[1]),
        }
        database = importlib.import_module("lancedb").connect(str(folder))
        table = database.create_table("t", data=arrow.table(columns))
        table.create_index(
            metric="l2",
            num_partitions=int(len(vectors) ** 0.5),
            num_sub_vectors=vectors.shape[1] // 4,
        )

    def __init__(self, folder: Path, threads: int) -> None:
        self._table = importlib.import_module("lancedb").connect(str(folder)).open_table("t")
        self._pool = ThreadPoolExecutor(threads)

    def ask(self, queries: Any, setting: Any) -> list[list[int]]:
        """(partitions probed, how many times K are refined)."""
        probes, refine = setting

        def one(query: Any) -> list[int]:
            search = self._table.search(query).nprobes(probes).refine_factor(refine)
            found: list[int] = search.select(["id"]).limit(K).to_arrow()["id"].to_pylist()
            return found

        return list(self._pool.map(one, queries))


class Hnsw:
    """hnswlib, all in memory: what there is to gain without a disk."""

    package = "hnswlib"
    settings = (10, 16, 24, 40, 64, 100, 160, 300)
    pages = "."

    @staticmethod
    def build(vectors: Any, folder: Path, memory_bytes: int, threads: int) -> None:
        """M of 16, 200 considered."""
        index = importlib.import_module("hnswlib").Index("l2", vectors.shape[1])
        index.init_index(max_elements=len(vectors), ef_construction=200, M=16)
        index.add_items(np.array(vectors), num_threads=threads)
        index.save_index(str(folder / "index.bin"))
        np.save(folder / "dim.npy", np.array(vectors.shape[1]))

    def __init__(self, folder: Path, threads: int) -> None:
        dim = int(np.load(folder / "dim.npy"))
        self._index = importlib.import_module("hnswlib").Index("l2", dim)
        self._index.load_index(str(folder / "index.bin"))
        self._index.set_num_threads(threads)

    def ask(self, queries: Any, setting: int) -> Any:
        """Candidates considered."""
        self._index.set_ef(setting)
        return self._index.knn_query(queries, K)[0]


SYSTEMS: dict[str, type[System]] = {
    "cormorant": Cormorant,
    "diskann": DiskAnn,
    "faiss": Faiss,
    "lancedb": Lance,
    "hnswlib": Hnsw,
}


def build(system: type[System], folder: Path, index: Path, memory_bytes: int) -> dict[str, Any]:
    """Seconds from vectors in a file to an index in synced files."""
    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    index.mkdir(parents=True)
    start = time.perf_counter()
    system.build(vectors, index, memory_bytes, len(os.sched_getaffinity(0)))
    files = [path for path in index.rglob("*") if path.is_file()]
    for path in files:
        with path.open("rb") as file:
            os.fsync(file.fileno())
    return {
        "build_seconds": time.perf_counter() - start,
        "disk_mb": sum(path.stat().st_size for path in files) / 1e6,
        "version": importlib.metadata.version(system.package),
    }


def measure(system: type[System], folder: Path, index: str, threads: int) -> dict[str, Any]:
    """A row for each setting."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    queries, truth = np.load(folder / "queries.npy"), np.load(folder / "truth.npy")
    warm = system(folder / "warm" / index, threads)
    for setting in system.settings:
        warm.ask(queries[:1], setting)
        warm.ask(queries[:ROUND], setting)
    del warm
    gc.collect()
    before = _resident()
    opened = system(folder / index, threads)
    rows = []
    for setting in system.settings:
        pages = folder / index / system.pages
        rows.append(_row(opened, setting, pages, queries, truth, before, threads))
    return {"rows": rows, "version": importlib.metadata.version(system.package)}


def _row(
    opened: System,
    setting: Any,
    pages: Path,
    queries: Any,
    truth: Any,
    before: int,
    threads: int,
) -> dict[str, Any]:
    seconds: list[float] = []
    hits, read, most = 0, 0, 0
    for first in range(0, len(queries), ROUND):
        asked = queries[first : first + ROUND]
        _forget(pages)
        start_bytes = _read_bytes()
        found: list[Any] = []
        for calls in np.array_split(asked, len(asked) if threads == 1 else 1):
            start = time.perf_counter()
            found += list(opened.ask(calls, setting))
            seconds.append(time.perf_counter() - start)
        read += _read_bytes() - start_bytes
        most = max(most, _resident())
        for own, best in zip(found, truth[first : first + ROUND]):  # noqa: B905  Python 3.9
            hits += len({int(place) for place in own} & set(best[:K].tolist()))
    row: dict[str, Any] = {
        "setting": str(setting),
        "recall@10": hits / (K * len(queries)),
        "qps": len(queries) / sum(seconds),
        "kb_read_per_query": read / len(queries) / 1e3,
        "memory_mb": (most - before) / 1e6,
    }
    if threads == 1:
        row["mean_ms"] = 1e3 * float(np.mean(seconds))
        row["p99_ms"] = 1e3 * float(np.percentile(seconds, 99))
    return row


def _forget(folder: Path) -> None:
    """Take the pages of the folder's files from this process, then from the page cache."""
    libc = ctypes.CDLL(None, use_errno=True)
    for line in Path("/proc/self/maps").read_text().splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and fields[5].startswith(str(folder)):
            first, last = (int(number, 16) for number in fields[0].split("-"))
            area = ctypes.c_void_p(first), ctypes.c_size_t(last - first)
            if libc.madvise(*area, _PAGEOUT):
                raise OSError(ctypes.get_errno(), "madvise")
    for path in folder.rglob("*"):
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            try:
                os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(handle)


def _resident() -> int:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("Rss:"))


def _read_bytes() -> int:
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("read_bytes:"))


def main(arguments: list[str]) -> None:
    """Run what is asked for and print it."""
    task, name, folder, index, number = arguments
    system = SYSTEMS[name]
    if task == "build":
        result = build(system, Path(folder), Path(folder) / index, int(number))
    else:
        result = measure(system, Path(folder).resolve(), index, int(number))
    sys.stdout.write("\n" + json.dumps(result) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
