"""Prompts packed into bins, a shared beginning computed once, and slots that are used again."""

from __future__ import annotations

from typing import Any

import drafting as support
import numpy as np
import pytest
from drafting import VOCABULARY, prompts
from hypothesis import given, settings
from hypothesis import strategies as st

from cormorant.retrieval.answering.decoding import target
from cormorant.retrieval.answering.decoding.cache import Slots
from cormorant.retrieval.answering.decoding.packing import PADDING, pack, seen
from cormorant.retrieval.answering.decoding.target import Target
from cormorant.retrieval.answering.decoding.types import Prompt, Sampling

TOKENS = st.lists(st.integers(0, 3), min_size=1, max_size=30)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 20), st.lists(TOKENS, min_size=1, max_size=6), st.data())
def test_packed_prompts_see_themselves_and_what_they_share(
    shared: int, own: list[list[int]], data: st.DataObject
) -> None:
    texts = [np.array([1] * shared + tokens, np.int64) for tokens in own]
    packed = pack(texts)
    bins, columns = packed.tokens.shape
    assert columns == max(map(len, texts)) - packed.shared
    assert bins <= len(texts)
    first = data.draw(st.integers(0, columns - 1))
    attends = seen(packed, first, columns)
    for row, (text, place) in enumerate(zip(texts, packed.places, strict=True)):
        rest = text[packed.shared :]
        where = np.arange(place.column, place.column + len(rest))
        assert (packed.tokens[place.bin, where] == rest).all()
        assert (packed.positions[place.bin, where] == packed.shared + np.arange(len(rest))).all()
        assert (packed.segments[place.bin, where] == row).all()
        for column in where[where >= first]:
            mine = {*range(packed.shared), *(packed.shared + where[where <= column])}
            assert set(np.flatnonzero(attends[place.bin, column - first])) == mine
    filled = sum(len(text) - packed.shared for text in texts)
    assert (packed.segments != PADDING).sum() == filled


def test_short_prompts_share_a_bin_and_a_long_beginning_is_computed_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    computed: list[tuple[int, ...]] = []
    forward = Target.forward

    def counted(self: Target, slots: Any, tokens: Any, *more: Any) -> Any:
        computed.append(tokens.shape)
        return forward(self, slots, tokens, *more)

    decoder = support.decoder("gemma3")
    draw = np.random.default_rng(1)
    beginning = draw.integers(2, VOCABULARY, 20)
    rests = [draw.integers(2, VOCABULARY, length) for length in (30, 12, 9, 8, 1)]
    batch = [Prompt(np.concatenate([beginning, rest])) for rest in rests]
    sampling = Sampling(max_tokens=6)
    alone = [decoder.generate([prompt], sampling)[0].tokens for prompt in batch]
    monkeypatch.setattr(Target, "forward", counted)
    assert [row.tokens for row in decoder.generate(batch, sampling)] == alone
    assert computed[:2] == [(1, 20), (2, 30)]


def test_a_prefill_in_parts_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = prompts(5, seed=5)
    for name in ("mistral", "qwen3-mixed"):
        decoder = support.decoder(name)
        expected = [row.tokens for row in decoder.generate(batch, Sampling(max_tokens=8))]
        monkeypatch.setattr(target, "_CHUNK", 7)
        parts = [row.tokens for row in decoder.generate(batch, Sampling(max_tokens=8))]
        monkeypatch.undo()
        assert parts == expected


def test_rejected_slots_are_the_next_to_be_used() -> None:
    slots = Slots(2, 8)
    slots.reserve(np.arange(4)[None].repeat(2, axis=0))
    slots.keep(0, [0, 2])
    slots.keep(1, [0, 1, 2, 3])
    slots.reserve(np.array([[2, 3], [4, 5]]))
    assert slots.writing.tolist() == [[1, 3], [4, 5]]
    assert slots.used == 6
    held = slots.seen(np.tri(2, dtype=np.bool_)[None].repeat(2, axis=0))
    assert held[0].tolist() == [[1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 0, 0]]
    assert held[1].tolist() == [[1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1]]
    slots.keep(1, [0])
    slots.drop(0)
    slots.reserve(np.array([[5]]))
    assert slots.writing.tolist() == [[5]]
    assert slots.capacity == 8
    slots.reserve(np.arange(5, 10)[None])
    assert slots.capacity == 16
