"""How good the proxies are: part of ``cormorant bench muvera --full``.

For each proxy, how many candidates hold 80, 85, 90 and 95% of all of the queries' exhaustive best
10 and best 100: on nfcorpus, vaswani and the sentences; fixed dimensional encodings of 2,048, 4,096
and 10,240 numbers, with and without fill and final projection, as float32, int8 and product codes
of a byte for 8 numbers, made as an index makes them; and LEMUR of 2,048, which learns as in an
index, from passages' snippets encoded as queries. Queries are the data sets' own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...contracts import Float32Array
from ...documents import JsonObject
from ...indexers.muvera import choosing, coded, lemur
from ...indexers.muvera.proxies import FdeProxy
from ...kernels.fde import Fde, as_bytes, encode_documents, encode_queries, score_product
from ...kernels.maxsim import Tokens, search
from .muvera_data import TokenSet, token_set
from .muvera_tables import Tables

if TYPE_CHECKING:
    from rich.console import Console

SETS = ("nfcorpus", "vaswani", "sentences")
SHARES = (0.80, 0.85, 0.90, 0.95)
DEPTHS = (10, 100)
QUERIES = 96
LEMUR_SIZE = 2048
_BLOCK = 2048


class Shape(NamedTuple):
    """An encoding."""

    k_sim: int
    r_reps: int
    d_proj: int
    d_final: int | None


SHAPES = (
    Shape(3, 20, 16, None),  # the default, 2,560
    Shape(4, 16, 8, None),
    Shape(5, 16, 8, None),
    Shape(5, 20, 16, None),
    Shape(5, 20, 16, 2048),
    Shape(5, 20, 16, 4096),
    Shape(6, 20, 16, 10_240),
)


class Scored(NamedTuple):
    """All passages scored in one way: (n_queries, n_documents), and what the row says beside it."""

    setting: str
    scores: Float32Array
    facts: JsonObject


def candidates(console: Console, threads: int) -> list[JsonObject]:
    """A row for each set and proxy: ``candidates@10:80%`` and so on."""
    rows: list[JsonObject] = []
    tables = Tables.of_model()
    for name in SETS:
        data = token_set(name, console)
        if data is None:
            continue
        data = data._replace(queries=data.queries[: min(QUERIES, len(data.queries))])
        for row in rows_of(name, data, tables, threads):
            rows.append(row)
            console.print(" ".join(f"{key}={value}" for key, value in row.items()), highlight=False)
    return rows


def rows_of(name: str, data: TokenSet, tables: Tables, threads: int) -> Iterator[JsonObject]:
    """Those of one set, as they are made; what is kept is not made again."""

    @cache
    def truth() -> np.ndarray:
        return search(data.queries, data.tokens, DEPTHS[-1], threads=threads).places

    def made(score: Callable[[], Iterator[Scored]]) -> list[JsonObject]:
        return [
            {"system": "cormorant", "setting": f"{name}: {one.setting}"}
            | needed(one.scores, truth())
            | one.facts
            for one in score()
        ]

    what = f"{name}, {len(data.queries)} queries"
    for shape in SHAPES:
        for filled in (True, False):
            score = partial(of_fde, shape, filled, data, threads)
            yield from tables.rows(f"{what}: {shape} filled={filled}", partial(made, score))
    score = partial(of_lemur, data, LEMUR_SIZE, threads)
    yield from tables.rows(f"{what}: lemur {LEMUR_SIZE}", partial(made, score))


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


def of_lemur(data: TokenSet, size: int, threads: int) -> Iterator[Scored]:
    """A network of so many features, trained as an index trains it."""
    asked = data.learning.asked
    learned = choosing.learned_of(data.learning)
    made = lemur.fit(data.tokens, learned, size, choosing.SEED, threads)
    queries = made.queries(data.queries).astype(np.float32)
    parts = [made.documents(some, threads) for some in _blocks(data.tokens)]
    products = [(queries @ part.codes.T.astype(np.float32)) * part.scales for part in parts]
    facts: JsonObject = {
        "learned_tokens": len(learned),
        "snippet_tokens": 0 if asked is None else len(asked),
    }
    yield Scored(f"lemur {size:,} int8", np.concatenate(products, axis=1), facts)


def of_fde(shape: Shape, filled: bool, data: TokenSet, threads: int) -> Iterator[Scored]:
    """Encodings as float32, as bytes, and as product codes."""
    fde = Fde(data.tokens.dim, shape.k_sim, shape.r_reps, shape.d_proj, shape.d_final)
    asked = encode_queries(fde, data.queries)
    narrow_asked = as_bytes(asked).codes.astype(np.float32)
    product = coded.trained(FdeProxy(fde, filled), data.tokens, threads).product
    assert product is not None
    found: dict[str, list[Float32Array]] = {"float32": [], "int8": [], "product codes": []}
    for block in _blocks(data.tokens):
        made = encode_documents(fde, block, filled=filled, threads=threads)
        narrow = as_bytes(made)
        found["float32"].append(asked @ made.T)
        found["int8"].append((narrow_asked @ narrow.codes.T.astype(np.float32)) * narrow.scales)
        lengths = np.linalg.norm(made, axis=1).astype(np.float32)
        divisors = np.where(lengths > 0, lengths, 1).astype(np.float32)
        codes = product.encode(made / divisors[:, None])
        found["product codes"].append(score_product(asked, product, codes) * lengths)
    what = f"fde {shape.k_sim}/{shape.r_reps}/{shape.d_proj} of {fde.size:,}"
    what += " projected" if shape.d_final else ""
    what += " filled" if filled else " not filled"
    for kind, parts in found.items():
        yield Scored(f"{what} {kind}", np.concatenate(parts, axis=1), {})


def _blocks(tokens: Tokens) -> Iterator[Tokens]:
    for first in range(0, tokens.n_documents, _BLOCK):
        yield tokens._replace(starts=tokens.starts[first : first + _BLOCK + 1])
