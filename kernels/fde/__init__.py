"""Fixed dimensional encodings: sets of token vectors as single vectors (MUVERA).

Dhulipala et al., "MUVERA: Multi-Vector Retrieval via Fixed Dimensional Encodings" (2024), section
2: the inner product of a query's encoding and a document's estimates their MaxSim
(:mod:`cormorant.kernels.maxsim`), so any index of single vectors finds candidates for it.

The contract of every version here, for the parameters of :class:`Fde`:

* A repetition has 2^k_sim cells. Bit i of a token's cell says whether its inner product with
  hyperplane i is above 0, summed in float64. ``mean``, where given, is subtracted first.
* A query's cell holds the sum of the tokens in it, a document's cell their mean. A cell of a
  document (never of a query) that no token falls into is filled with the token whose cell differs
  in the fewest bits, unless ``filled`` is False. Of several equally near ones it is the one with
  the least tie number, a hash of the bits of the token, less ``mean``, in float32: the same in any
  order.
* What a cell holds of a token is psi(token) = S token, S of +-1/sqrt(d_proj); the token itself
  where ``d_proj`` is None. Of a document token with a ``mean`` it is psi(token - mean): that moves
  every filled document by the same amount, and no ranking.
* Repetitions stand one after the other, each with matrices of its own. With ``d_final`` they go
  through a random projection to so many numbers, a few repetitions at a time: the whole vector
  before it never exists.
* Matrices are drawn by :mod:`philox` from the seed, the purpose and the repetition: the same bits
  on every platform, and the first repetitions of many are the repetitions of few.
* Products are float32 in an order that :mod:`signed` defines, sums over tokens are float64, rounded
  once (on a GPU products are float64 and sums float32).
  So an encoding does not depend on the batch, on padding, or on masked tokens (excluded), and on
  the order of tokens only by that rounding.
* A text without tokens, or whose every token is excluded, encodes to zeros. Numbers that are not
  finite are refused with InputError.

``encode_documents`` and ``encode_queries`` return (n, size) float32; documents a to b alone are
encoded by ``tokens._replace(starts=starts[a : b + 1])``. ``sparse`` and ``score_sparse`` use a
query's empty cells; ``codes`` keeps documents in a byte a number or less.
"""

from __future__ import annotations

from .codes import Bytes, Product, as_bytes, product_quantiser, score_product
from .dispatch import encode_documents, encode_queries
from .settings import Fde
from .sparse import SparseQueries, score_sparse, sparse

__all__ = [
    "Bytes",
    "Fde",
    "Product",
    "SparseQueries",
    "as_bytes",
    "encode_documents",
    "encode_queries",
    "product_quantiser",
    "score_product",
    "score_sparse",
    "sparse",
]
