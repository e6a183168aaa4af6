"""Which drafted tokens stand, and what is drawn where they do not: one call for a batch of trees.

Rows of trees, padded to n nodes, as numpy arrays or as torch tensors on one device:

* ``tokens``, ``parents`` (rows, n) int64: a parent stands before its children; -1 is the root, the
  last committed token; -2 is padding.
* ``target`` (rows, n + 1, vocabulary) float32: the target's law after the root (0) and after node i
  (i + 1); it need not sum to 1. For ``greedy``, anything that ascends with it, so logits too.
* ``laws`` (rows, n, vocabulary) float32 or None: the law q a node was drawn from, nothing removed
  for its earlier siblings; zeros where it was drafted without one.
* ``coins``, ``picks`` (rows, n + 1) float64 in [0, 1): for the node's trial (i + 1; 0 is unused),
  and for what is drawn at depth 0, 1, ...

At a node the ``rule`` chooses a token, by exactly the target's law p there:

* ``greedy``: the argmax, of equal ones the lowest token;
* ``match``: the token at ``picks``, in the sums of p over the vocabulary;
* ``without_replacement`` (RSD, 2402.14160): the children with a law, in their order: x is chosen if
  ``coin < p(x) / q(x)``, where q is its law without the tokens of earlier siblings, normalised;
  else p becomes ``norm(max(p - q, 0))``, or stays where that is nothing. Then as ``match``;
* ``p_over_q`` (Leviathan et al., 2211.17192): that, with the first such child alone.

The walk goes on to the first child that has the token, and ends where there is none. ->
:class:`Chosen`: ``tokens`` (rows, n + 1) int64, the tokens chosen, then -1; ``nodes``, the node of
each, -1 for the last.

``reference`` is numpy in float64; ``cpu`` is numba; ``gpu`` is Triton, one program a row, the
vocabulary read in tiles, so that no law is copied and none is ever normalised in memory.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

Rule = Literal["greedy", "match", "p_over_q", "without_replacement"]
RULES = ("greedy", "match", "p_over_q", "without_replacement")


class Chosen(NamedTuple):
    """See :mod:`cormorant.kernels.acceptance`."""

    tokens: Any
    nodes: Any


def accept(
    target: Any, laws: Any | None, tokens: Any, parents: Any, coins: Any, picks: Any, rule: Rule
) -> Chosen:
    """See the module; runs on the GPU where the tensors are, else on the CPU.

    Raises ValueError for shapes or types that do not fit, parents that do not stand before their
    children, and tokens that are not in the vocabulary.
    """
    from .checking import check

    check(target, laws, tokens, parents, coins, picks, rule)
    device = getattr(target, "device", "cpu")
    if getattr(device, "type", "cpu") == "cuda":
        from .gpu import accept as on_gpu

        return on_gpu(target, laws, tokens, parents, coins, picks, rule)
    from .cpu import accept as on_cpu

    return on_cpu(target, laws, tokens, parents, coins, picks, rule)
