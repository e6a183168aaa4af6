"""``cormorant bench muvera``: candidates and MaxSim against exhaustive MaxSim, and FDE encoding.

Search. 100,000 of the shared sentences, all-MiniLM-L6-v2's token vectors in float16; queries of the
English collections. Ours is ``Collection.search_batch`` from ready vectors to ids, at the default
target of 0.95; exhaustive are our own kernel (the best 10 of all) and sentence-transformers'
``maxsim`` over the same documents in float32, by length, so that it pads little. Encoding the
queries is left out on all sides. Recall is of the exhaustive best 10. Ratios ``@0.95`` take the
fastest of ours that reached it: the default target or a fixed number of candidates.

Encoding. Fixed dimensional encodings of sentences, 2^5 cells of 16 numbers, 20 repetitions, filled:
ours against fastembed's Muvera post-processor, given the same vectors one document a call, which is
how it takes them. It runs in the interpreter that ``CORMORANT_BENCH_FASTEMBED`` names, else in this
one; fast-plaid in that of ``CORMORANT_BENCH_FAST_PLAID``, over the first 20,000 sentences, beside
ours over the same. A peer that is not there is left out. ``--prepare`` encodes and builds: minutes.
All with the same number of threads, in turns.

``--full`` adds what :mod:`.muvera_candidates` and :mod:`.muvera_quality` say: no times, but tables.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...documents import JsonObject
from ...errors import InputError
from ...kernels.fde import Fde, encode_documents
from ...kernels.maxsim import Tokens, search, tokens_of
from ...retrieval.collection import Collection
from ...vectors import TokenVectors
from .muvera_candidates import SETS, candidates
from .muvera_data import Prepared, prepared, token_set
from .muvera_fixed import Fixed, recall
from .muvera_quality import quality
from .shown import show

if TYPE_CHECKING:
    from rich.console import Console

K = 10
TRUTH_QUERIES = 64
TIMED_QUERIES = 64
EXHAUSTIVE_QUERIES = 8
PEER_QUERIES = 4
PEER_DOCUMENTS = 2_048
ROUNDS = 3
CANDIDATES = (256, 512, 1024, 2048)
PLAID_DOCUMENTS = 20_000
"""Passages of the comparison with fast-plaid: its build took over nine minutes at 100,000."""
PLAID_CANDIDATES = (64, 128, 256, 512, 1024)
ENCODED = 4_000
FASTEMBED_ENCODED = 64
TARGET = 0.95
_WORKER = Path(__file__).with_name("muvera_peers.py")


def prepare(*, full: bool, corpus: Path | None, console: Console) -> None:
    """Encode the sentences and build the collections, where they are not in the cache."""
    data = prepared(console)
    if _python("FAST_PLAID", "fast_plaid") is not None:
        numbers = [str(_threads()), str(PLAID_DOCUMENTS)]
        _peer("FAST_PLAID", "fast_plaid", ["fast-plaid-build", str(data.folder), *numbers])
    for name in SETS if full else ():
        token_set(name, console)


def bench(
    *, full: bool, corpus: Path | None, console: Console
) -> tuple[list[JsonObject], dict[str, float], dict[str, str]]:
    """The rows, the ratios and the peers' versions."""
    import importlib.metadata

    import torch

    if corpus is not None:
        raise InputError("this benchmark has its own texts; leave --corpus out", field="corpus")
    torch.set_num_threads(_threads())
    data = prepared(console)
    tokens = tokens_of(data.vectors, data.starts)
    packages = {"sentence-transformers": importlib.metadata.version("sentence-transformers")}
    rows, ratios = _searching(data, tokens, console)
    new, ratio, versions = _encoding(data, console)
    rows += new
    if _python("FAST_PLAID", "fast_plaid") is not None:
        new, more = _plaid(data, console)
        rows, ratio = rows + new, ratio | more
    if full:
        rows += candidates(console, _threads())
        rows += quality(console)
    return rows, ratios | ratio, packages | versions


def _searching(
    data: Prepared, tokens: Tokens, console: Console
) -> tuple[list[JsonObject], dict[str, float]]:
    truth = search(data.queries[:TRUTH_QUERIES], tokens, K, threads=_threads()).places
    timed = data.queries[:TIMED_QUERIES]
    exhaustive = data.queries[:EXHAUSTIVE_QUERIES]
    with Collection.open(data.collection, read_only=True) as collection:
        facts = collection.describe()["indexes"]["tokens"]

        def ask(queries: TokenVectors) -> list[list[int]]:
            results = collection.search_batch(vectors=queries, k=K)
            return [[int(name) for name in result.ids] for result in results]

        found = recall(ask(data.queries[:TRUTH_QUERIES]), truth)
        ours, own = [], []
        for _ in range(ROUNDS):
            ours.append(_seconds(lambda: ask(timed)) / TIMED_QUERIES)
            own.append(
                _seconds(lambda: search(exhaustive, tokens, K, threads=_threads()))
                / EXHAUSTIVE_QUERIES
            )
        single = [
            _seconds(partial(ask, data.queries[number : number + 1]))
            for number in range(TIMED_QUERIES)
        ]
    fixed = Fixed(tokens, _threads()).rows(timed, truth[:TIMED_QUERIES], CANDIDATES, "")
    theirs = _sentence_transformers(data)
    qps = 1 / float(np.median(ours))
    rows: list[JsonObject] = [
        {
            "system": "cormorant",
            "setting": f"target_recall={TARGET}",
            "recall@10": found,
            "qps": qps,
            "single_p50_ms": 1000 * float(np.median(single)),
            "candidates": facts["candidates@10"],
            "disk_mb": facts["bytes"] / 1e6,
        },
        {"system": "cormorant", "setting": "exhaustive", "qps": 1 / float(np.median(own))},
        {"system": "sentence-transformers", "setting": "maxsim", "qps": 1 / theirs},
    ]
    rows += fixed
    enough = [row["qps"] for row in fixed if row["recall@10"] >= TARGET]
    if found >= TARGET:
        enough.append(qps)
    ratios = {
        f"qps_vs_exhaustive@{TARGET}": float(np.median(own)) * max(enough, default=0.0),
        f"qps_vs_sentence_transformers@{TARGET}": theirs * max(enough, default=0.0),
        "qps_vs_exhaustive_at_default": float(np.median(own)) * qps,
    }
    if not enough:
        console.print(f"nothing reached a recall of {TARGET}: ratios at that recall are 0")
    show(rows, ratios, console)
    return rows, ratios


def _sentence_transformers(data: Prepared) -> float:
    """Seconds a query; padding and conversion to float32 are not counted."""
    import torch
    from sentence_transformers.util import similarity

    queries = [
        torch.from_numpy(data.queries[number : number + 1].vectors)
        for number in range(PEER_QUERIES)
    ]
    order = np.argsort(np.diff(data.starts), kind="stable")
    total = 0.0
    for first in range(0, len(order), PEER_DOCUMENTS):
        some = order[first : first + PEER_DOCUMENTS]
        texts = [
            torch.from_numpy(
                np.asarray(data.vectors[data.starts[place] : data.starts[place + 1]], np.float32)
            )
            for place in some.tolist()
        ]
        padded = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True)
        lengths = torch.tensor([len(text) for text in texts])
        mask = torch.arange(padded.shape[1])[None] < lengths[:, None]
        total += _seconds(partial(similarity.maxsim, queries, padded, b_mask=mask))
    return total / PEER_QUERIES


def _encoding(
    data: Prepared, console: Console
) -> tuple[list[JsonObject], dict[str, float], dict[str, str]]:
    fde = Fde(dim=data.vectors.shape[1], k_sim=5, r_reps=20, d_proj=16)
    end = int(data.starts[ENCODED])
    vectors = np.asarray(data.vectors[:end], np.float32)
    some = tokens_of(vectors, data.starts[: ENCODED + 1])
    encode_documents(fde, some._replace(starts=some.starts[:65]), threads=_threads())
    times = [
        _seconds(lambda: encode_documents(fde, some, threads=_threads())) for _ in range(ROUNDS)
    ]
    ours = ENCODED / float(np.median(times))
    rows: list[JsonObject] = [
        {"system": "cormorant", "setting": "fde 10,240", "documents_per_second": ours}
    ]
    ratios: dict[str, float] = {}
    versions: dict[str, str] = {}
    if _python("FASTEMBED", "fastembed") is not None:
        with tempfile.TemporaryDirectory(prefix="cormorant-bench-") as folder:
            np.save(Path(folder) / "vectors.npy", vectors[: data.starts[FASTEMBED_ENCODED]])
            np.save(Path(folder) / "starts.npy", data.starts[: FASTEMBED_ENCODED + 1])
            made = _peer("FASTEMBED", "fastembed", ["fastembed", folder, str(ROUNDS)])
        theirs = made["documents_per_second"]
        rows.append(
            {"system": "fastembed", "setting": "Muvera 10,240", "documents_per_second": theirs}
        )
        ratios["encode_vs_fastembed"] = ours / theirs
        versions["fastembed"] = made["version"]
    show(rows, ratios, console)
    return rows, ratios, versions


def _plaid(data: Prepared, console: Console) -> tuple[list[JsonObject], dict[str, float]]:
    """Ours and fast-plaid's over the same passages, the fastest of each that reached the target."""
    tokens = tokens_of(data.vectors, data.starts[: PLAID_DOCUMENTS + 1])
    queries = data.queries[:TIMED_QUERIES]
    truth = search(queries, tokens, K, threads=_threads()).places
    np.save(data.folder / "truth.npy", truth)
    what = f"{PLAID_DOCUMENTS:,} passages, "
    rows = Fixed(tokens, _threads()).rows(queries, truth, PLAID_CANDIDATES, what)
    numbers = [str(number) for number in (TIMED_QUERIES, _threads(), PLAID_DOCUMENTS)]
    rows += _peer("FAST_PLAID", "fast_plaid", ["fast-plaid", str(data.folder), *numbers])["rows"]
    enough = [row for row in rows if row["recall@10"] >= TARGET]
    theirs, ours = (
        max((row["qps"] for row in enough if row["system"] == name), default=0.0)
        for name in ("fast-plaid", "cormorant")
    )
    ratios = {f"qps_vs_fastplaid@{TARGET}": ours / theirs} if theirs else {}
    show(rows, ratios, console)
    return rows, ratios


def _python(variable: str, module: str) -> str | None:
    """The interpreter that has a peer; None where there is none."""
    import importlib.util

    named = os.environ.get(f"CORMORANT_BENCH_{variable}")
    if named:
        return named
    return sys.executable if importlib.util.find_spec(module) is not None else None


def _peer(variable: str, module: str, arguments: list[str]) -> Any:
    """What the worker prints, as JSON."""
    python = _python(variable, module)
    assert python is not None
    done = subprocess.run(  # noqa: S603
        [python, str(_WORKER), *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise InputError(f"the peer {module} failed: {done.stderr.strip()[-400:]}", field="bench")
    return json.loads(done.stdout.strip().splitlines()[-1])


def _threads() -> int:
    import numba

    count: int = numba.get_num_threads()
    return count


def _seconds(task: Callable[[], object]) -> float:
    start = time.perf_counter()
    task()
    return time.perf_counter() - start
