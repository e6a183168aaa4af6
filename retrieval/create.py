"""Writes a collection that has no documents yet.

The story: it is made whole in a draft beside its place, synced, and renamed into place. A kill
leaves nothing at the path, at worst a hidden draft beside it; an error removes the draft.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..contracts import IndexSettings
from ..documents import JsonObject
from ..errors import InputError
from ..indexers.chunking import Chunking
from .arguments import checked_name, checked_settings
from .catalog import create_catalog
from .disk import Disk, storage_errors
from .ids import IDS
from .snapshot import SEGMENTS


def as_created(indexes: Any, chunk: Any) -> tuple[dict[str, IndexSettings], JsonObject | None]:
    """The indexes to create, BM25 alone where None were named, and the chunking as it is stored.

    Raises :class:`~cormorant.errors.InputError` for what neither can be.
    """
    if indexes is None:
        from ..indexers.bm25.settings import BM25

        indexes = {"bm25": BM25()}
    if not isinstance(indexes, Mapping):
        raise InputError(f"maps names to settings, got {indexes!r}", field="indexes")
    if chunk is not None and not isinstance(chunk, Chunking):
        raise InputError(f"is a Chunking or None, got {chunk!r}", field="chunk")
    named = {checked_name(name): checked_settings(own) for name, own in indexes.items()}
    return named, None if chunk is None else {"tokens": chunk.tokens, "overlap": chunk.overlap}


def create_collection(
    path: Path, settings: JsonObject, indexes: Mapping[str, str], disk: Disk
) -> None:
    """Write an empty collection to ``path``, where nothing may be yet.

    ``indexes`` maps names to settings as JSON; the index of ids is added to them.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
    with storage_errors(path):
        disk.make_directory(path.parent)
        try:
            disk.make_directory(draft / SEGMENTS)
            create_catalog(draft, json.dumps(settings), {IDS: "{}", **indexes}, disk)
            disk.rename(draft, path)
        except BaseException:
            if draft.exists():
                disk.remove_tree(draft)
            raise
        disk.sync_directory(path.parent)
