"""Language models for tests: they answer as they are told, and note what they were asked."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import ClassVar

from cormorant.stages import Completion

PASSAGE = re.compile(r"^\[(\d+)\] (.*)$", re.MULTILINE)


def passages(prompt: str) -> list[str]:
    """The passages of a prompt, in its order."""
    return [text for _, text in PASSAGE.findall(prompt)]


def ordered(prompt: str, key: Callable[[str], float]) -> str:
    """The identifiers of a prompt's passages, the greatest key first."""
    shown = passages(prompt)
    order = sorted(range(len(shown)), key=lambda place: (-key(shown[place]), place))
    return " > ".join(f"[{place + 1}]" for place in order)


def by_number(text: str) -> float:
    """The number that a passage ends with."""
    found = re.findall(r"\d+", text)
    return float(found[-1]) if found else -1.0


@dataclass(frozen=True)
class Scripted:
    """Answers by ``answer(prompt)``; counts a token a word."""

    kind: ClassVar[str] = "scripted"
    answer: Callable[[str], str] = lambda prompt: ordered(prompt, by_number)
    seconds_per_call: float = 0.0
    prompts: list[str] = field(default_factory=list, compare=False)
    lock: Lock = field(default_factory=Lock, compare=False, repr=False)

    def complete(self, prompt: str, max_tokens: int) -> Completion:
        with self.lock:
            self.prompts.append(prompt)
        if self.seconds_per_call:
            time.sleep(self.seconds_per_call)
        reply = self.answer(prompt)
        words = reply.split()[:max_tokens]
        return Completion(reply, len(prompt.split()), len(words))

    def count_tokens(self, text: str) -> int:
        return len(text.split())
