"""What a pipeline costs: seconds, bytes, calls, tokens and money for a thousand queries."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..documents import JsonObject
from ..errors import InputError
from ..rankers.cur.settings import CUR
from .spending import Spent

if TYPE_CHECKING:
    from .result import EvalResult

PROCESS = "process MB"
_TOKENS = 1_000_000


@dataclass(frozen=True, slots=True)
class Prices:
    """In one currency: a million ``prompt`` or ``completion`` tokens, and a machine's ``hour``."""

    prompt: float = 0.0
    completion: float = 0.0
    hour: float = 0.0


FREE = Prices()


def prices_of(words: Sequence[str]) -> Prices:
    """Prices from words such as ``prompt=0.15``.

    Raises :class:`~cormorant.errors.InputError` for another name or no amount of at least 0.
    """
    found: dict[str, float] = {}
    for word in words:
        name, _, amount = word.partition("=")
        try:
            value = float(amount)
        except ValueError:
            value = math.nan
        if name not in Prices.__dataclass_fields__ or not 0 <= value < math.inf:
            known = ", ".join(f"{name}=AMOUNT" for name in Prices.__dataclass_fields__)
            raise InputError(f"is one of {known}, got {word!r}", field="--price")
        found[name] = value
    return Prices(**found)


@dataclass(frozen=True, slots=True)
class Cost:
    """Of a thousand queries, searched in batches, unless a name says otherwise.

    ``encode_seconds``: for the queries' vectors, a part of ``search_seconds``. ``passages``: handed
    to rerankers and pair scorers. ``model_calls``, ``prompt_tokens`` and ``completion_tokens``: of
    language models. ``money``: by the prices given. ``index_bytes``: on disk, of the indexes that
    the pipeline retrieves from. ``memory_bytes``: as :func:`~cormorant.eval.footprint.memory_of`
    has them, None where nobody asked.
    """

    search_seconds: float
    encode_seconds: float
    passages: float
    model_calls: float
    prompt_tokens: float
    completion_tokens: float
    money: float
    index_bytes: int
    memory_bytes: int | None = None

    def as_json(self) -> JsonObject:
        """As ``eval --json`` writes it."""
        per_query = {
            name: getattr(self, name)
            for name in self.__dataclass_fields__
            if not name.endswith("_bytes")
        }
        return {
            "per_1000_queries": per_query,
            "index_bytes": self.index_bytes,
            "memory_bytes": self.memory_bytes,
        }


def cost_of(
    spent: Spent, n_queries: int, pipeline: Any, sizes: Mapping[str, int], prices: Prices
) -> Cost:
    """The cost of a pipeline from what ``n_queries`` queries took.

    ``sizes``: the bytes of each index by name; a pipeline's name stands for all of them.
    """
    share = 1000 / n_queries
    lists = getattr(pipeline, "retrieve", None)
    used = set(sizes)
    if lists is not None:
        used = {name for item in lists for name in _used(item, sizes)}
    tokens = spent.prompt_tokens * prices.prompt + spent.completion_tokens * prices.completion
    return Cost(
        search_seconds=spent.search_seconds * share,
        encode_seconds=spent.encode_seconds * share,
        passages=spent.passages * share,
        model_calls=spent.model_calls * share,
        prompt_tokens=spent.prompt_tokens * share,
        completion_tokens=spent.completion_tokens * share,
        money=(tokens / _TOKENS + spent.search_seconds / 3600 * prices.hour) * share,
        index_bytes=sum(size for name, size in sizes.items() if name in used),
    )


def _used(item: Any, sizes: Mapping[str, int]) -> set[str]:
    """The indexes that one list is made from: all, where a retriever does not name them."""
    by = item.by
    if by is None:
        return {item.index}
    if not isinstance(by, CUR) or by.first is None or not sizes.keys() >= set(by.first):
        return set(sizes)
    return {name for name in (*by.first, by.anchors, by.side) if name is not None}


def cost_columns(results: Sequence[EvalResult]) -> dict[str, list[str]]:
    """Heading -> a cell for each result; without the columns that would be empty or zero."""
    columns: dict[str, list[str]] = {}
    for heading, name, unit in _SHOWN:
        values = [None if one.cost is None else getattr(one.cost, name) for one in results]
        if any(values):
            columns[heading] = ["-" if v is None else _written(v / unit) for v in values]
    return columns


_SHOWN = (
    ("used MB", "index_bytes", 1e6),
    (PROCESS, "memory_bytes", 1e6),
    ("s/1k", "search_seconds", 1),
    ("encode s/1k", "encode_seconds", 1),
    ("passages/1k", "passages", 1),
    ("calls/1k", "model_calls", 1),
    ("prompt tok/1k", "prompt_tokens", 1),
    ("answer tok/1k", "completion_tokens", 1),
    ("money/1k", "money", 1),
)


def _written(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.2f}" if value >= 0.01 else f"{value:.2g}"
