"""The page in a real browser: Debian's chromium, driven by Playwright."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import cormorant as cm

# "bm25" favours what says the word often; "flat" is blind to lengths and repeats.
INDEXES = {"bm25": cm.BM25(), "flat": cm.BM25(k1=0.0, b=0.0)}
PAPERS = [
    cm.Document(
        id=f"p{number}",
        title=f"Paper {number}",
        text=f"{'fish ' * (number % 7)}{'oil ' * (number % 3)}{'and water ' * number}in the diet.",
        metadata={"year": 2000 + number, "kind": "trial" if number % 2 else "review"},
    )
    for number in range(1, 31)
] + [
    cm.Document(id="long", title="Long", text="Nothing of note. " * 200 + "A narwhal swims. " * 3),
    cm.Document(
        id="emoji", title="😀 Emoji", text="😀😀 a quokka 🐟 and a Quokka, 𝔮uokka, quokka😀"
    ),
    cm.Document(id="with space", title="An id with a space", text="a wombat"),
    cm.Document(id="untitled", text="a platypus"),
]


def executable() -> str | None:
    """Where the system's chromium is."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """A headless browser; skips where there is none."""
    path = executable()
    if path is None:
        pytest.skip("needs Debian's chromium: apt-get install chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs: pip install playwright")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu"]
        )
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def served(*collections: Path, **settings: Any) -> Iterator[str]:
    """The address of a server of these collections."""
    pytest.importorskip("uvicorn")
    from serving import Log, on_a_port

    from cormorant.api.server.app import create_app
    from cormorant.api.server.settings import Settings

    given = {"collections": collections, "warm": False, "threads": 2, **settings}
    with on_a_port(create_app(Settings(**given), log=Log().logger)) as url:
        yield url


@dataclass
class Visits:
    """Tabs of one browser, and everything that should never happen in them."""

    browser: Any
    url: str
    wrong: list[str] = field(default_factory=list)
    contexts: list[Any] = field(default_factory=list)

    def __call__(self, fragment: str = "", **options: Any) -> Any:
        """A fresh tab at the page."""
        options.setdefault("viewport", {"width": 1280, "height": 900})
        context = self.browser.new_context(accept_downloads=True, **options)
        self.contexts.append(context)
        context.set_default_timeout(15_000)
        context.add_init_script(
            "addEventListener('securitypolicyviolation',"
            " (event) => console.error('violation ' + event.violatedDirective));"
        )
        context.on("request", self._request)
        context.on("page", lambda _: len(context.pages) > 1 and self.wrong.append("a new window"))
        page = context.new_page()
        page.on("dialog", self._dialog)
        page.on("pageerror", lambda error: self.wrong.append(f"error {error}"))
        page.on("console", self._console)
        page.goto(f"{self.url}/{fragment}")
        page.wait_for_selector("#collection option, .problem", state="attached")
        return page

    def _request(self, request: Any) -> None:
        if not request.url.startswith((f"{self.url}/", "blob:", "data:")):
            self.wrong.append(f"request to {request.url}")

    def _dialog(self, dialog: Any) -> None:
        self.wrong.append(f"dialog {dialog.message}")
        dialog.dismiss()

    def _console(self, message: Any) -> None:
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.wrong.append(f"console {message.text}")

    def close(self) -> None:
        """Close all tabs; nothing wrong may have happened."""
        for context in self.contexts:
            context.close()
        assert not self.wrong


def search(page: Any, query: str) -> None:
    """Type a query, press Enter, wait for the answer."""
    page.locator("#query").fill(query)
    page.keyboard.press("Enter")
    settled(page)


def settled(page: Any) -> None:
    """Wait until every side shows its answer, and the judgements are there."""
    page.wait_for_selector(".side")
    until(page, "!document.querySelector('[aria-busy=true]')")
    until(page, "!/Searching/.test(document.getElementById('status').textContent)")


def until(page: Any, condition: str, seconds: float = 20) -> None:
    """Wait for a condition in JavaScript; Playwright's own waiting evals, which our policy bars."""
    end = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < end, f"still not: {condition}"
        page.wait_for_timeout(20)


def ids(page: Any, side: int = 0) -> list[str]:
    """The ids of the hits of one side, as shown."""
    found: list[str] = page.locator(".side").nth(side).locator(".hit .id").all_text_contents()
    return found
