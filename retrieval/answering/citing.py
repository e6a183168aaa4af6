"""From a text as it was written to an answer: citations, and what each sentence draws on."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ...answers import NOT_FOUND, Citation, Sentence
from .faithfulness import Encode, Evidence, ranks_in
from .generating import Written
from .packing import Packed
from .sentences import sentences_of
from .settings import Answering
from .showing import MARKER, without_markers

LEAST_COPIED = 12
"""Characters from which on a copied stretch is a citation: shorter ones are words anybody uses."""
_LETTERS = re.compile(r"[\W_]+")


def says_not_found(text: str) -> bool:
    """Whether an answer is that the passages hold none: the words asked for, and no others."""
    return _plain(without_markers(text)) in ("", _plain(NOT_FOUND))


def _plain(text: str) -> str:
    return _LETTERS.sub(" ", text.casefold()).strip()


def cite(
    question: str,
    written: Written,
    passages: Sequence[Packed],
    settings: Answering,
    encode: Encode | None,
) -> tuple[tuple[Citation, ...], tuple[Sentence, ...], list[str]]:
    """The citations in the order of the text, its sentences, and what to say of them."""
    text = written.text
    if says_not_found(text):
        return (), (), []
    evidence = Evidence(question, passages, encode)
    places = {packed.rank: place for place, packed in enumerate(passages)}
    spans = sentences_of(text)
    sentences = tuple(evidence.sentence(text, *span, settings) for span in spans)
    citations = _copied(written, passages)
    for start, end in spans:
        for found in MARKER.finditer(text, start, end):
            for rank in ranks_in(found[0]):
                if rank not in places:
                    continue
                packed = passages[places[rank]]
                inside = evidence.place_in(text[start:end], places[rank])
                at = found.span()
                citations.append(Citation(*at, packed.id, rank, packed.span(*inside), "marker"))
    flags = []
    unknown = sorted(set(ranks_in(text)) - places.keys())
    if unknown:
        named = ", ".join(f"[{rank}]" for rank in unknown)
        flags.append(f"the answer cites {named}, which the prompt did not show")
    unsupported = sum(not sentence.supported for sentence in sentences)
    if unsupported:
        flags.append(f"{unsupported} of {len(sentences)} sentences are supported by no passage")
    return tuple(sorted(citations)), sentences, flags


def _copied(written: Written, passages: Sequence[Packed]) -> list[Citation]:
    """A citation for each stretch that was drafted from a passage and accepted."""
    of_id = {packed.id: packed for packed in passages}
    return [
        Citation(start, end, id, of_id[id].rank, of_id[id].span(first, last), "copied")
        for start, end, id, first, last in written.copied
        if id in of_id and end - start >= LEAST_COPIED
    ]
