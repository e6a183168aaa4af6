"""What can be wrong inside a multi-vector segment whose files are intact."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ...contracts import Array
from ...documents import JsonObject
from ...errors import CormorantError
from ...kernels.fde import Bytes
from ..spann import checking as spann_checking
from . import lists, proxy
from .segment import TokenSegment, stretches
from .settings import Muvera
from .threads import threads
from .vectors import BITS, begins_of, parts_of

_BLOCK = 65_536
_SAMPLES = 16
"""Rows whose proxies are made again."""


def check_layout(arrays: Mapping[str, Array], summary: JsonObject, settings: Muvera) -> None:
    """Refuse arrays whose types, shapes or offsets would send a kernel beyond their end."""
    storage, asked = settings.storage, settings.learns
    found = arrays.get("centroids" if storage in BITS else "vectors")
    dim = found.shape[1] if found is not None and found.ndim == 2 else 0
    parts = parts_of(storage, dim, asked)
    types = {"rows": np.int64, "starts": np.int64, "cut": np.bool_}
    types |= {"asked_starts": np.int64} if asked else {}
    dims = dict.fromkeys(types, 1) | {part.name: len(part.shape(0)) for part in parts}
    types |= {part.name: part.dtype for part in parts}
    for name, dtype in types.items():
        found = arrays.get(name)
        if found is None or found.dtype != dtype or found.ndim != dims[name]:
            what = "nothing" if found is None else f"{found.dtype}{found.shape}"
            raise CormorantError(f"is no multi-vector segment: {name} is {what}")
    n = len(arrays["rows"])
    for name in ("starts", "asked_starts") if asked else ("starts",):
        starts = arrays[name]
        if len(starts) != n + 1 or len(arrays["cut"]) != n:
            raise CormorantError(f"is no multi-vector segment: {name} and cut do not fit {n} rows")
        if starts[0] != 0 or np.any(starts[1:] < starts[:-1]):
            raise CormorantError(f"is no multi-vector segment: {name} do not ascend from 0")
    begins = begins_of(arrays["starts"], arrays.get("asked_starts"))
    for part in parts:
        if arrays[part.name].shape != part.shape(int(begins[part.per][-1])):
            raise CormorantError(
                f"is no multi-vector segment: the {part.name} do not fit the starts"
            )
    if storage in BITS and int(arrays["owners"].max(initial=0)) >= max(1, begins["centroid"][-1]):
        raise CormorantError("is no multi-vector segment: a token's centroid is not there")
    if "proxy" in summary:
        problems = proxy.problems_of(arrays, summary["proxy"], dim)
        if problems:
            raise CormorantError(f"is no multi-vector segment: {problems[0]}")
        if settings.spann is not None:
            lists.check(arrays, summary["proxy"]["spann"], settings.spann)


def problems_of(segment: TokenSegment, settings: Muvera) -> list[str]:
    """Empty when nothing is wrong."""
    problems = []
    if np.any(np.diff(segment.rows) <= 0):
        problems.append("rows do not ascend")
    for name, what in (
        ("vectors", "a token vector"),
        ("centroids", "a centroid"),
        ("asked", "a query's token vector"),
    ):
        values = segment.arrays.get(name, segment.rows)
        for first in range(0, len(values), _BLOCK):
            if not np.isfinite(values[first : first + _BLOCK]).all():
                problems.append(f"{what} is not finite")
                break
    for name in ("scales", "centroid_scales"):
        values = segment.arrays.get(name, segment.rows)
        if not (np.isfinite(values).all() and np.all(values >= 0)):
            problems.append("a scale is negative or not finite")
    if "owners" in segment.arrays and not all(
        _own_centroids(segment, *some) for some in stretches(np.diff(segment.starts))
    ):
        problems.append("a token's centroid is another row's")
    facts = {
        "n_rows": len(segment.rows),
        "n_tokens": len(segment.vectors),
        "n_empty": int(np.count_nonzero(np.diff(segment.starts) == 0)),
        "n_cut": int(np.count_nonzero(segment.cut)),
    }
    if facts != {name: segment.summary.get(name) for name in facts}:
        problems.append("the summary is not that of the arrays")
    if not problems and segment.codes is not None and segment.tokens is not None:
        problems += _stale(segment)
    if not problems and segment.listed is not None and settings.spann is not None:
        problems += spann_checking.problems_of(segment.listed, settings.spann)
    return problems


def _own_centroids(segment: TokenSegment, first: int, last: int) -> bool:
    """Whether the tokens of rows first to last have centroids of their own row."""
    starts, begins = segment.starts[first : last + 1], segment.begins["centroid"]
    rows = np.repeat(np.arange(first, last), np.diff(starts))
    owners = segment.arrays["owners"][starts[0] : starts[-1]]
    return bool(np.all((owners >= begins[rows]) & (owners < begins[rows + 1])))


def _stale(segment: TokenSegment) -> list[str]:
    """Whether the proxies are those of the vectors, on some rows."""
    assert segment.tokens is not None and segment.codes is not None
    assert segment.code_scales is not None
    assert segment.proxy is not None
    n = len(segment.rows)
    for place in range(0, n, max(1, n // _SAMPLES)):
        one = segment.tokens._replace(starts=segment.starts[place : place + 2])
        own = slice(place, place + 1)
        kept = Bytes(segment.codes[own], segment.code_scales[own])
        if not segment.proxy.is_of(segment.proxy.documents(one, threads()), kept):
            return [f"the proxy of row {segment.rows[place]} is not that of its vectors"]
    return []
