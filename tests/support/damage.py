"""Ways to damage a file."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

Damage = Callable[[Path, random.Random], None]


def flip_a_bit(path: Path, random_: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[random_.randrange(len(content))] ^= 1 << random_.randrange(8)
    path.write_bytes(content)


def truncate(path: Path, random_: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: random_.randrange(len(content))])


def zero_the_tail(path: Path, random_: random.Random) -> None:
    content = path.read_bytes()
    keep = random_.randrange(len(content))
    path.write_bytes(content[:keep] + bytes(len(content) - keep))


def remove(path: Path, random_: random.Random) -> None:
    path.unlink()


DAMAGES: list[Damage] = [flip_a_bit, truncate, zero_the_tail, remove]
