"""Attention over packed texts: those of one length together, no padding, no mask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

SCORE_ELEMENTS = 1 << 20
"""Scores computed at once: what the second and third level of cache hold."""
FLASH_FROM = {"torch.float32": 128, "torch.bfloat16": 1024}
"""From this length on torch's own fused attention is as fast, or the scores would be too large."""

SUM_LIMIT = 1e30
"""Sums of exponentials beyond this, or below its inverse, are not trusted."""


class Group(NamedTuple):
    """Texts of one length that lie one after the other: ``texts`` of them from token ``start``."""

    start: int
    texts: int
    length: int


def groups_of(lengths: Sequence[int]) -> Iterator[Group]:
    """The groups of texts in the order in which they lie."""
    start = first = 0
    for number, length in enumerate(lengths):
        if number + 1 == len(lengths) or lengths[number + 1] != length:
            texts = number + 1 - first
            yield Group(start, texts, length)
            start, first = start + texts * length, number + 1


def attend(query_key_value: Any, groups: Sequence[Group], heads: int) -> Any:
    """(total, 3 hidden) -> (total, hidden); the queries come scaled.

    Which way a text goes depends on its length and the type; beside a text whose scores overflow,
    also on that, which changes no more than rounding does.
    """
    import torch

    hidden = query_key_value.shape[1] // 3
    context = query_key_value.new_zeros(len(query_key_value), hidden)
    flash_from = FLASH_FROM[str(query_key_value.dtype)]
    for start, texts, length in groups:
        place = slice(start, start + texts * length)
        parts = query_key_value[place].view(texts, length, 3, heads, -1).permute(2, 0, 3, 1, 4)
        out = context[place].view(texts, length, heads, -1).transpose(1, 2)
        if length >= flash_from:
            out.copy_(torch.nn.functional.scaled_dot_product_attention(*parts, scale=1.0))
            continue
        first = 0
        for size in _powers_of_two(texts, max(1, SCORE_ELEMENTS // (heads * length * length))):
            _attend_plainly(parts[:, first : first + size], out[first : first + size])
            first += size
    return context


def _powers_of_two(count: int, most: int) -> Iterator[int]:
    """Parts of a count, each a power of two: oneDNN keeps a compiled product for each shape."""
    size = 1 << (most.bit_length() - 1)
    while count:
        while size > count:
            size //= 2
        yield size
        count -= size


def _attend_plainly(parts: Any, out: Any) -> None:
    """parts: (3, texts, heads, length, head); out: (texts, heads, length, head)."""
    import torch

    _, texts, heads, length, head = parts.shape
    query, key, value = parts.reshape(3, texts * heads, length, head)
    scores = torch.bmm(query, key.transpose(1, 2))
    if scores.dtype == torch.bfloat16:
        # Without the maximum: one pass instead of three, and bfloat16 reaches as far as float32.
        sums = scores.exp_().sum(-1, keepdim=True, dtype=torch.float32)
        least, most = (float(value) for value in sums.aminmax())
        if least > 1 / SUM_LIMIT and most < SUM_LIMIT:
            out.copy_((torch.bmm(scores, value) / sums).view(texts, heads, length, head))
            return
        scores = torch.bmm(query, key.transpose(1, 2))
    torch.softmax(scores, -1, out=scores)
    out.copy_(torch.bmm(scores, value).view(texts, heads, length, head))
