"""``cormorant bench spann``: vectors on disk, against DiskANN, FAISS, LanceDB and hnswlib.

The data are :mod:`.spann_data`'s; every system builds, and is measured, in a process of its own by
the one loop of :mod:`.spann_worker`, which says how pages are dropped and memory is counted: one
thread, then two. Ours and DiskANN are given a tenth of the raw vectors' bytes of memory, and asked
in turns, as a disk has better and worse minutes: a figure of theirs is the median of ``TURNS``.
FAISS and LanceDB have no setting for memory; hnswlib holds everything and shows what the disk
costs.

``--prepare`` makes an environment for each peer in the cache (``CORMORANT_BENCH_DISKANN``,
``_LANCEDB`` and ``_HNSWLIB`` name interpreters to use instead), builds and times every index. An
index lies beside its data, which are named by their checksum, under a name that says with what it
was built (for ours: the checksum of our sources). Peers that are not there are left out, and said.

Each system's effort is swept. Ratios compare queries per second at recall@10 of 0.90, 0.95 and
0.98, read off each system's best points by interpolation; the fastest point counts where all are
above, and there is no ratio where none gets there. ``--full`` adds :mod:`.spann_filters`,
:mod:`.spann_churn` and :mod:`.spann_growth`.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...documents import JsonObject
from ...errors import CormorantError, InputError
from .spann_data import Data, bench_cache, data_sets
from .spann_worker import SYSTEMS

if TYPE_CHECKING:
    from rich.console import Console

TARGETS = (0.90, 0.95, 0.98)
THREADS = (1, 2)
TURNS = 5
RIVALS = ("cormorant", "diskann")
"""Those that are compared at the same memory, in turns."""
MEMORY_SHARE = 0.1
PEERS = {
    "diskann": "diskannpy==0.7.0",
    "faiss": None,  # a dependency of ours
    "lancedb": "lancedb==0.40.0",
    "hnswlib": "hnswlib==0.8.0",
}
"""System -> what its environment is made of."""
_PATIENCE_SECONDS = 600
"""For one system with one number of threads."""
_WORKER = Path(__file__).with_name("spann_worker.py")
_OURS = ("indexers/spann", "indexers/dense", "kernels/lists", "kernels/rabitq", "retrieval")


def prepare(*, full: bool, corpus: Path | None, console: Console) -> None:
    """Make environments, data and indexes, where they are not in the cache."""
    for peer, requirement in PEERS.items():
        if requirement is not None and _python(peer) is None:
            _make_environment(peer, requirement, console)
    for data in data_sets(corpus):
        for system in _systems(console):
            with _peers_may_fail(system, console):
                facts = built(system, data)
                console.print(f"{data.name} {system}: built in {facts['build_seconds']:.0f} s")


def bench(
    *, full: bool, corpus: Path | None, console: Console
) -> tuple[list[JsonObject], dict[str, float], dict[str, str]]:
    """The rows, the ratios and the peers' versions."""
    rows: list[JsonObject] = []
    ratios: dict[str, float] = {}
    versions: dict[str, str] = {}
    systems = _systems(console)
    found = data_sets(corpus)
    for data in found:
        new, more, packages = contest(data, systems, console)
        # The plain names are those of the first data set.
        named = {f"{name}:{data.name}": value for name, value in more.items()}
        ratios |= more if data is found[0] else named
        rows += new
        versions |= packages
    if full:
        from .spann_churn import churn
        from .spann_filters import filtered
        from .spann_growth import growth

        rows += filtered(found[0], console) + churn(console) + growth(console)
    versions.pop("cormorant", None)
    return rows, ratios, versions


def contest(
    data: Data, systems: Sequence[str], console: Console
) -> tuple[list[JsonObject], dict[str, float], dict[str, str]]:
    """Every system on one set of data."""
    rows: list[JsonObject] = []
    versions: dict[str, str] = {}
    points: dict[tuple[str, int], list[JsonObject]] = {}
    facts: dict[str, JsonObject] = {}
    for system in systems:
        with _peers_may_fail(system, console):
            facts[system] = built(system, data)
            made = {name: facts[system][name] for name in ("build_seconds", "disk_mb")}
            rows.append({"system": system, "setting": f"{data.name} build", **made})
    turns: dict[tuple[str, int], list[list[JsonObject]]] = {}
    for turn in range(TURNS):
        for threads in THREADS:
            for system in facts if turn == 0 else [one for one in facts if one in RIVALS]:
                with _peers_may_fail(system, console):
                    answer = measured(system, data, threads)
                    versions[system] = answer["version"]
                    turns.setdefault((system, threads), []).append(answer["rows"])
    for (system, threads), answers in turns.items():
        points[system, threads] = [_median(same) for same in zip(*answers, strict=True)]
        for point in points[system, threads]:
            setting = f"{data.name} threads={threads} effort={point.pop('setting')}"
            rows.append({"system": system, "setting": setting, **point})
            console.print(f"{system} {setting}: " + _shown(point))
    ratios = _ratios(points, facts, data.vectors().nbytes / 1e6)
    console.print("  ".join(f"{name} {value:.2f}" for name, value in ratios.items()) + "\n")
    return rows, ratios, versions


def _median(turns: Sequence[JsonObject]) -> JsonObject:
    """One setting's row: the median of each figure."""
    figures = {name: statistics.median(turn[name] for turn in turns) for name in list(turns[0])[1:]}
    return {"setting": turns[0]["setting"], **figures}


@contextmanager
def _peers_may_fail(system: str, console: Console) -> Iterator[None]:
    """Show a peer's error and go on without it; ours ends the run."""
    try:
        yield
    except CormorantError as error:
        if system == "cormorant":
            raise
        console.print(f"[red]{error}")


def _ratios(
    points: dict[tuple[str, int], list[JsonObject]], facts: dict[str, JsonObject], raw_mb: float
) -> dict[str, float]:
    ratios: dict[str, float] = {}
    for (peer, threads), theirs in points.items():
        if peer == "cormorant":
            continue
        ours = points["cormorant", threads]
        more = "" if threads == 1 else f":{threads}threads"
        for target in TARGETS:
            own, other = at_recall(ours, target, "qps"), at_recall(theirs, target, "qps")
            if own and other:
                ratios[f"qps_vs_{peer}@{target:.2f}{more}"] = own / other
        if threads == 1:
            own, other = (at_recall(some, 0.95, "memory_mb") for some in (ours, theirs))
            if own and other:
                ratios[f"memory_vs_{peer}"] = other / own
            seconds = facts[peer]["build_seconds"] / facts["cormorant"]["build_seconds"]
            ratios[f"build_vs_{peer}"] = seconds
    memory = at_recall(points.get(("cormorant", 1), []), 0.95, "memory_mb")
    if memory:
        ratios["memory_share@0.95"] = memory / raw_mb
    return ratios


def at_recall(rows: Sequence[JsonObject], target: float, what: str) -> float | None:
    """A figure at a recall, between the two best points around it; None where none gets there.

    The best points: those no faster one of which has as much recall. Between two the logarithm is
    interpolated. Where the least recall is above the target, that point's figure.
    """
    best: list[JsonObject] = []
    for row in sorted(rows, key=lambda row: (-row["recall@10"], -row["qps"])):
        if not best or row["qps"] > best[-1]["qps"]:
            best.append(row)
    above = [row for row in best if row["recall@10"] >= target]
    below = [row for row in best if row["recall@10"] < target]
    if not above:
        return None
    high = above[-1]
    if not below:
        return float(high[what])
    low = below[0]
    span = high["recall@10"] - low["recall@10"]
    share = (target - low["recall@10"]) / span
    ends = (max(float(low[what]), 1e-9), max(float(high[what]), 1e-9))
    return math.exp((1 - share) * math.log(ends[0]) + share * math.log(ends[1]))


def built(system: str, data: Data) -> JsonObject:
    """Facts of an index, built unless it is in the cache: where, ``build_seconds``, ``disk_mb``."""
    name = f"{system}-{_checksum(system)}"
    memory = str(int(MEMORY_SHARE * data.vectors().nbytes))
    for folder in (data.folder / "warm", data.folder):
        note = folder / f"{name}.json"
        if not note.is_file():
            shutil.rmtree(folder / name, ignore_errors=True)
            facts = _worker(system, "build", str(folder), name, memory)
            note.write_text(json.dumps({"index": name, **facts}))
    found: JsonObject = json.loads(note.read_text())
    return found


def measured(system: str, data: Data, threads: int) -> JsonObject:
    """``rows``, a point for each effort, and the system's ``version``."""
    index = built(system, data)["index"]
    answer: JsonObject = _worker(system, "measure", str(data.folder), index, str(threads))
    return answer


@cache
def _checksum(system: str) -> str:
    """Of what an index depends on beside its data."""
    made = inspect.getsource(SYSTEMS[system].build) + str(PEERS.get(system))
    key = hashlib.sha256(made.encode())
    if system == "cormorant":
        house = Path(__file__).resolve().parents[2]
        for room in _OURS:
            for path in sorted((house / room).glob("*.py")):
                key.update(path.read_bytes())
    return key.hexdigest()[:12]


def _systems(console: Console) -> list[str]:
    """Ours and the peers that are there."""
    if sys.platform != "linux":
        raise InputError("counts memory and bytes read by Linux's /proc", field="bench")
    there = [peer for peer in PEERS if _python(peer) is not None]
    for peer in PEERS:
        if peer not in there:
            console.print(f"[yellow]{peer} is not there: --prepare makes its environment")
    return ["cormorant", *there]


def _environment(peer: str) -> Path:
    return bench_cache() / "environments" / str(PEERS[peer]).replace("==", "-")


def _python(system: str) -> str | None:
    """The interpreter that has a system; None where there is none."""
    named = os.environ.get(f"CORMORANT_BENCH_{system.upper()}")
    if named or PEERS.get(system) is None:
        return named or sys.executable
    made = _environment(system)
    return str(made / "bin" / "python") if (made / "done").is_file() else None


def _make_environment(peer: str, requirement: str, console: Console) -> None:
    """A virtual environment with one package; a failure is shown, and the peer left out."""
    folder = _environment(peer)
    shutil.rmtree(folder, ignore_errors=True)
    commands = (
        [sys.executable, "-m", "venv", str(folder)],
        [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", requirement],
    )
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode:
            console.print(f"[red]{' '.join(command)}: {done.stderr.strip()[-400:]}")
            return
    (folder / "done").write_text(requirement)


def _worker(system: str, task: str, folder: str, index: str, number: str) -> Any:
    """What the worker prints, as JSON."""
    python = _python(system)
    assert python is not None
    threads = number if task == "measure" else str(len(os.sched_getaffinity(0)))
    names = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "LANCE_CPU_THREADS")
    environment = {**os.environ, "PYTHONSAFEPATH": "1", **dict.fromkeys(names, threads)}
    command = [python, str(_WORKER), task, system, folder, index, number]
    limit = _PATIENCE_SECONDS if task == "measure" else None
    try:
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, check=False, env=environment, timeout=limit
        )
    except subprocess.TimeoutExpired:
        raise CormorantError(f"{task} of {system} took over {limit} s") from None
    if done.returncode:
        raise CormorantError(f"{task} of {system} failed: {done.stderr.strip()[-800:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def _shown(row: JsonObject) -> str:
    return ", ".join(f"{name} {value:,.3f}" for name, value in row.items())
