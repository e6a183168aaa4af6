"""A draft model's own state: what it has read, and branches that it reads and forgets again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ....contracts import Int64Array
from ..decoding.target import Target
from ..decoding.types import Float64Array

_ROOM = 256


class Reader:
    """Reads tokens, then the nodes of a tree level by level; ``forget`` drops the tree.

    Logits are (n, vocabulary) float64, of the model's own vocabulary.
    """

    def __init__(self, model: Any) -> None:
        self._target = Target(model)
        self._slots: Any = None
        self._length = 0
        self._tree: list[int] = []
        self._paths: list[list[int]] = []

    @property
    def length(self) -> int:
        """Tokens read."""
        return self._length

    def read(self, tokens: Int64Array) -> Float64Array:
        """Go on with tokens, at least one; (vocabulary,) after the last."""
        import torch

        n = len(tokens)
        with torch.inference_mode():
            if self._slots is None:
                self._slots, last = self._target.prefill([tokens], _ROOM, lambda: None)
                logits = last[0]
            else:
                self._slots.reserve(self._length + np.arange(n)[None])
                seen = self._slots.seen(np.tri(n, dtype=np.bool_)[None])
                logits = self._target.forward(self._slots, tokens[None], seen, [n - 1])[0, -1]
                self._slots.keep(0, range(n))
        self._length += n
        return _float64(logits)

    def branch(self, tokens: Sequence[int], parents: Sequence[int]) -> Float64Array:
        """Nodes of a tree, all of one depth; ``parents``: numbers of nodes read before, or -1."""
        import torch

        n, before = len(tokens), len(self._tree)
        paths = [[*self._paths[parent], parent] if parent >= 0 else [] for parent in parents]
        self._slots.reserve(np.array([[self._length + len(path) for path in paths]]))
        seen = self._slots.seen(np.eye(n, dtype=np.bool_)[None])
        for node, path in enumerate(paths):
            others = [self._tree[other] for other in range(before) if other not in path]
            seen[0, node, others] = False
        with torch.inference_mode():
            logits = self._target.forward(self._slots, np.array([tokens], np.int64), seen)[0]
        self._tree += self._slots.writing[0].tolist()
        self._paths += paths
        self._slots.keep(0, range(n))
        return _float64(logits)

    def forget(self) -> None:
        """Free the tree's slots."""
        self._slots.visible[0, self._tree] = False
        self._tree, self._paths = [], []


def _float64(logits: Any) -> Float64Array:
    result: Float64Array = logits.double().cpu().numpy()
    return result
