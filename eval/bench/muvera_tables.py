"""Rows that take long and hold no times, kept in the cache: a run that was stopped goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from ...documents import JsonObject
from ...indexers.encoders.token_encoder import load_token_encoder
from ...indexers.muvera.settings import DEFAULT_MODEL
from ..download import cache_folder
from .muvera_data import FORMAT


class Tables:
    """Rows by what they were made of: a set and settings. Code that changes them raises FORMAT."""

    def __init__(self, file: Path) -> None:
        self._file = file

    @classmethod
    def of_model(cls) -> Tables:
        """Those of the default model's token vectors."""
        name = f"muvera-{load_token_encoder(DEFAULT_MODEL).identity}-tables-{FORMAT}.json"
        return cls(cache_folder().parent / "bench" / name)

    def rows(self, key: str, make: Callable[[], list[JsonObject]]) -> list[JsonObject]:
        """Those kept, which say so (``cached``), or new ones, kept from now on."""
        kept = self._read().get(key)
        if kept is not None:
            return [row | {"cached": True} for row in kept]
        rows = make()
        self._file.parent.mkdir(parents=True, exist_ok=True)
        part = self._file.with_suffix(f".{os.getpid()}.part")
        part.write_text(json.dumps(self._read() | {key: rows}, indent=1))
        part.replace(self._file)
        return rows

    def _read(self) -> dict[str, list[JsonObject]]:
        if not self._file.is_file():
            return {}
        found: dict[str, list[JsonObject]] = json.loads(self._file.read_text())
        return found
