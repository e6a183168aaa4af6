"""BM25 over an inverted index: exact top-k, and true scores of given documents.

For a query q and a document d of length ``len`` (in terms, repeats counted)::

    score(q, d) = constant(q) + sum over terms t of q in d:  weight(t) * gain(tf, norm)
    norm        = norm_base + norm_slope * len       (kappa (1 - b)  and  kappa b / average length)
    gain        = tf / (tf + norm)

which is Lucene's BM25, Okapi BM25 and BM25+, told apart by weights and constant (Robertson &
Zaragoza, "The Probabilistic Relevance Framework", 2009; Kamphuis et al., "Which BM25 do you mean?",
ECIR 2020, table 1). BM25L as rank-bm25 computes it has
``gain = tf * (share + (1 - share) * tf / (tf + norm))`` (``linear``).

The contract of every version here:

* weights may be negative or 0; a term stands once in a query, its weight as often as it is asked
  for; -1 is a term that the index does not have;
* a document that has none of a query's terms is no hit, and scores 0;
* sums are float64 in the order of the terms' UTF-8, then rounded to float32: a score is the same
  for every split of the documents into indexes and of the queries into batches, and in ``score``
  and ``search``;
* ``allowed``: one bit per document, by number (empty: all); the others are excluded;
* of equal scores the lower row comes first;
* no document, no term, no query, no place (k of 0) and more places than documents are allowed;
  nothing is ever NaN.

``search(postings, queries, saturation, allowed, best)`` pushes each query's best documents onto
``best``, and so carries the threshold from index to index; ``sort_best_first`` ends it.
``score(postings, queries, saturation, documents, scores)`` fills scores (n_queries, m) float32 of
documents (n_queries, m) int64, by number, and leaves alone those of -1.

``layout`` says what the arrays are, ``build`` makes them, ``cpu`` searches (numba), ``reference``
is the specification (numpy float64, every document).
"""
