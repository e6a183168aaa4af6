"""How many lists a search must read, and how far it must go down what they hold.

Both together, on the samples that patience is measured on (:mod:`.tuning`): where each one's true
best stand is known, so is how many lists hold which share of them. A few such shares are tried,
above the target; for each, candidates come as a search gets them, and patience is measured on
these. A document that is in no list that is read is never found: the recall is that of the whole
search. The first share that reaches the target is taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...contracts import Array, Int64Array
from ...documents import JsonObject
from ...kernels.lists import Rule, choose
from ...kernels.maxsim import Tokens, rescore
from ...vectors import TokenVectors
from ..dense.segment import Passing
from ..spann.sampling import Samples, walked
from ..spann.segment import SpannSegment
from ..spann.tracing import Trace
from . import lists
from .coded import Tabled
from .patience import entries
from .proxies import Proxy
from .tuning import DEPTHS, Effort, Walk, all_of, least_effort, sample, scored

_SHARES = (0.95, 1.0)
"""Of what the target leaves to be missed: how much of it lists must hold. What is in no list is as
often the first as the tenth: with .75 nfcorpus lost .004 of nDCG@10, with .9 .002, with .95 .001
(means of four seeds)."""
_LONGEST = 4096
"""Candidates that are looked at for a sample."""
_NEVER = np.iinfo(np.int64).max
_EVERY: NDArray[np.int32] = np.zeros(0, np.int32)


class _Asked(NamedTuple):
    """The samples: their proxies, the places they are taken from, where their best stand.

    ``ranks`` (n_samples, depth): in which of a sample's lists each of its best is met first.
    """

    queries: TokenVectors
    codes: Array
    sources: Int64Array
    true: Int64Array
    ranks: Int64Array


def measure(
    tokens: Tokens,
    listed: SpannSegment,
    one: Proxy,
    target: float,
    candidates: int | None,
    threads: int,
) -> JsonObject:
    """As :func:`.tuning.measure`, with how many ``lists`` are read.

    Fills ``spann_heat`` with how often the samples read each list.
    """
    queries, sources = sample(tokens)
    if not len(sources):  # no document has a token: none is likelier than another
        return {str(depth): all_of(tokens)._asdict() for depth in DEPTHS}
    codes, true = one.queries(queries), _true(tokens, threads)
    assert not isinstance(codes, Tabled)  # settings refuse it
    points = lists.points_of(listed, codes)
    homes, copies = listed.arrays["spann_homes"], listed.arrays["spann_copies"]
    assert listed.lists is not None
    samples = Samples(points, sources, true)
    ranks = np.stack(walked(listed.lists, samples, homes, copies, lambda walk: walk.ranks))
    asked = _Asked(queries, codes, sources, true, ranks)
    efforts = {
        depth: _effort(tokens, listed, asked, depth, target, candidates, threads)
        for depth in DEPTHS
    }
    rule = Rule(np.inf, 0.0, efforts[DEPTHS[0]].lists or 0, 0)
    for point in points:
        listed.arrays["spann_heat"][choose(listed.lists, point, rule, _EVERY)] += 1.0
    return {str(depth): effort._asdict() for depth, effort in efforts.items()}


def _effort(
    tokens: Tokens,
    listed: SpannSegment,
    asked: _Asked,
    depth: int,
    target: float,
    candidates: int | None,
    threads: int,
) -> Effort:
    ranks = np.sort(asked.ranks[:, :depth], axis=None)
    for share in _SHARES:
        wanted = int(np.ceil((target + share * (1 - target)) * len(ranks)))
        most = int(ranks[wanted - 1]) + 1
        walks = list(_walks(tokens, listed, asked, depth, most, threads))
        effort = least_effort(walks, depth, target, candidates)
        if effort is not None:
            return effort._replace(lists=most)
    return all_of(tokens)


def _walks(
    tokens: Tokens, listed: SpannSegment, asked: _Asked, depth: int, most: int, threads: int
) -> Iterator[Walk]:
    """What going down each sample's candidates finds, out of so many lists."""
    n = tokens.n_documents
    length = min(_LONGEST, n // 2)
    passing = Passing(None, n)
    found = lists.best(listed, asked.codes, depth, length, passing, most, Trace())
    for number, places in enumerate(found):
        own = places[(places >= 0) & (places != asked.sources[number])]
        starts = np.array([0, len(own)], np.int64)
        query = asked.queries[number : number + 1]
        scores = rescore(query, tokens, own, starts, threads=threads)
        stands = np.full(n, _NEVER)
        stands[own] = np.arange(1, len(own) + 1)
        wanted = np.sort(stands[asked.true[number, :depth]])
        yield Walk(entries(scores, depth), wanted, len(own))


def _true(tokens: Tokens, threads: int) -> Int64Array:
    """The true best of each sample but its own document: (n_samples, DEPTHS[-1]), best first."""
    depth = min(DEPTHS[-1], tokens.n_documents - 1)
    best = []
    for _, sources, exact in scored(tokens, threads):
        exact[np.arange(len(exact)), sources] = -np.inf
        best.append(np.argsort(-exact, axis=1, kind="stable")[:, :depth])
    return np.concatenate(best)
