"""Weights of terms over an inverted index: exact and approximate top-k, and true scores.

For a query q and a document d, with weights above 0::

    score(q, d) = sum over terms t of both:  q_t * d_t

in float64, term after term in the order of their numbers, and rounded once to float32: a function
of these two vectors and of nothing else, whichever way a document was found.

The contract of every version here:

* a document that shares no term with the query is no hit, and scores 0;
* a term stands once in a query and once in a document; -1 is a term that the index does not have;
* ``allowed``: one bit per document (empty: all); the others are excluded;
* of equal scores the lower row comes first;
* no document, no term, no query, no place (k of 0) and more places than documents are allowed.

``search(impacts, queries, effort, allowed, best)`` pushes each query's best documents onto
``best``, and so carries the threshold from index to index; ``sort_best_first`` ends it. With
``EXACT`` they are the best; with less effort some may be missed, and none is misjudged.
``score(impacts, queries, documents, scores)`` fills scores (n_queries, m) float32 of documents
(n_queries, m) int64, by number, and leaves alone those of -1.

``layout`` says what the arrays are, ``build`` makes them, ``cpu`` searches (numba), ``gpu`` finds
candidates on a GPU (Triton), ``reference`` is the specification (numpy float64, every document);
``search`` takes what ``placed`` gave it and goes where that is.
"""

from __future__ import annotations

from .dispatch import placed, search

__all__ = ["placed", "search"]
