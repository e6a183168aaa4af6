"""Several drafters, one tree (RASD, 2503.03434).

Drafts are merged by their longest common prefixes; branches that a draft model finds improbable
where it has looked are cut; and of the rest the nodes most likely to be accepted are taken, by the
product of calibrated chances from the root. The model is asked only where what was retrieved
promises less than the model does: its forwards are dear, and a long match is better than it.

Nodes that were drawn by a law come first and are all kept. Which of them are offered may not depend
on what was drawn, or verification by the law would change the text's law: neither a chance nor
another drafter's like opinion may take one out, so another's node that has the same token is merged
into the drawn one, and not the other way around.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from ....contracts import Float32Array
from ....errors import InputError
from ....rankers.checks import check_number
from ..decoding.types import Budget, Draft, Drafter, Drafting, Prompt, Tools
from .calibration import Calibration
from .merging import Merged, Offer
from .model import Drafts, Model
from .passages import Passages
from .proposal import Proposal, Proposing
from .table import DRAFTERS
from .text import Text

FIRST_GAIN = 2.0
"""Tokens that a draft of the model is taken to give before it was asked."""
GAIN_MEMORY = 5.0
"""Drafts over which what it gave is averaged."""


@dataclass(frozen=True, slots=True)
class Fused:
    """Drafts of several drafters in one tree, within one budget.

    ``prune``: where the model has looked, a token less than so many times as probable as its best
    one is not drafted.
    """

    kind: ClassVar[str] = "fused"
    drafters: tuple[Drafter, ...] = field(
        default=(Passages(), Text()), metadata={"table": DRAFTERS}
    )
    prune: float = 0.01

    def __post_init__(self) -> None:
        check_number("prune", self.prune, 0, 1)
        kinds = [drafter.kind for drafter in self.drafters]
        if not kinds or len(set(kinds)) < len(kinds) or self.kind in kinds:
            raise InputError(f"fuses one or more different drafters, got {kinds}", field="drafters")

    def begin(self, prompt: Prompt, tools: Tools) -> Drafting:
        """Let each of them read the prompt."""
        return _Fusing(self, prompt, tools)


class _Fusing:
    def __init__(self, settings: Fused, prompt: Prompt, tools: Tools) -> None:
        self._settings = settings
        self._vocabulary = tools.vocabulary
        self._model: Drafts | None = None
        self._others: list[Proposing] = []
        for drafter in settings.drafters:
            drafting = drafter.begin(prompt, tools)
            if not isinstance(drafting, Proposing):
                raise InputError(f"{drafter.kind!r} says nothing to fuse by", field="drafters")
            if isinstance(drafting, Drafts):
                self._model = drafting
            else:
                self._others.append(drafting)
        self.wants_logits = any(drafting.wants_logits for drafting in self._others)
        self._calibration: Calibration = tools.memory.setdefault("calibration", Calibration())
        self._model_gain = FIRST_GAIN
        self._asked = False
        self._draft = Draft.empty()
        self._offers: list[list[Offer]] = []

    def propose(self, budget: Budget) -> Draft:
        """The nodes likeliest to be accepted, of all that are drafted."""
        proposals = [drafting.proposal(budget) for drafting in self._others]
        merged = self._merged(proposals)
        promised = sum(merged.nodes[node].path for node in merged.chosen(budget))
        self._asked = self._model is not None and promised < self._model_gain
        if self._model is not None and self._asked:
            share = Budget(budget.nodes - budget.nodes // 3, budget.depth)
            merged = self._merged(proposals, self._model.proposal(share))
        kept = merged.chosen(budget)
        self._draft = merged.draft(kept, self._vocabulary)
        self._offers = [merged.nodes[node].offers for node in kept]
        return self._draft

    def commit(self, tokens: Sequence[int], logits: Float32Array | None) -> None:
        """Learn which nodes were right, and let each drafter take in what was accepted."""
        parents, drafted = self._draft.parents.tolist(), self._draft.tokens.tolist()
        node, gain = -1, 0
        for token in tokens:
            children = [child for child, parent in enumerate(parents) if parent == node]
            for child in children:
                for offer in self._offers[child]:
                    self._calibration.learn(*offer, drafted[child] == token)
            right = [child for child in children if drafted[child] == token]
            if not right:
                break
            node = right[0]
            gain += any(offer.source == Model.kind for offer in self._offers[node])
        if self._asked:
            self._model_gain += (gain - self._model_gain) / GAIN_MEMORY
        self._draft, self._offers = Draft.empty(), []
        for drafting in [*self._others, *([self._model] if self._model else [])]:
            drafting.commit(tokens, logits if drafting.wants_logits else None)

    def _merged(self, proposals: Sequence[Proposal], by_model: Proposal | None = None) -> Merged:
        merged = Merged()
        if by_model is not None:
            chances = self._calibration.chances(by_model)
            merged.add(by_model, chances, by_model.draft.laws)
        for proposal in proposals:
            barred = set() if by_model is None else self._improbable(proposal, by_model)
            merged.add(proposal, self._calibration.chances(proposal), barred=barred)
        return merged

    def _improbable(self, proposal: Proposal, by_model: Proposal) -> set[int]:
        """Nodes that the model, where it has looked, finds far less probable than its best."""
        assert self._model is not None
        drafted = zip(by_model.draft.parents.tolist(), by_model.draft.tokens.tolist(), strict=True)
        known = {key: node for node, key in enumerate(drafted)}
        at: dict[int, int | None] = {-1: -1}
        found = set()
        for node, parent in enumerate(proposal.draft.parents.tolist()):
            above, token = at[parent], int(proposal.draft.tokens[node])
            at[node] = None if above is None else known.get((above, token))
            law = None if above is None else self._model.laws.get(above)
            if law is not None and law[token] < self._settings.prune * law.max():
                found.add(node)
        return found
