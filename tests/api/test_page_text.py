"""The page's modules, called in the browser: spans, snippets, moves, addresses, query ids."""

from __future__ import annotations

from typing import Any

import pytest
from browser import Visits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.soak  # a browser takes its time

# A page's modules, at the address that the page itself imports them from.
CALL = "async ([module, name, given]) => (await import(`/page/${module}.js`))[name](...given)"


@pytest.fixture
def call(visit: Visits) -> Any:
    page = visit()
    return lambda module, name, *given: page.evaluate(CALL, [module, name, list(given)])


def _fnv(text: str) -> str:
    """The id of a query: 64-bit FNV-1a of its UTF-8, the upper 48 bits."""
    found = 0xCBF29CE484222325
    for byte in text.encode():
        found = ((found ^ byte) * 0x100000001B3) % 2**64
    return f"q{found:016x}"[:13]


TEXT = st.text(st.sampled_from(list("ab é𝔮😀🐟\u0301 ")), max_size=40)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=TEXT, data=st.data())
def test_spans_of_code_points_become_spans_of_units(call: Any, text: str, data: Any) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=6)))
    spans = [[cuts[i], cuts[i + 1]] for i in range(0, len(cuts) - 1, 2)]
    units = call("text", "toUnits", text, spans)
    encoded = text.encode("utf-16-le")
    found = [encoded[2 * start : 2 * end].decode("utf-16-le") for start, end in units]
    assert found == [text[start:end] for start, end in spans]


def test_spans_beyond_the_end_are_cut(call: Any) -> None:
    assert call("text", "toUnits", "abc", [[1, 99]]) == [[1, 3]]
    assert call("text", "toUnits", "a😀", [[1, 99]]) == [[1, 3]]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(words=st.lists(st.sampled_from(["fish", "oil", "x" * 30, "😀", "😀" * 40]), max_size=80))
def test_a_window_lies_in_its_text_and_cuts_no_mark_and_no_pair(
    call: Any, words: list[str]
) -> None:
    text, marks, at = "", [], 0
    for word in words:
        size = len(word.encode("utf-16-le")) // 2
        if word in ("fish", "oil"):
            marks.append([at, at + size])
        text, at = text + word + " ", at + size + 1
    start, end = call("text", "window", text, marks, 0, at, 100)
    assert 0 <= start <= end <= at
    assert end - start <= 100 + 40
    text.encode("utf-16-le")[2 * start : 2 * end].decode("utf-16-le")
    assert not [mark for mark in marks if mark[0] < end < mark[1] or mark[0] < start < mark[1]]
    if marks:
        assert [mark for mark in marks if start <= mark[0] and mark[1] <= end]


def test_moves(visit: Visits) -> None:
    script = """async ([a, b]) => {
        const found = (await import('/page/moves.js')).moves(a, b);
        return [[...found.moved], found.gone];
    }"""
    moved, gone = visit().evaluate(script, [["a", "b", "c", "d"], ["c", "b", "e", "a"]])
    assert moved == [
        ["c", {"kind": "up", "by": 2}],
        ["b", {"kind": "same", "by": 0}],
        ["e", {"kind": "new", "by": 0}],
        ["a", {"kind": "down", "by": 3}],
    ]
    assert gone == ["d"]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"query": "a&b=c #d %20 + é 😀", "k": 25},
        {"pipeline": '{"retrieve": ["bm25"]}', "other": "", "filter": '{"a": {"in": ["&", "#"]}}'},
        {"collection": "papers", "other": "dense", "pipeline": "hybrid"},
    ],
)
def test_a_state_comes_back_from_its_address(call: Any, changes: dict[str, Any]) -> None:
    nothing = {
        "collection": "", "query": "", "pipeline": "", "other": None, "k": 10, "filter": "",
    }  # fmt: skip
    state = {**nothing, **changes}
    fragment = call("state", "toFragment", state)
    assert call("state", "fromFragment", fragment) == state


def test_the_same_words_have_one_query_id(call: Any) -> None:
    one = call("judging", "queryId", "fish oil")
    assert one == call("judging", "queryId", "  fish \n oil ")
    assert one == _fnv("fish oil")
    assert call("judging", "queryId", "é") == call("judging", "queryId", "e\u0301")
    for text in ("", "q", "ünï cödé 😀", "x" * 1000):
        assert call("judging", "queryId", text) == _fnv(text)
