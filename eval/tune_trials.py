"""Trials kept in a file, from which a tuning that was interrupted goes on.

A search with the same seed asks for the same pipelines again; those in the file it is told of, the
others it tries. One JSON object a line: first what was tuned, so that the trials of another tuning
are refused, then each trial. A last line that a kill cut short is taken off.
"""

from __future__ import annotations

import json
from pathlib import Path

from ..documents import JsonObject
from ..errors import InputError
from ..retrieval.pipeline import Pipeline
from .textfiles import storage_error
from .tune_study import Tried


class Trials:
    """The trials in one file; ``about``: all that a trial's value depends on but its pipeline.

    Raises :class:`~cormorant.errors.InputError` for a file of something else, and
    :class:`~cormorant.errors.StorageError` for one that cannot be read or written.
    """

    def __init__(self, file: Path, about: JsonObject) -> None:
        self._file = file
        self._known: dict[str, tuple[float, float]] = {}
        self._about: JsonObject = {}
        lines = self._whole_lines()
        self._before = self._parsed(lines[0], 1) if lines else None
        self.also_about(about)
        for number, line in enumerate(lines[1:], 2):
            trial = self._parsed(line, number)
            try:
                found = float(trial["value"]), float(trial["latency_ms"])
                self._known[_key(trial["search"], trial["pipeline"])] = found
            except (KeyError, TypeError, ValueError):
                raise InputError("is no trial", file=file, line=number) from None

    def also_about(self, about: JsonObject) -> None:
        """More of it, known only before the first trial; raises as the class does."""
        self._about |= about
        before = about if self._before is None else self._before
        differ = [name for name, value in about.items() if before.get(name) != value]
        if differ:
            raise InputError(
                f"holds the trials of another tuning ({', '.join(differ)} differ); name another "
                "file",
                file=self._file,
            )

    def known(self, search: str, pipeline: Pipeline) -> Tried | None:
        """The trial of a pipeline in the search of that name, if it is in the file."""
        found = self._known.get(_key(search, pipeline.as_json()))
        return None if found is None else Tried(pipeline, *found)

    def keep(self, search: str, tried: Tried) -> None:
        """Add a trial."""
        if self._before is None:
            self._before = self._about
            self._append(self._before)
        self._append({"search": search, **tried.as_json()})

    def _whole_lines(self) -> list[bytes]:
        try:
            lines = self._file.read_bytes().splitlines(keepends=True)
            if lines and not lines[-1].endswith(b"\n"):
                lines.pop()
                with self._file.open("r+b") as stream:
                    stream.truncate(sum(map(len, lines)))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise storage_error(self._file, error) from None
        return lines

    def _parsed(self, line: bytes, number: int) -> JsonObject:
        try:
            value = json.loads(line)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise InputError(
                "is no file of trials, which has a JSON object a line", file=self._file, line=number
            )
        return value

    def _append(self, value: JsonObject) -> None:
        try:
            with self._file.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(value) + "\n")
        except OSError as error:
            raise storage_error(self._file, error) from None


def _key(search: str, pipeline: object) -> str:
    return json.dumps([search, pipeline], sort_keys=True)
