"""Inverted lists of quantised vectors: which lists to read, and which of their vectors to look at.

The contract of every version here, for one query q (dim,) float32 in the lists' own space:

    closest(products (n, m), squares (m,), width) -> ids (n, width) int32, distances (n, width)

of n vectors with m centroids, the ``width`` nearest centroids, nearest first, by
``squares - 2 products``; of equal ones the lower number;

    nearer(products (n, m), squares (m,), numbers (m,), rows (n,), ids (all, width), distances)

the same, of further centroids of these numbers: for some ``rows`` of what ``closest`` gave (or of
-1 and infinities) that which is nearer goes in, in place;

    distances(lists, q) -> (m,) float32

true distances of the query, rounded to 8 bits a number, to the centroids, which are kept so;

    choose(lists, q, Rule, allowed (m,) int32) -> numbers of lists, nearest first

the nearest centroid's list, and every list whose centroid is not farther than

    d_1 + eps2 max(d_1, radius)         d_1 the nearest centroid's distance

in true distance (SPANN, equation 3, where ``d_1 >= radius``; the radius, a typical distance of a
vector from its centroid, keeps the rule meaningful where a query lies on a centroid), ``most`` at
most, and further until they hold ``least`` vectors. ``allowed`` (empty: all) counts the vectors of
each list that may be found: lists with none are passed over, and the search goes on until as many
vectors that may be found are there as the rule gives without a filter. Where there are ``Groups``
of lists, no filter, and few lists may be read, only those of the nearest groups are compared with
the query, until they are ``8 most + 512``: a near list of a far group is missed. Distances are from
the query rounded to 8 bits a number to the centroids, which are kept so;

    survivors(lists, q, numbers, k, slack, most, mask (n_rows,) bool) -> Survivors

the places, by estimated distance, of those vectors whose estimate less ``slack`` spreads
(:mod:`cormorant.kernels.rabitq`) is not above the k-th least estimate, ``most`` at most, each place
once, the least slack that each needs for it, and how many codes were looked at. ``mask`` (empty:
all): places that may be found.

    replicate(ids (n, width), distances (n, width), centroids (m, dim), factor, lists, squares)

which lists n vectors stand in, by their nearest centroids and squared distances (``closest``): the
nearest, and every further one within ``factor`` times its squared distance, unless one taken before
is nearer to it than the vector is (SPANN, section 3.2.2); fills (n, replicas) int32 and float32;

    members(lists (n, replicas) int32, m) -> counts (m,) int64, rows int32

of m lists who stands in which, list after list, first those that name it first, by row (-1: none);

    walk(distances (n, n)) -> order (n,) int64

from point 0 always to the nearest that is left, of equal ones the lowest;

    rearrange(rows (n, bytes) uint8, order (n,) int64)

makes row i what row ``order[i]`` was, in place.

``layout`` says what lists are, ``cpu`` is numba, ``reference`` numpy in float64.
"""

from __future__ import annotations

from .cpu import choose, closest, distances, rearrange, replicate, survivors
from .layout import Groups, Lists, Rule, Survivors, grouped, opened
from .nearing import members, nearer, walk

__all__ = [
    "Groups",
    "Lists",
    "Rule",
    "Survivors",
    "choose",
    "closest",
    "distances",
    "grouped",
    "members",
    "nearer",
    "opened",
    "rearrange",
    "replicate",
    "survivors",
    "walk",
]
