"""Which lists a vector stands in (SPANN, section 3.2.2).

The nearest centroid's, its *home*; and, of the nearest ``_WIDTH``, those not farther than
``1 + eps1`` times the home (equation 2) unless a centroid taken already is nearer to this one than
the vector is (the relative-neighbourhood rule). Where lists grow too long they are cut of their
farthest copies; homes are never cut, so that every vector can be reached.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...contracts import Float32Array, Int64Array
from ...kernels.lists import replicate
from .nearest import in_groups, near_of, nearest_of
from .rows import Rows
from .space import Space
from .threads import Done, followed, untold

_WIDTH = 16
_BLOCK = 4096
_CENTROIDS = 1024
"""So many are compared with a block of vectors at once."""


def assign(
    vectors: Rows,
    space: Space,
    places: Int64Array,
    centroids: Float32Array,
    eps1: float,
    lists: NDArray[np.int32],
    done: Done = untold,
) -> None:
    """Fill the places' rows of ``lists`` (n, replicas): the home first, -1 for none.

    Centroids (m, width) float32, as they are kept.
    """
    groups = in_groups(centroids) if 16 * len(places) >= len(centroids) else None
    blocks = [
        centroids[first : first + _CENTROIDS] for first in range(0, len(centroids), _CENTROIDS)
    ]
    replicas = lists.shape[1]
    width = _WIDTH if replicas > 1 else 1
    factor = np.float32(min((1.0 + eps1) ** 2, 1e30))

    def block(first: int, done: Done) -> None:
        own = places[first : first + _BLOCK]
        points = space.of_vectors(vectors, own)
        if groups is None:
            found, apart = nearest_of(points, blocks, width)
        else:
            found, apart = near_of(points, groups, width)
        apart += np.einsum("nd,nd->n", points, points)[:, None]
        np.maximum(apart, 0.0, out=apart)
        into = np.full((len(own), replicas), -1, np.int32)
        replicate(found, apart, centroids, factor, into, np.empty(into.shape, np.float32))
        lists[own] = into
        done(len(own))

    followed(block, range(0, len(places), _BLOCK), done)
