"""The page: an answer with clickable citations, written while one looks on, stopped, refused."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Visits, search, served, until
from endpoints import Step, Streaming, answering_by

import cormorant as cm
from cormorant.answers import NOT_FOUND

pytestmark = pytest.mark.soak  # a browser takes its time

DOCUMENTS = [
    cm.Document(
        id="c",
        title="Great cormorant 🐟",
        text="😀 The cormorant is a black bird. It dives up to 45 metres deep for fish. "
        + "It breeds in colonies near the water and nests in trees. " * 12,
    ),
    cm.Document(id="h", title="Heron", text="The heron stands in shallow water, waiting for fish."),
    cm.Document(
        id="x", text="A fish <b>bold</b> <img src=x onerror=alert(1)> cormorant javascript:alert(1)"
    ),
]
QUESTION = "how deep does the cormorant dive for fish"
GOOD = (
    "😀 It dives up to 45 metres deep for fish [1]. The heron stands in shallow water [3]. "
    "Owls live in Peru [9]. The heron waits for fish."
)


class Said:
    """What the endpoint answers; a test may change it."""

    def __init__(self) -> None:
        self.text: str | list[Step] = GOOD

    def __call__(self, prompt: str) -> str | list[Step]:
        return self.text


@pytest.fixture(scope="module")
def place(
    headless: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Said, Streaming]]:
    folder = tmp_path_factory.mktemp("answers")
    with cm.Collection.create(folder / "birds.cm") as made:
        made.add(DOCUMENTS)
    said = Said()
    with pytest.MonkeyPatch.context() as patch, answering_by(patch, said) as endpoint:
        models = ("openai:first", "openai:second")
        with served(folder / "birds.cm", language_models=models) as url:
            yield url, said, endpoint


@pytest.fixture
def told(place: tuple[str, Said, Streaming]) -> Said:
    place[1].text = GOOD
    place[2].requests.clear()
    place[2].gone = threading.Event()
    return place[1]


@pytest.fixture
def visits(headless: Any, place: tuple[str, Said, Streaming], told: Said) -> Iterator[Visits]:
    opened = Visits(headless, place[0])
    yield opened
    opened.close()


def ask(page: Any, question: str = QUESTION) -> None:
    page.locator("#query").fill(question)
    page.locator("#ask-answer").click()
    answered(page)


def answered(page: Any) -> None:
    page.wait_for_selector(".answer")
    until(page, "!document.querySelector('.answer[aria-busy=true]')")


def test_an_answer_with_citations_that_lead_to_their_sources(visits: Visits) -> None:
    page = visits()
    search(page, QUESTION)
    assert not page.locator(".answer").count()
    ask(page)
    text = page.locator(".answer-text")
    shown = text.inner_text()
    assert shown.startswith("😀 It dives up to 45 metres deep for fish 1. The heron")
    cites = text.locator(".cite")
    assert cites.all_inner_texts() == ["1", "3", "3"]
    assert text.locator(".cite.quiet-cite").count() == 1  # the model did not write that one
    assert text.locator(".sentence.unsupported").count() == 1
    assert "Owls live in Peru [9]" in text.locator(".unsupported").inner_text()
    assert page.locator(".answer .notice").all_inner_texts() == [
        "the answer cites [9], which the prompt did not show",
        "1 of 4 sentences are supported by no passage",
    ]
    assert page.locator(".source").count() == 2
    cites.first.click()
    led = page.locator(".source.is-led")
    assert led.locator(".source-title").inner_text().startswith("Great cormorant 🐟")
    assert led.locator("mark").all_inner_texts() == ["It dives up to 45 metres deep for fish."]
    assert page.evaluate("document.activeElement.classList.contains('source')")
    cites.nth(1).click()
    assert page.locator(".source.is-led").count() == 1
    assert "shallow water" in page.locator(".source.is-led mark").inner_text()
    state = page.locator(".answer-state").inner_text()
    assert state.startswith("openai:first · ")
    assert "confidence" in state
    assert page.locator(".hit").count() == 3  # the hits are there as well


def test_the_address_holds_the_wish_and_the_model(visits: Visits, place: Any) -> None:
    page = visits()
    ask(page)
    page.locator("#model").select_option("openai:second")
    answered(page)
    until(page, "document.querySelector('.answer-state').textContent.startsWith('openai:second')")
    fragment = page.evaluate("location.hash")
    assert "a=1" in fragment
    assert "m=openai%3Asecond" in fragment
    again = visits(fragment)
    answered(again)
    assert again.locator(".answer-state").inner_text().startswith("openai:second")
    assert place[2].requests[-1]["model"] == "second"
    again.locator("#ask-answer").click()  # no answer any more
    until(again, "document.getElementById('answer').hidden")
    assert "a=1" not in again.evaluate("location.hash")


def test_stop_stops_the_work(visits: Visits, told: Said, place: Any) -> None:
    told.text = ["It dives ", "up to ", 60.0, "45 metres."]
    page = visits()
    page.locator("#query").fill(QUESTION)
    page.locator("#ask-answer").click()
    until(page, "document.querySelector('.answer-text')?.textContent.includes('It dives')")
    assert page.locator(".answer").get_attribute("aria-busy") == "true"
    page.get_by_role("button", name="Stop").click()
    answered(page)
    assert "Stopped" in page.locator(".answer-state").inner_text()
    assert page.locator(".answer-text").inner_text().startswith("It dives")
    assert place[2].gone.wait(10)


def test_another_question_leaves_the_first(visits: Visits, told: Said, place: Any) -> None:
    told.text = ["It dives ", 60.0, "deep."]
    page = visits()
    page.locator("#query").fill(QUESTION)
    page.locator("#ask-answer").click()
    until(page, "document.querySelector('.answer-text')?.textContent.includes('It dives')")
    told.text = "The heron waits for fish [1]."
    page.locator("#query").fill("heron in shallow water")
    page.keyboard.press("Enter")
    until(page, "document.querySelector('.answer-text')?.textContent.includes('heron')")
    answered(page)
    assert "It dives" not in page.locator(".answer-text").inner_text()
    assert place[2].gone.wait(10)


def test_not_in_the_passages_and_no_hits(visits: Visits, told: Said) -> None:
    told.text = NOT_FOUND
    page = visits()
    ask(page)
    assert page.locator(".answer .not-found").inner_text() == NOT_FOUND
    assert page.locator(".source").count() == 0
    ask_again = page.locator("#query")
    ask_again.fill("xylophone")
    page.keyboard.press("Enter")
    until(page, "document.querySelector('.answer .notice')?.textContent.includes('no model was')")


def test_a_failure_is_said_and_the_hits_stay(visits: Visits, told: Said) -> None:
    told.text = ["It dives", {"error": {"message": "out of <b>memory</b>"}}]
    page = visits()
    ask(page)
    assert "out of <b>memory</b>" in page.locator(".answer .problem").inner_text()
    assert "code model_failed" in page.locator(".answer .problem").inner_text()
    assert page.locator(".hit").count() == 3


def test_an_answer_is_text_whatever_it_says(visits: Visits, told: Said) -> None:
    hostile = "<img src=x onerror=alert(1)> <script>alert(1)</script> fish <b>bold</b> [2]."
    told.text = hostile
    page = visits()
    ask(page)
    assert page.locator(".answer-text").inner_text().startswith("<img src=x onerror=alert(1)>")
    page.locator(".cite").first.click()
    assert page.locator(".answer img, .answer script, .answer b").count() == 0
    assert "<img src=x" in page.locator(".source.is-led").inner_text()


def test_without_a_model_there_is_nothing_to_press(visit: Visits) -> None:
    page = visit("#c=papers&q=fish&a=1")
    until(page, "document.querySelector('.hit')")
    assert not page.locator("#ask-answer").is_visible()
    assert not page.locator(".answer").count()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_and_can_be_read(visits: Visits, scheme: str, width: int) -> None:
    page = visits(viewport={"width": width, "height": 900}, color_scheme=scheme)
    ask(page)
    page.locator(".cite").first.click()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    if folder := os.environ.get("CORMORANT_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"answer-{scheme}-{width}.png", full_page=True)
