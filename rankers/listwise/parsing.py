"""What a model answered, by a strict grammar: identifiers count only in a line of nothing else.

::

    answer = line { newline line }           consecutive lines are one answer
    line   = [">"] id { ">" id } [">"]       with spaces anywhere between
    id     = "[" digit {digit} "]"           ASCII digits only

So "I ranked the 20 passages: [3] is best" holds no answer. What stands before the last ``</think>``
was thought, not answered, and so is what stands behind a ``<think>`` that follows it. Of several
answers in a reply the one with the most identifiers counts, the last of equals. A line cut off in
the middle of an identifier loses that identifier.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_LINE = re.compile(
    r"\s*>?\s*\[ *[0-9]{1,6} *\](?:\s*>\s*\[ *[0-9]{1,6} *\])*\s*(?:>\s*)?(?:\[ *[0-9]{0,6})?\s*"
)
_ID = re.compile(r"\[ *([0-9]{1,6}) *\]")
_CUT_OFF = re.compile(r"\[ *[0-9]{0,6}\s*$")


class Parsed(NamedTuple):
    """An answer as places from 0, repaired to hold each exactly once.

    ``named``: how many leading places the model gave. ``repeated`` and ``unknown``: how many
    identifiers were dropped for it. ``missing``: how many were appended in their prior order.
    ``problem``: why nothing of the reply was used, if so.
    """

    order: tuple[int, ...]
    named: int
    repeated: int
    unknown: int
    missing: int
    problem: str | None = None

    @property
    def repaired(self) -> bool:
        """Whether identifiers had to be dropped, or the whole reply."""
        return bool(self.repeated or self.unknown or self.problem)


def parse(reply: str, n: int, top: int) -> Parsed:
    """The order of ``n`` passages, of which ``top`` were asked for, identifiers from 1."""
    text = reply.rpartition("</think>")[2].partition("<think>")[0]
    if not text.strip():
        return _unusable(n, "the answer is empty")
    answers = _answers(text)
    if not answers:
        return _unusable(n, "the answer holds no line of identifiers")
    given = max(reversed(answers), key=len)
    if 0 in given and n not in given:
        return _unusable(n, "the identifiers count from 0")
    order: list[int] = []
    seen: set[int] = set()
    repeated = unknown = 0
    for number in given:
        if not 1 <= number <= n:
            unknown += 1
        elif number in seen:
            repeated += 1
        else:
            seen.add(number)
            order.append(number - 1)
    if not order:
        return _unusable(n, "the answer names no passage that was shown")
    named = len(order)
    order += [place for place in range(n) if place + 1 not in seen]
    return Parsed(tuple(order), named, repeated, unknown, max(0, min(top, n) - named))


def _answers(text: str) -> list[list[int]]:
    answers: list[list[int]] = []
    inside = False
    for whole in text.splitlines():
        line = " ".join(whole.split())  # or a line of spaces takes the grammar's square of time
        if not line:
            continue
        matches = _LINE.fullmatch(line) is not None
        if matches:
            numbers = [int(found) for found in _ID.findall(_CUT_OFF.sub("", line))]
            if inside:
                answers[-1] += numbers
            else:
                answers.append(numbers)
        inside = matches
    return [numbers for numbers in answers if numbers]


def _unusable(n: int, problem: str) -> Parsed:
    return Parsed(tuple(range(n)), 0, 0, 0, 0, problem)
