"""Encodings kept on disk: what is computed once, what is never trusted, who may share."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from cormorant.contracts import Encoded
from cormorant.errors import StorageError

pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
from cormorant.indexers.encoders.cache import EncodingCache  # noqa: E402


class Counting:
    """A toy encoder of two dimensions that counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, texts: Sequence[str], prompt: str) -> Encoded:
        self.asked += texts
        vectors = [[len(text), len(prompt) + hash(text) % 7] for text in texts]
        return Encoded(
            np.array(vectors, np.float32).reshape(-1, 2), np.array([len(t) > 3 for t in texts])
        )


@pytest.fixture
def toy() -> Counting:
    return Counting()


def test_each_text_is_computed_once_and_comes_back_the_same(tmp_path: Path, toy: Counting) -> None:
    texts = ["one", "three", "one", "", "five"]
    expected = Counting()(texts, "q ")
    first = EncodingCache(tmp_path, "toy")
    for _ in range(2):
        encoded = first.through(texts, "q ", 2, toy)
        np.testing.assert_array_equal(encoded.vectors, expected.vectors)
        np.testing.assert_array_equal(encoded.cut, expected.cut)
    first.close()
    encoded = EncodingCache(tmp_path, "toy").through(["five", "six"], "q ", 2, toy)
    np.testing.assert_array_equal(encoded.vectors[0], expected.vectors[4])
    assert toy.asked == ["one", "three", "", "five", "six"]
    assert first.through([], "q ", 2, toy).vectors.shape == (0, 2)


def test_another_encoder_prompt_or_split_of_the_two_is_another_row(
    tmp_path: Path, toy: Counting
) -> None:
    cache = EncodingCache(tmp_path, "toy")
    cache.through(["ab"], "", 2, toy)
    cache.through(["b"], "a", 2, toy)
    EncodingCache(tmp_path, "toy bfloat16").through(["ab"], "", 2, toy)
    assert toy.asked == ["ab", "b", "ab"]


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE encodings SET vector = zeroblob(8)",
        "UPDATE encodings SET vector = zeroblob(3)",
        "UPDATE encodings SET vector = 'text'",
        "UPDATE encodings SET cut = 1 - cut",
        "UPDATE encodings SET checksum = zeroblob(16)",
    ],
)
def test_a_damaged_row_is_computed_anew(tmp_path: Path, toy: Counting, damage: str) -> None:
    cache = EncodingCache(tmp_path, "toy")
    expected = cache.through(["one"], "", 2, toy)
    connection = sqlite3.connect(cache.file)
    connection.execute(damage)
    connection.commit()
    connection.close()
    for _ in range(2):
        got = cache.through(["one"], "", 2, toy)
        np.testing.assert_array_equal(got.vectors, expected.vectors)
        assert not got.cut[0]
    assert toy.asked == ["one", "one"]


def test_a_file_that_is_no_cache_is_named(tmp_path: Path, toy: Counting) -> None:
    (tmp_path / "encodings.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(StorageError, match=r"encodings\.sqlite.*delete it"):
        EncodingCache(tmp_path, "toy").through(["one"], "", 2, toy)
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="CORMORANT_ENCODING_CACHE"):
        EncodingCache(tmp_path / "file", "toy").through(["one"], "", 2, toy)


def test_several_writers_share_a_file(tmp_path: Path) -> None:
    def work(number: int) -> None:
        cache = EncodingCache(tmp_path, "toy")
        for batch in range(20):
            texts = [f"{text}" for text in range(batch, batch + 10 + number)]
            got = cache.through(texts, "", 2, Counting())
            assert (got.vectors[:, 0] == [len(text) for text in texts]).all()
        cache.close()

    errors: list[BaseException] = []
    threads = [threading.Thread(target=_caught, args=(work, n, errors)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def _caught(work: object, number: int, errors: list[BaseException]) -> None:
    try:
        work(number)  # type: ignore[operator]
    except BaseException as error:
        errors.append(error)


def test_load_encoder_keeps_vectors_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tiny_models import make_model

    from cormorant.indexers.encoders.encoder import load_encoder

    model = str(make_model(tmp_path))
    plain = load_encoder(model, device="cpu")
    monkeypatch.setenv("CORMORANT_ENCODING_CACHE", str(tmp_path / "cache"))
    kept = load_encoder(model, device="cpu")
    assert kept is not plain
    assert (tmp_path / "cache").exists() is False  # opened when first used
    texts = ["the fish", "fish " * 100]
    expected = plain.encode_query(texts)
    for _ in range(2):
        got = kept.encode_query(texts)
        np.testing.assert_array_equal(got.vectors, expected.vectors)
        assert got.cut.tolist() == [False, True]
    monkeypatch.setattr(kept, "_engine", None)
    assert kept.encode_query(texts).cut.tolist() == [False, True]
