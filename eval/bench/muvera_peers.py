"""Peers of ``cormorant bench muvera``, run by an interpreter of their own; imports none of ours.

    python muvera_peers.py fastembed FOLDER ROUNDS
    python muvera_peers.py fast-plaid-build FOLDER THREADS DOCUMENTS
    python muvera_peers.py fast-plaid FOLDER QUERIES THREADS DOCUMENTS

The last line that is printed is JSON.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

K = 10
ROUNDS = 3
SETTINGS = (
    (8, 4096),
    (4, 256),
    (4, 1024),
    (8, 512),
    (8, 1024),
    (16, 1024),
    (32, 2048),
)
"""Cells probed and documents scored in full; the first are fast-plaid's defaults."""
BUILD_AT_ONCE = 2_000
"""Documents that fast-plaid's build has in work at a time, for less memory than its 25,000."""


def fastembed(folder: Path, rounds: int) -> dict[str, Any]:
    """Documents a second of the post-processor, the median of several rounds."""
    Muvera = importlib.import_module("fastembed.postprocess").Muvera  # noqa: N806

    vectors, starts = np.load(folder / "vectors.npy"), np.load(folder / "starts.npy")
    texts = [vectors[a:b] for a, b in zip(starts[:-1], starts[1:], strict=True) if b > a]
    encode = Muvera(dim=vectors.shape[1], k_sim=5, dim_proj=16, r_reps=20)
    encode.process_document(texts[0])
    rates = []
    for _ in range(rounds):
        start = time.perf_counter()
        for text in texts:
            encode.process_document(text)
        rates.append(len(texts) / (time.perf_counter() - start))
    return {
        "documents_per_second": statistics.median(rates),
        "version": importlib.metadata.version("fastembed"),
    }


def fast_plaid_build(folder: Path, threads: int, documents: int) -> dict[str, Any]:
    """An index of the first documents, 4 bits a number, in the folder; what its build took."""
    import resource

    import torch

    version = importlib.metadata.version("fast_plaid")
    place = folder / f"fast-plaid-{documents}-{version}"
    if (place / "done").is_file():
        return dict(json.loads((place / "done").read_text()))
    search = importlib.import_module("fast_plaid.search")
    torch.set_num_threads(threads)
    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    starts = np.load(folder / "starts.npy")[: documents + 1]
    texts = [
        torch.from_numpy(np.array(vectors[a:b]))
        for a, b in zip(starts[:-1], starts[1:], strict=True)
    ]
    start = time.perf_counter()
    index = search.FastPlaid(index=str(place), device="cpu")
    index.create(documents_embeddings=texts, batch_size=BUILD_AT_ONCE)
    made = {
        "version": version,
        "seconds": time.perf_counter() - start,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
    }
    (place / "done").write_text(json.dumps(made))
    return made


def fast_plaid(folder: Path, n_queries: int, threads: int, documents: int) -> dict[str, Any]:
    """Queries a second and recall at 10 of some settings, asked as its defaults are asked faster.

    Settings that no other beats in both are asked again, and the median counts.
    """
    import torch

    search = importlib.import_module("fast_plaid.search")
    version = importlib.metadata.version("fast_plaid")

    torch.set_num_threads(threads)
    index = search.FastPlaid(index=str(folder / f"fast-plaid-{documents}-{version}"), device="cpu")
    vectors, cuts = np.load(folder / "queries.npy"), np.load(folder / "cuts.npy")
    truth = np.load(folder / "truth.npy")
    asked = [
        torch.from_numpy(vectors[a:b])
        for a, b in zip(cuts[:n_queries], cuts[1 : n_queries + 1], strict=True)
    ]
    calls = {"one query a call": [[one] for one in asked], "all in one call": [asked]}

    def timed(name: str, probes: int, scored: int) -> tuple[float, list[Any]]:
        found = []
        start = time.perf_counter()
        for some in calls[name]:
            found += index.search(
                queries_embeddings=some,
                top_k=K,
                n_ivf_probe=probes,
                n_full_scores=scored,
                n_processes=threads,
                show_progress=False,
            )
        return time.perf_counter() - start, found

    timed("all in one call", *SETTINGS[0])
    way = min(calls, key=lambda name: timed(name, *SETTINGS[0])[0])
    taken, recalls = [], []
    for setting in SETTINGS:
        took, found = timed(way, *setting)
        shares = [
            len({place for place, _ in own} & set(best.tolist())) / K
            for own, best in zip(found, truth, strict=True)
        ]
        taken.append([took])
        recalls.append(float(np.mean(shares)))
    for number, setting in enumerate(SETTINGS):
        better = [recall > recalls[number] for recall in recalls]
        if all(taken[number][0] < taken[i][0] for i, more in enumerate(better) if more):
            taken[number] += [timed(way, *setting)[0] for _ in range(ROUNDS - 1)]
    rows = [
        {
            "system": "fast-plaid",
            "setting": f"probes={probes} scored={scored}, {way}",
            "recall@10": recall,
            "qps": n_queries / statistics.median(times),
        }
        for (probes, scored), recall, times in zip(SETTINGS, recalls, taken, strict=True)
    ]
    return {"rows": rows, "version": version}


def main(arguments: list[str]) -> None:
    """Run what is asked for and print it."""
    task, folder, numbers = arguments[0], Path(arguments[1]), [int(x) for x in arguments[2:]]
    tasks: dict[str, Any] = {
        "fastembed": fastembed,
        "fast-plaid-build": fast_plaid_build,
        "fast-plaid": fast_plaid,
    }
    sys.stdout.write("\n" + json.dumps(tasks[task](folder, *numbers)) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
