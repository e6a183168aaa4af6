"""How good the proxies are: part of ``cormorant bench muvera --full``.

For each proxy, how many candidates hold 80, 85, 90 and 95% of all of the queries' exhaustive best
10 and best 100: on nfcorpus, vaswani and the sentences; fixed dimensional encodings of 2,048, 4,096
and 10,240 numbers, with and without fill and final projection, as float32, int8 and product codes
of a byte for 8 numbers; and LEMUR of 2,048. Queries are the data sets' own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...contracts import Float32Array
from ...documents import JsonObject
from ...indexers.muvera import choosing, lemur
from ...kernels.fde import (
    Fde,
    as_bytes,
    encode_documents,
    encode_queries,
    product_quantiser,
    score_product,
)
from ...kernels.maxsim import Tokens, search
from ...vectors import TokenVectors
from .muvera_data import token_set

if TYPE_CHECKING:
    from rich.console import Console

SETS = ("nfcorpus", "vaswani", "sentences")
SHARES = (0.80, 0.85, 0.90, 0.95)
DEPTHS = (10, 100)
QUERIES = 96
LEMUR_SIZE = 2048
PRODUCT_SAMPLE = 4096
_BLOCK = 2048


class Shape(NamedTuple):
    """An encoding, and whether its product codes are looked at too."""

    k_sim: int
    r_reps: int
    d_proj: int
    d_final: int | None
    product: bool


SHAPES = (
    Shape(3, 20, 16, None, False),  # the default, 2,560
    Shape(4, 16, 8, None, True),
    Shape(5, 16, 8, None, False),
    Shape(5, 20, 16, None, True),
    Shape(5, 20, 16, 2048, False),
    Shape(5, 20, 16, 4096, False),
)


def candidates(console: Console, threads: int) -> list[JsonObject]:
    """A row for each set and proxy: ``candidates@10:80%`` and so on."""
    rows: list[JsonObject] = []
    for name in SETS:
        data = token_set(name, console)
        if data is None:
            continue
        tokens, queries = data
        queries = queries[: min(QUERIES, len(queries))]
        truth = search(queries, tokens, DEPTHS[-1], threads=threads).places
        for setting, scores in _scored(tokens, queries, threads):
            row: JsonObject = {"system": "cormorant", "setting": f"{name}: {setting}"}
            row |= needed(scores, truth)
            rows.append(row)
            console.print(" ".join(f"{key}={value}" for key, value in row.items()), highlight=False)
    return rows


def needed(scores: Float32Array, truth: np.ndarray) -> dict[str, int]:
    """Candidates for each share of the true best: scores (n_queries, n), truth (n_queries, m)."""
    ranks = np.array([
        len(own) - np.searchsorted(np.sort(own), own[best], side="right") + 1
        for own, best in zip(scores, truth, strict=True)
    ])  # fmt: skip
    counts = {}
    for depth in DEPTHS:
        ascending = np.sort(ranks[:, :depth].ravel())
        for share in SHARES:
            place = int(np.ceil(share * len(ascending))) - 1
            counts[f"candidates@{depth}:{share:.0%}"] = int(ascending[place])
    return counts


def _scored(
    tokens: Tokens, queries: TokenVectors, threads: int
) -> Iterator[tuple[str, Float32Array]]:
    for shape in SHAPES:
        for filled in (True, False):
            yield from _of_fde(shape, filled, tokens, queries, threads)
    learned = choosing.learned_of(choosing.Learning(tokens, None))
    made = lemur.fit(tokens, learned, LEMUR_SIZE, choosing.SEED, threads)
    asked = made.queries(queries).astype(np.float32)
    parts = [made.documents(some, threads) for some in _blocks(tokens)]
    yield (
        f"lemur {LEMUR_SIZE:,} int8",
        np.concatenate([(asked @ p.codes.T.astype(np.float32)) * p.scales for p in parts], axis=1),
    )


def _of_fde(
    shape: Shape, filled: bool, tokens: Tokens, queries: TokenVectors, threads: int
) -> Iterator[tuple[str, Float32Array]]:
    fde = Fde(tokens.dim, shape.k_sim, shape.r_reps, shape.d_proj, shape.d_final)
    asked = encode_queries(fde, queries)
    coded = as_bytes(asked).codes.astype(np.float32)
    product = None
    found: dict[str, list[Float32Array]] = {"float32": [], "int8": []}
    if shape.product:
        rng = np.random.default_rng(0)
        some = np.sort(rng.permutation(tokens.n_documents)[:PRODUCT_SAMPLE])
        sample = [
            encode_documents(fde, tokens._replace(starts=tokens.starts[p : p + 2]), filled=filled)
            for p in some.tolist()
        ]
        product = product_quantiser(np.concatenate(sample))
        found["product codes"] = []
    for block in _blocks(tokens):
        made = encode_documents(fde, block, filled=filled, threads=threads)
        narrow = as_bytes(made)
        found["float32"].append(asked @ made.T)
        found["int8"].append((coded @ narrow.codes.T.astype(np.float32)) * narrow.scales)
        if product is not None:
            found["product codes"].append(score_product(asked, product, product.encode(made)))
    what = f"fde {shape.k_sim}/{shape.r_reps}/{shape.d_proj} of {fde.size:,}"
    what += " projected" if shape.d_final else ""
    what += " filled" if filled else " not filled"
    for kind, parts in found.items():
        yield f"{what} {kind}", np.concatenate(parts, axis=1)


def _blocks(tokens: Tokens) -> Iterator[Tokens]:
    for first in range(0, tokens.n_documents, _BLOCK):
        yield tokens._replace(starts=tokens.starts[first : first + _BLOCK + 1])
