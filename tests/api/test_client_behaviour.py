"""One behaviour: embedded, over an app in this process, over a socket, and awaited."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

import cormorant as cm
from cormorant.errors import (
    CollectionExistsError,
    ReadOnlyError,
    UnknownNameError,
)
from cormorant.vectors import SparseVectors

pytest.importorskip("fastapi", reason="the server's packages are not installed")

VARIANTS = ("embedded", "in_process", "over_a_socket", "awaited")
BIRDS = [
    cm.Document(id="c", title="Cormorant", text="A black bird that dives for fish."),
    cm.Document(id="h", title="Heron", text="A grey bird that stands and waits for fish."),
    cm.Document(
        id="o", title="Owl", text="A bird of the night.", metadata={"active": "night", "n": 2**60}
    ),
]
ODD_IDS = [
    ".",
    "..",
    "a/b",
    "/a",
    "a/",
    "a//b",
    "../x",
    "ü 🦅",
    "%2F",
    "a?b#c",
    "a+b",
    "delete",
    " ",
]


class InThisProcess(httpx2.BaseTransport):
    """Calls an ASGI application in the portal's event loop."""

    def __init__(self, app: Any, portal: BlockingPortal) -> None:
        self._transport = httpx2.ASGITransport(app)
        self._portal = portal

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        async def handle() -> httpx2.Response:
            response = await self._transport.handle_async_request(request)
            await response.aread()
            return response

        response = self._portal.call(handle)
        return httpx2.Response(
            response.status_code, headers=response.headers, content=response.content
        )


class Awaited:
    """An ``AsyncRemoteCollection`` whose calls are waited for, so that one suite fits both."""

    def __init__(self, papers: Any, portal: BlockingPortal) -> None:
        self._papers = papers
        self._portal = portal

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._papers, name)
        if name == "indexes":
            return self._portal.call(function)
        return lambda *args, **more: self._portal.call(lambda: function(*args, **more))

    def scroll(self, **more: Any) -> AwaitedScroll:
        return AwaitedScroll(self._papers.scroll(**more), self._portal)

    def __len__(self) -> int:
        return self.count()

    def __contains__(self, id: object) -> bool:
        return self.contains(id)


class AwaitedScroll:
    """An ``AsyncScroll`` for a plain ``for``."""

    def __init__(self, walk: Any, portal: BlockingPortal) -> None:
        self._walk = walk
        self._portal = portal

    @property
    def cursor(self) -> str | None:
        return self._walk.cursor

    def __iter__(self) -> AwaitedScroll:
        return self

    def __next__(self) -> cm.Document:
        try:
            return self._portal.call(self._walk.__anext__)
        except StopAsyncIteration:
            raise StopIteration from None


@pytest.fixture(scope="module", params=VARIANTS)
def make(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Makes an empty collection of the name given, as ``Collection.create`` does."""
    root: Path = tmp_path_factory.mktemp("root")
    with ExitStack() as stack:
        yield _maker(request.param, root, stack)


def _maker(variant: str, root: Path, stack: ExitStack) -> Callable[..., Any]:
    if variant == "embedded":
        return lambda name, *args, **more: stack.enter_context(
            cm.Collection.create(root / name, *args, **more)
        )
    from serving import Log, on_a_port

    from cormorant.api.server.app import create_app
    from cormorant.api.server.settings import Settings

    app = create_app(Settings(root=root, warm=False, threads=2), log=Log().logger)
    portal = stack.enter_context(start_blocking_portal())
    if variant == "in_process":
        stack.enter_context(portal.wrap_async_context_manager(app.router.lifespan_context(app)))
        client = cm.Client("http://127.0.0.1", transport=InThisProcess(app, portal))
        return stack.enter_context(client).create
    url = stack.enter_context(on_a_port(app))
    if variant == "over_a_socket":
        return stack.enter_context(cm.Client(url)).create
    twin = stack.enter_context(portal.wrap_async_context_manager(cm.AsyncClient(url)))

    def create(*args: Any, **more: Any) -> Awaited:
        return Awaited(portal.call(lambda: twin.create(*args, **more)), portal)

    return create


_numbers = count()


@pytest.fixture
def empty(make: Any) -> Any:
    return make(f"papers{next(_numbers)}")


@pytest.fixture
def fresh(empty: Any) -> Any:
    """The birds, in a collection to change."""
    assert empty.add(BIRDS) == 3
    return empty


@pytest.fixture(scope="module")
def birds(make: Any) -> Any:
    """The birds, for tests that change nothing."""
    collection = make("birds")
    assert collection.add(BIRDS) == 3
    return collection


@pytest.fixture(scope="module")
def sparse(make: Any) -> Any:
    """An empty collection for weights of terms."""
    return make("sparse", {"sparse": cm.Sparse()})


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[cm.Collection]:
    """The birds in an embedded collection: what every variant has to say."""
    with cm.Collection.create(tmp_path_factory.mktemp("reference") / "birds.cm") as collection:
        collection.add(BIRDS)
        yield collection


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"k": 1},
        {"pipeline": "bm25"},
        {"pipeline": {"retrieve": ["bm25"], "depth": 5}},
        {"pipeline": cm.Pipeline(["bm25"], depth=5)},
        {"filter": {"active": "night"}},
        {"filter": {"n": {"gte": 2**60}}},
        {"explain": True},
    ],
    ids=str,
)
def test_a_search_says_what_an_embedded_one_says(
    birds: Any, reference: cm.Collection, more: Any
) -> None:
    for query in ("diving for fish", "bird", "nothing of the sort", "ü 🦅", ""):
        result, expected = birds.search(query, **more), reference.search(query, **more)
        assert isinstance(result, cm.Result)
        assert (result.ids, result.scores, result.flags) == (
            expected.ids,
            expected.scores,
            expected.flags,
        )
        for hit, theirs in zip(result, expected, strict=True):
            assert hit.as_json() == theirs.as_json()
            assert hit.document == theirs.document
            assert hit.passage == theirs.passage
        assert result.total_ms > 0


def test_a_batch_says_what_its_searches_say(birds: Any) -> None:
    queries = ["fish", "night", "nothing"]
    results = birds.search_batch(queries, 2)
    assert [item.ids for item in results] == [birds.search(query, 2).ids for query in queries]
    assert len({item.version for item in results}) == 1
    assert results[0].load()[0].text
    assert birds.search_batch([]) == []


def test_documents_come_back_as_they_went(birds: Any) -> None:
    assert [birds.get(document.id) for document in BIRDS] == BIRDS
    assert list(birds.scroll()) == BIRDS
    walk = birds.scroll()
    assert (walk.cursor, next(walk)) == (None, BIRDS[0])
    assert list(birds.scroll(after=walk.cursor)) == BIRDS[1:] == list(walk)
    assert list(birds.scroll(after=walk.cursor)) == []
    assert list(birds.scroll(filter={"active": "night"})) == BIRDS[2:]
    assert len(birds) == 3
    assert "c" in birds
    assert "x" not in birds
    assert 3 not in birds
    assert birds.get("x") is None


def test_ids_of_every_sort(empty: Any) -> None:
    documents = [cm.Document(id=id, text="x") for id in ODD_IDS]
    empty.add(documents)
    for document in documents:
        assert empty.get(document.id) == document
        assert document.id in empty
    assert [document.id for document in empty.scroll()] == ODD_IDS
    assert empty.delete(ODD_IDS) == len(ODD_IDS)
    assert len(empty) == 0


def test_metadata_and_labels_survive(empty: Any) -> None:
    document = cm.Document(
        id="1",
        text="line\nbreak \u2028 \x00 🦅",
        title='"quoted" \\ </script>',
        metadata={"a": [1, 2.5, None, True, {"b": "ü"}], "big": 2**70, "small": 1e-300},
        labels=["x", "ü"],
    )
    empty.add([document])
    assert empty.get("1") == document


def test_adding_again_replaces_and_deleting_deletes(fresh: Any) -> None:
    told: list[tuple[str, int]] = []
    new = cm.Document(id="c", text="A new text about penguins.")
    assert fresh.add(iter([new]), progress=lambda *what: told.append(what)) == 1
    assert ("added", 1) in told
    assert fresh.get("c") == new
    assert fresh.search("penguins").ids == ["c"]
    assert fresh.search("dives").ids == []
    assert fresh.delete(["c", "c", "x"]) == 1
    assert fresh.delete(iter(["c"])) == 0
    assert fresh.delete([]) == 0
    assert len(fresh) == 2
    assert fresh.add([]) == 0


def test_more_than_a_page(empty: Any) -> None:
    documents = [cm.Document(id=f"{i}", text=f"number {i}") for i in range(257)]
    assert empty.add(documents) == 257
    assert list(empty.scroll()) == documents
    assert empty.delete(str(i) for i in range(257)) == 257


def test_background_indexing_can_be_waited_for(empty: Any) -> None:
    empty.add(BIRDS, index="later")
    assert empty.wait_indexed(30) is True
    assert empty.search("fish").ids == ["c", "h"]


def test_indexes_come_and_go(fresh: Any) -> None:
    settings = cm.BM25(k1=0.9, b=0.4)
    fresh.add_index("other", settings)
    assert fresh.indexes == {"bm25": cm.BM25(), "other": settings}
    assert fresh.search("fish", pipeline="other").ids == ["c", "h"]
    fused = cm.Pipeline(["bm25", "other"], fuse=cm.RRF())
    assert fresh.search("fish", pipeline=fused).ids == ["c", "h"]
    with pytest.raises(cm.InputError):
        fresh.add_index("other", settings)
    fresh.drop_index("other")
    assert list(fresh.indexes) == ["bm25"]
    with pytest.raises(UnknownNameError):
        fresh.drop_index("other")
    with pytest.raises(cm.InputError):
        fresh.add_index("a/b", settings)


def test_care(fresh: Any) -> None:
    fresh.delete(["h"])
    fresh.flush()
    fresh.merge()
    report = fresh.check()
    assert report.ok
    assert report.documents == 2
    described = fresh.describe()
    assert described["documents"] == 2
    assert described["version"] > 0
    assert described["indexes"]["bm25"]["kind"] == "bm25"


def test_highlights(birds: Any, reference: cm.Collection) -> None:
    for query, text in (("diving fish", BIRDS[0].text), ("x", "y"), ("", ""), ("ü", "🦅 ü")):
        spans = birds.highlights(query, text)
        assert spans == reference.highlights(query, text)
        assert all(type(span) is tuple for span in spans)


def test_vectors(make: Any) -> None:
    indexes = {"dense": cm.Dense(model=None, dim=4), "bm25": cm.BM25()}
    papers = make(f"papers{next(_numbers)}", indexes)
    vectors = np.eye(4, dtype=np.float32)[:3]
    assert papers.add(BIRDS, vectors={"dense": vectors}) == 3
    results = papers.search_batch(vectors=vectors[::-1], k=1, pipeline="dense")
    assert [result.ids for result in results] == [["o"], ["h"], ["c"]]
    assert results[0].scores == [1.0]
    assert papers.indexes == indexes
    with pytest.raises(cm.InputError):
        papers.add(BIRDS, vectors={"dense": vectors[:2]})
    with pytest.raises(cm.InputError):
        papers.add(BIRDS, vectors={"nope": vectors})
    with pytest.raises(cm.InputError):
        papers.search_batch(vectors=np.ones((1, 3)), pipeline="dense")
    both = papers.search_batch(["diving", "x"], vectors=vectors[1:], k=3, pipeline="hybrid")
    assert [result.ids[0] for result in both] == ["h", "o"]
    with pytest.raises(cm.InputError, match="2 queries"):
        papers.search_batch(["a", "b"], vectors=vectors, pipeline="hybrid")
    for odd in ([{"cat": 1.0}], [[[1.0] * 4]], [{3: 1.0}]):
        with pytest.raises(cm.InputError, match="one vector a text"):
            papers.search_batch(vectors=odd, pipeline="dense")


def test_weights_of_terms(make: Any) -> None:
    numbered = make(f"papers{next(_numbers)}", {"sparse": cm.Sparse()})
    assert numbered.add(BIRDS, vectors={"sparse": [{3: 1.0}, {}, {3: 0.5, 2**32 - 1: 2.0}]}) == 3
    forms: list[Any] = [
        [{3: 1.0}, {}, {np.int64(2**32 - 1): np.float32(1.0)}],
        SparseVectors(
            np.array([0, 1, 1, 2]), np.array([3, 2**32 - 1]), np.array([1.0, 1.0], np.float32)
        ),
    ]
    for vectors in forms:
        results = numbered.search_batch(vectors=vectors)
        assert [result.ids for result in results] == [["c", "o"], [], ["o"]]
        assert results[0].scores == [1.0, 0.5]
    named = make(f"papers{next(_numbers)}", {"sparse": cm.Sparse()})
    assert named.add(BIRDS, vectors={"sparse": [{"fish": 1.0}, {"ü": 2, "": 1}, {}]}) == 3
    results = named.search_batch(vectors=[{"fish": 1.0}, {}, {"ü": 0.5, "unheard of": 1.0}])
    assert [result.ids for result in results] == [["c"], [], ["h"]]
    assert [result.ids for result in named.search_batch(vectors=[{}, {}])] == [[], []]


@pytest.mark.parametrize(
    "weights",
    [
        {3.7: 1.0},
        {True: 1.0},
        {None: 1.0},
        {3: "a"},
        {3: None},
        {3: float("nan")},
        {3: float("inf")},
        {3: -1.0},
        {-1: 1.0},
        {2**70: 1.0},
        {"a": 1.0, 3: 1.0},
        {"a": []},
        {"\ud800": 1.0},
    ],
    ids=repr,
)
def test_weights_that_are_none(sparse: Any, weights: Any) -> None:
    """Over the wire 3.7 became the term 3, and others were no InputError."""
    with pytest.raises(cm.InputError):
        sparse.search_batch(vectors=[weights])
    with pytest.raises(cm.InputError):
        sparse.add(BIRDS[:1], vectors={"sparse": [weights]})
    with pytest.raises(cm.InputError):
        sparse.search_batch(vectors=[{"a": 1.0}, {3: 1.0}])
    assert len(sparse) == 0


def test_chunks(make: Any) -> None:
    papers = make(f"papers{next(_numbers)}", chunk=cm.Chunking(tokens=8, overlap=0))
    text = "One two three four five six. Seven eight nine ten eleven twelve fish."
    papers.add([cm.Document(id="1", text=text)])
    (hit,) = papers.search("fish")
    assert hit.passage == "Seven eight nine ten eleven twelve fish."


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (lambda c: c.search("x", k=0), cm.InputError),
        (lambda c: c.search("x", k=10**6), cm.InputError),
        (lambda c: c.search("x", k=10**30), cm.InputError),
        (lambda c: c.search(3), cm.InputError),
        (lambda c: c.search("x", pipeline="nope"), UnknownNameError),
        (lambda c: c.search("x", pipeline={"retrieve": []}), cm.InputError),
        (lambda c: c.search("x", pipeline={"retrieve": ["bm25"], "z": 1}), cm.InputError),
        (lambda c: c.search("x", filter={"n": {"nope": 1}}), cm.InputError),
        (lambda c: list(c.scroll(after="nope")), cm.InputError),
        (lambda c: c.search("x", timeout_ms=0), cm.InputError),
        (lambda c: list(c.scroll(filter={"n": {"nope": 1}})), cm.InputError),
        (lambda c: c.add([{"id": "1"}]), cm.InputError),
        (lambda c: c.add([BIRDS[0], BIRDS[0]]), cm.InputError),
        (lambda c: c.add(BIRDS[0]), cm.InputError),
        (lambda c: c.add([], index="x"), cm.InputError),
        (lambda c: c.delete("abc"), cm.InputError),
        (lambda c: c.search_batch("x"), cm.InputError),
        (lambda c: c.search_batch(), cm.InputError),
        (lambda c: c.search_batch(["a"], vectors=[[1.0]]), cm.InputError),
        (lambda c: c.search_batch(vectors=[[1.0]]), cm.InputError),
        (lambda c: c.add_index("ids", cm.BM25()), cm.InputError),
        (lambda c: c.drop_index("../.."), UnknownNameError),
        (lambda c: c.get(3), cm.InputError),
        (lambda c: c.get("\ud800"), cm.InputError),
    ],
)
def test_errors_are_of_the_same_classes(birds: Any, call: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind) as caught:
        call(birds)
    assert type(caught.value) is kind
    assert len(birds) == 3


def test_the_field_is_named(birds: Any) -> None:
    for more, field in (({"k": 0}, "k"), ({"pipeline": {"retrieve": []}}, "retrieve")):
        with pytest.raises(cm.InputError) as caught:
            birds.search("x", **more)
        assert caught.value.field == field


def test_a_collection_that_is_there(make: Any) -> None:
    name = f"papers{next(_numbers)}"
    make(name)
    with pytest.raises(CollectionExistsError):
        make(name)


def test_a_closed_collection_answers_no_more(fresh: Any) -> None:
    fresh.close()
    fresh.close()
    for call in (lambda: fresh.search("x"), lambda: fresh.add(BIRDS), lambda: len(fresh)):
        with pytest.raises(ReadOnlyError):
            call()
