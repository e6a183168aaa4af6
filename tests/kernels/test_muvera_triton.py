"""Multi-vector search through the Triton versions, interpreted; see test_maxsim_triton.

Of a collection's searches those that score every row reach a device: all in one pass, or pair by
pair where a filter lets few through. Candidates are scored in memory, and a proxy's vectors are
made there. That the versions could do these two as well is shown with tokens that are placed by
hand.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import cormorant as cm
from cormorant.contracts import EVERYTHING
from cormorant.documents import Chunk
from cormorant.kernels import maxsim
from cormorant.vectors import TokenVectors

DIM, N, K = 16, 260, 5


def test_what_a_collection_scores_there_is_interpreted(
    interpreted: Callable[[str], None],
) -> None:
    interpreted("collection")


def test_what_a_collection_scores_there_on_the_gpu(on_cuda: Callable[[str], None]) -> None:
    on_cuda("collection-device")


def test_tokens_placed_by_hand_are_interpreted(interpreted: Callable[[str], None]) -> None:
    interpreted("search")


def test_tokens_placed_by_hand_on_the_gpu(on_cuda: Callable[[str], None]) -> None:
    on_cuda("device")


class _Sink:
    lasting = True

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}

    def create(self, name: str, dtype: Any, shape: tuple[int, ...]) -> np.ndarray:
        self.arrays[name] = np.zeros(shape, dtype)
        return self.arrays[name]

    def put(self, name: str, values: np.ndarray) -> None:
        self.arrays[name] = values


def _drawn(n: int, seed: int) -> TokenVectors:
    random = np.random.default_rng(seed)
    starts = np.concatenate([[0], np.cumsum(random.integers(1, 3, n))]).astype(np.int64)
    centres = np.random.default_rng(0).standard_normal((30, DIM))
    drawn = centres[random.integers(0, 30, starts[-1])]
    drawn = drawn + 0.3 * random.standard_normal(drawn.shape)
    return TokenVectors(starts, drawn.astype(np.float32))


def _collection(device: str) -> None:
    """Searches of a collection whose segment is large enough, and what of them goes to a device."""
    import numba

    from cormorant.indexers.dense import gpu as dense_gpu
    from cormorant.indexers.muvera import segment
    from cormorant.kernels.fde import gpu as fde_gpu
    from cormorant.kernels.maxsim import gpu

    if device == "cpu":
        numba.set_num_threads(1)
    reached: list[str] = []
    for module, name in ((gpu, "rescore"), (gpu, "search"), (fde_gpu, "encode")):
        setattr(module, name, _noted(getattr(module, name), reached, name))
    segment.placed = lambda tokens: gpu.on_device(tokens, device)  # type: ignore[assignment]
    queries = _drawn(2, 2)
    narrow = {"number": {"lt": N // 5}}
    documents = [cm.Document(id=f"d{n}", text="", metadata={"number": n}) for n in range(N)]
    exact = cm.Muvera(model=None, target_recall=None)
    listed = cm.Muvera(model=None, proxy_rows=256, k_sim=2, r_reps=2)
    for settings, wanted in ((exact, ["search", "rescore"]), (listed, [])):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "c.cm"
            with cm.Collection.create(path, {"tokens": settings}) as collection:
                collection.add(documents, vectors={"tokens": _drawn(N, 1)})
                collection.merge()
                least, found = dense_gpu.LEAST_ROWS, []
                for rows in (least, N):  # in memory, then there
                    dense_gpu.LEAST_ROWS = rows
                    results = collection.search_batch(vectors=queries, k=K)
                    if settings is exact:
                        results += collection.search_batch(vectors=queries, k=K, filter=narrow)
                    found.append([(result.ids, result.scores) for result in results])
                    assert reached == (wanted if rows == N else [])
                dense_gpu.LEAST_ROWS = least
                assert found[0] == found[1], "scores are those in memory"
        reached.clear()


def _search(device: str) -> None:
    """Documents encoded, candidates found and scored on the device, as on the CPU.

    At the default target, by patience, and with a fixed number of candidates. On one thread where
    kernels are interpreted: the interpreter keeps where it is in the grid for all threads alike.
    """
    import numba

    from cormorant.kernels.fde import gpu as fde_gpu
    from cormorant.kernels.maxsim import gpu

    if device == "cpu":
        numba.set_num_threads(1)
    default = cm.Muvera(model=None, proxy_rows=256, k_sim=2, r_reps=2, d_proj=None, fill=True)
    assert default.target_recall is not None and default.candidates is None
    queries = _drawn(2, 2)
    reached: list[str] = []
    real = {"rescore": gpu.rescore, "search": gpu.search, "encode": fde_gpu.encode}
    placed, made = None, None
    for settings in (default, replace(default, candidates=60)):
        index = settings.index()
        data = index.accept(_drawn(N, 1)).data
        sink = _Sink()
        chunks = [Chunk(n, n, f"d{n}", "", "", one) for n, one in enumerate(data)]
        summary = index.build(chunks, sink)
        by_patience = summary["proxy"]["measured"]["10"]["patience"] is not None
        assert by_patience == (settings.candidates is None)
        segment = index.open(sink.arrays, summary)
        expected = index.search([segment], queries, K, EVERYTHING)
        assert "approximate" in expected.flags[0]
        assert segment.proxy is not None and segment.codes is not None
        in_memory = segment.tokens
        assert in_memory is not None

        for name, own in real.items():
            setattr(fde_gpu if name == "encode" else gpu, name, _noted(own, reached, name))
        if placed is None or made is None:
            placed = gpu.on_device(in_memory, device)
            made = segment.proxy.documents(placed, 1)  # type: ignore[arg-type]
            assert np.abs(made.codes.astype(np.int64) - segment.codes).max() <= 1
            assert reached == ["encode"]
        segment.tokens = placed  # type: ignore[assignment]
        segment.codes, segment.code_scales = made.codes, made.scales
        reached.clear()
        found = index.search([segment], queries, K, EVERYTHING)
        assert set(reached) == {"rescore"}
        assert found.rows.tolist() == expected.rows.tolist()
        np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-5)

    segment.codes = None  # every document is scored
    reached.clear()
    found = index.search([segment], queries, K, EVERYTHING)
    assert "search" in reached
    exact = maxsim.search(queries, in_memory, K)
    assert found.rows.tolist() == exact.places.tolist()
    np.testing.assert_allclose(found.scores, exact.scores, rtol=1e-5)


def _noted(real: Callable[..., Any], reached: list[str], name: str) -> Callable[..., Any]:
    def noting(*arguments: Any, **more: Any) -> Any:
        reached.append(name)
        return real(*arguments, **more)

    return noting


if __name__ == "__main__":
    job, _, where = sys.argv[1].partition("-")
    if job == "collection":
        _collection("cuda" if where else "cpu")
    else:
        _search("cpu" if job == "search" else "cuda")
    print(f"{sys.argv[1]} done")
