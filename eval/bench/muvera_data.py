"""What ``cormorant bench muvera`` needs and takes minutes to make: encoded once, kept in a cache.

``$CORMORANT_CACHE/bench`` (else ``~/.cache/cormorant/bench``) holds the token vectors (float16) of
the shared sentences and of test collections, of queries and of snippets of passages encoded as
queries, and collections of the sentences, under the model's identity.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...contracts import TokenEncoder
from ...documents import Document, JsonObject
from ...errors import InputError
from ...indexers.encoders.token_encoder import load_token_encoder
from ...indexers.muvera.choosing import Learning
from ...indexers.muvera.settings import DEFAULT_MODEL, Muvera
from ...indexers.muvera.snippets import snippet
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
SETTINGS = Muvera(model=None)
"""Of the collections."""
FORMAT = 3
"""Raised when other bytes are written for the same vectors: collections in the cache are built
again, and so are tables. 3: projections as signed sums, ties by rows where recall is measured."""
_AT_ONCE = 1000


class Prepared(NamedTuple):
    """Folders and files; ``vectors`` (n_tokens, dim) float16 is mapped."""

    folder: Path
    vectors: np.ndarray
    starts: np.ndarray
    queries: TokenVectors

    @property
    def documents(self) -> int:
        """How many there are."""
        return len(self.starts) - 1


def prepared(console: Console) -> Prepared:
    """The data and the collection of all documents, made now where they are not there yet.

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
    build(data, data.documents, console)
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


class TokenSet(NamedTuple):
    """Passages, the data set's own queries, and what a proxy learns from, as an index has it."""

    tokens: Tokens
    queries: TokenVectors
    learning: Learning


def token_set(name: str, console: Console) -> TokenSet | None:
    """A test collection's passages and queries, or the ``sentences``; None where it is not there.

    Encoded once, kept as float16.
    """
    shared = shared_data()
    if shared is None:
        return None
    encoder = load_token_encoder(DEFAULT_MODEL)
    if name == "sentences":
        data = prepared(console)
        folder, sentences = data.folder, shared_sentences()
        assert sentences is not None
        texts = sentences[:DOCUMENTS]
    else:
        folder = cache_folder().parent / "bench" / f"muvera-{encoder.identity}-{name}"
        folder.mkdir(parents=True, exist_ok=True)
        dataset = load_dataset(shared / name)
        texts = [f"{d.title}\n{d.text}" if d.title else d.text for d in dataset.documents()]
        files = {part: folder / f"{part}.npy" for part in ("vectors", "starts", "queries", "cuts")}
        if not all(file.is_file() for file in files.values()):
            _encode(encoder, texts, files, console, list(dataset.queries.values()))
    queries = TokenVectors(np.load(folder / "cuts.npy"), np.load(folder / "queries.npy"))
    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    tokens = tokens_of(vectors, np.load(folder / "starts.npy"))
    own = {part: folder / f"{part}.npy" for part in ("asked", "asked_starts")}
    if not all(file.is_file() for file in own.values()):
        made = asked_of(encoder, texts)
        np.save(own["asked"], made.vectors.astype(np.float16))
        np.save(own["asked_starts"], made.starts)
    asked = np.load(own["asked"], mmap_mode="r")
    return TokenSet(tokens, queries, Learning(tokens, asked, np.load(own["asked_starts"])))


def asked_of(encoder: TokenEncoder, texts: Sequence[str]) -> TokenVectors:
    """What an index that learns takes out of passages: some snippets, encoded as queries.

    A text for each passage, without tokens where there is no snippet of it.
    """
    snippets = [snippet(text) for text in texts]
    there = [number for number, some in enumerate(snippets) if some]
    parts = [np.zeros((0, encoder.dim), np.float32)]
    counts = np.zeros(len(texts) + 1, np.int64)
    for first in range(0, len(there), _AT_ONCE):
        own = there[first : first + _AT_ONCE]
        made = encoder.encode_query([snippets[number] for number in own]).vectors
        parts.append(made.vectors)
        counts[np.array(own) + 1] = np.diff(made.starts)
    return TokenVectors(np.cumsum(counts), np.concatenate(parts))


def build(data: Prepared, documents: int, console: Console) -> Path:
    """The collection of the first documents, an index ``tokens`` over them.

    Built now, unless it is there as it would be built: a file in it says what it holds and that
    it is whole.
    """
    folder = data.folder / f"sentences-{documents}.cm"
    if _mark(folder) == mark(documents):
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    with Collection.create(folder, {"tokens": SETTINGS}) as collection:
        fill(collection, ("tokens",), data.vectors, data.starts[: documents + 1], console)
    (folder / "done").write_text(json.dumps(mark(documents)))
    return folder


def fill(
    collection: Collection,
    names: Sequence[str],
    vectors: np.ndarray,
    starts: np.ndarray,
    console: Console,
) -> None:
    """Add passages, known by their number, to indexes: (n_tokens, dim) vectors, (n + 1,) starts."""
    documents = len(starts) - 1
    for first in range(0, documents, 10 * _AT_ONCE):
        last = min(documents, first + 10 * _AT_ONCE)
        own = slice(int(starts[first]), int(starts[last]))
        some = TokenVectors(
            starts[first : last + 1] - starts[first], np.asarray(vectors[own], np.float32)
        )
        collection.add(
            (Document(id=str(number), text="") for number in range(first, last)),
            vectors=dict.fromkeys(names, some),
        )
        console.print(f"added {last:,} of {documents:,} documents")
    collection.merge()


def mark(documents: int) -> JsonObject:
    """What a collection of so many documents says of itself when it is built today."""
    return {"format": FORMAT, "settings": repr(SETTINGS), "documents": documents}


def _mark(folder: Path) -> JsonObject | None:
    """What a collection says of itself; None where it is not whole, or from before it did."""
    try:
        found: JsonObject = json.loads((folder / "done").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return found
