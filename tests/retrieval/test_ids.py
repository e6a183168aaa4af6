"""The index from rows to ids: numbers, texts, both, and merges of them."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cormorant.documents import Chunk
from cormorant.ranking import NO_ROW
from cormorant.retrieval import ids as ids_module
from cormorant.retrieval.disk import Disk
from cormorant.retrieval.ids import IdIndex, IdSegment, look_up
from cormorant.retrieval.segments import FileSink, MemorySink, open_arrays

INDEX = IdIndex()
TEXTS = ("a", "é", "0", "007", "-1", "+1", "1_0", " 1", "１", "9" * 18, "1" + "0" * 18, "x" * 300)


def segment_of(named: list[tuple[int, int, str]]) -> IdSegment:
    sink = MemorySink()
    INDEX.build([Chunk(row, first, name, None, "") for row, first, name in named], sink)
    return INDEX.open(sink.arrays, {})


def bytes_of(segment: IdSegment) -> int:
    held = segment.names if isinstance(segment.names, tuple) else (segment.names,)
    return segment.back.nbytes + sum(array.nbytes for array in held)


@st.composite
def collections(draw: st.DrawFn) -> list[list[tuple[int, int, str]]]:
    """Rows with gaps, documents of several rows, in a few segments in any order of rows."""
    rows = sorted(draw(st.sets(st.integers(0, 500), min_size=1, max_size=40)))
    named: list[tuple[int, int, str]] = []
    kinds = draw(st.sampled_from(["numbers", "texts", "both"]))
    for row in rows:
        if named and draw(st.booleans()):
            named.append((row, *named[-1][1:]))
            continue
        number = kinds == "numbers" or (kinds == "both" and draw(st.booleans()))
        name = str(draw(st.integers(0, 10**18 - 1))) if number else draw(st.sampled_from(TEXTS))
        named.append((row, row, name))
    cuts = draw(st.lists(st.integers(0, 2), min_size=len(named), max_size=len(named)))
    if draw(st.booleans()):
        cuts.sort(reverse=draw(st.booleans()))
    return [[one for one, cut in zip(named, cuts, strict=True) if cut == i] for i in range(3)]


@settings(deadline=None)
@given(collections())
def test_every_row_has_its_document_and_id(parts: list[list[tuple[int, int, str]]]) -> None:
    segments = [segment_of(part) for part in parts if part]
    keep = [np.array([(row * 7) % 5 > 0 for row, _, _ in part]) for part in parts if part]
    sink = MemorySink()
    with mock.patch.object(ids_module, "_BLOCK", 3):
        INDEX.merge(segments, keep, sink)
    merged = INDEX.open(sink.arrays, {})
    named = {row: (first, name) for part in parts for row, first, name in part}
    asked = np.array([*named, 501, *reversed(named)])
    for held, rows in ((segments, set(named)), ([merged], {r for r in named if (r * 7) % 5 > 0})):
        documents, ids = look_up(held, asked)
        for row, document, name in zip(asked.tolist(), documents.tolist(), ids, strict=True):
            assert (document, name) == (named[row] if row in rows else (NO_ROW, ""))
    assert [problem for segment in [*segments, merged] for problem in INDEX.check(segment)] == []


def test_numbers_take_as_few_bytes_as_they_need() -> None:
    for n, each in ((200, 1), (60_000, 2), (70_000, 4)):
        assert bytes_of(segment_of([(i, i, str(i)) for i in range(n)])) == each * n
    texts = segment_of([(i, i, f"d{i:06}") for i in range(10_000)])
    assert bytes_of(texts) == 10_000 * 7 + 10_001 * 4
    split = segment_of([(i, i - i % 3, str(i - i % 3)) for i in range(200)])
    assert bytes_of(split) == 2 * 200


@pytest.mark.parametrize("interleaved", [False, True])
def test_merging_takes_little_memory_beside_its_files(tmp_path: Path, interleaved: bool) -> None:
    n, n_parts = 60_000, 4
    named = [(i, i, f"{i:036}") for i in range(n)]
    each = [named[i::n_parts] for i in range(n_parts)]
    if not interleaved:
        each = [named[first : first + n // n_parts] for first in range(0, n, n // n_parts)]
    segments = [segment_of(part) for part in each]
    sink = FileSink(tmp_path / "segments" / "ids" / "1", Disk())
    tracemalloc.start()
    try:
        INDEX.merge(segments, [None] * n_parts, sink)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < (6 << 20 if interleaved else 2 << 20)
    merged = INDEX.open(open_arrays(tmp_path / "segments" / "ids" / "1", sink.finish()), {})
    assert look_up([merged], np.arange(n))[1] == [name for _, _, name in named]


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        ({"rows": np.array([3, 2])}, "rows do not ascend"),
        ({"back": np.array([9, 0], np.uint8)}, "a document begins before the first row"),
        ({"back": np.array([0], np.uint8)}, "there are not as many ids as rows"),
        ({"offsets": np.array([0, 1], np.uint8)}, "there are not as many ids as rows"),
        ({"offsets": np.array([0, 1, 3], np.uint8)}, "offsets do not span the text"),
        ({"offsets": np.array([0, 0, 2], np.uint8)}, "an id is empty"),
        ({"numbers": np.array([4, -4])}, "an id is below zero"),
    ],
)
def test_what_is_inconsistent_is_said(broken: dict[str, np.ndarray], problem: str) -> None:
    sink = MemorySink()
    INDEX.build([Chunk(2, 2, "a", None, ""), Chunk(3, 3, "b", None, "")], sink)
    assert problem in INDEX.check(INDEX.open({**sink.arrays, **broken}, {}))
