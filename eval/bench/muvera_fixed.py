"""Candidates by encodings and then MaxSim, at fixed numbers of candidates, without a collection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from ...documents import JsonObject
from ...indexers.muvera import proxy
from ...indexers.muvera.proxies import FdeProxy
from ...indexers.muvera.settings import Muvera
from ...kernels.fde import Bytes
from ...kernels.maxsim import Tokens, rescore
from ...retrieval.collection import Collection
from ...vectors import TokenVectors
from .muvera_processes import seconds

K = 10
ROUNDS = 3


class Fixed:
    """The default's encodings of some documents, never filled, in memory."""

    def __init__(self, tokens: Tokens, threads: int) -> None:
        self._tokens, self._threads = tokens, threads
        self._proxy = FdeProxy(proxy.fde_of(Muvera(), tokens.dim), filled=False)
        parts = []
        for first in range(0, tokens.n_documents, self._proxy.at_once):
            some = tokens._replace(starts=tokens.starts[first : first + self._proxy.at_once + 1])
            parts.append(self._proxy.documents(some, threads))
        self._vectors = Bytes(
            np.concatenate([part.codes for part in parts]),
            np.concatenate([part.scales for part in parts]),
        )

    def search(self, queries: TokenVectors, candidates: int) -> np.ndarray:
        """The K best of so many candidates of each query: (n_queries, K) places."""
        asked = self._proxy.queries(queries)
        places = proxy.best(*self._vectors, asked, candidates, None)
        starts = np.arange(len(places) + 1, dtype=np.int64) * places.shape[1]
        scores = rescore(
            queries, self._tokens, places.ravel(), starts, threads=self._threads
        ).reshape(places.shape)
        order = np.lexsort((places, -scores), axis=1)[:, :K]
        return np.take_along_axis(places, order, 1)

    def rows(
        self, queries: TokenVectors, truth: np.ndarray, counts: Sequence[int], what: str
    ) -> list[JsonObject]:
        """Recall of the exhaustive best K and queries a second, for each number of candidates."""
        rows: list[JsonObject] = []
        for count in counts:
            found = self.search(queries, count)
            ask = partial(self.search, queries, count)
            took = float(np.median([seconds(ask) for _ in range(ROUNDS)]))
            rows.append(
                {
                    "system": "cormorant",
                    "setting": f"{what}candidates={count}",
                    "recall@10": recall(found.tolist(), truth),
                    "qps": len(queries) / took,
                }
            )
        return rows


def recall(found: list[list[int]], truth: np.ndarray) -> float:
    """The mean share of the best that was found."""
    shares = [
        len(set(own) & set(best)) / len(best)
        for own, best in zip(found, truth.tolist(), strict=True)
    ]
    return float(np.mean(shares))


def mark_best(rows: Sequence[JsonObject], target: float) -> JsonObject | None:
    """The fastest row that reached a recall; its setting says since how it was chosen."""
    enough = [row for row in rows if row["recall@10"] >= target]
    if not enough:
        return None
    best = max(enough, key=lambda row: row["qps"])
    best["setting"] += ", chosen on these queries"
    return best


def asker(
    collection: Collection, index: str = "tokens", k: int = K
) -> Callable[[TokenVectors], list[list[int]]]:
    """Queries -> the k best of each, by number, from a collection that ``muvera_data`` filled."""

    def ask(queries: TokenVectors) -> list[list[int]]:
        results = collection.search_batch(vectors=queries, k=k, pipeline=index)
        return [[int(name) for name in result.ids] for result in results]

    return ask
