"""The page: judging hits, and the judgements as files that `cormorant eval` reads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from browser import INDEXES, PAPERS, Visits, ids, search, served, settled, until

import cormorant as cm
from cormorant.eval.qrels import read_qrels
from cormorant.eval.topics import read_queries

pytestmark = pytest.mark.soak  # a browser takes its time


@pytest.fixture
def own(headless: Any, tmp_path: Path) -> Iterator[Visits]:
    """A server of its own: a test's judgements are there for no other."""
    with cm.Collection.create(tmp_path / "papers.cm", indexes=INDEXES) as papers:
        papers.add(PAPERS)
    with served(tmp_path / "papers.cm") as url:
        visits = Visits(headless, url)
        yield visits
        visits.close()


def qrels(visits: Visits) -> dict[tuple[str, str], int]:
    """What the server holds: (query id, document id) -> grade."""
    text = httpx2.get(f"{visits.url}/v1/collections/papers/judgements").text
    lines = [line.split() for line in text.splitlines()]
    return {(query, document): int(grade) for query, _, document, grade in lines}


def pressed(page: Any, document: str) -> list[str]:
    grades: list[str] = page.locator(
        f".hit[data-id={document}] .grade[aria-pressed=true]"
    ).all_inner_texts()
    return grades


def saved(page: Any, said: str) -> None:
    until(page, f"document.getElementById('status').textContent.startsWith({json.dumps(said)})")


def test_judge_by_mouse_and_keyboard_and_export(own: Visits, tmp_path: Path) -> None:
    page = own()
    search(page, "fish  oil")
    page.wait_for_selector("#judged:not([hidden])")
    assert page.locator("#export-qrels").is_disabled()
    first, second, third = ids(page)[:3]
    page.locator(f".hit[data-id={first}] .grade[data-grade='3']").click()
    saved(page, "Judged 3, exactly this")
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("0")
    saved(page, "Judged 0, not relevant")
    page.keyboard.press("j")
    page.keyboard.press("1")
    page.keyboard.press("2")
    saved(page, "Judged 2, relevant")
    assert (pressed(page, first), pressed(page, second), pressed(page, third)) == (
        ["3"], ["0"], ["2"],
    )  # fmt: skip
    assert "Judged 3 here, 3 in all" in page.locator("#judged-said").inner_text()

    files = []
    for button, name in (
        ("#export-qrels", "papers.qrels"),
        ("#export-queries", "papers.queries.jsonl"),
    ):
        with page.expect_download() as waiting:
            page.locator(button).click()
        assert waiting.value.suggested_filename == name
        waiting.value.save_as(tmp_path / name)
        files.append(tmp_path / name)
    (query,) = read_queries(files[1])
    assert read_queries(files[1]) == {query: "fish oil"}
    assert read_qrels(files[0]) == {query: {first: 3, second: 0, third: 2}}
    assert qrels(own) == {(query, first): 3, (query, second): 0, (query, third): 2}


def test_cormorant_eval_reads_the_export(own: Visits, tmp_path: Path, run: Any) -> None:
    page = own()
    search(page, "platypus")
    page.wait_for_selector("#judged:not([hidden])")
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("3")
    saved(page, "Judged 3")
    folder = tmp_path / "judged"
    folder.mkdir()
    lines = [json.dumps(paper.as_json()) for paper in PAPERS]
    (folder / "corpus.jsonl").write_text("\n".join(lines) + "\n")
    for button, name in (("#export-qrels", "papers.qrels"), ("#export-queries", "queries.jsonl")):
        with page.expect_download() as waiting:
            page.locator(button).click()
        waiting.value.save_as(folder / name)
    code, out, err = run(
        "eval", folder, "--pipeline", "bm25", "--topics", folder / "queries.jsonl",
        "--qrels", folder / "papers.qrels", "--measures", "nDCG@10", "--json", "-",
    )  # fmt: skip
    assert code == 0, err
    assert "nDCG@10" in out


def test_judgements_are_there_again_in_another_tab_for_the_same_words(own: Visits) -> None:
    page = own()
    search(page, "fish oil")
    page.wait_for_selector("#judged:not([hidden])")
    name = ids(page)[0]
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("2")
    saved(page, "Judged 2")
    again = own("#c=papers&q=%20fish%20%20oil&p=bm25&vs=flat")
    settled(again)
    again.wait_for_selector("#judged:not([hidden])")
    assert set(pressed(again, name)) == {"2"}
    search(again, "fish")
    again.wait_for_selector(".hit")
    assert again.locator(".grade[aria-pressed=true]").count() == 0


def test_a_query_that_has_an_id_keeps_it(own: Visits) -> None:
    body = {"query_id": "topic-7", "query": "fish oil", "document_id": "p1", "grade": 1}
    address = f"{own.url}/v1/collections/papers/judgements"
    assert httpx2.put(address, json=body).status_code == 204
    page = own()
    search(page, "fish oil")
    page.wait_for_selector("#judged:not([hidden])")
    name = ids(page)[0]
    page.locator(f".hit[data-id={name}] .grade").nth(2).click()
    saved(page, "Judged 2")
    assert {query for query, _ in qrels(own)} == {"topic-7"}


def test_the_same_grade_again_takes_it_back(own: Visits) -> None:
    page = own()
    search(page, "fish oil")
    page.wait_for_selector("#judged:not([hidden])")
    grade = page.locator(".hit").first.locator(".grade").nth(1)
    grade.click()
    saved(page, "Judged 1")
    assert len(qrels(own)) == 1
    grade.click()
    saved(page, "Judgement taken back")
    assert qrels(own) == {}
    assert page.locator(".grade[aria-pressed=true]").count() == 0


def test_both_sides_show_one_judgement(own: Visits) -> None:
    page = own("#c=papers&q=fish+oil+water&p=bm25&vs=flat")
    settled(page)
    page.wait_for_selector("#judged:not([hidden])")
    both = next(name for name in ids(page, 0) if name in ids(page, 1))
    page.locator(".side").nth(1).locator(f".hit[data-id={both}] .grade").nth(3).click()
    saved(page, "Judged 3")
    assert pressed(page, both) == ["3", "3"]
    assert len(qrels(own)) == 1


def test_a_grade_that_cannot_be_saved_is_taken_off_and_said(own: Visits) -> None:
    page = own()
    search(page, "wombat")  # its id has a space, which TREC's lines cannot hold
    page.wait_for_selector("#judged:not([hidden])")
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("3")
    page.wait_for_selector("#toast p")
    assert page.locator("#toast").inner_text().startswith("Not saved: ")
    assert "request" in page.locator("#toast").inner_text()
    assert page.locator(".grade[aria-pressed=true]").count() == 0
    assert qrels(own) == {}


def test_fast_grades_are_saved_in_the_order_of_the_keys(own: Visits) -> None:
    page = own()
    search(page, "fish oil")
    page.wait_for_selector("#judged:not([hidden])")
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    for key in "0123210":
        page.keyboard.press(key)
    until(page, "document.querySelectorAll('.hit .grade[aria-pressed=true]').length == 1")
    end = "document.querySelector('.hit .grade[aria-pressed=true]').textContent"
    assert page.evaluate(end) == "0"
    for _ in range(100):
        if list(qrels(own).values()) == [0]:
            break
        page.wait_for_timeout(50)
    page.wait_for_timeout(200)
    assert list(qrels(own).values()) == [0]


def test_a_key_is_asked_for_kept_for_the_tab_and_not_in_the_address(
    headless: Any, tmp_path: Path
) -> None:
    from cormorant.api.server.keys import new_key

    with cm.Collection.create(tmp_path / "papers.cm", indexes=INDEXES) as papers:
        papers.add(PAPERS)
    keys = tmp_path / "keys.json"
    reader = new_key(keys, "reader", {"papers": "read"}, ())
    with served(tmp_path / "papers.cm", keys=keys) as url:
        visits = Visits(headless, url)
        page = visits("#c=papers&q=fish+oil")
        page.get_by_role("button", name="Enter a key").click()
        page.locator("#key-input").fill("ключ")
        page.get_by_role("button", name="Use key").click()
        assert page.locator("#key-error").is_visible()
        page.locator("#key-input").fill("wrong-key")
        page.keyboard.press("Enter")
        page.wait_for_selector(".problem")
        assert not page.locator("#key-dialog").is_visible()
        page.locator("#key").click()
        page.locator("#key-input").fill(reader)
        page.keyboard.press("Enter")
        page.wait_for_selector(".hit")
        assert reader not in page.url and reader not in page.content()
        assert page.evaluate("localStorage.length") == 0 and page.evaluate("document.cookie") == ""
        page.reload()
        page.wait_for_selector(".hit")
        page.wait_for_selector("#judged:not([hidden])")
        page.locator(".grade").first.click()
        page.wait_for_selector("#toast p")
        assert "Not saved" in page.locator("#toast").inner_text()
        stranger = visits(page.url[page.url.index("#") :])
        stranger.wait_for_selector(".problem")
        assert "A key is needed" in stranger.locator("#message").inner_text()
        page.locator("#key").click()
        page.get_by_role("button", name="Forget").click()
        page.wait_for_selector(".problem")
        assert page.evaluate("sessionStorage.length") == 0
        visits.close()
