"""The public surface of a class."""

from __future__ import annotations

from collections.abc import Set
from typing import Any


def members(owner: type, special: Set[str]) -> dict[str, Any]:
    """What a class has, its own and inherited, as it stands in the class; names without ``_``."""
    inherited = {
        name: value for base in reversed(owner.__mro__[:-1]) for name, value in vars(base).items()
    }
    return {
        name: value
        for name, value in inherited.items()
        if not name.startswith("_") or name in special
    }
