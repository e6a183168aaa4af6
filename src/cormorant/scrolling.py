"""A walk over the documents of a collection, which knows where it stands."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Generator
from typing import Any

from .documents import Document
from .errors import InputError

_CURSOR = re.compile(r"c[0-9a-f]{1,15}")


class Scroll:
    """An iterator over documents. ``scroll(after=walk.cursor)`` goes on behind the last one given.

    ``cursor`` is opaque, and of use for this collection only; None before the first document of a
    walk from the beginning. Close a walk that is not finished: it holds a version.
    """

    def __init__(self, steps: Generator[tuple[str, Document]], after: str | None = None) -> None:
        self.cursor = after
        self._steps = steps

    def __iter__(self) -> Scroll:
        return self

    def __next__(self) -> Document:
        self.cursor, document = next(self._steps)
        return document

    def close(self) -> None:
        """End the walk."""
        self._steps.close()


class AsyncScroll:
    """:class:`Scroll` for ``async for``."""

    def __init__(
        self, steps: AsyncGenerator[tuple[str, Document]], after: str | None = None
    ) -> None:
        self.cursor = after
        self._steps = steps

    def __aiter__(self) -> AsyncScroll:
        return self

    async def __anext__(self) -> Document:
        self.cursor, document = await anext(self._steps)
        return document

    async def aclose(self) -> None:
        """End the walk."""
        await self._steps.aclose()


def cursor_of(row: int) -> str:
    """The cursor that goes on behind a row."""
    return f"c{row:x}"


def row_of(cursor: Any) -> int:
    """The row that a cursor stands for; -1 for None, before the first."""
    if cursor is None:
        return -1
    if not isinstance(cursor, str) or not _CURSOR.fullmatch(cursor):
        raise InputError(
            f"is the cursor of a walk (walk.cursor, or a page's next), got {cursor!r:.80}",
            field="after",
        )
    return int(cursor[1:], 16)
