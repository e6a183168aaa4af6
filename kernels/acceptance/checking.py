"""What the kernel takes: a wrong parent would walk in circles, a wrong token read past the end."""

from __future__ import annotations

from typing import Any


def check(
    target: Any, laws: Any | None, tokens: Any, parents: Any, coins: Any, picks: Any, rule: str
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
    _fits("coins", coins, (rows, steps), "float64")
    _fits("picks", picks, (rows, steps), "float64")
    if steps == 1:
        return
    real = parents >= -1
    if bool(((tokens < 0) | (tokens >= vocabulary))[real].any()):
        raise ValueError(f"tokens are from 0 to {vocabulary - 1}")
    for node in range(steps - 1):
        above = parents[:, node]
        if bool(((above < -2) | (above >= node)).any()):
            raise ValueError("a parent stands before its children; -1 is the root, -2 padding")


def _fits(name: str, given: Any, shape: tuple[int, ...], dtype: str) -> None:
    kind = str(given.dtype).removeprefix("torch.")
    if tuple(given.shape) != shape or kind != dtype:
        raise ValueError(f"{name} is {shape} {dtype}, got {tuple(given.shape)} {kind}")
