"""What training reports as it goes: FLOPS, mean non-zeros, nDCG@10, and that it has collapsed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ...contracts import Float32Array, Int64Array
from ...indexers.encoders.sparse_model import batches
from ...vectors import SparseVectors
from ..measures import evaluate
from .scoring import by_term


class Report(NamedTuple):
    """How good and how sparse a state is.

    ``ndcg10``: nDCG@10. ``flops``: expected products of a query and a document, the sum over
    terms of the share of queries times the share of documents that have it. ``nonzeros``: terms in
    a document, the mean. ``empty``: documents without any, the share.
    """

    ndcg10: float
    flops: float
    nonzeros: float
    empty: float


@dataclass(frozen=True, slots=True, eq=False)
class Development:
    """Queries with judgements, and the documents they are asked of.

    ``query_terms``: for each query its terms' numbers and weights. ``gains``: for each query,
    document number -> grade.
    """

    texts: Sequence[str]
    query_terms: Sequence[tuple[Int64Array, Float32Array]]
    gains: Sequence[Mapping[int, int]]


def encode(model: Any, tokenizer: Any, texts: Sequence[str], window: int) -> SparseVectors:
    """Documents through an encoder under training (``trainable.use_head_kernel``)."""
    import torch

    lists = tokenizer(list(texts), truncation=True, max_length=window)["input_ids"]
    lengths = np.array([len(ids) for ids in lists], np.int64)
    found: list[tuple[Int64Array, Float32Array]] = [
        (np.zeros(0, np.int64), np.zeros(0, np.float32)) for _ in texts
    ]
    training = model.training
    model.eval()
    with torch.no_grad():
        for rows in batches(lengths):
            batch = tokenizer.pad({"input_ids": [lists[row] for row in rows]}, return_tensors="pt")
            features = {**batch, "task": "document"}
            weights = model(features, task="document")["sentence_embedding"].float().numpy()
            for row, own in zip(rows, weights, strict=True):
                terms = np.flatnonzero(own)
                found[row] = terms, own[terms]
    model.train(training)
    starts = np.zeros(len(texts) + 1, np.int64)
    np.cumsum([len(terms) for terms, _ in found], out=starts[1:])
    return SparseVectors(
        starts, np.concatenate([t for t, _ in found]), np.concatenate([w for _, w in found])
    )


def measure(vectors: SparseVectors, development: Development, vocabulary_size: int) -> Report:
    """nDCG@10 of exact search, and how sparse the vectors are."""
    postings = by_term(vectors, vocabulary_size)
    run: dict[str, list[tuple[str, float]]] = {}
    asked = np.zeros(vocabulary_size)
    for query, (terms, weights) in enumerate(development.query_terms):
        asked[terms] += 1
        scores = postings.scores(terms, weights)
        best = np.lexsort((np.arange(len(scores)), -scores))[:10]
        run[str(query)] = [(str(row), float(scores[row])) for row in best if scores[row] > 0]
    qrels = {
        str(query): {str(document): grade for document, grade in gains.items()}
        for query, gains in enumerate(development.gains)
    }
    counts = np.diff(vectors.starts)
    shares = postings.frequencies() / max(1, len(vectors))
    return Report(
        ndcg10=evaluate(["nDCG@10"], qrels, run).means["nDCG@10"],
        flops=float((shares * asked).sum() / max(1, len(development.query_terms))),
        nonzeros=float(counts.mean()),
        empty=float((counts == 0).mean()),
    )


COLLAPSED = (
    "the representations have collapsed: documents fire {nonzeros:.1f} terms and {empty:.0%} none "
    "at all, so they are found by nothing. Lower the regulariser's weight or target, raise the l0 "
    "threshold, or lengthen its warm-up; a lower learning rate helps too"
)
Tell = Callable[[str], None]


def collapsed_batch(nonzeros: float) -> str:
    """The warning for batches whose documents fire so few terms on average."""
    return (
        f"the representations are collapsing: documents fire {nonzeros:.1f} terms. Lower the "
        "regulariser's weight or target, or raise the l0 threshold"
    )


def collapse_of(report: Report) -> str | None:
    """The warning for a report of collapsed representations, else None."""
    if report.nonzeros >= 2 and report.empty < 0.5:
        if report.flops < 1e-3:
            return (
                f"documents fire {report.nonzeros:.0f} terms, and next to none of them is asked "
                "for: the regulariser left what no query has. Lower its weight or target"
            )
        return None
    return COLLAPSED.format(nonzeros=report.nonzeros, empty=report.empty)
