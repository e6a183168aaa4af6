"""A whole multi-vector search through the Triton versions, interpreted; see test_maxsim_triton."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

import cormorant as cm
from cormorant.contracts import EVERYTHING
from cormorant.documents import Chunk
from cormorant.kernels import maxsim
from cormorant.vectors import TokenVectors

DIM, N = 16, 260


def test_a_whole_search_is_interpreted(interpreted: Callable[[str], None]) -> None:
    interpreted("search")


def test_a_whole_search_on_the_gpu(on_cuda: Callable[[str], None]) -> None:
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


def _search(device: str) -> None:
    """Documents encoded, candidates found and scored on the device, as on the CPU."""
    from cormorant.kernels.fde import gpu as fde_gpu
    from cormorant.kernels.maxsim import gpu

    index = cm.Muvera(
        model=None, proxy_rows=256, k_sim=2, r_reps=2, d_proj=None, fill=True, candidates=60
    ).index()
    data = index.accept(_drawn(N, 1)).data
    sink = _Sink()
    summary = index.build([Chunk(n, n, f"d{n}", "", "", one) for n, one in enumerate(data)], sink)
    segment = index.open(sink.arrays, summary)
    queries = _drawn(2, 2)
    expected = index.search([segment], queries, 5, EVERYTHING)
    assert "approximate" in expected.flags[0]

    reached = []
    for module, name in ((gpu, "rescore"), (gpu, "search"), (fde_gpu, "encode")):
        setattr(module, name, _noted(getattr(module, name), reached, name))
    assert segment.proxy is not None and segment.tokens is not None and segment.codes is not None
    in_memory = segment.tokens
    segment.tokens = gpu.on_device(in_memory, device)  # type: ignore[assignment]
    made = segment.proxy.documents(segment.tokens, 1)  # type: ignore[arg-type]
    assert np.abs(made.codes.astype(np.int64) - segment.codes).max() <= 1
    segment.codes, segment.code_scales = made.codes, made.scales
    found = index.search([segment], queries, 5, EVERYTHING)
    assert set(reached) == {"rescore", "encode"}
    assert found.rows.tolist() == expected.rows.tolist()
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-5)

    segment.codes = None  # every document is scored
    found = index.search([segment], queries, 5, EVERYTHING)
    assert set(reached) == {"rescore", "encode", "search"}
    exact = maxsim.search(queries, in_memory, 5)
    assert found.rows.tolist() == exact.places.tolist()
    np.testing.assert_allclose(found.scores, exact.scores, rtol=1e-5)


def _noted(real: Callable[..., Any], reached: list[str], name: str) -> Callable[..., Any]:
    def noting(*arguments: Any, **more: Any) -> Any:
        reached.append(name)
        return real(*arguments, **more)

    return noting


if __name__ == "__main__":
    _search("cpu" if sys.argv[1] == "search" else "cuda")
    print(f"{sys.argv[1]} done")
