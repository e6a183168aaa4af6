"""FAISS on a GPU, where faiss-gpu is installed and a GPU is there.

Whole segments go there once and stay: for exact search as a flat index, for inverted lists as they
are. Filtered searches and graphs stay on the CPU: FAISS has no selectors and no HNSW on a GPU.
"""

from __future__ import annotations

import functools
from typing import Any

from ...contracts import Float32Array

LEAST_ROWS = 65_536
MOST_BYTES = 16 << 30
MOST_RESULTS = 2048
"""FAISS's own limit for one search on a GPU."""


@functools.cache
def resources() -> Any:
    """FAISS's GPU resources; None without faiss-gpu or without a GPU."""
    import faiss

    if not hasattr(faiss, "StandardGpuResources") or faiss.get_num_gpus() == 0:
        return None
    return faiss.StandardGpuResources()


def is_worth_it(vectors: Float32Array, k: int) -> bool:
    """Whether a search of these vectors for k results should go to the GPU."""
    fits = len(vectors) >= LEAST_ROWS and vectors.nbytes <= MOST_BYTES and k <= MOST_RESULTS
    return fits and resources() is not None


def flat(vectors: Float32Array) -> Any:
    """The vectors as an exact index on the GPU."""
    import faiss

    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return moved(index)


def moved(index: Any) -> Any:
    """A flat index or inverted lists, copied to the first GPU."""
    import faiss

    return faiss.index_cpu_to_gpu(resources(), 0, index)
