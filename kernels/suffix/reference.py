"""The specification: the texts are searched from end to end for every question."""

from __future__ import annotations

from collections.abc import Sequence

from .words import Rule

Tokens = tuple[int, ...]


class Texts:
    """What :class:`~cormorant.kernels.suffix.Automaton` answers, with stretches for matches."""

    def __init__(self, texts: Sequence[Sequence[int]]) -> None:
        self.texts = [tuple(text) for text in texts if len(text)]

    def places(self, stretch: Tokens) -> list[int]:
        """Where a stretch ends, ascending."""
        ends, first = [], 0
        for text in self.texts:
            for end in range(len(stretch), len(text) + 1):
                if text[end - len(stretch) : end] == stretch:
                    ends.append(first + end - 1)
            first += len(text)
        return ends

    def longest(self, context: Sequence[int]) -> Tokens:
        """The longest end of a context that stands in a text."""
        for begin in range(len(context)):
            if self.places(tuple(context[begin:])):
                return tuple(context[begin:])
        return ()

    def own(self) -> Tokens:
        """The longest end of the last text that stands at two places or more."""
        last = self.texts[-1]
        for begin in range(len(last)):
            if len(self.places(last[begin:])) > 1:
                return last[begin:]
        return ()

    def contexts(self, match: Tokens, minimum: int) -> list[Tokens]:
        """The match, and each of its ends that stands at more places than the one before."""
        result: list[Tokens] = []
        for begin in range(len(match) - minimum + 1):
            end = match[begin:]
            if not result or len(self.places(end)) > len(self.places(result[-1])):
                result.append(end)
        return [end for end in result if end]

    def children(self, stretch: Tokens, rule: Rule) -> list[tuple[int, int, float]]:
        """The tokens that follow a stretch, best first: (token, latest place, share)."""
        found = []
        for token in {token for text in self.texts for token in text}:
            places = self.places((*stretch, token))
            if places:
                found.append((token, places[-1], len(places)))
        total = sum(count for *_, count in found)
        if rule.order == "latest":
            found.sort(key=lambda child: -child[1])
            return [(token, place, 1.0) for token, place, _ in found[:1]]
        found.sort(key=lambda child: (-child[2], -child[1]))
        return [(token, place, count / total) for token, place, count in found[: rule.width]]

    def expand(self, match: Tokens, rule: Rule) -> list[tuple[int, int, int, int, float]]:
        """Nodes in their order: (token, parent, place, context, product of shares)."""
        candidates = []
        roots: set[int] = set()
        worth = 1.0
        for context in self.contexts(match, max(1, rule.minimum)):
            for token, place, share in self.children(context, rule):
                product = worth * share * (len(context) + 1) / (len(context) + 2)
                if token in roots or len(roots) == rule.width or product < rule.least_share:
                    continue
                roots.add(token)
                candidates.append((product, place, -1, len(context), (*context, token), rule.depth))
            worth /= 1.0 + len(self.places(context))
        nodes: list[tuple[int, int, int, int, float]] = []
        while candidates and len(nodes) < rule.nodes:
            best = max(range(len(candidates)), key=lambda n: (candidates[n][:2], -n))
            product, place, parent, length, stretch, left = candidates.pop(best)
            if left < 1:
                continue
            nodes.append((stretch[-1], parent, place, length, product))
            agreed = product * (len(stretch) + 1) / (len(stretch) + 2)
            below = (len(nodes) - 1, length)
            for token, place, share in self.children(stretch, rule) if left > 1 else ():
                if agreed * share >= rule.least_share:
                    path = (*stretch, token)
                    candidates.append((agreed * share, place, *below, path, left - 1))
        return nodes
