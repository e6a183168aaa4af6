"""A multi-vector index in a collection: exact scores, candidates, filters, deletes, bad input."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import cormorant as cm
from cormorant.contracts import EncodedTokens
from cormorant.errors import CollectionError
from cormorant.indexers.muvera.index import MuveraIndex
from cormorant.indexers.muvera.settings import Muvera
from cormorant.indexers.table import INDEXES
from cormorant.vectors import TokenVectors

DIM = 12
EXACT = cm.Muvera(model=None, target_recall=None, storage="float32")
FAST = cm.Muvera(model=None, proxy_rows=256, r_reps=12)
Texts = dict[str, np.ndarray]


def token_vectors(texts: Sequence[np.ndarray]) -> TokenVectors:
    starts = np.zeros(len(texts) + 1, np.int64)
    np.cumsum([len(text) for text in texts], out=starts[1:])
    return TokenVectors(starts, np.concatenate([np.zeros((0, DIM), np.float32), *texts]))


def random_text(generator: np.random.Generator, low: int = 0, high: int = 12) -> np.ndarray:
    """Unit vectors around a few directions, so that texts are alike to different degrees."""
    centres = np.random.default_rng(0).standard_normal((20, DIM))
    n = int(generator.integers(low, high))
    vectors = centres[generator.integers(0, 20, n)] + 0.5 * generator.standard_normal((n, DIM))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def maxsim(query: np.ndarray, text: np.ndarray) -> float:
    """The slow twin, in float64."""
    if not len(text):
        return 0.0
    return float((query.astype(np.float64) @ text.astype(np.float64).T).max(axis=1).sum())


def assert_exact(result: cm.Result, texts: Texts, query: np.ndarray, k: int) -> None:
    """Each hit has its true score, and no document beyond the hits has a better one."""
    expected = {name: maxsim(query, text) for name, text in texts.items()}
    assert len(result) == min(k, len(texts))
    for hit in result:
        assert hit.score == pytest.approx(expected[hit.id], abs=1e-5)
    best = sorted(expected.values(), reverse=True)[: len(result)]
    assert [hit.score for hit in result] == pytest.approx(best, abs=1e-5)


def documents(names: Sequence[str]) -> list[cm.Document]:
    return [
        cm.Document(id=name, text="", metadata={"number": int(name[1:])}, labels=[name[-1]])
        for name in names
    ]


@pytest.mark.parametrize("seed", range(3))
def test_any_order_of_changes_agrees_with_the_twin(tmp_path: Path, seed: int) -> None:
    generator, choose = np.random.default_rng(seed), random.Random(seed)
    path = tmp_path / "c.cm"
    texts: Texts = {}
    collection = cm.Collection.create(path, {"tokens": EXACT})
    for _ in range(14):
        step = choose.choice(["add", "add", "replace", "delete", "flush", "merge", "reopen"])
        if step in ("add", "replace"):
            pool = list(texts) if step == "replace" and texts else []
            names = choose.sample(pool, min(len(pool), 7)) or [
                f"d{len(texts) + number + 1000 * seed}" for number in range(choose.randint(1, 40))
            ]
            new = {name: random_text(generator) for name in names}
            collection.add(documents(names), vectors={"tokens": token_vectors(list(new.values()))})
            texts |= new
        elif step == "delete" and texts:
            names = choose.sample(list(texts), len(texts) // 4)
            collection.delete(names)
            texts = {name: text for name, text in texts.items() if name not in names}
        elif step == "flush":
            collection.flush()
        elif step == "merge":
            collection.merge()
        elif step == "reopen":
            collection.close()
            collection = cm.Collection.open(path)
        if texts:
            queries = [random_text(generator, 1, 6) for _ in range(3)]
            results = collection.search_batch(vectors=token_vectors(queries), k=7)
            for result, query in zip(results, queries, strict=True):
                assert_exact(result, texts, query, 7)
    assert collection.check().problems == ()
    collection.close()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[cm.Collection, Texts]]:
    """900 documents in one segment with a proxy, 30 in the tail, some deleted."""
    generator = np.random.default_rng(5)
    texts = {f"d{number}": random_text(generator, 1) for number in range(930)}
    names = list(texts)
    settings = {"fast": FAST, "exact": EXACT}
    with cm.Collection.create(tmp_path_factory.mktemp("m") / "c.cm", settings) as collection:
        for first, last in ((0, 400), (400, 900), (900, 930)):
            vectors = token_vectors([texts[name] for name in names[first:last]])
            collection.add(
                documents(names[first:last]), vectors={"fast": vectors, "exact": vectors}
            )
            if last == 900:
                collection.merge()
        collection.delete(names[50:70])
        for name in names[50:70]:
            del texts[name]
        yield collection, texts


def queries_of(n: int, seed: int = 9) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [random_text(generator, 2, 9) for _ in range(n)]


def test_the_proxy_finds_what_it_promised_and_scores_are_true(
    built: tuple[cm.Collection, Texts],
) -> None:
    collection, texts = built
    facts = collection.describe()["indexes"]["fast"]
    assert facts["recall@10"] >= 0.95
    assert 10 <= facts["candidates@10"] < 450, "or everything was scored anyhow"
    queries = queries_of(40)
    found = collection.search_batch(vectors=token_vectors(queries), k=10, pipeline="fast")
    truth = collection.search_batch(vectors=token_vectors(queries), k=10, pipeline="exact")
    shares = []
    for own, exact, query in zip(found, truth, queries, strict=True):
        assert_exact(exact, texts, query, 10)
        assert any("approximate: found 0.9" in flag for flag in own.flags)
        for hit in own:
            assert hit.score == pytest.approx(maxsim(query, texts[hit.id]), abs=5e-3)
        assert [hit.score for hit in own] == sorted((h.score for h in own), reverse=True)
        shares.append(len(set(own.ids) & set(exact.ids)) / 10)
    assert np.mean(shares) >= 0.9


def test_a_query_alone_and_in_a_batch(built: tuple[cm.Collection, Texts]) -> None:
    collection, _ = built
    queries = queries_of(70)
    together = collection.search_batch(vectors=token_vectors(queries), k=10, pipeline="fast")
    for query, result in list(zip(queries, together, strict=True))[::9]:
        alone = collection.search_batch(vectors=token_vectors([query]), k=10, pipeline="fast")[0]
        assert alone.ids == result.ids
        assert alone.scores == result.scores


@pytest.mark.parametrize("most", [4, 40, 600])
def test_filters(built: tuple[cm.Collection, Texts], most: int) -> None:
    collection, texts = built
    through = {name: text for name, text in texts.items() if int(name[1:]) < most}
    recalls = []
    for query in queries_of(12):
        results = {
            name: collection.search_batch(
                vectors=token_vectors([query]), k=10, pipeline=name,
                filter={"number": {"lt": most}},
            )[0]
            for name in ("fast", "exact")
        }  # fmt: skip
        assert_exact(results["exact"], through, query, 10)
        assert set(results["fast"].ids) <= set(through)
        assert len(results["fast"]) == min(10, len(through)), "a filter never starves a search"
        recalls.append(
            len(set(results["fast"].ids) & set(results["exact"].ids)) / len(results["exact"])
        )
    assert np.mean(recalls) >= (1.0 if most < 100 else 0.9)


def test_labels(built: tuple[cm.Collection, Texts]) -> None:
    collection, texts = built
    through = {name: text for name, text in texts.items() if name.endswith("7")}
    query = queries_of(1)[0]
    result = collection.search_batch(
        vectors=token_vectors([query]), k=5, pipeline="exact", as_labels=["7"]
    )[0]
    assert_exact(result, through, query, 5)


def test_merging_copies_what_encoding_would_make(tmp_path: Path) -> None:
    generator = np.random.default_rng(2)
    texts = [random_text(generator) for _ in range(700)]
    names = [f"d{number}" for number in range(700)]
    settings = cm.Muvera(model=None, proxy_rows=256, storage="int8", fill=True)
    hits = []
    for name, cuts in (("one", [0, 700]), ("more", [0, 300, 620, 700])):
        with cm.Collection.create(tmp_path / f"{name}.cm", {"tokens": settings}) as collection:
            for first, last in zip(cuts[:-1], cuts[1:], strict=True):
                vectors = token_vectors(texts[first:last])
                collection.add(documents(names[first:last]), vectors={"tokens": vectors})
                collection.flush()
            collection.merge()
            assert collection.check().problems == ()
            assert collection.describe()["indexes"]["tokens"]["segments"] == 1
            results = collection.search_batch(vectors=token_vectors(queries_of(9)), k=12)
            hits.append([(result.ids, result.scores) for result in results])
    assert hits[0] == hits[1]


@pytest.mark.parametrize(
    "way", [{"codes": "pq"}, {"centre": True}, {"codes": "pq", "centre": None}]
)
def test_product_codes_and_centred_encodings(tmp_path: Path, way: dict[str, Any]) -> None:
    """Added in parts, deleted from, merged, opened again, filtered: as with a byte a number."""
    generator, path = np.random.default_rng(2), tmp_path / "c.cm"
    texts = {f"d{number}": random_text(generator) for number in range(900)}
    names = list(texts)
    settings = {"fast": cm.Muvera(model=None, proxy_rows=256, **way), "exact": EXACT}
    with cm.Collection.create(path, settings) as collection:
        for first, last in ((0, 300), (300, 900)):
            vectors = token_vectors([texts[name] for name in names[first:last]])
            both = {"fast": vectors, "exact": vectors}
            collection.add(documents(names[first:last]), vectors=both)
            collection.flush()
        collection.delete(names[50:70])
        collection.merge()
        assert collection.check().problems == ()
        facts = collection.describe()["indexes"]["fast"]
        assert (facts["segments"], facts["proxy"]) == (1, ["fde"])
        assert facts["recall@10"] >= 0.95
        assert facts["candidates@10"] < 440, "or everything was scored anyhow"
        asked = token_vectors(queries_of(40))
        before = collection.search_batch(vectors=asked, k=10, pipeline="fast")
    with cm.Collection.open(path) as collection:
        found = collection.search_batch(vectors=asked, k=10, pipeline="fast")
        assert [(one.ids, one.scores) for one in found] == [(o.ids, o.scores) for o in before]
        assert all(any("approximate" in flag for flag in one.flags) for one in found)
        truth = collection.search_batch(vectors=asked, k=10, pipeline="exact")
        shares = [len(set(a.ids) & set(b.ids)) / 10 for a, b in zip(found, truth, strict=True)]
        assert np.mean(shares) >= 0.95
        for one in collection.search_batch(
            vectors=asked, k=10, pipeline="fast", filter={"number": {"lt": 700}}
        ):
            assert len(one) == 10
            assert all(int(name[1:]) < 700 for name in one.ids)
        assert collection.check().problems == ()


@pytest.mark.parametrize(
    ("storage", "error"),
    [
        ("float32", 1e-6),
        ("float16", 4e-3),
        ("int8", 0.1),
        ("residual4", 0.5),
        ("residual2", 1.5),
    ],
)
def test_storage_rounds_once(tmp_path: Path, storage: str, error: float) -> None:
    generator = np.random.default_rng(4)
    texts = {f"d{number}": random_text(generator) for number in range(60)}
    settings = cm.Muvera(model=None, storage=storage)
    with cm.Collection.create(tmp_path / "c.cm", {"tokens": settings}) as collection:
        vectors = token_vectors(list(texts.values()))
        collection.add(documents(list(texts)), vectors={"tokens": vectors})
        query = queries_of(1)[0]
        before = collection.search_batch(vectors=token_vectors([query]), k=60)[0]
        collection.flush()
        after = collection.search_batch(vectors=token_vectors([query]), k=60)[0]
        assert (before.ids, before.scores) == (after.ids, after.scores), "tail and file agree"
        for hit in after:
            assert hit.score == pytest.approx(maxsim(query, texts[hit.id]), abs=error)


def test_an_explanation_adds_up(built: tuple[cm.Collection, Texts]) -> None:
    collection, texts = built
    query = queries_of(1)[0]
    result = collection.search_batch(
        vectors=token_vectors([query]), k=3, pipeline="exact", explain=True
    )[0]
    for hit in result:
        reason = hit.explanation["exact"]
        similarities = query @ texts[hit.id].T
        assert [item["token"] for item in reason["alignment"]] == similarities.argmax(1).tolist()
        total = sum(item["similarity"] for item in reason["alignment"])
        assert total == pytest.approx(hit.score, abs=1e-4)


def test_documents_and_queries_without_tokens(tmp_path: Path) -> None:
    none = np.zeros((0, DIM), np.float32)
    with cm.Collection.create(tmp_path / "c.cm", {"tokens": FAST}) as collection:
        collection.add(documents(["d1", "d2"]), vectors={"tokens": token_vectors([none, none])})
        collection.flush()
        query = token_vectors([np.ones((2, DIM), np.float32), none])
        for result in collection.search_batch(vectors=query, k=5):
            assert result.ids == ["d1", "d2"]
            assert result.scores == [0.0, 0.0]
        full = -np.ones((1, DIM), np.float32)
        collection.add(documents(["d3"]), vectors={"tokens": token_vectors([full])})
        collection.merge()
        first, second = collection.search_batch(vectors=query, k=5)
        assert first.ids == ["d1", "d2", "d3"]
        assert first.scores == [0.0, 0.0, -2.0 * DIM]
        assert second.scores == [0.0, 0.0, 0.0]
        assert collection.check().problems == ()


def test_a_document_of_100_000_tokens(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    long = generator.standard_normal((100_000, DIM)).astype(np.float32)
    texts = {"d1": long, "d2": random_text(generator, 1)}
    with cm.Collection.create(tmp_path / "c.cm", {"tokens": EXACT}) as collection:
        collection.add(
            documents(["d1", "d2"]), vectors={"tokens": token_vectors(list(texts.values()))}
        )
        collection.merge()
        query = queries_of(1)[0]
        result = collection.search_batch(vectors=token_vectors([query]), k=2)[0]
        expected = sorted((maxsim(query, text) for text in texts.values()), reverse=True)
        assert result.scores == pytest.approx(expected, rel=1e-5)


def _bad(value: float) -> list[np.ndarray]:
    texts = [np.ones((2, DIM), np.float32), np.ones((3, DIM), np.float32)]
    texts[1][2, 4] = value
    return texts


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (token_vectors(_bad(np.nan)), "text 1 has a token with NaN, infinity"),
        (token_vectors(_bad(-np.inf)), "text 1 has a token with NaN, infinity"),
        (token_vectors(_bad(70_000)), "number beyond 6e"),
        (np.ones((2, DIM)), "a vector for each token"),
        ([np.ones((2, DIM)), np.ones((2, DIM + 1))], r"array \(n_tokens, dim\) for each text"),
        ([np.ones((2, DIM + 1))] * 2, f"made with dim {DIM}, not {DIM + 1}"),
        ([np.ones((2, 0))] * 2, "one number or more"),
        (TokenVectors(np.array([0, 3, 2]), np.ones((2, DIM), np.float32)), "starts must ascend"),
        (
            TokenVectors(np.array([0, 3, 2], np.uint32), np.ones((2, DIM), np.float32)),
            "starts must ascend",
        ),
    ],
)
def test_vectors_that_cannot_be_used(tmp_path: Path, vectors: Any, message: str) -> None:
    with cm.Collection.create(tmp_path / "c.cm", {"tokens": cm.Muvera(model=None)}) as collection:
        ones = token_vectors([np.ones((1, DIM), np.float32)])
        collection.add(documents(["d0"]), vectors={"tokens": ones})
        with pytest.raises(cm.InputError, match=message):
            collection.add(documents(["d1", "d2"]), vectors={"tokens": vectors})
        assert len(collection) == 1
        assert collection.search_batch(vectors=ones, k=3)[0].ids == ["d0"]


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"k_sim": 11}, "k_sim"),
        ({"r_reps": 0}, "r_reps"),
        ({"d_final": 0}, "d_final"),
        ({"fill": 1}, "fill"),
        ({"storage": "float64"}, "storage"),
        ({"proxy": "magic"}, "proxy"),
        ({"target_recall": 1.5}, "target_recall"),
        ({"target_recall": True}, "target_recall"),
        ({"candidates": 0}, "candidates"),
        ({"proxy_rows": 5}, "proxy_rows"),
        ({"model": ""}, "model"),
        ({"precision": "float8"}, "precision"),
        ({"features": 8}, "features"),
        ({"features": 8193}, "features"),
        ({"carve": 0}, "carve"),
        ({"carve": True}, "carve"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], field: str) -> None:
    with pytest.raises(cm.InputError, match=field):
        cm.Muvera(**settings)


@dataclass(frozen=True, slots=True)
class ToyMuvera:
    """A multi-vector index whose encoder gives each word a vector."""

    kind: ClassVar[str] = "toy-muvera"
    seed: int = 0

    def index(self) -> ToyMuveraIndex:
        return ToyMuveraIndex()


class ToyTokenEncoder:
    """``retrained`` changes the weights under the same settings."""

    retrained: ClassVar[int] = 0
    dim, max_tokens = DIM, 8

    @property
    def identity(self) -> str:
        return f"toy-{self.retrained}"

    def encode_query(self, texts: Sequence[str]) -> EncodedTokens:
        words = [text.split() for text in texts]
        made = [
            np.array([self._vector(word) for word in own[: self.max_tokens]], np.float32).reshape(
                -1, DIM
            )
            for own in words
        ]
        cut = np.array([len(own) > self.max_tokens for own in words], np.bool_)
        return EncodedTokens(token_vectors(made), cut)

    encode_document = encode_query

    def _vector(self, word: str) -> np.ndarray:
        drawn = np.random.default_rng([self.retrained, *word.encode()]).standard_normal(DIM)
        return drawn / np.linalg.norm(drawn)


class ToyMuveraIndex(MuveraIndex):
    def __init__(self) -> None:
        super().__init__(Muvera(model="toy", storage="float32"))

    def _encoder(self) -> ToyTokenEncoder:
        return ToyTokenEncoder()


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(INDEXES, "toy-muvera", f"{__name__}:ToyMuvera")
    monkeypatch.setattr(ToyTokenEncoder, "retrained", 0)


@pytest.mark.usefixtures("toy")
def test_texts_go_through_the_encoder_and_a_swapped_model_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c.cm"
    long = "amber " * 20
    with cm.Collection.create(path, {"bm25": cm.BM25(), "tokens": ToyMuvera()}) as collection:
        collection.add([
            cm.Document(id="a", text="amber beacon cedar"),
            cm.Document(id="b", text="delta beacon"),
            cm.Document(id="c", text=long),
            cm.Document(id="e", text=""),
        ])  # fmt: skip
        result = collection.search("beacon cedar", pipeline="tokens")
        assert result.ids[0] == "a"
        assert result[0].score == pytest.approx(2.0, abs=1e-5)
        assert dict(zip(result.ids, result.scores, strict=True))["e"] == 0.0
        assert collection.describe()["indexes"]["tokens"]["made_by"]["model"] == "toy-0"
        flags = collection.search(long, pipeline="tokens").flags
        assert any("cut" in flag for flag in flags)
        fused = cm.Pipeline(["bm25", "tokens"], fuse=cm.RRF())
        assert collection.search("beacon cedar", pipeline=fused).ids[0] == "a"
    monkeypatch.setattr(ToyTokenEncoder, "retrained", 1)
    with cm.Collection.open(path) as collection:
        with pytest.raises(CollectionError, match="made with model 'toy-0', not 'toy-1'"):
            collection.search("beacon", pipeline="tokens")
        with pytest.raises(CollectionError, match="toy-1"):
            collection.add([cm.Document(id="d", text="amber")])
        assert len(collection) == 4


def test_an_index_without_a_model_says_so(built: tuple[cm.Collection, Texts]) -> None:
    collection, _ = built
    with pytest.raises(cm.InputError, match="has no model"):
        collection.search("text", pipeline="fast")


@pytest.mark.parametrize("starts", [[1, 1, 2], [0, 2, 1, 2], [0, 1], [0, 3], []])
def test_starts_that_do_not_fit_are_refused(tmp_path: Path, starts: list[int]) -> None:
    """They would give one document another one's vectors."""
    wrong = TokenVectors(np.array(starts, np.int64), np.eye(2, dtype=np.float32))
    with (
        cm.Collection.create(tmp_path / "x.cm", {"tokens": cm.Muvera(None)}) as collection,
        pytest.raises(cm.InputError, match="starts"),
    ):
        collection.search_batch(vectors=wrong, pipeline="tokens")
