"""The nearest vectors of many queries by inner product, exactly, through half precision.

A product of bfloat16 matrices costs a third of one in float32 where the hardware has it, and is
wrong by an amount that is known beforehand. So: score everything in bfloat16, and keep whatever
could still be among the k best, given how wrong a score can be. The true k best are among what is
kept, always; true scores (:mod:`cormorant.kernels.dots`) then say which they are.

The contract of every version here::

    nearest(half, queries (n, dim) float32, k, allowed)
        -> Found(places (m,), starts (n + 1,), doubtful (n,))

``half``: a :class:`Half`, the vectors (rows, dim) rounded, and how far rounding moved them.
``allowed``: (rows,) bool, or None for all. ``places[starts[q]:starts[q + 1]]`` (int64, any order)
holds the places of the k allowed vectors of the greatest inner product with query q, every one of
several that tie at rank k, and some more; all the allowed ones where there are fewer than k. Where
thousands of vectors lie within the rounding of the k-th best (copies of one text, say), a query is
``doubtful`` (bool) and has no places: it must be asked in float32.

The bound. With q~ and v~ the rounded vectors and u = 2^-9 the rounding error of a bfloat16::

    |s~ - q.v| <= |q - q~| |v| + |q~| |v - v~| + (u + dim 2^-23) |q~| |v~|  =  e

the last term for sums in float32 and one rounding of the result. k vectors have s~ at least the
k-th best s~, so the k-th best true score is at least that less e; and what has a true score of at
least that has s~ of at least the k-th best s~ less 2e.
"""

from __future__ import annotations

from .cpu import Found, Half, halved, nearest

__all__ = ["Found", "Half", "halved", "nearest"]
