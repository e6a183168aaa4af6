"""Codes of 1 to 4 bits a number that estimate distances, with a bound on the error.

RaBitQ: Gao and Long, SIGMOD 2024 (1 bit); Gao et al., SIGMOD 2025 (more bits). A vector x in the
posting of a centroid c is kept as its residual ``r = P(x - c)``, P a random rotation
(:mod:`.rotation`), rounded to the grid of numbers ``u - (2^bits - 1) / 2``, u in 0 .. 2^bits - 1;
of the grid's points that which makes the smallest angle with r, or nearly (``v`` below). With
``z = P(q - c)`` for a query q,

    |x - q|^2  =  |r|^2 + |z|^2 - 2 <r, z>        <r, z>  ~  <v, z> |r|^2 / <v, r>

The estimate is unbiased over rotations, and its standard deviation is about
``2 |r| |z| sqrt((1 - a^2) / (a^2 (dim - 1)))``, a the cosine of v and r: what a code's ``spread``
holds but for ``|z|``. Three of these are rarely exceeded; six never were in tests.

The contract of every version here::

    encode(residuals (n, dim) float32, bits, record (record_bytes(n, dim, bits),) uint8)
    estimate(record, n, bits, query (dim,) float32, squares (n,), spreads (n,))

* ``dim`` is a multiple of 64, residuals are finite and rotated already; a residual of zero is
  estimated exactly, with a spread of 0;
* ``encode`` fills a record: places (n,) int32 first, which are the caller's and are left alone;
  then ``steps``, ``squares``, ``spreads``, (n,) float32; then codes (n, bits, dim / 64) uint64,
  plane by plane, number i of a vector in bit i mod 64 of word i // 64;
* ``estimate`` rounds the query to ``QUERY_BITS`` bits a number, evenly between its least and
  greatest, which adds little to the spread; squared distances and spreads are float32.

``layout`` says where things are in a record (``sections``), ``cpu`` is numba (population counts: a
64-bit word of a code against one bit of each of 64 numbers of the query), ``gpu`` estimates with
Triton where a record lies on a device (no search does so yet), ``reference`` is numpy in float64.
"""

from __future__ import annotations

from .cpu import encode, estimate
from .layout import MAX_BITS, QUERY_BITS, padded, record_bytes, sections
from .rotation import ROUNDS, rotate, signs_for

__all__ = [
    "MAX_BITS",
    "QUERY_BITS",
    "ROUNDS",
    "encode",
    "estimate",
    "padded",
    "record_bytes",
    "rotate",
    "sections",
    "signs_for",
]
