"""Documents cut to the training window, title first, so that every part of a long one is learnt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ...contracts import Int64Array


class Passages(NamedTuple):
    """``texts``: the passages, document after document; ``documents``: (n,) int64, whose they are.

    ``starts``: (n_documents + 1,) int64, where each document's begin.
    """

    texts: list[str]
    documents: Int64Array
    starts: Int64Array


def cut(documents: Sequence[tuple[str, str]], tokenizer: Any, window: int) -> Passages:
    """Every (title, text) in pieces of at most ``window`` tokens, each with the title before it.

    ``tokenizer``: a fast one of transformers. A document without text has one passage, its title.
    """
    texts: list[str] = []
    starts = [0]
    for title, text in documents:
        titled = f"{title}\n" if title else ""
        used = len(tokenizer(titled, add_special_tokens=False)["input_ids"]) + 2
        room = max(16, window - used)
        offsets = tokenizer(
            text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )["offset_mapping"]
        for first in range(0, max(1, len(offsets)), room):
            piece = offsets[first : first + room]
            texts.append(titled + (text[piece[0][0] : piece[-1][1]] if piece else text))
        starts.append(len(texts))
    bounds = np.array(starts, np.int64)
    return Passages(texts, np.repeat(np.arange(len(documents)), np.diff(bounds)), bounds)
