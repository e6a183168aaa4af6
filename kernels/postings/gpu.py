"""The Triton version: one program for a query and a stretch of documents, with a fused top-k.

A program goes over its documents' own terms a few at a time, looks the query's weights up in a
table, and adds in float64. Scores become keys that hold a score and, below it, the document's
number turned round, so that of equal scores the lower document comes first, whatever the order in
which programs end; a program sorts its keys and keeps the best, and the best of these are the
answer of ``search``. Its sums are in another order than the specification's: before they are
rounded to float32 they can differ by float64's rounding, and a score then by one step of float32,
seldom. ``push`` makes up for that: it asks for some more documents, takes their true scores on the
CPU, and asks for more yet until one that was left out could not be among the best.

This module imports torch and Triton. Under ``TRITON_INTERPRET=1`` it runs on tensors in memory,
which is how it is tested where there is no device.
"""

# ruff: noqa: UP037
# Triton looks annotations up when it compiles a kernel, and takes no ``Any``; a string is none.

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
import triton
import triton.language as tl
from numba import njit

from ..bm25 import heaps
from . import scoring
from .layout import Best, Float32Array, Impacts, Int64Array, Queries, UInt64Array

DOCUMENTS = 128
"""A program's documents."""
SPARE = 32
"""So many more than are asked for get their true score."""
TABLE_WEIGHTS = 1 << 26
"""A table of all terms' weights is made for each query: so many weights at once, 256 MiB."""
TERMS = 16
"""Terms of each that it looks at together."""
NOTHING = -1
_LOW = 0xFFFFFFFF


class DeviceImpacts(NamedTuple):
    """What scores are made of, as tensors on one device; see :class:`Impacts`."""

    starts: Any
    terms: Any
    weights: Any
    rows: Any
    n_terms: int
    home: Impacts
    """What they were copied from."""


def on_device(impacts: Impacts, device: str) -> DeviceImpacts:
    """Copy documents to a device."""

    def copied(values: Any, dtype: Any) -> Any:
        return torch.from_numpy(np.array(values, dtype)).to(device)

    return DeviceImpacts(
        copied(impacts.starts, np.int64),
        copied(impacts.terms, np.int32),
        copied(impacts.weights, np.float32),
        copied(impacts.rows, np.int64),
        len(impacts.frequencies),
        impacts,
    )


def push(impacts: DeviceImpacts, queries: Queries, allowed: UInt64Array, best: Best) -> None:
    """Push each query's best documents onto ``best``, with their true scores; see the package."""
    k, n_documents = best.rows.shape[1], len(impacts.rows)
    if not k or not n_documents:
        return
    mask = None
    if len(allowed):
        bits = np.unpackbits(allowed.view(np.uint8), bitorder="little")[:n_documents]
        mask = torch.from_numpy(bits.copy()).to(impacts.rows.device)
    at_once = max(1, TABLE_WEIGHTS // max(1, impacts.n_terms))
    for first in range(0, len(queries.offsets) - 1, at_once):
        last = min(first + at_once, len(queries.offsets) - 1)
        waiting, asked = np.arange(first, last), k + SPARE
        while len(waiting):
            waiting = _push_some(impacts, queries, waiting, mask, asked, best)
            asked *= 4


def _push_some(
    impacts: DeviceImpacts, queries: Queries, numbers: Any, mask: Any, asked: int, best: Best
) -> Any:
    """Push the best of some queries, where ``asked`` candidates hold them; returns the others."""
    k, home = best.rows.shape[1], impacts.home
    some = _taken(queries, numbers)
    asked = min(asked, len(home.rows))
    rows, _ = search(impacts, some, asked, mask)
    documents = np.searchsorted(home.rows, rows.cpu().numpy())
    documents[rows.cpu().numpy() < 0] = -1
    scores = np.full(documents.shape, -np.inf, np.float32)
    scoring.score(home, some, documents, scores)
    left = []
    for place, number in enumerate(numbers.tolist()):
        found = int(np.count_nonzero(documents[place] >= 0))
        own = scores[place, :found]
        if found == asked < len(home.rows):
            kth = np.partition(own, found - k)[found - k]
            if not kth > np.nextafter(own[-1], np.float32(np.inf)):  # one left out might belong
                left.append(number)
                continue
        _push_all(home.rows[documents[place, :found]], own, best, number)
    return np.array(left, np.int64)


@njit(nogil=True, cache=True)
def _push_all(rows: Int64Array, scores: Float32Array, best: Best, query: int) -> None:
    size, k = best.sizes[query], best.rows.shape[1]
    for place in range(len(rows)):
        size = heaps.push(best.scores[query], best.rows[query], size, k, scores[place], rows[place])
    best.sizes[query] = size


def _taken(queries: Queries, numbers: Any) -> Queries:
    """Some of the queries."""
    lengths = np.diff(queries.offsets)[numbers]
    starts = np.repeat(queries.offsets[numbers], lengths)
    ends = np.cumsum(lengths)
    within = np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - lengths, lengths)
    places = starts + within
    offsets = np.concatenate([[0], ends]).astype(queries.offsets.dtype)
    parts = (queries.terms[places], queries.weights[places], offsets)
    for part in parts:
        part.flags.writeable = False  # kernels are compiled for arrays that are
    return Queries(*parts)


@triton.jit
def score_kernel(
    starts: "Any",
    terms: "Any",
    weights: "Any",
    asked: "Any",
    allowed: "Any",
    keys: "Any",
    n_documents: "Any",
    n_terms: "Any",
    MASKED: tl.constexpr,
    DOCUMENTS: tl.constexpr,
    TERMS: tl.constexpr,
    KEPT: tl.constexpr,
) -> None:
    """The ``KEPT`` best keys of stretch ``program_id(0)`` for query ``program_id(1)``."""
    stretch, query = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    documents = stretch * DOCUMENTS + tl.arange(0, DOCUMENTS)
    there = documents < n_documents
    if MASKED:
        there = there & (tl.load(allowed + documents, mask=there, other=0) != 0)
    begins = tl.load(starts + documents, mask=there, other=0)
    ends = tl.load(starts + documents + 1, mask=there, other=0)
    longest = tl.max(ends - begins, axis=0)
    totals = tl.zeros((DOCUMENTS,), tl.float64)
    for first in range(0, longest, TERMS):
        places = begins[:, None] + first + tl.arange(0, TERMS)[None, :]
        inside = places < ends[:, None]
        own = tl.load(terms + places, mask=inside, other=0).to(tl.int64)
        of_query = tl.load(asked + query * n_terms + own, mask=inside, other=0.0)
        of_document = tl.load(weights + places, mask=inside, other=0.0)
        products = of_query.to(tl.float64) * of_document.to(tl.float64)
        totals += tl.sum(products, axis=1)
    bits = totals.to(tl.float32).to(tl.int32, bitcast=True).to(tl.int64)
    best = tl.where(totals > 0, (bits << 32) | (0xFFFFFFFF - documents), -1)
    best = tl.sort(best, descending=True)
    at = (query * tl.num_programs(0) + stretch) * KEPT + tl.arange(0, DOCUMENTS)
    tl.store(keys + at, best, mask=tl.arange(0, DOCUMENTS) < KEPT)


def search(
    impacts: DeviceImpacts, queries: Queries, k: int, allowed: Any = None
) -> tuple[Any, Any]:
    """The k best documents of each query: rows (n, k) int64 and scores (n, k) float32.

    -1 and -inf where there are fewer. ``allowed``: (n_documents,) a uint8 tensor, 0 for the
    excluded; None: all are. A document's number must fit 32 bits.
    """
    n, n_documents = len(queries.offsets) - 1, len(impacts.rows)
    device = impacts.rows.device
    rows = torch.full((n, k), -1, dtype=torch.int64, device=device)
    scores = torch.full((n, k), float("-inf"), dtype=torch.float32, device=device)
    if not n or not k or not n_documents:
        return rows, scores
    asked = torch.zeros((n, max(1, impacts.n_terms)), dtype=torch.float32)
    owners = np.repeat(np.arange(n), np.diff(queries.offsets))
    known = queries.terms >= 0
    asked[owners[known], queries.terms[known]] = torch.from_numpy(queries.weights[known].copy())
    asked = asked.to(device)
    n_stretches = triton.cdiv(n_documents, DOCUMENTS)
    kept = min(DOCUMENTS, triton.next_power_of_2(k))
    keys = torch.empty((n, n_stretches * kept), dtype=torch.int64, device=device)
    score_kernel[(n_stretches, n)](
        impacts.starts,
        impacts.terms,
        impacts.weights,
        asked,
        impacts.starts if allowed is None else allowed,
        keys,
        n_documents,
        asked.shape[1],
        MASKED=allowed is not None,
        DOCUMENTS=DOCUMENTS,
        TERMS=TERMS,
        KEPT=kept,
    )
    best = torch.topk(keys, min(k, keys.shape[1]), dim=1, sorted=True).values
    found = best != NOTHING
    width = best.shape[1]
    numbers = torch.where(found, _LOW - (best & _LOW), 0)
    rows[:, :width] = torch.where(found, impacts.rows[numbers], -1)
    values = (best >> 32).to(torch.int32).view(torch.float32)
    scores[:, :width] = torch.where(found, values, float("-inf"))
    return rows, scores
