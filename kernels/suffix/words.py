"""What goes in and comes out."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...contracts import Int64Array

Float64Array = NDArray[np.float64]
Order = Literal["frequent", "latest"]


class Match(NamedTuple):
    """A stretch of the texts: the state that it belongs to, and its length in tokens."""

    state: int
    length: int


NOTHING = Match(0, 0)


class Rule(NamedTuple):
    """What a tree of continuations may be; see :mod:`cormorant.kernels.suffix`."""

    nodes: int
    depth: int
    minimum: int = 2
    width: int = 8
    least_share: float = 0.05
    order: Order = "frequent"


class Continuations(NamedTuple):
    """A tree of tokens, flat, parents before their children.

    ``tokens``, ``parents`` (-1: the end of the match), ``places`` (where the stretch up to this
    node ended last), ``contexts`` (length of the match the branch follows from): (n,) int64.
    ``shares``: (n,) float64, the chance of a node where its parent is right; at the root, times
    what its context is worth.
    """

    tokens: Int64Array
    parents: Int64Array
    places: Int64Array
    contexts: Int64Array
    shares: Float64Array
