"""A command line in a test: what it returns, and a little corpus to give it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

LINES = [
    {"_id": "p1", "title": "Statins", "text": "Statins lower cholesterol.", "year": 2013},
    {"_id": "p2", "title": "Diet", "text": "A diet rich in fibre lowers cholesterol."},
    {"_id": "p3", "title": "", "text": "Nothing of the kind."},
]
Run: TypeAlias = Callable[..., tuple[int, str, str]]
"""(words) -> (exit code, stdout, stderr)"""
