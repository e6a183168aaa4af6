"""One surface: the embedded collection, the remote one, and its asynchronous twin."""

from __future__ import annotations

import asyncio
import gc
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from scripted import DESCRIBED, Script, reply
from surfaces import members

import cormorant as cm
from cormorant.api.client.async_collection import AsyncRemoteCollection
from cormorant.api.client.collection import RemoteCollection
from cormorant.errors import ReadOnlyError

NOT_OVER_THE_WIRE = {
    "backup": "writes a folder on the server's disk; no path comes from the wire",
    "create": "is Client.create",
    "open": "is Client[name]",
    "restore": "reads and writes folders on the server's disk",
    "vectors": "reads a whole index; `cormorant export` does, beside the collection",
}
ONLY_REMOTE = {"name": "an embedded collection has a path"}
ONLY_A_SERVER_HAS = {"search": ["offset"]}
"""Keyword arguments beyond those of an embedded collection: pages."""
AWAITED_BY_ANOTHER_NAME = {
    "__len__": "count",
    "__contains__": "contains",
    "__enter__": "__aenter__",
    "__exit__": "__aexit__",
}
SPECIAL = {"__len__", "__contains__", "__enter__", "__exit__"}


def _members(owner: type) -> dict[str, Any]:
    return members(owner, SPECIAL | set(AWAITED_BY_ANOTHER_NAME.values()))


def _parameters(function: Any) -> list[tuple[str, Any, Any]]:
    if isinstance(function, property):
        return []
    return [
        (item.name, item.kind, item.default)
        for item in inspect.signature(function).parameters.values()
    ]


def test_the_remote_collection_has_the_calls_of_the_embedded_one() -> None:
    embedded, remote = _members(cm.Collection), _members(RemoteCollection)
    assert embedded.keys() - remote.keys() == NOT_OVER_THE_WIRE.keys()
    assert remote.keys() - embedded.keys() == ONLY_REMOTE.keys()
    for name in embedded.keys() & remote.keys():
        ours, theirs = _parameters(remote[name]), _parameters(embedded[name])
        more = ONLY_A_SERVER_HAS.get(name, [])
        assert ours[: len(theirs)] == theirs, name
        assert [item[0] for item in ours[len(theirs) :]] == more, name
        assert all(item[1] is inspect.Parameter.KEYWORD_ONLY for item in ours[len(theirs) :])
        assert type(remote[name]) is type(embedded[name]), name


def test_results_are_of_the_same_types() -> None:
    embedded, remote = _members(cm.Collection), _members(RemoteCollection)
    for name in embedded.keys() & remote.keys() - {"__enter__"}:
        ours, theirs = (
            (getattr(item, "fget", None) or item).__annotations__["return"]
            for item in (remote[name], embedded[name])
        )
        assert ours == theirs, name


@pytest.mark.parametrize(
    ("one", "twin"), [(RemoteCollection, AsyncRemoteCollection), (cm.Client, cm.AsyncClient)]
)
def test_the_asynchronous_twin_differs_in_the_await_alone(one: type, twin: type) -> None:
    ours = {AWAITED_BY_ANOTHER_NAME.get(name, name): item for name, item in _members(one).items()}
    theirs = _members(twin)
    assert ours.keys() == theirs.keys()
    for name, function in ours.items():
        assert _parameters(function) == _parameters(theirs[name]) or isinstance(function, property)
        awaited = inspect.iscoroutinefunction(theirs[name])
        assert awaited == (name not in ("name", "scroll", "answer_stream")), name
    assert _parameters(one.__init__) == _parameters(twin.__init__)  # type: ignore[misc]


def test_every_public_call_is_documented() -> None:
    for owner in (RemoteCollection, AsyncRemoteCollection, cm.Client, cm.AsyncClient):
        for name, value in _members(owner).items():
            assert name.startswith("__") or value.__doc__, f"{owner.__name__}.{name}"


def test_the_client_imports_no_room_but_its_own(tmp_path: Path) -> None:
    script = (
        "import sys, cormorant\n"
        "cormorant.Client('http://127.0.0.1:9')['papers'], cormorant.AsyncClient\n"
        "rooms = tuple(f'cormorant.{r}' for r in ('retrieval', 'indexers', 'rankers', 'kernels',\n"
        "    'eval', 'api.server', 'api.page'))\n"
        "heavy = {'torch', 'faiss', 'numba', 'sqlite3', 'fastapi', 'pydantic', 'transformers'}\n"
        "found = [m for m in sys.modules if m.startswith(rooms) or m.split('.')[0] in heavy]\n"
        "assert not found, found\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["", "Papers", "a/b", "..", "a" * 65, "ü", 3, None, "a b", "a\n"])
def test_a_collection_s_name(name: Any) -> None:
    with pytest.raises(cm.InputError, match="name"):
        Script(reply({})).client[name]


def test_labels_come_from_the_key() -> None:
    papers = Script(reply({})).papers
    for call in (
        lambda: papers.search("x", as_labels=["a"]),
        lambda: papers.search_batch(["x"], as_labels=[]),
        lambda: papers.get("x", as_labels=["a"]),
        lambda: papers.scroll(as_labels=["a"]),
    ):
        with pytest.raises(cm.InputError, match="labels come from the key"):
            call()


@pytest.mark.parametrize(
    "call",
    [
        lambda papers: papers.search(3),
        lambda papers: papers.search("\ud800"),
        lambda papers: papers.search("x", k="3"),
        lambda papers: papers.search("x", k=True),
        lambda papers: papers.search("x", k=10**5000),
        lambda papers: papers.search("x", offset=1.5j),
        lambda papers: papers.search("x", timeout_ms="3"),
        lambda papers: papers.search("x", pipeline=3),
        lambda papers: papers.search("x", pipeline={"retrieve": object()}),
        lambda papers: papers.search("x", filter=3),
        lambda papers: papers.search("x", filter={"a": float("nan")}),
        lambda papers: papers.search_batch("x"),
        lambda papers: papers.search_batch(),
        lambda papers: papers.search_batch(["x", 3]),
        lambda papers: papers.search_batch(vectors=3),
        lambda papers: papers.search_batch(vectors=[["x"]]),
        lambda papers: papers.search_batch(vectors=[[1.0], [1.0, 2.0]]),
        lambda papers: papers.search_batch(vectors=[[float("inf")]]),
        lambda papers: papers.get(3),
        lambda papers: papers.get("\ud800"),
        lambda papers: papers.delete("abc"),
        lambda papers: papers.delete([3]),
        lambda papers: papers.add([], index="soon"),
        lambda papers: papers.add_index("x", "bm25"),
        lambda papers: papers.add_index("x", cm.BM25),
        lambda papers: papers.add_index("x", cm.BM25(), index="soon"),
        lambda papers: papers.highlights("\ud800", "x"),
        lambda papers: papers.scroll(after=3),
        lambda papers: papers.scroll(filter=3),
    ],
)
def test_what_cannot_be_said_is_not_sent(call: Any) -> None:
    script = Script(reply({}))
    with pytest.raises(cm.InputError):
        call(script.papers)
    assert script.requests == []


def test_closing() -> None:
    script = Script(reply(DESCRIBED))
    client = script.client
    one, two = client["one"], client["two"]
    one.close()
    one.close()
    with pytest.raises(ReadOnlyError):
        one.describe()
    assert two.describe() == DESCRIBED
    client.close()
    for call in (two.describe, client.collections, lambda: client["three"]):
        with pytest.raises(ReadOnlyError):
            call()


def test_the_last_collection_of_a_forgotten_client_closes_the_connection() -> None:
    with Script(reply(DESCRIBED)).papers as papers:
        connection = papers._connection
        gc.collect()
        assert len(papers) == 3
        assert not connection.closed
    assert connection.closed

    async def twice() -> None:
        async with Script(reply(DESCRIBED)).async_papers as papers:
            gc.collect()
            assert await papers.count() == 3
            assert not papers._connection.closed
        assert papers._connection.closed

    asyncio.run(twice())
