"""On a CPU: torch multiplies a chunk of the vocabulary, numba takes its maxima out of the cache.

A product and its token are one integer, so that the maximum finds both in one step and compilers
make vectors of it: of a 16-bit product its bits, made to ascend with the number, above the token's
number within the text, counted down so that the first of equals wins.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from ...contracts import Array, Float32Array, Int64Array

CHUNK_TERMS = 1024
CHUNK_TOKENS = 2048
"""Products at once: 4 MiB of them in 16 bits."""


def maxima(hidden: Any, starts: Any, weight: Any, bias: Any | None) -> tuple[Any, Any]:
    """See :mod:`cormorant.kernels.splade_head`."""
    import torch

    if hidden.dtype == torch.float16:  # CPUs multiply it slowly; bfloat16 would lose bits
        hidden, weight = hidden.float(), weight.float()
    n, vocabulary = len(starts) - 1, len(weight)
    largest = np.full((n, vocabulary), -np.inf, np.float32)
    places = np.full((n, vocabulary), -1, np.int32)
    offsets = starts.cpu().numpy()
    take = _maxima_of_bits if hidden.dtype == torch.bfloat16 else _maxima_of_floats
    with torch.no_grad():
        for first_text, last_text in _groups(offsets):
            first, last = int(offsets[first_text]), int(offsets[last_text])
            if first == last:
                continue
            rows = hidden[first:last].contiguous()
            own = offsets[first_text : last_text + 1]
            for start in range(0, vocabulary, CHUNK_TERMS):
                end = min(start + CHUNK_TERMS, vocabulary)
                products = torch.mm(rows, weight[start:end].T)
                if hidden.dtype == torch.bfloat16:
                    products = products.view(torch.int16)
                some = slice(first_text, last_text)
                take(products.numpy(), own, largest[some, start:end], places[some, start:end])
    values = torch.from_numpy(largest)
    if bias is not None:
        values += bias.detach()
    return values, torch.from_numpy(places)


def _groups(offsets: Int64Array) -> list[tuple[int, int]]:
    """Runs of texts of about CHUNK_TOKENS tokens together; a longer text alone."""
    groups, first = [], 0
    for text in range(1, len(offsets)):
        if text == len(offsets) - 1 or offsets[text + 1] - offsets[first] > CHUNK_TOKENS:
            groups.append((first, text))
            first = text
    return groups


@numba.njit(cache=True, nogil=True)
def _maxima_of_bits(
    products: Array, offsets: Int64Array, largest: Float32Array, places: Array
) -> None:
    """``products``: (tokens, terms), bfloat16 as int16; fills largest and places (texts, terms)."""
    terms = products.shape[1]
    best = np.empty(terms, np.int32)
    for text in range(len(offsets) - 1):
        first = offsets[text] - offsets[0]
        length = offsets[text + 1] - offsets[text]
        if length == 0:
            continue
        best[:] = -(1 << 31)
        for token in range(length):
            row = products[first + token]
            mark = np.int32(0xFFFF - token)
            for term in range(terms):
                bits = np.int32(row[term])
                key = ((bits ^ ((bits >> 15) & 0x7FFF)) << 16) | mark
                best[term] = max(best[term], np.int32(key))
        for term in range(terms):
            places[text, term] = offsets[text] + 0xFFFF - (best[term] & 0xFFFF)
            key = best[term] >> 16
            best[term] = (key ^ ((key >> 15) & 0x7FFF)) << 16
        largest[text, :] = best.view(np.float32)


@numba.njit(cache=True, nogil=True)
def _maxima_of_floats(
    products: Float32Array, offsets: Int64Array, largest: Float32Array, places: Array
) -> None:
    """``products``: (tokens, terms) float32; fills largest and places (texts, terms)."""
    terms = products.shape[1]
    value = np.empty(terms, np.float32)
    place = np.empty(terms, np.int32)
    for text in range(len(offsets) - 1):
        first = offsets[text] - offsets[0]
        length = offsets[text + 1] - offsets[text]
        if length == 0:
            continue
        value[:] = products[first]
        place[:] = 0
        for token in range(1, length):
            row = products[first + token]
            number = np.int32(token)
            for term in range(terms):
                more = row[term] > value[term]
                value[term] = row[term] if more else value[term]
                place[term] = number if more else place[term]
        largest[text, :] = value
        for term in range(terms):
            places[text, term] = offsets[text] + place[term]
