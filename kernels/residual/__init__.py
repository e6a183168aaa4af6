"""Token vectors in 2 or 4 bits a number: codes of what is left beside a centroid.

After Santhanam et al., "ColBERTv2" (NAACL 2022), section 3.3, with one difference. There centroids
are learned from a whole collection, so what is stored of a text would depend on the texts beside
it, and change when segments are merged. Here the centroids are the text's own: tokens of a text are
like each other, for they have seen the same context.

The contract:

* A text's tokens are taken in stretches of ``STRETCH``, each with one centroid for every ``SHARE``
  tokens or part of them: ``ceil(n / SHARE)`` for n tokens. They start as tokens at even distances
  and follow ``ROUNDS`` of Lloyd's rounds; then they are rounded to int8 with a float32 scale each.
* A token belongs to the nearest centroid of its stretch, of several the first. What is left is
  coded number by number: the nearest of ``LEVELS[bits]``, Lloyd's and Max's for a Gaussian (Max,
  "Quantizing for Minimum Distortion", 1960), times a float32 scale, the token's best by least
  squares.
* The vector that is stored is ``float32(centroid code) * centroid scale + level * scale``, each of
  the three operations rounded to float32. Every score is one of these vectors: no version rounds
  them further.
* Codes lie ``8 / bits`` in a byte, the first in the lowest bits.

So texts are compressed alone, before they are in any segment, and never again.
"""

from __future__ import annotations

from .codec import Compressed, compress, expand
from .levels import LEVELS, SHARE, STRETCH, n_centroids, packed_size

__all__ = [
    "LEVELS",
    "SHARE",
    "STRETCH",
    "Compressed",
    "compress",
    "expand",
    "n_centroids",
    "packed_size",
]
