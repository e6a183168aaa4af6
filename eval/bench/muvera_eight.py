"""A few of the timed queries, as long as all of them on average, for what is slow.

sentence-transformers' ``maxsim`` takes seconds a query over 100,000 passages; our own searches are
timed on the same few beside it.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from ...contracts import Int64Array
from ...vectors import TokenVectors
from .muvera_data import Prepared
from .muvera_processes import seconds

ROUNDS = 3
DOCUMENTS = 2_048
"""Passages that are padded together, by length."""


def spread(lengths: Int64Array, n: int) -> Int64Array:
    """Places, ascending, of n texts whose mean length is as near that of all as can be.

    One out of each of n equal parts of the texts by length, longest part first: the nearest to its
    part's mean plus what the parts before it left over.
    """
    order = np.argsort(lengths, kind="stable")
    places, left = [], 0.0
    for part in reversed(np.array_split(order, n)):
        wanted = float(lengths[part].mean()) + left
        place = int(part[np.argmin(np.abs(lengths[part] - wanted))])
        left = wanted - float(lengths[place])
        places.append(place)
    return np.sort(np.array(places, np.int64))


def taken(queries: TokenVectors, places: Int64Array) -> TokenVectors:
    """Some queries of many."""
    texts = [queries[place : place + 1].vectors for place in places.tolist()]
    starts = np.cumsum([0, *map(len, texts)]).astype(np.int64)
    return TokenVectors(starts, np.concatenate(texts))


def sentence_transformers(data: Prepared, queries: TokenVectors) -> dict[str, float]:
    """Seconds for all queries, asked one a call and in one call; medians over rounds.

    Padding of passages and their conversion to float32 are not counted.
    """
    import torch
    from sentence_transformers.util import similarity

    asked = [torch.from_numpy(queries[n : n + 1].vectors) for n in range(len(queries))]
    calls = {"one query a call": [[one] for one in asked], "all in one call": [asked]}
    times = {name: np.zeros(ROUNDS) for name in calls}
    order = np.argsort(np.diff(data.starts), kind="stable")
    for first in range(0, len(order), DOCUMENTS):
        texts = [
            torch.from_numpy(
                np.asarray(data.vectors[data.starts[place] : data.starts[place + 1]], np.float32)
            )
            for place in order[first : first + DOCUMENTS].tolist()
        ]
        padded = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True)
        lengths = torch.tensor([len(text) for text in texts])
        mask = torch.arange(padded.shape[1])[None] < lengths[:, None]
        for number in range(ROUNDS):
            for name, some in calls.items():
                times[name][number] += sum(
                    seconds(partial(similarity.maxsim, own, padded, b_mask=mask)) for own in some
                )
    return {name: float(np.median(own)) for name, own in times.items()}
