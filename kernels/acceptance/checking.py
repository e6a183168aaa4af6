"""What the kernel takes: a wrong parent would walk in circles, a wrong token read past the end."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...contracts import Array, Int64Array


def check(
    target: Any,
    laws: Any | None,
    tokens: Int64Array,
    parents: Int64Array,
    coins: Array,
    noise: Any,
    rule: str,
) -> None:
    """Raise ValueError for what :func:`cormorant.kernels.acceptance.accept` does not take."""
    from . import RULES

    if rule not in RULES:
        raise ValueError(f"a rule is one of {', '.join(RULES)}, got {rule!r}")
    if target.ndim != 3 or target.shape[1] < 1 or target.shape[2] < 1:
        raise ValueError(f"target is (rows, n + 1, vocabulary), got {tuple(target.shape)}")
    rows, steps, vocabulary = target.shape
    _fits("target", target, (rows, steps, vocabulary), "float32")
    if laws is not None:
        _fits("laws", laws, (rows, steps - 1, vocabulary), "float32")
    _fits("tokens", tokens, (rows, steps - 1), "int64")
    _fits("parents", parents, (rows, steps - 1), "int64")
    _fits("coins", coins, (rows, steps - 1), "float64")
    if ((parents < -2) | (parents >= np.arange(steps - 1))).any():
        raise ValueError("a parent stands before its children; -1 is the root, -2 padding")
    if ((tokens < 0) | (tokens >= vocabulary))[parents >= -1].any():
        raise ValueError(f"tokens are from 0 to {vocabulary - 1}")
    _fits("noise", noise, (rows, 1 + deepest(parents), vocabulary), "float32")


def deepest(parents: Int64Array) -> int:
    """The depth of the deepest node of any row, 1 below the root; 0 where there is none."""
    depths = np.zeros((len(parents), 1 + parents.shape[1]), np.int64)
    for node in range(parents.shape[1]):
        above = np.take_along_axis(depths, np.maximum(1 + parents[:, node, None], 0), axis=1)[:, 0]
        depths[:, node + 1] = np.where(parents[:, node] < -1, 0, 1 + above)
    return int(depths.max(initial=0))


def _fits(name: str, given: Any, shape: tuple[int, ...], dtype: str) -> None:
    kind = str(given.dtype).removeprefix("torch.")
    if tuple(given.shape) != shape or kind != dtype:
        raise ValueError(f"{name} is {shape} {dtype}, got {tuple(given.shape)} {kind}")
