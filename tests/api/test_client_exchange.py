"""Attempts: what is sent again, when, and what is said when it was in vain."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import httpx2
import pytest
from scripted import DESCRIBED, URL, Script, problem, reply

import cormorant as cm
from cormorant.api.client import Retries, Timeouts
from cormorant.errors import OverloadedError, UnreachableError

HTML = httpx2.Response(
    502, content=b"<html>Bad gateway</html>", headers={"content-type": "text/html"}
)
BROKEN = httpx2.RemoteProtocolError("Server disconnected without sending a response.")
REFUSED = httpx2.ConnectError("Connection refused")
BUSY = problem(429, "overloaded", retry_after="2")


@pytest.mark.parametrize(
    "failure",
    [
        BROKEN,
        REFUSED,
        HTML,
        BUSY,
        httpx2.ReadTimeout("timed out"),
        httpx2.WriteError("broken pipe"),
        httpx2.ConnectTimeout("timed out"),
        httpx2.PoolTimeout("timed out"),
        httpx2.DecodingError("bad gzip"),
        httpx2.Response(503, text="starting"),
        problem(503, "not_ready", retry_after="1"),
        problem(408, "request_timeout"),
    ],
    ids=lambda failure: str(getattr(failure, "status_code", type(failure).__name__)),
)
def test_a_read_is_tried_again_until_it_is_answered(failure: Any) -> None:
    script = Script(failure, failure, reply(DESCRIBED))
    assert script.papers.describe() == DESCRIBED
    assert len(script.requests) == 3
    again = Script(failure, failure, reply(DESCRIBED))
    assert asyncio.run(again.async_papers.describe()) == DESCRIBED
    assert again.time.slept == script.time.slept != []


def test_waits_double_with_full_jitter_up_to_a_bound() -> None:
    script = Script(
        REFUSED,
        dice=1.0,
        retries=Retries(6, first_seconds=1.0, longest_seconds=8.0, total_seconds=1e6),
    )
    with pytest.raises(UnreachableError, match=r"cannot connect .*, 7 attempts"):
        script.papers.describe()
    assert script.time.slept == [1, 2, 4, 8, 8, 8]
    lucky = Script(REFUSED, dice=0.0, retries=5)
    with pytest.raises(UnreachableError):
        lucky.papers.describe()
    assert lucky.time.slept == [0] * 5


@pytest.mark.parametrize("dice", [0.2, 0.5, 0.999])
def test_the_defaults_live_through_a_restart_of_the_server(dice: float) -> None:
    """A server with models takes a quarter of a minute to come back; five attempts took four."""
    away = Script(REFUSED, dice=dice)

    def answer(_: httpx2.Request) -> httpx2.Response:
        if away.time.seconds < 30.0:
            raise REFUSED
        return reply(DESCRIBED)

    away.answers = [answer]
    assert away.papers.describe() == DESCRIBED
    assert 30.0 <= away.time.seconds < 34.0
    assert len(away.requests) < 100
    gone = Script(REFUSED, dice=dice)
    with pytest.raises(UnreachableError):
        gone.papers.describe()
    assert 57.0 <= gone.time.seconds <= 60.0


def test_the_server_says_when_to_come_back() -> None:
    script = Script(BUSY, reply(DESCRIBED), dice=0.5)
    script.papers.describe()
    assert script.time.slept == [2 + 0.5 * 0.25]


def test_a_date_says_when_to_come_back() -> None:
    date = formatdate(1_000_000_007, usegmt=True)
    script = Script(problem(429, "overloaded", retry_after=date), reply(DESCRIBED), dice=0.0)
    script.papers.describe()
    assert script.time.slept == [7.0]


@pytest.mark.parametrize("nonsense", ["soon", "", "nan", "inf", "1e999", "-5"])
def test_a_retry_after_that_is_none_is_no_reason_to_give_up(nonsense: str) -> None:
    script = Script(problem(429, "overloaded", retry_after=nonsense), reply(DESCRIBED), dice=0.5)
    script.papers.describe()
    assert len(script.time.slept) == 1
    assert script.time.slept[0] <= 0.25


@pytest.mark.parametrize("seconds", ["3600", "1e300", "9" * 400])
def test_nobody_waits_longer_than_the_time_for_all_attempts(seconds: str) -> None:
    script = Script(problem(429, "overloaded", retry_after=seconds))
    if seconds.startswith("9"):  # infinite as a float: no answer to "when"
        script = Script(problem(429, "overloaded", retry_after=seconds), dice=1.0)
        with pytest.raises(OverloadedError):
            script.papers.describe()
        return
    with pytest.raises(OverloadedError) as caught:
        script.papers.describe()
    assert script.time.slept == []
    assert caught.value.retry_after_seconds == float(seconds)
    assert (caught.value.code, caught.value.request_id) == ("overloaded", "r1")


def test_total_time_bounds_the_attempts() -> None:
    retries = Retries(1000, first_seconds=1.0, longest_seconds=1.0, total_seconds=10.0)
    script = Script(REFUSED, dice=1.0, retries=retries)
    with pytest.raises(UnreachableError, match="11 attempts"):
        script.papers.describe()
    assert script.time.seconds == 10.0


def test_no_retries() -> None:
    script = Script(BROKEN, retries=0)
    with pytest.raises(UnreachableError, match="1 attempt; whether the server did it is not known"):
        script.papers.flush()
    assert len(script.requests) == 1


ONCE: list[Callable[[Any], Any]] = [
    lambda script: script.papers.merge(),
    lambda script: script.papers.check(),
    lambda script: script.papers.add_index("b", cm.BM25()),
    lambda script: script.client.create("papers"),
]


@pytest.mark.parametrize("call", ONCE, ids=["merge", "check", "add_index", "create"])
def test_what_may_not_run_twice_is_not_sent_twice(call: Callable[[Any], Any]) -> None:
    for unsure in (BROKEN, HTML, httpx2.ReadTimeout("timed out")):
        script = Script(unsure)
        with pytest.raises(UnreachableError):
            call(script)
        assert len(script.requests) == 1
    for nothing_begun in (REFUSED, BUSY):
        script = Script(nothing_begun, problem(409, "locked"))
        with pytest.raises(cm.CollectionError):
            call(script)
        assert len(script.requests) == 2


def test_what_a_broken_attempt_removed_is_removed() -> None:
    gone = problem(404, "unknown_name", field="name")
    Script(BROKEN, gone).papers.drop_index("bm25")
    Script(HTML, gone).client.drop("papers")
    for first in (gone, REFUSED):
        with pytest.raises(cm.InputError):
            Script(first, gone).papers.drop_index("bm25")


@pytest.mark.parametrize(
    "answer",
    [
        problem(500, "internal"),
        problem(507, "disk_full"),
        problem(504, "deadline_exceeded"),
        problem(503, "missing_model"),
        problem(401, "unauthorized"),
        httpx2.Response(500, text="oops"),
        httpx2.Response(404, text="nothing here"),
    ],
    ids=lambda answer: str(answer.status_code),
)
def test_an_answer_is_an_answer(answer: httpx2.Response) -> None:
    script = Script(answer)
    with pytest.raises(cm.CormorantError):
        script.papers.search("x")
    assert len(script.requests) == 1


def test_phases_have_their_own_timeouts() -> None:
    timeouts = Timeouts(1.0, 2.0, 3.0, 4.0, 5.0)
    found = {"hits": [], "version": 1, "flags": []}
    script = Script(reply(found), timeout=timeouts)
    script.papers.search("x")
    script.papers.search("x", timeout_ms=60_000)
    script.papers.flush()
    seen = [request.extensions["timeout"] for request in script.requests]
    assert seen[0] == {"connect": 1.0, "pool": 2.0, "write": 3.0, "read": 4.0}
    assert [each["read"] for each in seen] == [4.0, 61.0, 5.0]


def test_a_deadline_in_the_request_is_not_cut_off_by_the_client() -> None:
    script = Script(reply({"hits": [], "version": 1, "flags": []}))
    script.papers.search("x", timeout_ms=600_000)
    assert script.requests[0].extensions["timeout"]["read"] == 605.0


@pytest.mark.parametrize("timeout", [0, -1, "3", True, float("nan")])
def test_a_timeout_is_a_number_of_seconds(timeout: Any) -> None:
    with pytest.raises(cm.InputError, match="seconds"):
        cm.Client(URL, timeout=timeout)


@pytest.mark.parametrize("retries", [-1, "3", True, 1.5, 10**9])
def test_retries_are_a_number(retries: Any) -> None:
    with pytest.raises(cm.InputError):
        cm.Client(URL, retries=retries)


@pytest.mark.parametrize(
    "url",
    [
        "papers.cm",
        "",
        "ftp://host",
        "http://",
        "http://user:secret@host",
        "http://host?x=1",
        "http://host:99999999",
        "http://[::1",
        "http://host\n/",
    ],
)
def test_a_url_that_is_none(url: str) -> None:
    with pytest.raises(cm.InputError, match="url"):
        cm.Client(url)
    with pytest.raises(cm.InputError, match="url"):
        cm.Client(3)  # type: ignore[arg-type]


def test_the_key_is_sent_and_never_shown() -> None:
    script = Script(problem(401, "unauthorized"), api_key="s3cret")
    client = script.client
    with pytest.raises(cm.ServiceError) as caught:
        client.collections()
    assert script.requests[0].headers["authorization"] == "Bearer s3cret"
    assert "s3cret" not in repr(client) + repr(client["papers"]) + repr(caught.value)
    for key in ("a\nb", "ü", 3, "", " ", "a b", "a\n"):
        with pytest.raises(cm.InputError, match="api_key"):
            cm.Client(URL, api_key=key)  # type: ignore[arg-type]


def test_redirects_are_not_followed() -> None:
    script = Script(httpx2.Response(302, headers={"location": "http://elsewhere.test/"}))
    with pytest.raises(cm.ServiceError, match="redirects are not followed"):
        script.papers.describe()
    assert len(script.requests) == 1


def test_the_url_may_have_a_path() -> None:
    script = Script(reply(DESCRIBED), url=URL + "/")
    script.papers.describe()
    assert str(script.requests[0].url) == f"{URL}/v1/collections/papers"
