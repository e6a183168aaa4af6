"""The calls on a server itself, and keys, against a real one."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cormorant as cm
from cormorant.contracts import Encoded
from cormorant.errors import ForbiddenError, UnauthorizedError, UnknownNameError

pytest.importorskip("fastapi", reason="the server's packages are not installed")


class Sizes:
    """An encoder of lengths: (characters, words)."""

    identity, dim, max_tokens = "sizes", 2, 4

    def encode_query(self, texts: Any) -> Encoded:
        return self.encode_document(texts)

    def encode_document(self, texts: Any) -> Encoded:
        sizes = [(len(text), len(text.split())) for text in texts]
        return Encoded(np.array(sizes, np.float32), np.array([n > 4 for _, n in sizes]))


def _served(**settings: Any) -> Any:
    from serving import Lengths, Log, on_a_port

    from cormorant.api.server.app import create_app
    from cormorant.api.server.settings import Settings

    app = create_app(
        Settings(**{"warm": False, "threads": 2, **settings}),
        scorers={"lengths": Lengths()},
        encoders={"sizes": Sizes()},
        log=Log().logger,
    )
    return on_a_port(app)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with _served(root=tmp_path_factory.mktemp("root")) as at:
        yield at


@pytest.fixture
def client(url: str) -> Iterator[cm.Client]:
    with cm.Client(url) as one:
        yield one


def test_collections_are_created_listed_and_dropped(client: cm.Client) -> None:
    papers = client.create("papers", {"words": cm.BM25(k1=0.9)}, chunk=cm.Chunking(16, 4))
    assert papers.indexes == {"words": cm.BM25(k1=0.9)}
    (described,) = client.collections()
    assert described["name"] == "papers"
    client.drop("papers")
    assert client.collections() == []
    for call in (papers.describe, lambda: papers.get("x"), lambda: client.drop("papers")):
        with pytest.raises(UnknownNameError):
            call()


@pytest.mark.parametrize(
    ("indexes", "chunk"), [(3, None), ({"b": "bm25"}, None), ({"../x": cm.BM25()}, None), ({}, 3)]
)
def test_what_cannot_be_created(client: cm.Client, indexes: Any, chunk: Any) -> None:
    with pytest.raises(cm.InputError):
        client.create("papers", indexes, chunk=chunk)
    assert client.collections() == []


def test_rerank(client: cm.Client) -> None:
    ranked = client.rerank("q", ["long text", "x", "text"], model="lengths")
    assert [item.index for item in ranked] == [1, 2, 0]
    assert ranked[0].score == pytest.approx(0.5)
    assert [item.index for item in client.rerank("q", ["ab", "a"], model="lengths", top_n=1)] == [1]
    for wrong in (
        {"query": 3},
        {"documents": "x"},
        {"documents": []},
        {"documents": [3]},
        {"model": "nope"},
    ):
        with pytest.raises(cm.InputError):
            client.rerank(**{"query": "q", "documents": ["x"], "model": "lengths", **wrong})


def test_embed(client: cm.Client) -> None:
    embedded = client.embed(["a bc", "a b c d e"], model="sizes")
    assert embedded.vectors.dtype == np.float32
    assert embedded.vectors.tolist() == [[4, 2], [9, 5]]
    assert (embedded.model, embedded.cut) == ("sizes", [False, True])
    for wrong in ({"texts": "x"}, {"texts": [3]}, {"model": "nope"}, {"input_type": "x"}):
        with pytest.raises(cm.InputError):
            client.embed(**{"texts": ["x"], "model": "sizes", **wrong})


def test_threads_share_a_client(client: cm.Client) -> None:
    papers = client.create("shared")
    papers.add([cm.Document(id="1", text="a cormorant dives")])
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: papers.search("cormorant").ids, range(100)))
    assert found == [["1"]] * 100
    client.drop("shared")


def test_the_asynchronous_client(url: str) -> None:
    async def use() -> None:
        async with cm.AsyncClient(url) as client:
            papers = await client.create("birds")
            await papers.add([cm.Document(id="1", text="a cormorant dives")])
            found = await asyncio.gather(*(papers.search("cormorant") for _ in range(20)))
            assert {tuple(result.ids) for result in found} == {("1",)}
            assert [item["name"] for item in await client.collections()] == ["birds"]
            ranked = await client.rerank("q", ["ab", "a"], model="lengths")
            assert [item.index for item in ranked] == [1, 0]
            assert (await client.embed(["ab"], model="sizes")).vectors.tolist() == [[2, 1]]
            await client.drop("birds")

    asyncio.run(use())


def test_a_key_opens_what_it_may_and_shows_what_it_may(tmp_path: Path) -> None:
    with cm.Collection.create(tmp_path / "birds.cm") as birds:
        birds.add([cm.Document(id="o", text="open bird", labels=["open"])])
        birds.add([cm.Document(id="s", text="secret bird", labels=["staff"])])
    keys = [
        {"name": "staff", "rights": {"*": "admin"}},
        {"name": "guest", "rights": {"birds": "read"}, "labels": ["open"]},
    ]
    for key in keys:
        key["sha256"] = hashlib.sha256(str(key["name"]).encode()).hexdigest()
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"keys": keys}))
    path.chmod(0o600)
    with _served(collections=(tmp_path / "birds.cm",), keys=path) as url:
        for wrong in (None, "nobody", "Staff"):
            with cm.Client(url, wrong)["birds"] as birds, pytest.raises(UnauthorizedError):
                birds.search("bird")
        with cm.Client(url, "staff")["birds"] as birds:
            assert sorted(birds.search("bird").ids) == ["o", "s"]
        with cm.Client(url, "guest") as client:
            birds = client["birds"]
            assert birds.search("bird").ids == ["o"]
            assert birds.get("s") is None
            assert [document.id for document in birds.scroll()] == ["o"]
            for call in (birds.check, birds.flush, lambda: birds.delete(["o"])):
                with pytest.raises(ForbiddenError):
                    call()
