"""Whether the arrays of a segment agree with each other."""

from __future__ import annotations

import numpy as np

from ...contracts import Int64Array
from ...kernels.bm25.build import plan_lists
from ...kernels.bm25.codes import code_repeats
from ...kernels.bm25.layout import REPEATED, Postings, words
from .segment import BM25Segment


def problems_of(segment: BM25Segment) -> list[str]:
    """What is wrong inside a segment, one sentence each."""
    p = segment.postings
    problems = _shapes(p)
    if problems:
        return problems
    n, v = len(p.rows), len(p.lists)
    owners = np.repeat(np.arange(n), np.diff(p.document_offsets))
    terms = (p.document_terms & ~REPEATED).astype(np.int64)
    if len(terms) and terms.max() >= v:
        return ["document_terms names a term beyond the vocabulary"]
    summary = {
        "n_documents": n,
        "total_length": int(p.lengths.sum(dtype=np.int64)),
        "n_terms": v,
        "n_postings": len(terms),
    }
    checks = {
        "rows do not ascend": _ascends(p.rows),
        "numbers and positions are not inverse": np.array_equal(
            p.numbers[p.positions], np.arange(n)
        ),
        "documents are not numbered by (length, row)": _ascends(
            p.lengths.astype(np.int64) * (n + 1) + p.positions
        ),
        "word_lengths are not those of lengths": np.array_equal(p.word_lengths, p.lengths[::64]),
        "the terms of a document do not ascend": _ascends(owners * (v + 1) + terms),
        "document_frequencies are not those of document_terms": np.array_equal(
            p.document_frequencies, np.bincount(terms, minlength=v)
        ),
        "a term is in no document": v == 0 or p.document_frequencies.min() > 0,
        "lists are not those of document_frequencies": np.array_equal(
            p.lists, plan_lists(p.document_frequencies, n)[0]
        ),
        "the vocabulary does not ascend": _vocabulary_ascends(p),
        "the summary is not that of the arrays": summary
        == {name: segment.summary.get(name) for name in summary},
    }
    problems = [problem for problem, fine in checks.items() if not fine]
    return problems or _lists(p, owners, terms) + _repeats(p, owners, terms)


def _shapes(p: Postings) -> list[str]:
    n, v = len(p.rows), len(p.lists)
    sizes = {
        "numbers": n,
        "positions": n,
        "lengths": n,
        "word_lengths": words(n),
        "document_offsets": n + 1,
        "document_frequencies": v,
        "repeat_offsets": v + 1,
        "vocabulary_offsets": v + 1,
        "vocabulary_prefixes": v,
        "repeat_counts": len(p.repeat_documents),
        "repeat_codes": len(p.repeat_documents),
    }
    ends = {
        "document_offsets": len(p.document_terms),
        "repeat_offsets": len(p.repeat_documents),
        "vocabulary_offsets": len(p.vocabulary),
    }
    problems = [
        f"{name} has {len(getattr(p, name))} elements, not {size}"
        for name, size in sizes.items()
        if len(getattr(p, name)) != size
    ]
    for name, end in ends.items():
        offsets = getattr(p, name)
        if len(offsets) and (offsets[0] != 0 or offsets[-1] != end or (np.diff(offsets) < 0).any()):
            problems.append(f"{name} do not ascend from 0 to {end}")
    for name in ("numbers", "positions"):
        numbers = getattr(p, name)
        if len(numbers) and numbers.max() >= n:
            problems.append(f"{name} has one beyond {n}")
    return problems


def _lists(p: Postings, owners: Int64Array, terms: Int64Array) -> list[str]:
    """Each list and bitmap against the documents' terms."""
    by_term = owners[np.argsort(terms, kind="stable")]
    listed = np.repeat(p.lists >= 0, p.document_frequencies)
    problems = []
    if not np.array_equal(p.listed, by_term[listed]):
        problems.append("listed does not hold the documents of its terms")
    n_words = words(len(p.rows))
    ends = np.cumsum(p.document_frequencies, dtype=np.int64)
    for term in np.flatnonzero(p.lists < 0).tolist():
        begin = ~int(p.lists[term]) * n_words
        bits = np.unpackbits(p.bitmaps[begin : begin + n_words].view(np.uint8), bitorder="little")
        own = by_term[ends[term] - p.document_frequencies[term] : ends[term]]
        if not np.array_equal(np.flatnonzero(bits), own):
            problems.append(f"the bitmap of term {term} does not hold its documents")
    return problems


def _repeats(p: Postings, owners: Int64Array, terms: Int64Array) -> list[str]:
    """The repeats against the documents' terms and lengths."""
    problems = []
    repeated = (p.document_terms & REPEATED) != 0
    order = np.argsort(terms[repeated], kind="stable")
    if not np.array_equal(
        np.bincount(terms[repeated], minlength=len(p.lists)), np.diff(p.repeat_offsets)
    ) or not np.array_equal(p.repeat_documents, owners[repeated][order]):
        return ["repeat_documents are not those that document_terms says"]
    if len(p.repeat_counts) and p.repeat_counts.min() < 2:
        problems.append("a repeat_count is below 2")
    lengths = np.diff(p.document_offsets)
    np.add.at(lengths, p.repeat_documents.astype(np.int64), p.repeat_counts - 1)
    if not np.array_equal(lengths, p.lengths):
        problems.append("lengths are not the sums of the documents' term frequencies")
    codes = np.empty_like(p.repeat_codes)
    code_repeats(p._replace(repeat_codes=codes))
    if not np.array_equal(codes, p.repeat_codes):
        problems.append("repeat_codes are not those of repeat_counts and lengths")
    return problems


def _vocabulary_ascends(p: Postings) -> bool:
    packed, offsets = p.vocabulary.tobytes(), p.vocabulary_offsets.tolist()
    names = [packed[a:b] for a, b in zip(offsets[:-1], offsets[1:], strict=True)]
    prefixes = [int.from_bytes(name[:8].ljust(8, b"\0"), "big") for name in names]
    return (
        all(a < b for a, b in zip(names, names[1:], strict=False))
        and prefixes == p.vocabulary_prefixes.tolist()
    )


def _ascends(values: Int64Array) -> bool:
    return bool((values[1:] > values[:-1]).all())
