"""A growing text, handed out in pieces of which nothing has to be taken back."""

from __future__ import annotations

from collections.abc import Sequence

_THINKS, _THOUGHT = "<think>", "</think>"


class Pieces:
    """What of a text can be handed out while it grows.

    White space at its ends is left out, and what a model thinks before ``</think>``. The beginning
    of a stop string, and of a character of which some bytes are missing, waits for what follows.
    """

    def __init__(self, stop: Sequence[str] = ()) -> None:
        self._stop = stop
        self._given = 0

    def grown(self, text: str) -> str:
        """The next piece, now that the text has grown to this."""
        for stop in self._stop:
            text = text.partition(stop)[0]
        plain = tidy(text, finished=False)
        piece = plain[self._given : len(plain) - self._unsure(plain)]
        self._given += len(piece)
        return piece

    def rest(self, text: str) -> str:
        """The last piece of the finished text."""
        return tidy(text)[self._given :]

    def _unsure(self, text: str) -> int:
        """How many last characters may yet become something else."""
        plain = text.rstrip("\ufffd")
        begun = max(
            (
                size
                for stop in self._stop
                for size in range(1, min(len(stop), len(plain)) + 1)
                if plain.endswith(stop[:size])
            ),
            default=0,
        )
        return len(text) - len(plain[: len(plain) - begun].rstrip())


def tidy(text: str, *, finished: bool = True) -> str:
    """The answer in what a model wrote: without its thoughts, and white space around it."""
    start = text.lstrip()
    if start.startswith(_THINKS) or (not finished and _THINKS.startswith(start)):
        text = start.partition(_THOUGHT)[2]
    return text.strip()
