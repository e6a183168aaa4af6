"""Which drafted tokens stand, and what is drawn where they do not: one call for a batch of trees.

Rows of trees, padded to n nodes. What says how they look is small, and numpy:

* ``tokens``, ``parents`` (rows, n) int64: a parent stands before its children; -1 is the root, the
  last committed token; -2 is padding.
* ``coins`` (rows, n) float64 in [0, 1): what the trial of each node falls by.

What is as wide as the vocabulary is torch's, on one device:

* ``target`` (rows, n + 1, vocabulary) float32: the target's law after the root (0) and after node i
  (i + 1); it need not sum to 1.
* ``laws`` (rows, n, vocabulary) float32 or None: the law q a node was drawn from, nothing removed
  for its earlier siblings; zeros where it was drafted without one.
* ``noise`` (rows, depths, vocabulary) float32: Gumbel noise for what is drawn at depth 0, 1, ...;
  one depth more than the deepest node has.

At a node the ``rule`` chooses a token, by exactly the target's law p there:

* ``match``: the argmax of ``log p + noise``, of equal ones the lowest token;
* ``without_replacement`` (RSD, 2402.14160): the children with a law, in their order: x is chosen if
  ``coin < p(x) / q(x)``, where q is its law without the tokens of earlier siblings, normalised;
  else p becomes ``norm(max(p - q, 0))``, or stays where that is nothing. Then as ``match``;
* ``p_over_q`` (Leviathan et al., 2211.17192): that, with the first such child alone.

The walk goes on to the first child that has the token, and ends where there is none. ->
:class:`Chosen`, of numpy: ``tokens`` (rows, depths) int64, the tokens chosen, then -1; ``nodes``,
the node of each, -1 for the last.

``reference`` is numpy in float64; ``gpu`` is Triton, one program a row, the vocabulary read in
tiles, so that no law is copied and none is ever normalised in memory. On a CPU, where nothing is
gained by one call, decoding walks by itself and looks at no law that it does not come by.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from ...contracts import Array, Int64Array

Rule = Literal["match", "p_over_q", "without_replacement"]
RULES = ("match", "p_over_q", "without_replacement")


class Chosen(NamedTuple):
    """See :mod:`cormorant.kernels.acceptance`."""

    tokens: Int64Array
    nodes: Int64Array


def accept(
    target: Any,
    laws: Any | None,
    tokens: Int64Array,
    parents: Int64Array,
    coins: Array,
    noise: Any,
    rule: Rule,
) -> Chosen:
    """See the module; on the GPU where the tensors are, else by the reference.

    Raises ValueError for shapes or types that do not fit, parents that do not stand before their
    children, and tokens that are not in the vocabulary.
    """
    from .checking import check

    check(target, laws, tokens, parents, coins, noise, rule)
    if target.device.type == "cuda":
        from .gpu import accept as on_gpu

        return on_gpu(target, laws, tokens, parents, coins, noise, rule)
    from .reference import accept as by_reference

    return by_reference(target, laws, tokens, parents, coins, noise, rule)
