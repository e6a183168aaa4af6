"""Sparse vectors by term, and every document's score: plain, exact, to evaluate while training."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...contracts import Float32Array, Int64Array
from ...vectors import SparseVectors


class Postings(NamedTuple):
    """Documents by term: term t is in ``documents[starts[t]:starts[t + 1]]`` with those weights."""

    starts: Int64Array
    documents: Int64Array
    weights: Float32Array
    n_documents: int

    def scores(self, terms: Int64Array, weights: Float32Array) -> Float32Array:
        """Inner products of one query with all documents: (n_documents,) float32."""
        total = np.zeros(self.n_documents, np.float64)
        for term, weight in zip(terms.tolist(), weights.tolist(), strict=True):
            some = slice(self.starts[term], self.starts[term + 1])
            total[self.documents[some]] += weight * self.weights[some]
        return total.astype(np.float32)

    def frequencies(self) -> Int64Array:
        """In how many documents each term is."""
        return np.diff(self.starts)


def by_term(vectors: SparseVectors, vocabulary_size: int) -> Postings:
    """The postings of documents' vectors."""
    order = np.argsort(vectors.terms, kind="stable")
    documents = np.repeat(np.arange(len(vectors), dtype=np.int64), np.diff(vectors.starts))
    starts = np.zeros(vocabulary_size + 1, np.int64)
    np.cumsum(np.bincount(vectors.terms, minlength=vocabulary_size), out=starts[1:])
    return Postings(starts, documents[order], vectors.weights[order], len(vectors))


def idf_of(frequencies: Int64Array, n_documents: int) -> Float32Array:
    """ln(1 + (N - df + 0.5) / (df + 0.5)) for each term, float32."""
    df = frequencies.astype(np.float64)
    return np.log1p((n_documents - df + 0.5) / (df + 0.5)).astype(np.float32)
