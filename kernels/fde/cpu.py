"""The CPU version: tiles for every hash, tables for every projection, one pass over the tokens.

All hyperplanes of all repetitions are columns of one matrix product, and so are all inner
projections. Under a final projection repetitions are taken a few at a time, so that the numbers
before it never all exist.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...contracts import Float32Array
from ...errors import InputError
from ...vectors import TokenVectors
from ..maxsim.cpu import SHARE, run, shares
from ..maxsim.cpu import room_for as room_for_tokens
from ..maxsim.documents import multiply
from ..maxsim.tiles import WIDTH, packed, rows_at_once
from ..maxsim.tokens import Tokens
from . import plans
from .cells import Float64Array, Plan, encode_all, room_for
from .settings import Fde, dense_final

_AT_ONCE = 1 << 14
"""Numbers before the final projection that are held for a text."""
_TEXTS = 512
"""Texts that are projected by one dense matrix at a time."""
_QUERIES = 32
"""Queries below which another thread is not worth its start."""


def plan_of(fde: Fde, first: int, last: int, mean: Float32Array | None) -> Plan:
    """The repetitions first to last, ready for the loops."""
    plan = plans.KEPT.plan(fde, first, last)
    return plan if mean is None else plan._replace(mean=mean)


def encode(
    fde: Fde,
    tokens: Tokens,
    mean: Float32Array | None,
    *,
    document: bool,
    filled: bool,
    threads: int,
) -> Float32Array:
    """See :mod:`cormorant.kernels.fde`."""
    n = tokens.n_documents
    if fde.d_final is None:
        out = np.empty((n, fde.size), np.float32)
        plan = plan_of(fde, 0, fde.r_reps, mean)
        _run(plan, tokens, document, filled, out, np.zeros((0, 0)), threads)
        return out
    if fde.final == "dense":
        return _dense(fde, tokens, mean, document, filled, threads)
    sums = np.zeros((n, fde.d_final))
    step = max(1, _AT_ONCE // fde.repetition_size)
    for first in range(0, fde.r_reps, step):
        plan = plan_of(fde, first, min(fde.r_reps, first + step), mean)
        _run(plan, tokens, document, filled, np.zeros((0, 0), np.float32), sums, threads)
    return sums.astype(np.float32)


def _run(
    plan: Plan,
    tokens: Tokens,
    document: bool,
    filled: bool,
    out: Float32Array,
    sketched: Float64Array,
    threads: int,
) -> None:
    refused: list[int] = []

    def task(begin: int, end: int) -> Callable[[], None]:
        def work() -> None:
            tokens_room = room_for_tokens(tokens, np.zeros((0, tokens.dim, WIDTH), np.float32))
            text = encode_all(
                tokens_room.held, plan, room_for(plan, tokens.dim), document,
                filled, begin, end, out, sketched,
            )  # fmt: skip
            if text >= 0:
                refused.append(text)

        return work

    cuts = shares(tokens.n_documents, threads, SHARE if document else _QUERIES)
    run([task(begin, end) for begin, end in cuts])
    if refused:
        raise InputError(
            f"text {min(refused)} has a token with a number that is not finite", field="tokens"
        )


def _dense(
    fde: Fde,
    tokens: Tokens,
    mean: Float32Array | None,
    document: bool,
    filled: bool,
    threads: int,
) -> Float32Array:
    """One repetition at a time through its dense matrix, sums in float64."""
    n = tokens.n_documents
    sums = np.zeros((n, fde.size))
    for repetition in range(fde.r_reps):
        plan = plan_of(fde, repetition, repetition + 1, mean)
        columns = packed(dense_final(fde, repetition))
        for first in range(0, n, _TEXTS):
            some = tokens._replace(starts=tokens.starts[first : first + _TEXTS + 1])
            block = np.empty((some.n_documents, fde.repetition_size), np.float32)
            _run(plan, some, document, filled, block, np.zeros((0, 0)), threads)
            sums[first : first + _TEXTS] += products(block, columns)[:, : fde.size]
    return sums.astype(np.float32)


def products(rows: Float32Array, columns: Float32Array) -> Float32Array:
    """Rows (n, dim) times packed columns: (n, groups * 16), the same bits in any batch."""
    out = np.empty((len(rows), len(columns) * WIDTH), np.float32)
    step = rows_at_once()
    for row in range(0, len(rows), step):
        multiply(
            min(step, len(rows) - row), rows.shape[1], columns.ctypes.data, len(columns),
            rows.ctypes.data + row * rows.strides[0], rows.shape[1],
            out.ctypes.data + row * out.strides[0],
        )  # fmt: skip
    return out


def tokens_of_queries(queries: TokenVectors) -> Tokens:
    """Queries in the form of stored tokens."""
    return Tokens(queries.vectors, queries.starts, None, None)
