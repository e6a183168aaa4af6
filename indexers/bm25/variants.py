"""The variants of BM25: what a term weighs, and how it saturates.

========== ===================================== =============== ==========================
variant    weight                                kappa           constant, for each term
========== ===================================== =============== ==========================
lucene     ln(1 + (N - df + 0.5) / (df + 0.5))   k1
okapi      ln((N - df + 0.5) / (df + 0.5))       k1
           times (k1 + 1)
bm25l      ln((N + 1) / (df + 0.5)) (k1 + 1)     k1 + delta
bm25+      ln((N + 1) / df) (k1 + 1)             k1              ln((N + 1) / df) delta
========== ===================================== =============== ==========================

``lucene`` is Lucene's since version 8, and bm25s's. The others are rank-bm25's (0.2.2). Its Okapi
gives terms that more than half of the documents have a quarter of the mean idf of all terms. Its
BM25L, ``idf (k1 + 1) tf (c + delta) / (k1 + c + delta)`` with ``c = tf k1 / norm(k1)``, multiplies
by tf where Lv and Zhai's does not; in the terms of the kernel that is linear with a share of
``delta / (k1 + delta)``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ...contracts import Int64Array
from ...kernels.bm25.layout import Saturation

Float64Array = NDArray[np.float64]

BM25L_DELTA = 0.5
BM25_PLUS_DELTA = 1.0
OKAPI_EPSILON = 0.25


def idf(
    variant: str, n_documents: int, frequencies: Int64Array, mean_idf: Callable[[], float]
) -> Float64Array:
    """How rare terms are: (m,) float64, of their document frequencies, each at least 1.

    ``mean_idf`` gives the mean over all terms of the collection of Okapi's, before its floor.
    """
    df: Float64Array = frequencies.astype(np.float64)
    if variant == "lucene":
        return np.log1p((n_documents - df + 0.5) / (df + 0.5))
    if variant == "okapi":
        idfs = okapi_idf(n_documents, frequencies)
        return (
            np.where(idfs < 0.0, OKAPI_EPSILON * mean_idf(), idfs) if (idfs < 0.0).any() else idfs
        )
    if variant == "bm25l":
        lower_bounded: Float64Array = np.log(n_documents + 1.0) - np.log(df + 0.5)
        return lower_bounded
    plus: Float64Array = np.log((n_documents + 1.0) / df)
    return plus


def okapi_idf(n_documents: int, frequencies: Int64Array) -> Float64Array:
    """Okapi's, negative for terms that more than half of the documents have."""
    df = frequencies.astype(np.float64)
    return np.log(n_documents - df + 0.5) - np.log(df + 0.5)


def saturation(variant: str, k1: float, b: float, average_length: float) -> Saturation:
    """How a term counts by its frequency and the document's length."""
    delta = BM25L_DELTA if variant == "bm25l" else 0.0
    kappa = k1 + delta
    return Saturation(
        kappa * (1.0 - b),
        kappa * b / average_length if average_length > 0.0 else 0.0,
        variant == "bm25l",
        delta / kappa if delta else 0.0,
    )


def weight_of_idf(variant: str, k1: float) -> float:
    """What an idf is multiplied by."""
    return 1.0 if variant == "lucene" else k1 + 1.0


def constant_of_idf(variant: str) -> float:
    """What an idf is multiplied by and added whether the term is there or not."""
    return BM25_PLUS_DELTA if variant == "bm25+" else 0.0
