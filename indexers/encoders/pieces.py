"""Which piece of a text each of its token vectors stands for: what an explanation shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from ...contracts import BoolArray
from ...documents import Chunk, JsonObject


class Piece(NamedTuple):
    """A token that has a vector.

    ``text``: as it is written in the text; ``span``: its characters there, from and to. A token
    that the model added (a mark, its prompt, padding that counts) is not in the text: ``text`` is
    the tokenizer's name of it then, and ``span`` None.
    """

    text: str
    span: tuple[int, int] | None


@runtime_checkable
class ReadsPieces(Protocol):
    """A token encoder that can say what its vectors stand for."""

    def query_pieces(self, text: str) -> list[Piece]:
        """What each vector of a query stands for, in the order of ``encode_query``."""

    def document_pieces(self, text: str) -> list[Piece]:
        """What each vector of a passage stands for, in the order of ``encode_document``."""


def pieces_of(
    names: Sequence[str],
    offsets: Sequence[tuple[int, int]],
    kept: BoolArray,
    prompt: str,
    text: str,
) -> list[Piece]:
    """The tokens of ``prompt + text`` that are ``kept``; ``offsets``: characters of both.

    Blanks that a tokenizer takes into a token are none of its characters.
    """
    pieces = []
    for number, name in enumerate(names):
        if not kept[number]:
            continue
        first, last = offsets[number] if number < len(offsets) else (0, 0)
        first, last = max(first - len(prompt), 0), last - len(prompt)
        words = text[first : max(last, 0)]
        first += len(words) - len(words.lstrip())
        words = words.strip()
        span = (first, first + len(words))
        pieces.append(Piece(words, span) if words else Piece(name, None))
    return pieces


def read_pieces(
    tokenizer: Any, ids: Sequence[int], kept: BoolArray, prompt: str, text: str, window: int
) -> list[Piece]:
    """The same of tokens that a tokenizer of transformers made; for one thread at a time.

    ``ids``: as the model saw them. A tokenizer without offsets (a slow one) gives names only.
    """
    offsets: Sequence[tuple[int, int]] = ()
    if getattr(tokenizer, "is_fast", False):
        found = tokenizer(
            prompt + text,
            truncation=True,
            max_length=window,
            padding=False,
            return_offsets_mapping=True,
        )
        if found["input_ids"] == list(ids[: len(found["input_ids"])]):
            offsets = found["offset_mapping"]
    return pieces_of(tokenizer.convert_ids_to_tokens(list(ids)), offsets, kept, prompt, text)


def name_tokens(
    encoder: ReadsPieces, query: str, chunks: Sequence[Chunk], reasons: Sequence[JsonObject]
) -> list[JsonObject]:
    """Explanations of passages with the words that their tokens stand for.

    A reason has ``tokens``, how many its passage has, and ``alignment``, for each token of the
    query a mapping with the number ``token`` of one of the passage's, or None. Those come back with
    ``query``, the text of the query's token, and ``text``, ``field`` and ``span`` of the passage's:
    its characters in the passage's title or text, both None of a token that the model added. The
    words of the query, or of a passage, are left out where it has another number of tokens.
    """
    asked = encoder.query_pieces(query)
    named = []
    for reason, chunk in zip(reasons, chunks, strict=True):
        alignment = reason.get("alignment")
        if not alignment:
            named.append(reason)
            continue
        words = [{"query": piece.text} for piece in asked]
        if len(words) != len(alignment):
            words = [{} for _ in alignment]
        held = encoder.document_pieces(chunk.indexed_text)
        found = [_placed(piece, chunk) for piece in held] if len(held) == reason["tokens"] else []
        entries = [
            {
                **word,
                "token": own["token"],
                **(found[own["token"]] if found and own["token"] is not None else {}),
                "similarity": own["similarity"],
            }
            for word, own in zip(words, alignment, strict=True)
        ]
        named.append({**reason, "alignment": entries})
    return named


def _placed(piece: Piece, chunk: Chunk) -> JsonObject:
    """A token of ``chunk.indexed_text``, in its title or its text."""
    if piece.span is None:
        return {"text": piece.text, "field": None, "span": None}
    first, last = piece.span
    before = len(chunk.indexed_text) - len(chunk.text)
    field, before = ("title", 0) if first < before else ("text", before)
    return {"text": piece.text, "field": field, "span": [first - before, last - before]}
