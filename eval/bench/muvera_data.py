"""What ``cormorant bench muvera`` needs and takes minutes to make: encoded once, kept in a cache.

``$CORMORANT_CACHE/bench`` (else ``~/.cache/cormorant/bench``) holds the token vectors (float16) of
the shared sentences and of test collections, and of queries, and a collection of the sentences,
under the model's identity.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...contracts import TokenEncoder
from ...documents import Document
from ...errors import InputError
from ...indexers.encoders.token_encoder import load_token_encoder
from ...indexers.muvera.settings import DEFAULT_MODEL, Muvera
from ...kernels.maxsim import Tokens, tokens_of
from ...retrieval.collection import Collection
from ...vectors import TokenVectors
from ..datasets import load_dataset
from ..download import cache_folder
from .sentences import english_queries, shared_data, shared_sentences

if TYPE_CHECKING:
    from rich.console import Console

DOCUMENTS = 100_000
QUERIES = 512
SEED = 1
_AT_ONCE = 1000


class Prepared(NamedTuple):
    """Folders and files; ``vectors`` (n_tokens, dim) float16 is mapped."""

    folder: Path
    vectors: np.ndarray
    starts: np.ndarray
    queries: TokenVectors

    @property
    def collection(self) -> Path:
        """The collection, an index ``tokens`` over the documents."""
        return self.folder / "sentences.cm"


def prepared(console: Console) -> Prepared:
    """The data, made now where it is not there yet.

    Raises :class:`~cormorant.errors.InputError` where the shared data is absent.
    """
    sentences = shared_sentences()
    if sentences is None:
        raise InputError("the benchmark needs the shared sentences; set CORMORANT_DATA to them")
    encoder = load_token_encoder(DEFAULT_MODEL)
    folder = cache_folder().parent / "bench" / f"muvera-{encoder.identity}-{DOCUMENTS}"
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: folder / f"{name}.npy" for name in ("vectors", "starts", "queries", "cuts")}
    if not all(file.is_file() for file in files.values()):
        _encode(encoder, sentences[:DOCUMENTS], files, console, english_queries())
    queries = TokenVectors(np.load(files["cuts"]), np.load(files["queries"]))
    data = Prepared(
        folder, np.load(files["vectors"], mmap_mode="r"), np.load(files["starts"]), queries
    )
    if not (data.collection / "done").is_file():
        _build(data, console)
    return data


def _encode(
    encoder: TokenEncoder,
    sentences: list[str],
    files: dict[str, Path],
    console: Console,
    asked: list[str],
) -> None:
    order = np.random.default_rng(SEED).permutation(len(asked))[:QUERIES]
    queries = encoder.encode_query([asked[number] for number in order]).vectors
    parts, lengths = [], []
    for first in range(0, len(sentences), _AT_ONCE):
        made = encoder.encode_document(sentences[first : first + _AT_ONCE]).vectors
        parts.append(made.vectors.astype(np.float16))
        lengths.append(np.diff(made.starts))
        if first % 10_000 == 0:
            console.print(f"encoded {first + len(lengths[-1]):,} of {len(sentences):,} texts")
    starts = np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64)
    for name, values in (
        ("queries", queries.vectors),
        ("cuts", queries.starts),
        ("starts", starts),
        ("vectors", np.concatenate(parts)),
    ):
        np.save(files[name], values)


def token_set(name: str, console: Console) -> tuple[Tokens, TokenVectors] | None:
    """A test collection's passages and queries, or the ``sentences``; None where it is not there.

    Encoded once, kept as float16.
    """
    if name == "sentences":
        data = prepared(console)
        return tokens_of(data.vectors, data.starts), data.queries
    shared = shared_data()
    if shared is None:
        return None
    encoder = load_token_encoder(DEFAULT_MODEL)
    folder = cache_folder().parent / "bench" / f"muvera-{encoder.identity}-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    files = {part: folder / f"{part}.npy" for part in ("vectors", "starts", "queries", "cuts")}
    if not all(file.is_file() for file in files.values()):
        dataset = load_dataset(shared / name)
        texts = [f"{d.title}\n{d.text}" if d.title else d.text for d in dataset.documents()]
        _encode(encoder, texts, files, console, list(dataset.queries.values()))
    queries = TokenVectors(np.load(files["cuts"]), np.load(files["queries"]))
    vectors = np.load(files["vectors"], mmap_mode="r")
    return tokens_of(vectors, np.load(files["starts"])), queries


def _build(data: Prepared, console: Console) -> None:
    """The collection; a file in it says that it is whole."""
    import shutil

    shutil.rmtree(data.collection, ignore_errors=True)
    with Collection.create(data.collection, {"tokens": Muvera(model=None)}) as collection:
        for first in range(0, len(data.starts) - 1, 10 * _AT_ONCE):
            last = min(len(data.starts) - 1, first + 10 * _AT_ONCE)
            own = slice(int(data.starts[first]), int(data.starts[last]))
            some = TokenVectors(
                data.starts[first : last + 1] - data.starts[first],
                np.asarray(data.vectors[own], np.float32),
            )
            collection.add(
                (Document(id=str(number), text="") for number in range(first, last)),
                vectors={"tokens": some},
            )
            console.print(f"added {last:,} documents")
        collection.merge()
    (data.collection / "done").touch()
