"""Which tokens of a text are copied from which passage: what was drafted, and what reads on there.

How much of a copied stretch happens to be drafted is a matter of the policy, and so of the clock;
the tokens before and behind that stand in the passage just so are of the same copy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .types import Prompt

Copy = tuple[int, str, int]
"""(place in the text, passage, token of that passage)."""


def copied(drafted: Sequence[Copy], tokens: Sequence[int], prompt: Prompt) -> tuple[Copy, ...]:
    """The copies that accepted drafts are part of, each token once, in the text's order."""
    found = {place: (place, id, offset) for place, id, offset in drafted}
    for one in drafted:
        for step in (-1, 1):
            for other in _reading_on(one, step, tokens, prompt):
                if other[0] in found:
                    break
                found[other[0]] = other
    return tuple(found[place] for place in sorted(found))


def _reading_on(one: Copy, step: int, tokens: Sequence[int], prompt: Prompt) -> Iterator[Copy]:
    """Token by token from a copied one, as long as text and passage agree."""
    place, id, offset = one
    passage = next((passage for passage in prompt.passages if passage.id == id), None)
    if passage is None:
        return
    while True:
        place, offset = place + step, offset + step
        at = passage.begin + offset
        inside = 0 <= place < len(tokens) and passage.begin <= at < passage.end
        if not inside or tokens[place] != prompt.tokens[at]:
            return
        yield place, id, offset
