"""Three birds, a question about one of them, and what a good model says."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from endpoints import Streaming

import cormorant as cm
from cormorant.answers import AnswerEvent

BIRDS = [
    cm.Document(
        id="c",
        title="Cormorant",
        text="The cormorant is a black bird. It dives up to 45 metres deep for fish.",
        labels=["open"],
    ),
    cm.Document(
        id="h",
        title="Heron",
        text="The heron is grey. It stands in shallow water and waits for fish.",
        labels=["staff"],
    ),
    cm.Document(id="o", text="An owl hunts at night. It hardly eats fish.", labels=["open"]),
]
QUESTION = "How deep does the cormorant dive for fish?"
GOOD = "It dives up to 45 metres deep for fish [1]."
Serve = Callable[..., Streaming]


def text_of(events: Iterable[AnswerEvent]) -> str:
    """The pieces of text together."""
    return "".join(event.text for event in events)
