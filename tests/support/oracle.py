"""A target that says what it was given to say, so that drafters are judged without a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cormorant.retrieval.answering.decoding.types import (
    Budget,
    Draft,
    Drafter,
    Passage,
    Prompt,
    Tools,
)

VOCABULARY = 512
END = 1
SPECIAL = 2


class Forgetful(dict[str, Any]):
    """Keeps nothing: no test learns from another."""

    def setdefault(self, key: str, default: Any = None) -> Any:
        return default


TOOLS = Tools(VOCABULARY, frozenset({0, SPECIAL}), frozenset({END}), seed=3, memory=Forgetful())


@dataclass
class Run:
    """What drafting did for one answer: target forwards, and nodes by source."""

    forwards: int = 0
    drafted: Counter[str] = field(default_factory=Counter)
    accepted: Counter[str] = field(default_factory=Counter)
    copied: list[tuple[int, str, int]] = field(default_factory=list)


def prompt_of(passages: Sequence[Sequence[int]], question: Sequence[int] = ()) -> Prompt:
    """Passages p0, p1, ... with a separator before each, the question, and a last separator."""
    tokens: list[int] = []
    places = []
    for number, passage in enumerate(passages):
        tokens.append(SPECIAL)
        places.append(Passage(f"p{number}", len(tokens), len(tokens) + len(passage)))
        tokens += passage
    tokens += [SPECIAL, *question, SPECIAL]
    return Prompt(np.array(tokens, np.int64), tuple(places))


def check(draft: Draft, budget: Budget, tools: Tools = TOOLS) -> None:
    """A draft is a tree within the budget, siblings differ, and only leaves are the end."""
    n = len(draft)
    assert n <= budget.nodes
    assert len(draft.parents) == len(draft.sources) == len(draft.passages) == n
    depths: dict[int, int] = {-1: 0}
    for node, parent in enumerate(draft.parents.tolist()):
        assert -1 <= parent < node
        depths[node] = depths[parent] + 1
        assert parent < 0 or draft.tokens[parent] not in tools.end
    assert max(depths.values()) <= budget.depth
    keys = list(zip(draft.parents.tolist(), draft.tokens.tolist(), strict=True))
    assert len(set(keys)) == n
    assert not set(draft.tokens.tolist()) & tools.special


def accepted(draft: Draft, rest: Sequence[int]) -> list[int]:
    """The nodes on the way that the answer takes."""
    path, node = [], -1
    for token in rest:
        right = np.flatnonzero((draft.parents == node) & (draft.tokens == token))
        if not len(right):
            break
        node = int(right[0])
        path.append(node)
    return path


def logits_of(tokens: Sequence[int]) -> np.ndarray:
    """What the target finds probable: its token, and the one above it nearly."""
    logits = np.zeros((len(tokens), VOCABULARY), np.float32)
    for row, token in enumerate(tokens):
        logits[row, token] = 9
        logits[row, (token + 1) % VOCABULARY] = 8
    return logits


def decode(
    drafter: Drafter, prompt: Prompt, answer: Sequence[int], budget: Budget, tools: Tools = TOOLS
) -> Run:
    """Say the answer, its end token with it."""
    run, said = Run(), 0
    whole = [*answer, END]
    drafting = drafter.begin(prompt, tools)
    while said < len(whole):
        draft = drafting.propose(budget) if said else Draft.empty()
        check(draft, budget)
        path = accepted(draft, whole[said:])
        run.forwards += 1
        run.drafted.update(draft.sources)
        for place, node in enumerate(path):
            run.accepted[draft.sources[node]] += 1
            if (read := draft.passages[node]) is not None:
                run.copied.append((said + place, *read))
        new = whole[said : said + len(path) + 1]
        drafting.commit(new, logits_of(new) if drafting.wants_logits else None)
        said += len(new)
    return run
