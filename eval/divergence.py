"""Where a text decoded with drafts leaves the plain one in lower precision, and whether it may.

A forward over several tokens rounds otherwise than one over each, so in bfloat16 the two best
tokens can change places where they are close; where they are not, something is wrong. How close is
close enough is not chosen but measured: in a plain forward of the model alone, how far are its
logits from those of the same weights in float32? If none is further off than e, two runs can only
choose apart where float32's logits of the two tokens differ by 2e at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..contracts import Int64Array
from ..retrieval.answering.decoding.types import Generation


class Divergence(NamedTuple):
    """The first token (its place in the answer) in which two greedy texts differ.

    ``margin``: between the two tokens' float32 logits; ``bound``: twice the largest error of any
    logit of lower precision along the plain text.
    """

    place: int
    margin: float
    bound: float

    @property
    def certified(self) -> bool:
        """Whether rounding explains it."""
        return self.margin <= self.bound


def first_divergence(
    low: Any, full: Any, prompt: Int64Array, plain: Generation, drafted: Generation
) -> Divergence | None:
    """Compare two greedy texts of one prompt; None: they are the same.

    ``low`` and ``full``: the model of transformers in lower precision and in float32.
    """
    import torch

    ends = low.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [] if ends is None else [ends]
    own, other = plain.tokens, drafted.tokens
    place = next(
        (at for at, (one, two) in enumerate(zip(own, other, strict=False)) if one != two),
        min(len(own), len(other)),
    )
    if place == len(own) == len(other):
        return None
    ids = torch.tensor([[*prompt.tolist(), *own[:place]]], device=low.device)
    with torch.inference_mode():
        begin = len(prompt) - 1
        rounded = low(ids).logits[0, begin:].float()
        exact = full(ids.to(full.device)).logits[0, begin:].float().to(rounded.device)
    last = exact[place]
    chosen = [_token(last, text, place, ends) for text in (own, other)]
    margin = abs(float(last[chosen[0]] - last[chosen[1]]))
    return Divergence(place, margin, 2 * float((rounded - exact).abs().max()))


def _token(logits: Any, text: Sequence[int], place: int, ends: Sequence[int]) -> int:
    """What a text has at a place: where it is over, the likeliest of the end tokens."""
    return text[place] if place < len(text) else max(ends, key=lambda end: float(logits[end]))
