"""MaxSim, the score of late interaction: every query token finds its best document token.

For a query of tokens q and a document of tokens p (Khattab & Zaharia, "ColBERT", SIGIR 2020,
equation 3; the Chamfer similarity of "MUVERA", section 1)::

    score(Q, P) = sum over q in Q of  max over p in P of  <q, p>

The contract of every version here:

* Documents are ragged: :class:`Tokens` holds ``vectors`` (n_tokens, dim), document after document,
  and ``starts`` (n_documents + 1) int64, or a slice of them. Vectors are float32; float16;
  bfloat16 as its bits in uint16; int8 with one float32 scale a token, and then the vector is
  ``float32(code) * scale`` rounded to float32; or residual codes of 2 or 4 bits beside centroids
  (:mod:`cormorant.kernels.residual`). Memory maps will do; offsets are int64 throughout.
  Queries are :class:`~cormorant.vectors.TokenVectors`.
* What is stored is the truth: no version rounds it further. An inner product is one chain of fused
  multiply-adds in float32 over the dimensions in order, the same bits on every machine and in every
  batch (the GPU sums in float32 in an order of its own). The greatest of them are added in float64,
  in the order of the query's tokens, and rounded once to float32. So a document's score does not
  depend on padding, on the documents or queries beside it, nor on the order of its tokens.
* ``mask`` (n_tokens,) bool, may have holes: a token that is False is excluded, as if it were not
  there; it never counts as 0.
* A document without tokens, or whose every token is excluded, scores 0. So does every document for
  a query without tokens.
* Queries are finite, or :class:`~cormorant.errors.InputError`. A similarity that is NaN is never
  the greatest; a query token that finds no other has -inf; a sum that is NaN is -inf. So a document
  of NaN sorts last, and disturbs no other.
* Of equal scores the lower place comes first.

``search(queries, tokens, k, allowed)`` -> :class:`Best`, the k best documents, never all scores at
once; ``score(queries, tokens)`` -> (n_queries, n_documents) float32; ``rescore(queries, tokens,
places, starts)`` -> float32 scores of each query's own candidates; ``align(queries, tokens,
places, starts)`` -> which token was the best of which. ``carve`` makes a query shorter: an
approximation, on request. ``threads`` share the documents out; scores do not depend on them.

Bytes are widened, not multiplied as bytes (VNNI, AMX): the query would have to be rounded as well,
and a score would be another on another machine.

``reference`` is the specification (numpy float64), ``cpu`` runs on any processor, ``gpu`` in Triton
on tokens that :func:`placed` has put on a device, where there is one.
"""

from __future__ import annotations

from .alignment import Alignment, align
from .carving import carve
from .dispatch import placed, rescore, score, search
from .tokens import Best, Residual, Tokens, tokens_of

__all__ = [
    "Alignment",
    "Best",
    "Residual",
    "Tokens",
    "align",
    "carve",
    "placed",
    "rescore",
    "score",
    "search",
    "tokens_of",
]
