"""``cormorant bench muvera``: candidates and MaxSim against exhaustive MaxSim, and FDE encoding.

Search. 100,000 of the shared sentences, all-MiniLM-L6-v2's token vectors in float16; queries of the
English collections. Ours is ``Collection.search_batch`` from ready vectors to ids, at the default
target of 0.95; exhaustive is our own kernel (the best 10 of all), both on the same 64 queries.
sentence-transformers' ``maxsim``, over the same documents in float32, by length, so that it pads
little, takes 8 of these that are as long on average, asked one a call and all in one call, the
faster of which counts; ours are timed on the same 8, and the ratio is of these. Encoding the
queries is left out on all sides. Recall is of the exhaustive best 10. Ratios ``@0.95`` are 0 where
the default missed the target on the 64; ``_fixed`` is the best fixed number of candidates, chosen
on the very queries.

Encoding. Fixed dimensional encodings of sentences, 2^5 cells of 16 numbers, 20 repetitions, filled:
ours against fastembed's Muvera post-processor, given the same vectors one document a call, which is
how it takes them. It runs in the interpreter that ``CORMORANT_BENCH_FASTEMBED`` names, else in this
one; fast-plaid (:mod:`.muvera_plaid`) in that of ``CORMORANT_BENCH_FAST_PLAID``, over the first
20,000 sentences, beside ours over the same. A peer that is not there is left out. ``--prepare``
encodes and builds: minutes. All with the same number of threads, in turns where both are ours.

``--full`` adds what :mod:`.muvera_candidates`, :mod:`.muvera_recall` and :mod:`.muvera_quality`
say: no times, but tables, which ``--full --prepare`` makes row by row; what is in the cache is not
made again.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...contracts import Float32Array
from ...documents import JsonObject
from ...errors import InputError
from ...indexers.muvera.threads import threads
from ...kernels.fde import Fde, encode_documents
from ...kernels.maxsim import Tokens, search, tokens_of
from ...retrieval.collection import Collection
from ...vectors import TokenVectors
from . import muvera_plaid as plaid
from .muvera_candidates import candidates
from .muvera_data import Prepared, build, prepared
from .muvera_eight import sentence_transformers, spread, taken
from .muvera_fixed import Fixed, K, asker, mark_best, recall
from .muvera_processes import PeerError, peer, python, seconds
from .muvera_quality import quality
from .muvera_recall import recalls
from .shown import show

if TYPE_CHECKING:
    from rich.console import Console

TIMED_QUERIES = 64
PEER_QUERIES = 8
ROUNDS = 3
CANDIDATES = (256, 512, 1024, 2048)
ENCODED = 4_000
TARGET = 0.95


def prepare(*, full: bool, corpus: Path | None, console: Console) -> None:
    """Encode the sentences, build the collections and make the tables, where not in the cache."""
    data = prepared(console)
    if plaid.available():
        plaid.prepare(data, console)
    if full:
        candidates(console, threads())
        recalls(console, threads())
        quality(console)


def bench(
    *, full: bool, corpus: Path | None, console: Console
) -> tuple[list[JsonObject], dict[str, float], dict[str, str]]:
    """The rows, the ratios and the peers' versions."""
    import importlib.metadata

    import torch

    if corpus is not None:
        raise InputError("this benchmark has its own texts; leave --corpus out", field="corpus")
    torch.set_num_threads(threads())
    console.print(f"{threads()} threads, for each system")
    data = prepared(console)
    packages = {"sentence-transformers": importlib.metadata.version("sentence-transformers")}
    rows, ratios = _searching(data, tokens_of(data.vectors, data.starts), console)
    new, more, versions = _encoding(data, console)
    rows, ratios, packages = rows + new, ratios | more, packages | versions
    if plaid.available():
        try:
            new, more, versions = plaid.compared(data, TARGET, console)
        except PeerError as error:
            new, more, versions = [_failed("fast-plaid", error, console)], {}, {}
        rows, ratios, packages = rows + new, ratios | more, packages | versions
    rows = [row | {"threads": threads()} for row in rows]
    if full:
        rows += candidates(console, threads())
        rows += recalls(console, threads())
        rows += quality(console)
    return rows, ratios, packages


def _searching(
    data: Prepared, tokens: Tokens, console: Console
) -> tuple[list[JsonObject], dict[str, float]]:
    timed = data.queries[:TIMED_QUERIES]
    few = taken(timed, spread(np.diff(timed.starts), PEER_QUERIES))
    truth = search(timed, tokens, K, threads=threads()).places
    with Collection.open(build(data, data.documents, console), read_only=True) as collection:
        facts = collection.describe()["indexes"]["tokens"]
        ask = asker(collection)
        found = recall(ask(timed), truth)
        tasks = {
            (setting, len(queries)): partial(task, queries)
            for queries in (timed, few)
            for setting, task in (
                ("default", ask),
                ("exhaustive", lambda some: search(some, tokens, K, threads=threads())),
            )
        }
        times: dict[tuple[str, int], list[float]] = {name: [] for name in tasks}
        for _ in range(ROUNDS):
            for name, task in tasks.items():
                times[name].append(seconds(task))
        single = [seconds(partial(ask, timed[n : n + 1])) for n in range(len(timed))]
    qps = {name: name[1] / float(np.median(own)) for name, own in times.items()}
    default = {
        "recall@10": found,
        "single_p50_ms": 1000 * float(np.median(single)),
        "candidates": facts["candidates@10"],
        "disk_mb": facts["bytes"] / 1e6,
    }
    settings = {"default": f"target_recall={TARGET}", "exhaustive": "exhaustive"}
    rows: list[JsonObject] = []
    for (setting, n), rate in qps.items():
        row: JsonObject = {
            "system": "cormorant",
            "setting": settings[setting],
            "queries": n,
            "tokens_per_query": _mean(timed if n == len(timed) else few),
            "qps": rate,
        }
        rows.append(row | default if (setting, n) == ("default", len(timed)) else row)
    fixed = Fixed(tokens, threads()).rows(timed, truth, CANDIDATES, "")
    best = mark_best(fixed, TARGET)
    theirs = sentence_transformers(data, few)
    for call, took in theirs.items():
        rows.append(
            {
                "system": "sentence-transformers",
                "setting": f"maxsim, {call}",
                "queries": len(few),
                "tokens_per_query": _mean(few),
                "qps": len(few) / took,
            }
        )
    peer_qps = len(few) / min(theirs.values())
    ratios = ratios_of(found, qps, best, peer_qps)
    if found < TARGET:
        console.print(f"the default reached a recall of {found:.3f}, not {TARGET}: ratios are 0")
    rows += fixed
    show(rows, ratios, console)
    return rows, ratios


def ratios_of(
    found: float, qps: dict[tuple[str, int], float], best: JsonObject | None, peer_qps: float
) -> dict[str, float]:
    """Each of two rates over the same queries.

    ``found``: the default's recall; ``qps``: of ``default`` and ``exhaustive``, by the number of
    queries; ``best``: the row of the best fixed number, if one reached the target; ``peer_qps``:
    sentence-transformers' over the fewer queries.
    """
    most, few = max(n for _, n in qps), min(n for _, n in qps)
    enough = float(found >= TARGET)
    ratios = {
        f"qps_vs_exhaustive@{TARGET}": enough * qps["default", most] / qps["exhaustive", most],
        f"qps_vs_sentence_transformers@{TARGET}": enough * qps["default", few] / peer_qps,
        "qps_exhaustive_vs_sentence_transformers": qps["exhaustive", few] / peer_qps,
    }
    if best is not None:
        ratios[f"qps_vs_exhaustive_fixed@{TARGET}"] = best["qps"] / qps["exhaustive", most]
    return ratios


def _mean(queries: TokenVectors) -> float:
    return float(np.diff(queries.starts).mean())


def _encoding(
    data: Prepared, console: Console
) -> tuple[list[JsonObject], dict[str, float], dict[str, str]]:
    fde = Fde(dim=data.vectors.shape[1], k_sim=5, r_reps=20, d_proj=16)
    end = int(data.starts[ENCODED])
    vectors = np.asarray(data.vectors[:end], np.float32)
    some = tokens_of(vectors, data.starts[: ENCODED + 1])
    encode_documents(fde, some, threads=threads())  # starts threads and takes memory
    times = [seconds(lambda: encode_documents(fde, some, threads=threads())) for _ in range(ROUNDS)]
    ours = ENCODED / float(np.median(times))
    rows: list[JsonObject] = [
        {"system": "cormorant", "setting": "fde 10,240", "documents_per_second": ours}
    ]
    ratios: dict[str, float] = {}
    versions: dict[str, str] = {}
    if python("FASTEMBED", "fastembed") is not None:
        try:
            made = _of_fastembed(data, vectors)
        except PeerError as error:
            rows.append(_failed("fastembed", error, console))
        else:
            theirs = made["documents_per_second"]
            rows.append(
                {"system": "fastembed", "setting": "Muvera 10,240", "documents_per_second": theirs}
            )
            ratios["encode_vs_fastembed"] = ours / theirs
            versions["fastembed"] = made["version"]
    show(rows, ratios, console)
    return rows, ratios, versions


def _of_fastembed(data: Prepared, vectors: Float32Array) -> Any:
    """Its documents a second and its version."""
    with tempfile.TemporaryDirectory(prefix="cormorant-bench-") as folder:
        np.save(Path(folder) / "vectors.npy", vectors)
        np.save(Path(folder) / "starts.npy", data.starts[: ENCODED + 1])
        return peer("FASTEMBED", "fastembed", ["fastembed", folder, str(ROUNDS)])


def _failed(system: str, error: PeerError, console: Console) -> JsonObject:
    """A row of a peer that cannot be measured."""
    console.print(str(error))
    return {"system": system, "failed": str(error)}
