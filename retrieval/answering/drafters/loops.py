"""What a draft does at the end of the text that it reads: it goes round.

Where the text last said what it says now, it may have said little since: that is soon read to its
end, and then the text that would be read on is the draft itself, as a copy in LZ77 may run into
what it writes (Ziv and Lempel, 1977). So a list in equal lines, or a loop, is drafted as far as the
budget goes, and not by one period a step.
"""

from __future__ import annotations

import numpy as np

from ....kernels.suffix import Continuations, Rule


def gone_round(found: Continuations, end: int, rule: Rule) -> Continuations:
    """The tree, and its first branch that ends at the place ``end`` said again and again."""
    parents = found.parents.tolist()
    leaves = set(range(len(parents))) - set(parents)
    ending = [node for node in sorted(leaves) if found.places[node] == end]
    if not ending:
        return found
    path = [ending[0]]
    while parents[path[-1]] >= 0:
        path.append(parents[path[-1]])
    path.reverse()
    context, worth = int(found.contexts[path[0]]), float(np.prod(found.shares[path]))
    again: list[tuple[int, int, float]] = []
    room = min(rule.nodes - len(parents), rule.depth - len(path))
    for step in range(room):
        agreed = context + len(path) + step
        share = (agreed + 1) / (agreed + 2)
        worth *= share
        if worth < rule.least_share:
            break
        parent = len(parents) + step - 1 if step else path[-1]
        again.append((int(found.tokens[path[step % len(path)]]), parent, share))
    if not again:
        return found
    tokens, above, shares = zip(*again, strict=True)
    n = len(again)
    return Continuations(
        np.append(found.tokens, np.array(tokens, np.int64)),
        np.append(found.parents, np.array(above, np.int64)),
        np.append(found.places, np.full(n, end)),
        np.append(found.contexts, np.full(n, context)),
        np.append(found.shares, np.array(shares)),
    )
