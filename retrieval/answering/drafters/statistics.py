"""N-gram statistics that learn, as it writes, what the target finds probable after which tokens.

Of every token that is committed the target's own probabilities are at hand, and tell more than the
token does: after its last one to ``order - 1`` tokens the most probable ones are kept, averaged
(STAND, 2506.04708). They begin with counts from the prompt (ADED, 2407.12021, begins with those of
a corpus). ADED searches for the most probable paths by Monte Carlo; here the estimate is a product,
and best first finds the best tree exactly.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ....contracts import Float32Array, Int64Array
from ....rankers.checks import check_integer, check_number
from ..decoding.types import Budget, Draft, Float64Array, Prompt, Tools
from .proposal import Nodes, Proposal, Proposing
from .siblings import drawn, sharpened, widths

LEAST_PATH = 0.05
"""The probability below which a path is not drafted, where nothing is drawn."""
PURPOSE = 0x57A7
"""Keeps these draws apart from those of other drafters with the same seed."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """Drafts from n-gram statistics of the target's own probabilities.

    ``order``: tokens of the longest n-gram. ``kept``: continuations kept after each context.
    ``temperature``: 0 drafts the most probable tree; above, siblings are drawn without replacement
    by the statistics' law at that temperature, ``branching`` of them level by level (1 beyond it),
    and the draft carries the laws.
    """

    kind: ClassVar[str] = "statistics"
    order: int = 4
    kept: int = 8
    temperature: float = 0.0
    branching: tuple[int, ...] = (3, 2)

    def __post_init__(self) -> None:
        check_integer("order", self.order, 2, 8)
        check_integer("kept", self.kept, 1, 64)
        check_number("temperature", self.temperature, 0, 10)
        for width in self.branching:
            check_integer("branching", width, 1, 16)

    def begin(self, prompt: Prompt, tools: Tools) -> Proposing:
        """Count the prompt's n-grams."""
        return _Learning(self, prompt, tools)


class _Learning:
    wants_logits = True

    def __init__(self, settings: Statistics, prompt: Prompt, tools: Tools) -> None:
        self._settings = settings
        self._tools = tools
        self._barred = sorted(tools.special - tools.end)
        self._sums: dict[tuple[int, ...], dict[int, float]] = {}
        self._tokens: list[int] = []
        for token in prompt.tokens.tolist():
            self._learn([(token, 1.0)])
            self._tokens.append(token)

    def commit(self, tokens: Sequence[int], logits: Float32Array | None) -> None:
        """Learn what the target found probable where it chose these tokens."""
        for number, token in enumerate(tokens):
            self._learn([(token, 1.0)] if logits is None else self._probable(logits[number]))
            self._tokens.append(token)

    def propose(self, budget: Budget) -> Draft:
        """See ``proposal``."""
        return self.proposal(budget).draft

    def proposal(self, budget: Budget) -> Proposal:
        """The most probable tree, or one that is drawn."""
        return self._drawn(budget) if self._settings.temperature else self._best(budget)

    def _contexts(self, tokens: Sequence[int]) -> list[tuple[int, ...]]:
        """The ends of a text that n-grams begin with, longest first."""
        longest = min(self._settings.order - 1, len(tokens))
        return [tuple(tokens[-length:]) for length in range(longest, 0, -1)]

    def _probable(self, logits: Float32Array) -> list[tuple[int, float]]:
        kept = min(self._settings.kept, len(logits))
        best = np.argpartition(-logits, kept - 1)[:kept]
        exponents = np.exp(logits - logits.max(), dtype=np.float64)
        shares = exponents[best] / exponents.sum()
        return [pair for pair in zip(best.tolist(), shares.tolist(), strict=True) if pair[1] > 0]

    def _learn(self, probabilities: list[tuple[int, float]]) -> None:
        for context in self._contexts(self._tokens[-self._settings.order :]):
            sums = self._sums.setdefault(context, {})
            for token, probability in probabilities:
                sums[token] = sums.get(token, 0.0) + probability

    def _law(self, path: Sequence[int]) -> tuple[Int64Array, Float64Array, int]:
        """What may follow a path of drafted tokens: ids, probabilities, tokens of context."""
        context_tokens = [*self._tokens[-self._settings.order :], *path]
        for context in self._contexts(context_tokens):
            sums = self._sums.get(context)
            if sums and not (path and path[-1] in self._tools.end):
                ids = np.array(list(sums), np.int64)
                law = np.array(list(sums.values()))
                law[np.isin(ids, self._barred)] = 0.0
                if law.any():
                    order = np.lexsort((ids, -law))[: self._settings.kept]
                    return ids[order], law[order] / law.sum(), len(context)
        return np.zeros(0, np.int64), np.zeros(0), 0

    def _best(self, budget: Budget) -> Proposal:
        tree = Nodes(Statistics.kind)
        waiting: list[tuple[float, int, int, int, tuple[int, ...], float, int]] = []
        offered = 0

        def offer(parent: int, path: tuple[int, ...], worth: float) -> None:
            nonlocal offered
            ids, law, context = self._law(path)
            for token, share in zip(ids.tolist(), law.tolist(), strict=True):
                if worth * share >= LEAST_PATH:
                    entry = (-worth * share, offered, parent, token, path, share, context)
                    heapq.heappush(waiting, entry)
                    offered += 1

        offer(-1, (), 1.0)
        while waiting and len(tree) < budget.nodes:
            worth, _, parent, token, path, share, context = heapq.heappop(waiting)
            if len(path) < budget.depth:
                offer(tree.add(token, parent, context, share), (*path, token), -worth)
        return tree.proposal()

    def _drawn(self, budget: Budget) -> Proposal:
        settings = self._settings
        random = np.random.default_rng((self._tools.seed, PURPOSE, len(self._tokens)))
        tree = Nodes(Statistics.kind)
        laws: list[Float64Array] = []
        level: list[tuple[int, tuple[int, ...]]] = [(-1, ())]
        for width in widths(settings.branching, budget):
            below = []
            for parent, path in level:
                ids, law, context = self._law(path)
                law = sharpened(law, settings.temperature)
                law = law / law.sum() if len(law) else law
                whole = np.zeros(self._tools.vocabulary)
                whole[ids] = law
                for place in drawn(law, width, random).tolist():
                    token = int(ids[place])
                    node = tree.add(token, parent, context, float(law[place]))
                    below.append((node, (*path, token)))
                    laws.append(whole)
            level = below
        return tree.proposal(laws)
