"""What a sparse encoder is trained on: ranking like its teachers, with few terms.

All of them are means or sums over a whole batch of documents: ``whole_batch`` brings the batch
together from several processes or pieces, so that none of them depends on how it was divided.
Tensors are torch's; weights are (documents, vocabulary) float32, not negative.
"""

from __future__ import annotations

from typing import Any


def flops(weights: Any, scale: Any | None = None, threshold: int = 0) -> Any:
    """The FLOPS regulariser: sum over terms of (mean over documents of scale x weight) squared.

    With a query weighing idf, what a term adds to a score is u = idf x w. ``scale=None`` is the
    IDF-aware loss: it is taken of w, that is of u / idf, so a common term must earn its place with
    a far larger match than a rare one. ``scale=idf`` is the plain one, taken of u, to which a match
    costs the same whatever the term.

    ``threshold``: the l0 mask; documents with at most so many terms add nothing (they still count
    in the mean). (vocabulary,) ``scale``. Sources: Paria et al. 2020, equation 4 (FLOPS); Geng et
    al. 2024, arXiv 2411.04403 (IDF-aware); Shen et al. 2025, arXiv 2504.14839 (l0 mask).
    """
    if threshold > 0:
        many = (weights != 0).sum(1, keepdim=True) > threshold
        weights = weights * many
    mean = weights.mean(0) if len(weights) else weights.sum(0)
    if scale is not None:
        mean = mean * scale
    return mean.square().sum()


def distillation(scores: Any, teacher: Any, temperature: float = 1.0) -> Any:
    """KL(softmax(teacher / T) || softmax(scores / T)), the mean over queries.

    Both are (queries, documents), the teacher's already on the student's scale; a document with
    -inf from the teacher is left out of the query's list, and a list of none or one costs nothing.
    """
    import torch

    listed = torch.isfinite(teacher)
    asked = listed.sum(1) > 1
    queries, scores, teacher, listed = len(scores), scores[asked], teacher[asked], listed[asked]
    if not len(scores):
        return scores.sum()
    logits = (scores / temperature).masked_fill(~listed, -torch.inf).log_softmax(1)
    target = (teacher / temperature).softmax(1)
    log_target = (teacher / temperature).log_softmax(1)
    gap = torch.where(listed & (target > 0), target * (log_target - logits), 0.0)
    return gap.sum() / queries


def ranking(scores: Any, gains: Any) -> Any:
    """Cross-entropy of softmax(scores) against gains / sum of gains, the mean over queries.

    Both are (queries, documents); every query has a gain above 0. With one relevant document it is
    InfoNCE with in-batch negatives.
    """
    if not len(scores):
        return scores.sum()
    target = gains / gains.sum(1, keepdim=True)
    return -(target * scores.log_softmax(1)).sum(1).mean()


def scores_of_queries(weights: Any, starts: Any, terms: Any, query_weights: Any) -> Any:
    """Inner products of sparse queries (``starts``, ``terms``, weights) with documents.

    starts: (n_queries,) int64, where each query begins in terms; the result is
    (n_queries, documents), with gradients for ``weights`` (documents, vocabulary).
    """
    import torch

    table = weights.T.contiguous()
    return torch.nn.functional.embedding_bag(
        terms, table, starts, mode="sum", per_sample_weights=query_weights.to(table.dtype)
    )
