"""Adds very many documents: Ray Data reads and encodes them, their shards write them.

The story: a file is read in blocks, wherever a node has room. Documents that the collection holds
already, word for word, are left out (every node shares their checksums), so that files that are
given again after a kill go on where they stood. A pool of actors, each with the models of the
collection's indexes, encodes the rest, once for all replicas; and this process hands each batch to
its shards as one write, acknowledged like any other. One file follows the other: of an id that is
in two of them the last is meant.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import xxhash
from numpy.typing import NDArray

from ...contracts import Encodes, IndexSettings
from ...documents import Chunk, Document, JsonObject, document_from_json
from ...errors import InputError
from ...indexers.chunking import Chunking
from ..arguments import Progress
from ..encoding import BatchEncodings
from ..policy import ENCODED_DOCUMENTS
from ..writer import spans_of
from .moving import Moved

if TYPE_CHECKING:
    from .collection import ShardedCollection


class _Plan(NamedTuple):
    """What an encoder needs. ``settings`` are of the indexes that encode."""

    settings: Mapping[str, IndexSettings]
    chunking: Chunking | None


def add_encoded(
    collection: ShardedCollection,
    files: Sequence[Path],
    *,
    actors: int,
    progress: Progress | None = None,
) -> int:
    """Add the documents of JSON-lines files; how many were not there before.

    The files are as :func:`~cormorant.read_jsonl` takes them, which is to be asked first, and
    visible on every node. ``actors`` encode at a time, each on a processor of its own; this process
    is connected to Ray.

    Raises :class:`~cormorant.errors.InputError` for an index that takes ready vectors only.
    """
    plan = _Plan(_encoding(collection), collection.router.chunking)
    added = 0
    for file in files:
        added += _add_file(collection, file, plan, actors, progress)
    collection.router.encoders = collection.router.known_encoders()
    return added


def _encoding(collection: ShardedCollection) -> dict[str, IndexSettings]:
    found = {}
    for name, settings in collection.indexes.items():
        index = settings.index()
        if getattr(index, "needs_vectors", False):
            raise InputError(
                f"index {name!r} has no model: add its documents with their vectors, "
                f"add(documents, vectors={{{name!r}: ...}})"
            )
        if hasattr(index, "encode"):
            found[name] = settings
    return found


def _add_file(
    collection: ShardedCollection, file: Path, plan: _Plan, actors: int, progress: Progress | None
) -> int:
    import ray
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.WARNING)
    ray.data.DataContext.get_current().enable_progress_bars = False
    known = ray.put(_sorted(_checksums(document for document in collection.scroll())))
    lines = ray.data.read_text(str(file.absolute()))
    encoded = lines.map_batches(
        _Encoder,
        fn_constructor_args=(plan, known),
        batch_size=ENCODED_DOCUMENTS,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=actors),
    )
    added = 0
    for batch in encoded.iter_batches(batch_size=ENCODED_DOCUMENTS, batch_format="pyarrow"):
        added += _write(collection, batch, plan)
        if progress is not None:
            progress("added", batch.num_rows)
    return added


def _write(collection: ShardedCollection, batch: Any, plan: _Plan) -> int:
    """Hand a batch to its shards as one write to each."""
    router = collection.router
    documents = [_document(line) for line in batch["document"].to_pylist()]
    encodings = {name: batch[f"encodings {name}"].to_pylist() for name in plan.settings}
    made_by = {name: batch[f"made by {name}"].to_pylist() for name in plan.settings}
    with router.writing:
        router.check_open()
        places = router.by_shard(document.id for document in documents)
        router.write(
            {
                shard: (
                    "add_moved",
                    Moved(
                        [documents[number] for number in own],
                        {
                            name: BatchEncodings(
                                [item for number in own for item in encodings[name][number]],
                                json.loads(made_by[name][own[0]]),
                            )
                            for name in plan.settings
                        },
                    ),
                )
                for shard, own in places.items()
            }
        )
    return len(documents)


class _Encoder:
    """What runs in an actor of the pool: lines in, new documents with their encodings out."""

    def __init__(self, plan: _Plan, known: Any) -> None:
        import ray

        self._chunking = plan.chunking
        self._indexes = {name: settings.index() for name, settings in plan.settings.items()}
        self._known: NDArray[np.uint64] = ray.get(known)

    def __call__(self, lines: Any) -> Any:
        import pyarrow

        texts = [line for line in lines["text"].to_pylist() if line.strip()]
        documents = [_document(line) for line in texts]
        new = np.flatnonzero(~_held(_checksums(documents), self._known)).tolist()
        documents = [documents[number] for number in new]
        passages = [_passages(document, self._chunking) for document in documents]
        columns: dict[str, Any] = {"document": pyarrow.array([texts[n] for n in new], "string")}
        for name, index in self._indexes.items():
            chunks = [chunk for own in passages for chunk in own]
            made = cast(Encodes[Any], index).encode(chunks) if chunks else None
            data = iter([] if made is None else made.data)
            lists = [[next(data) for _ in own] for own in passages]
            by: JsonObject = {} if made is None else made.made_by
            kind = pyarrow.list_(pyarrow.large_binary())
            columns[f"encodings {name}"] = pyarrow.array(lists, kind)
            columns[f"made by {name}"] = pyarrow.array([json.dumps(by)] * len(new), "string")
        return pyarrow.table(columns)


def _document(line: str) -> Document:
    return document_from_json(json.loads(line.removeprefix("\ufeff")))


def _passages(document: Document, chunking: Chunking | None) -> list[Chunk]:
    text = document.text
    spans = spans_of(chunking, document) or [(0, len(text))]
    return [Chunk(-1, -1, document.id, document.title, text[start:end]) for start, end in spans]


def _checksums(documents: Any) -> NDArray[np.uint64]:
    """128 bits of each document, as (n, 2)."""
    found = bytearray()
    for document in documents:
        content = json.dumps(document.as_json(), sort_keys=True).encode()
        found += xxhash.xxh3_128_digest(content)
    return np.frombuffer(bytes(found), np.uint64).reshape(-1, 2)


def _sorted(checksums: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return checksums[np.argsort(checksums[:, 0], kind="stable")]


def _held(checksums: NDArray[np.uint64], known: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which of the checksums are among those that are known, (m, 2) sorted by their first half.

    Where two that are known share a half, the second is not found, and its document added again.
    """
    if not len(known):
        return np.zeros(len(checksums), np.bool_)
    places = np.searchsorted(known[:, 0], checksums[:, 0])
    found = known[np.minimum(places, len(known) - 1)]
    same: NDArray[np.bool_] = np.all(found == checksums, axis=1)
    return same
