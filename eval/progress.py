"""How long work is watched: one callable, told what is done and how far it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Progress: TypeAlias = Callable[[str, int, int | None], None]
"""Called as ``progress(what, done, total)``; ``total`` is None where it is not known."""


def silent(what: str, done: int, total: int | None) -> None:
    """Watch nothing."""
