"""What can be wrong inside a multi-vector segment whose files are intact."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ...contracts import Array
from ...documents import JsonObject
from ...errors import CormorantError
from ...kernels.fde import as_bytes, encode_documents
from . import proxy
from .segment import TokenSegment
from .vectors import DTYPES

_BLOCK = 65_536
_SAMPLES = 64
"""Rows whose proxies are made again."""


def check_layout(arrays: Mapping[str, Array], summary: JsonObject, storage: str) -> None:
    """Refuse arrays whose types, shapes or offsets would send a kernel beyond their end."""
    types = {"rows": np.int64, "starts": np.int64, "vectors": DTYPES[storage], "cut": np.bool_}
    dims = {"rows": 1, "starts": 1, "vectors": 2, "cut": 1}
    if storage == "int8":
        types["scales"], dims["scales"] = np.float32, 1
    for name, dtype in types.items():
        found = arrays.get(name)
        if found is None or found.dtype != dtype or found.ndim != dims[name]:
            what = "nothing" if found is None else f"{found.dtype}{found.shape}"
            raise CormorantError(f"is no multi-vector segment: {name} is {what}")
    n, starts, n_tokens = len(arrays["rows"]), arrays["starts"], len(arrays["vectors"])
    if len(starts) != n + 1 or len(arrays["cut"]) != n:
        raise CormorantError(f"is no multi-vector segment: starts and cut do not fit {n} rows")
    if storage == "int8" and len(arrays["scales"]) != n_tokens:
        raise CormorantError("is no multi-vector segment: the scales do not fit the vectors")
    if starts[0] != 0 or starts[-1] != n_tokens or np.any(starts[1:] < starts[:-1]):
        raise CormorantError(
            f"is no multi-vector segment: starts do not ascend from 0 to {n_tokens:,} tokens"
        )
    if "proxy" in summary:
        problems = proxy.problems_of(arrays, summary["proxy"])
        if problems:
            raise CormorantError(f"is no multi-vector segment: {problems[0]}")


def problems_of(segment: TokenSegment) -> list[str]:
    """Empty when nothing is wrong."""
    problems = []
    if np.any(np.diff(segment.rows) <= 0):
        problems.append("rows do not ascend")
    for first in range(0, len(segment.vectors), _BLOCK):
        if not np.isfinite(segment.vectors[first : first + _BLOCK]).all():
            problems.append("a token vector is not finite")
            break
    if segment.scales is not None and not (
        np.isfinite(segment.scales).all() and np.all(segment.scales >= 0)
    ):
        problems.append("a scale is negative or not finite")
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
    return problems


def _stale(segment: TokenSegment) -> list[str]:
    """Whether the proxies are those of the vectors, on some rows."""
    assert segment.tokens is not None and segment.codes is not None
    assert segment.code_scales is not None
    assert segment.fde is not None
    n, filled = len(segment.rows), segment.summary["proxy"]["filled"]
    for place in range(0, n, max(1, n // _SAMPLES)):
        one = segment.tokens._replace(starts=segment.starts[place : place + 2])
        codes, scales = as_bytes(encode_documents(segment.fde, one, filled=filled))
        same = np.array_equal(codes[0], segment.codes[place])
        if not same or scales[0] != segment.code_scales[place]:
            return [f"the proxy of row {segment.rows[place]} is not that of its vectors"]
    return []
