"""Plans of encodings that are kept from one call to the next.

To draw and pack an encoding's matrices takes longer than to encode a query with them.
"""

from __future__ import annotations

from threading import Lock

import numpy as np

from ..maxsim.tiles import WIDTH, packed
from .cells import Plan
from .settings import Fde, hyperplanes, inner_scale, inner_signs, sketch, tie_factors
from .signed import packed_signs

KEPT_BYTES = 1 << 29
"""Room for the 2^24 signs and places that ``Muvera`` allows; the default's are 1 MB."""


class Kept:
    """Plans without a mean, as many as ``most_bytes`` have room for; for any number of threads.

    Those of the encoding that was asked for longest ago go first. Parts of one encoding are asked
    for in turn, so none of them makes room for another: those that still do not fit are not kept.
    """

    def __init__(self, most_bytes: int) -> None:
        self.n_bytes = 0
        self._most_bytes = most_bytes
        self._lock = Lock()
        self._parts: dict[Fde, dict[tuple[int, int], Plan]] = {}

    def plan(self, fde: Fde, first: int, last: int) -> Plan:
        """The repetitions first to last."""
        part = (first, last)
        with self._lock:
            if fde in self._parts:
                self._parts[fde] = self._parts.pop(fde)  # asked for last
                if part in self._parts[fde]:
                    return self._parts[fde][part]
        made = drawn(fde, first, last)  # by several threads at once, at worst
        with self._lock:
            self._keep(fde, part, made)
        return made

    def _keep(self, fde: Fde, part: tuple[int, int], made: Plan) -> None:
        needed = bytes_of(made)
        own = self._parts.get(fde, {})
        if part in own or sum(map(bytes_of, own.values())) + needed > self._most_bytes:
            return
        for other in [one for one in self._parts if one != fde]:
            if self.n_bytes + needed <= self._most_bytes:
                break
            self.n_bytes -= sum(bytes_of(plan) for plan in self._parts.pop(other).values())
        self._parts.setdefault(fde, {})[part] = made
        self.n_bytes += needed


def bytes_of(plan: Plan) -> int:
    """What the arrays of a plan take."""
    return sum(value.nbytes for value in plan if isinstance(value, np.ndarray))


def drawn(fde: Fde, first: int, last: int) -> Plan:
    """The repetitions first to last, drawn and packed; of no mean."""
    repetitions = range(first, last)
    none = np.zeros((0, fde.dim, WIDTH), np.float32)
    planes = np.stack([hyperplanes(fde, r) for r in repetitions])
    normals = np.ascontiguousarray(planes.transpose(1, 0, 2).reshape(-1, fde.dim))
    no_signs = packed_signs(np.zeros((0, fde.dim), np.float32))
    places, signs = np.zeros(0, np.int64), np.zeros(0, np.float32)
    if fde.d_final is not None and fde.final == "sketch":
        sketches = [sketch(fde, r) for r in repetitions]
        places = np.concatenate([one.places for one in sketches])
        signs = np.concatenate([one.signs for one in sketches])
    lengths = np.sqrt((normals.astype(np.float64) ** 2).sum(axis=1))
    return Plan(
        last - first,
        fde.k_sim,
        fde.width,
        normals,
        packed(normals) if fde.k_sim else none,
        float(lengths.max(initial=0.0)),
        no_signs
        if fde.d_proj is None
        else packed_signs(np.concatenate([inner_signs(fde, r) for r in repetitions])),
        inner_scale(fde),
        np.zeros(0, np.float32),
        places,
        signs,
        tie_factors(fde),
    )


KEPT = Kept(KEPT_BYTES)
