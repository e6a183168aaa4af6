"""Ranked lists made of dicts, true scores for them, and small random ones where all ties."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import strategies as st

import cormorant as cm
from cormorant.ranking import NO_ROW
from cormorant.stages import RankedList

NOWHERE = -math.inf


def ranked(queries, index="a", kind="bm25", lowest=0.0):
    """A list from one dict {row: score} a query, in the order that a ranking has."""
    depth = max((len(query) for query in queries), default=0)
    ranking = cm.Ranking.empty(len(queries), depth)
    for number, query in enumerate(queries):
        ordered = sorted(query.items(), key=lambda pair: (-pair[1], pair[0]))
        for place, (row, score) in enumerate(ordered):
            ranking.rows[number, place] = row
            ranking.scores[number, place] = score
    return RankedList(index, kind, ranking, lowest)


def never(index, rows):
    raise AssertionError(f"{index} was asked for true scores")


def truth(worlds):
    """A ``score`` over {index: [{row: true score}, one a query]}; it notes what it was asked."""

    def score(index, rows):
        score.asked.append((index, rows.tolist()))
        scores = np.full(rows.shape, NOWHERE, np.float32)
        for place in np.argwhere(rows != NO_ROW).tolist():
            scores[tuple(place)] = worlds[index][place[0]].get(int(rows[tuple(place)]), NOWHERE)
        return scores

    score.asked = []
    return score


def found(ranking, query=0):
    """{row: score} of one query, in order."""
    there = ranking.rows[query] != NO_ROW
    return dict(
        zip(ranking.rows[query][there].tolist(), ranking.scores[query][there].tolist(), strict=True)
    )


def in_order(total, k):
    exact = {row: float(np.float32(score)) for row, score in total.items()}
    return sorted(exact.items(), key=lambda pair: (-pair[1], pair[0]))[:k]


GRID = st.sampled_from([0.0, 0.25, 0.5, 1.0, 1.5, 3.0, 0.1, -0.25, -1.0, -1.5, 1e-30])


@st.composite
def searches(draw):
    """Lists of several indexes, and every true score: few rows and few scores, so that all ties."""
    n_queries = draw(st.integers(0, 4))
    lists, worlds = [], {}
    for number in range(draw(st.integers(1, 4))):
        name = f"index{number}"
        world = draw(
            st.lists(
                st.dictionaries(st.integers(0, 9), GRID.map(np.float32).map(float)),
                min_size=n_queries,
                max_size=n_queries,
            )
        )
        listed = [
            {row: query[row] for row in sorted(query) if draw(st.booleans())} for query in world
        ]
        worlds[name] = world
        kind = draw(st.sampled_from(["bm25", "dense", "other"]))
        lowest = draw(st.sampled_from([0.0, -1.0, None]))
        lists.append(ranked(listed, name, kind, lowest))
    return lists, worlds


def weights_for(draw, lists):
    """Weights in proportions that a float holds exactly or not."""
    some = st.lists(st.sampled_from([0.0, 1.0, 2.0, 0.3]), min_size=len(lists), max_size=len(lists))
    return tuple(draw(some.filter(any)))
