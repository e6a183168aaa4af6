"""``cormorant bench maxsim``: scores of documents a second on one core, against named peers.

A query of 32 tokens and documents of 18 to 300, drawn uniformly, vectors of unit length; all on one
thread, in turn, round after round, in a process of its own for each width. Peers: the plain loop in
torch (a product, a maximum and a sum for each document), ``sentence_transformers.util.maxsim``, and
maxsim-cpu. Each must give our scores before it is timed. Where maxsim-cpu does not, takes its
process down, as it does for wide vectors, or is not installed, a row says so and there is no ratio.

``gemm_fraction`` is our multiply-adds a second over those of the faster of torch's and numpy's
float32 product of two 1,536 x 1,536 matrices. A library that is not at its best on a processor
leaves room above 1. Ratios without a width are the least over the widths.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...contracts import Float32Array
from ...documents import JsonObject
from ...kernels import maxsim
from ...vectors import TokenVectors

if TYPE_CHECKING:
    from rich.console import Console

WIDTHS = (128, 384)
QUERY_TOKENS = 32
SHORTEST, LONGEST = 18, 300
DOCUMENTS = 2_000
ROUNDS = 7
LEAST_SECONDS = 0.15
"""A system is asked again until a timing takes so long."""
GEMM_SIZE = 1_536
SEED = 20_264
TOLERANCE = 1e-3
"""On scores of about 10."""
PEERS = {
    "torch": "torch",
    "sentence_transformers": "sentence-transformers",
    "maxsim_cpu": "maxsim-cpu",
}
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"), "1"
)


class Data(NamedTuple):
    """One query and its documents."""

    query: Float32Array
    tokens: maxsim.Tokens
    documents: list[Float32Array]


def bench(
    *, full: bool, corpus: Path | None, console: Console
) -> tuple[list[JsonObject], dict[str, float], dict[str, str]]:
    """The rows, the ratios and the peers' versions; the corpus plays no part."""
    del corpus
    rows: list[JsonObject] = []
    ratios: dict[str, float] = {}
    for dim in WIDTHS:
        failed = _failed(dim)
        done = _in_a_process(
            "measure", dim, 3 * ROUNDS if full else ROUNDS, *(["maxsim_cpu"] if failed else [])
        )
        if done is None:
            raise RuntimeError(f"the measurement for vectors of {dim} ended its process")
        new = done["rows"]
        if failed is not None:
            new.append({"system": "maxsim-cpu", "setting": f"dim {dim}", "failed": failed})
        rows += new
        ratios |= {f"{name}@{dim}": value for name, value in done["ratios"].items()}
        for row in new:
            rate = f"{row['documents_per_second']:,.0f}" if "failed" not in row else row["failed"]
            console.print(f"{row['setting']:>22}  {row['system']:<22} {rate:>18}")
    for name in sorted({name.partition("@")[0] for name in ratios}):
        ratios[name] = min(ratios[key] for key in ratios if key.startswith(f"{name}@"))
    console.print("  ".join(f"{name} {value:.2f}" for name, value in ratios.items()))
    packages = {
        name: importlib.metadata.version(name)
        for module, name in PEERS.items()
        if importlib.util.find_spec(module) is not None
    }
    return rows, ratios, packages


def _failed(dim: int) -> str | None:
    """Why maxsim-cpu is not timed for vectors so wide; None: it is."""
    if importlib.util.find_spec("maxsim_cpu") is None:
        return "not installed"
    sound = _in_a_process("probe", dim, 0)
    if sound is None:
        return "ended its process"
    return None if sound else "wrong scores"


def _in_a_process(job: str, dim: int, rounds: int, *without: str) -> Any:
    """What a job returned, or None where its process did not live to say."""
    command = [sys.executable, "-m", __name__, job, str(dim), str(rounds), *without]
    done = subprocess.run(  # noqa: S603
        command, env=os.environ | ONE_THREAD, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode > 0:
        raise RuntimeError(f"{job} for vectors of {dim} failed:\n{done.stderr}")
    return None if done.returncode else json.loads(done.stdout.splitlines()[-1])


def data(dim: int, n: int) -> Data:
    """One query and n documents of random unit vectors."""
    random = np.random.default_rng(SEED)
    starts = np.concatenate([[0], np.cumsum(random.integers(SHORTEST, LONGEST + 1, n))])
    vectors = random.standard_normal((starts[-1] + QUERY_TOKENS, dim), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    query, held = vectors[:QUERY_TOKENS].copy(), vectors[QUERY_TOKENS:]
    documents = [held[first:last] for first, last in zip(starts[:-1], starts[1:], strict=True)]
    return Data(query, maxsim.tokens_of(held, starts.astype(np.int64)), documents)


def probe(dim: int) -> bool:
    """Whether maxsim-cpu gives the right scores for vectors so wide; it may not live to tell."""
    some = data(dim, 50)
    return bool(np.abs(_maxsim_cpu(some)() - _ours(some)()).max() < TOLERANCE)


def measure(dim: int, rounds: int, without: list[str], n: int = DOCUMENTS) -> JsonObject:
    """Rows of all systems and our ratios over them, medians over rounds."""
    held = data(dim, n)
    systems: dict[str, Callable[[], Float32Array] | None] = {
        "cormorant": _ours(held),
        "torch": _torch(held),
        "sentence_transformers": _sentence_transformers(held),
        "maxsim_cpu": _maxsim_cpu(held) if "maxsim_cpu" not in without else None,
    }
    scorers = {name: task for name, task in systems.items() if task is not None}
    truth = scorers["cormorant"]()
    for name, scorer in scorers.items():
        if np.abs(scorer() - truth).max() > TOLERANCE:
            raise RuntimeError(f"{name} gives other scores than the rest")
    extras = _extras(held)
    tasks: dict[str, Callable[[], object]] = {**scorers, **extras}
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    gemms = []
    for _ in range(rounds):
        gemms.append(_gemm_flops())
        for name, task in tasks.items():
            seconds[name].append(_seconds(task))
    flops = 2.0 * QUERY_TOKENS * dim * len(held.tokens.vectors)
    rows = []
    for name, taken in seconds.items():
        median = float(np.median(taken))
        rows.append({
            "system": PEERS.get(name, "cormorant"),
            "setting": f"dim {dim}" + (f", {name}" if name in extras else ""),
            "documents_per_second": n / median,
            "gflops": flops / median / 1e9,
        })  # fmt: skip
    gemm = float(np.median(gemms))
    rows.append({
        "system": "GEMM", "setting": f"dim {dim}, peak", "gflops": gemm / 1e9,
        "documents_per_second": n * gemm / flops,
    })  # fmt: skip
    own = np.array(seconds["cormorant"])
    ratios = {f"vs_{name}": float(np.median(np.array(seconds[name]) / own)) for name in scorers}
    del ratios["vs_cormorant"]
    ratios["gemm_fraction"] = float(np.median(flops / own / np.array(gemms)))
    return {"rows": rows, "ratios": ratios}


def _seconds(task: Callable[[], object]) -> float:
    start, times = time.perf_counter(), 0
    while (taken := time.perf_counter() - start) < LEAST_SECONDS:
        task()
        times += 1
    return taken / times


def _gemm_flops() -> float:
    import torch

    matrix = np.random.default_rng(0).standard_normal((GEMM_SIZE, GEMM_SIZE), np.float32)
    tensor = torch.from_numpy(matrix)
    best = min(_seconds(lambda: matrix @ matrix), _seconds(lambda: tensor @ tensor))
    return 2.0 * GEMM_SIZE**3 / best


def _query(held: Data) -> TokenVectors:
    return TokenVectors(np.array([0, QUERY_TOKENS]), held.query)


def _ours(held: Data) -> Callable[[], Float32Array]:
    query = _query(held)
    return lambda: maxsim.score(query, held.tokens)[0]


def _extras(held: Data) -> dict[str, Callable[[], object]]:
    """Ours again: narrower vectors, the ten best only, candidates in any order."""
    query, tokens = _query(held), held.tokens
    scales = (np.abs(tokens.vectors).max(axis=1) / 127).astype(np.float32)
    codes = np.rint(tokens.vectors / scales[:, None]).astype(np.int8)
    bits = (tokens.vectors.view(np.uint32) >> 16).astype(np.uint16)
    half = maxsim.tokens_of(tokens.vectors.astype(np.float16), tokens.starts)
    bfloat16 = maxsim.tokens_of(bits, tokens.starts)
    int8 = maxsim.tokens_of(codes, tokens.starts, scales=scales)
    places = np.random.default_rng(SEED).permutation(tokens.n_documents)
    cut = np.array([0, len(places)])
    return {
        "float16": lambda: maxsim.score(query, half),
        "bfloat16": lambda: maxsim.score(query, bfloat16),
        "int8": lambda: maxsim.score(query, int8),
        "the ten best": lambda: maxsim.search(query, tokens, 10),
        "candidates": lambda: maxsim.rescore(query, tokens, places, cut),
    }


def _torch(held: Data) -> Callable[[], Float32Array]:
    import torch

    query = torch.from_numpy(held.query)
    documents = [torch.from_numpy(document) for document in held.documents]

    def score() -> Float32Array:
        scores: Float32Array = torch.stack(
            [(query @ document.T).amax(dim=1).sum() for document in documents]
        ).numpy()
        return scores

    return score


def _sentence_transformers(held: Data) -> Callable[[], Float32Array]:
    import torch
    from sentence_transformers.util import maxsim as peer

    query = [torch.from_numpy(held.query)]
    documents = [torch.from_numpy(document) for document in held.documents]

    def score() -> Float32Array:
        scores: Float32Array = peer(query, documents)[0].numpy()
        return scores

    return score


def _maxsim_cpu(held: Data) -> Callable[[], Float32Array]:
    import maxsim_cpu

    return lambda: np.asarray(
        maxsim_cpu.maxsim_scores_variable(held.query, held.documents), np.float32
    )


def main() -> None:
    """One job in this process; prints one line of JSON."""
    job, dim, rounds, *without = sys.argv[1:]
    answer: object = probe(int(dim)) if job == "probe" else measure(int(dim), int(rounds), without)
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
