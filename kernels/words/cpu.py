"""Splitting and numbering words in one pass over UTF-8, in numba.

The kernel sees texts that need no more normalisation than :mod:`.code_points` gives, each followed
by the byte 0xFF, which UTF-8 never uses. A word is packed eight bytes to a block in registers,
hashed block by block, and written at the end of the arena; where the table (open addressing, linear
probing) knows it already, the end stays where it was.

The arena holds each word's UTF-8 and then one to eight zero bytes, up to a multiple of eight. No
word has a zero byte, so words are equal where their blocks are, and the words in a stretch of the
arena are what stands between its zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numba import njit
from numpy.typing import NDArray

from . import rule
from .code_points import (
    CLASS_SHIFT,
    IRREGULAR_SHIFT,
    N_PAGES,
    PAGE_SIZE,
    SIZE_SHIFT,
    learn_page,
    properties_of_code_points,
)
from .offsets import spans_before_normalisation

Bytes: TypeAlias = NDArray[np.uint8]
Int32Array: TypeAlias = NDArray[np.int32]
Int64Array: TypeAlias = NDArray[np.int64]
UInt64Array: TypeAlias = NDArray[np.uint64]

_END = 0xFF
_END_OF_TEXT = bytes([_END])

_OF_WORD = rule.WORD | rule.CONNECTOR | rule.MARK | rule.IGNORED
_OF_SPACELESS = rule.SPACELESS | rule.MARK | rule.IGNORED
_MAX_BLOCKS = rule.MAX_WORD_BYTES // 8 + 1

_HASH_START = np.uint64(0x9E3779B97F4A7C15)
_HASH_FACTOR = np.uint64(0xD6E8FEB86659FD93)
_LOW_HALF = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_ONE = np.uint64(1)


class Vocabulary:
    """Words and their numbers; see :mod:`cormorant.kernels.words`."""

    def __init__(self, turkic: bool = False) -> None:
        self._properties = properties_of_code_points(turkic)
        self._turkic = turkic
        self._slots = np.zeros(64, np.uint64)
        self._arena = np.empty(128, np.uint64)
        self._starts = np.zeros(64, np.int64)
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def split(self, texts: Sequence[str]) -> tuple[Int32Array, Int64Array]:
        """Word numbers of all texts, and where each text's begin."""
        data, _ = self._prepare(texts)
        offsets = np.zeros(len(texts) + 1, np.int64)
        return self._number(data, offsets, True, np.empty((0, 2), np.int64)), offsets

    def locate(self, text: str, pairs: bool = True) -> tuple[Int32Array, Int64Array]:
        """Word numbers of one text, and their spans."""
        data, was_normalised = self._prepare([text])
        spans = np.empty((_most_words(len(data)), 2), np.int64)
        ids = self._number(data, np.zeros(2, np.int64), pairs, spans)
        spans = spans[: len(ids)].copy()
        return ids, spans_before_normalisation(text, spans) if was_normalised else spans

    def words(self, first: int = 0) -> list[str]:
        """The words numbered ``first`` and up."""
        begin, end = self._starts[first], self._starts[self._length]
        stretch = self._arena[begin:end].astype("<u8", copy=False).tobytes().decode()
        return [word for word in stretch.split("\0") if word]

    def _prepare(self, texts: Sequence[str]) -> tuple[bytes, bool]:
        """The texts for the kernel; and whether one of them had to be normalised here."""
        encoded = [_encode(text) for text in texts]
        data = _joined(encoded)
        if all(map(str.isascii, texts)):
            return data, False
        irregular = np.flatnonzero(self._survey(data, len(texts))).tolist()
        if irregular:
            for text in irregular:
                encoded[text] = _encode(rule.normalise(texts[text]))
            data = _joined(encoded)
            self._survey(data, len(texts))
        return data, bool(irregular)

    def _survey(self, data: bytes, n_texts: int) -> NDArray[np.bool_]:
        """Learn the code points of the texts; says which texts hold an irregular one."""
        characters = np.frombuffer(data, np.uint8)
        irregular = np.zeros(n_texts, np.bool_)
        pages = np.zeros(N_PAGES, np.bool_)
        if _survey(characters, self._properties, irregular, pages):
            for page in np.flatnonzero(pages).tolist():
                learn_page(self._properties, page, self._turkic)
            _survey(characters, self._properties, irregular, pages)
        return irregular

    def _number(
        self, data: bytes, offsets: Int64Array, pairs: bool, spans: Int64Array
    ) -> Int32Array:
        """The numbers of the words of prepared texts."""
        characters = np.frombuffer(data, np.uint8)
        ids = np.empty(_most_words(len(data)), np.int32)
        state = np.array([0, 0, 0, 0, self._length, -1, -1, 0], np.int64)
        while not _split(
            characters,
            self._properties,
            pairs,
            self._slots,
            self._arena,
            self._starts,
            state,
            ids,
            offsets,
            spans,
        ):
            self._length = int(state[4])
            self._make_room()
        self._length = int(state[4])
        return ids[: state[3]].copy()

    def _make_room(self) -> None:
        """Double what is full."""
        if self._length + 1 >= len(self._starts):
            self._starts = np.concatenate([self._starts, np.empty_like(self._starts)])
        if self._starts[self._length] + _MAX_BLOCKS > len(self._arena):
            self._arena = np.concatenate([self._arena, np.empty_like(self._arena)])
        if self._length * 2 >= len(self._slots):
            self._slots = _with_more_slots(self._slots)


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _joined(encoded: list[bytes]) -> bytes:
    return _END_OF_TEXT.join([*encoded, b""])


def _most_words(n_bytes: int) -> int:
    """How many words there can be: between two stands a byte, or one of them has three."""
    return n_bytes // 2 + 1


@njit(cache=True, nogil=True)
def _decode(data: Bytes, position: int) -> tuple[np.int64, int]:
    """The code point at a position of valid UTF-8, and its number of bytes."""
    first = np.int64(data[position])
    if first < 0x80:
        return first, 1
    second = np.int64(data[position + 1]) & 0x3F
    if first < 0xE0:
        return (first & 0x1F) << 6 | second, 2
    third = np.int64(data[position + 2]) & 0x3F
    if first < 0xF0:
        return (first & 0x0F) << 12 | second << 6 | third, 3
    fourth = np.int64(data[position + 3]) & 0x3F
    return (first & 0x07) << 18 | second << 12 | third << 6 | fourth, 4


@njit(cache=True, nogil=True)
def _survey(
    data: Bytes,
    properties: UInt64Array,
    irregular: NDArray[np.bool_],
    pages: NDArray[np.bool_],
) -> bool:
    """Mark the texts with irregular code points and the pages of unknown ones.

    Returns whether there are unknown ones: what is said of the texts is not yet all then.
    """
    unknown = False
    text = 0
    position = 0
    while position < data.size:
        if data[position] < 0x80:
            position += 1
            continue
        if data[position] == _END:
            position += 1
            text += 1
            continue
        code_point, width = _decode(data, position)
        position += width
        entry = properties[code_point]
        if entry == 0:
            unknown = True
            pages[code_point // PAGE_SIZE] = True
        elif entry >> IRREGULAR_SHIFT & _ONE:
            irregular[text] = True
    return unknown


@njit(cache=True, nogil=True)
def _class(data: Bytes, properties: UInt64Array, position: int) -> tuple[np.int64, int]:
    """The class of the character at a position, 0 at a text's end; and its number of bytes."""
    if data[position] == _END:
        return np.int64(0), 1
    code_point, width = _decode(data, position)
    return np.int64(properties[code_point] >> CLASS_SHIFT), width


@njit(cache=True, nogil=True)
def _with_more_slots(slots: UInt64Array) -> UInt64Array:
    larger = np.zeros(2 * slots.size, np.uint64)
    mask = np.uint64(larger.size - 1)
    for held in slots:
        if held != 0:
            slot = (held >> _HALF) & mask
            while larger[slot] != 0:
                slot = (slot + _ONE) & mask
            larger[slot] = held
    return larger


@njit(cache=True, nogil=True)
def _split(
    data: Bytes,
    properties: UInt64Array,
    pairs: bool,
    slots: UInt64Array,
    arena: UInt64Array,
    starts: Int64Array,
    state: Int64Array,
    ids: Int32Array,
    offsets: Int64Array,
    spans: Int64Array,
) -> bool:
    """Number the words of ``data`` from where ``state`` says; False when the table has no room.

    Fills ``ids`` (most_words(data),) and ``offsets`` (n_texts + 1,), and, where it has rows,
    ``spans`` (most_words(data), 2) in characters of the normalised text. One function, because
    numba counts references to every array at every call that it cannot see through.
    """
    position, char, n_texts, n_ids, n_words = state[0], state[1], state[2], state[3], state[4]
    # The spaceless character right before; ``alone``: it has no pair yet.
    previous, previous_char, alone = state[5], state[6], state[7] != 0
    most_words = min(slots.size // 2, starts.size - 1)
    slot_mask = np.uint64(slots.size - 1)
    while position < data.size:
        begin = starts[n_words]
        if n_words >= most_words or begin + _MAX_BLOCKS > arena.size:
            break

        # 1. What is the next word? The characters of the classes ``allowed`` up to ``limit``.
        kind, width = _class(data, properties, position)
        start, start_char, limit, allowed = position, char, data.size, _OF_WORD
        if alone and not kind & (rule.SPACELESS | rule.IGNORED):
            start, start_char, limit, allowed = previous, previous_char, position, _OF_SPACELESS
            previous, alone = np.int64(-1), False
        elif kind & rule.SPACELESS:
            allowed = _OF_SPACELESS
            limit, n_chars = position + width, 1
            kind, width = _class(data, properties, limit)
            while kind & (rule.MARK | rule.IGNORED):
                limit += width
                n_chars += 1
                kind, width = _class(data, properties, limit)
            if pairs:
                alone = previous < 0
                start, start_char = previous, previous_char
                previous, previous_char = position, char
                if alone:
                    position, char = limit, char + n_chars
                    continue
        elif kind & (rule.WORD | rule.CONNECTOR):
            previous = np.int64(-1)
        else:
            if kind != rule.IGNORED:
                previous = np.int64(-1)
            position += width
            char += 1
            if kind == 0:
                n_texts += 1
                offsets[n_texts] = n_ids
                char = np.int64(0)
            continue

        # 2. Pack it at the end of the arena, and hash it.
        position, char, end_char = start, start_char, start_char
        classes = np.int64(0)
        block = np.uint64(0)
        key = _HASH_START
        size = np.int64(0)
        fits = True
        while position < limit and data[position] != _END:
            code_point, width = _decode(data, position)
            entry = properties[code_point]
            kind = np.int64(entry >> CLASS_SHIFT)
            if not kind & allowed:
                break
            position += width
            char += 1
            classes |= kind
            if kind == rule.IGNORED:
                continue
            end_char = char
            added = np.int64(entry >> SIZE_SHIFT) & 7
            if not fits or size + added > rule.MAX_WORD_BYTES:
                fits = False
                continue
            utf8 = entry & _LOW_HALF
            shift = (size & 7) * 8
            block |= utf8 << np.uint64(shift)
            if shift + added * 8 >= 64:
                arena[begin + (size >> 3)] = block
                key = (key ^ block) * _HASH_FACTOR
                key ^= key >> _HALF
                block = utf8 >> np.uint64(64 - shift)
            size += added
        if not classes & (rule.WORD | rule.SPACELESS):
            continue
        arena[begin + (size >> 3)] = block
        end = begin + (size >> 3) + 1
        key = (key ^ block) * _HASH_FACTOR
        key = (key ^ key >> _HALF) * _HASH_FACTOR >> _HALF

        # 3. Look it up. A slot is 0, or a key in the high half and a number plus one in the low.
        slot = key & slot_mask
        while slots[slot] != 0:
            if slots[slot] >> _HALF == key:
                number = np.int64(slots[slot] & _LOW_HALF)
                known, known_end = starts[number - 1], starts[number]
                if known_end - known == end - begin:
                    i = 0
                    while i < end - begin and arena[known + i] == arena[begin + i]:
                        i += 1
                    if i == end - begin:
                        break
            slot = (slot + _ONE) & slot_mask
        if slots[slot] == 0:
            n_words += 1
            slots[slot] = key << _HALF | np.uint64(n_words)
            starts[n_words] = end
        ids[n_ids] = np.int64(slots[slot] & _LOW_HALF) - 1
        if spans.shape[0]:
            spans[n_ids, 0] = start_char
            spans[n_ids, 1] = end_char
        n_ids += 1
    state[0], state[1], state[2], state[3], state[4] = position, char, n_texts, n_ids, n_words
    state[5], state[6], state[7] = previous, previous_char, alone
    return bool(position >= data.size)
