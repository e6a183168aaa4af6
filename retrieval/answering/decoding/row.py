"""One text of a batch: what it has, what drafts for it, and where it ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import verify
from .draws import Chance, drafting_seed
from .experience import Acceptance, Experience
from .processing import Processing, law
from .provenance import copied
from .sampled import Choices
from .trees import children, cut, join
from .types import (
    Budget,
    Draft,
    Drafter,
    Drafting,
    DraftingStatistics,
    Generation,
    Prompt,
    Sampling,
    Stopped,
    Tools,
)

NOTHING = Draft.empty()
_UNTOLD = 64
"""Steps whose logits, where they may be wanted, are kept for the drafters."""


@dataclass(frozen=True, slots=True)
class Ending:
    """What ends a text: how many tokens it may have, the end tokens, and its stop strings."""

    limit: int
    ends: frozenset[int]
    stop: tuple[str, ...]
    tokenizer: Any

    def text(self, tokens: Sequence[int]) -> str:
        """The text of an answer's tokens, up to the first stop string."""
        whole = self._decoded(tokens)
        cuts = [at for at in (whole.find(stop) for stop in self.stop) if at >= 0]
        return whole[: min(cuts, default=len(whole))]

    def reached(self, tokens: Sequence[int]) -> Stopped | None:
        """Whether the text ends with the last of its tokens, which is no end token."""
        if self.stop:
            # a stop string of n bytes is within the last n tokens; the text before them may be
            # decoded otherwise for want of what precedes it, so some more are taken
            longest = max(len(stop.encode()) for stop in self.stop)
            tail = self._decoded(tokens[-(longest + 8) :])
            if any(stop in tail for stop in self.stop):
                return "stop"
        return "length" if len(tokens) >= self.limit else None

    def _decoded(self, tokens: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(
            list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text


class Row:
    """The state of one text.

    ``number``: its prompt's place in the batch.
    """

    def __init__(
        self,
        number: int,
        prompt: Prompt,
        sampling: Sampling,
        ending: Ending,
        processing: Processing,
    ) -> None:
        self.number = number
        self.prompt = prompt
        self.tokens: list[int] = []
        self.stopped: Stopped | None = None
        self.accepted_nodes: list[int] = []
        self.acceptance = Acceptance()
        self.forwards = 0
        self._sampling = sampling
        self._ending = ending
        self._processing = processing
        self._greedy = sampling.temperature == 0
        self._choose = verify.greedy if self._greedy else verify.RULES[sampling.rule]
        self._waiting: list[tuple[str, Drafter, Tools]] = []
        self._drafters: dict[str, Drafting] = {}
        self._draft = NOTHING
        self._vocabulary = 0
        self._drafted: Counter[str] = Counter()
        self._accepted: Counter[str] = Counter()
        self._copied: list[tuple[int, str, int]] = []
        self._log_probability = 0.0
        self._end: int | None = None
        self._untold: list[tuple[Sequence[int], Any]] = []

    def drafted_by(self, drafters: Sequence[Drafter], tools: Tools, known: Experience) -> None:
        """Who drafts, when drafts are first asked for; ``known``: what other texts have shown."""
        self._vocabulary = tools.vocabulary
        self.acceptance = Acceptance(known.acceptance)
        names: set[str] = set()
        for number, drafter in enumerate(drafters):
            seed = drafting_seed(tools.seed, number)
            own = tools._replace(seed=seed, memory=known.memories[number])
            name = drafter.kind if drafter.kind not in names else f"{drafter.kind}{number}"
            names.add(name)
            self._waiting.append((name, drafter, own))

    @property
    def unread(self) -> tuple[int, int]:
        """Whether the drafters have yet to read the prompt, and how many tokens behind it."""
        return bool(self._waiting), sum(len(tokens) for tokens, _ in self._untold)

    def begin(self) -> None:
        """Let the drafters read the prompt, once."""
        for name, drafter, tools in self._waiting:
            self._drafters[name] = drafter.begin(self.prompt, tools)
        self._waiting = []

    def tell(self) -> None:
        """Let the drafters take in what was committed."""
        import torch

        wanted = any(drafting.wants_logits for drafting in self._drafters.values())
        for tokens, processed in self._untold:
            logits = None
            if wanted and processed is not None:
                stacked = torch.stack(processed) if isinstance(processed, list) else processed
                logits = stacked.float().cpu().numpy()
            for drafting in self._drafters.values():
                drafting.commit(tokens, logits if drafting.wants_logits else None)
        self._untold = []

    @property
    def chooses_by_argmax(self) -> bool:
        """Whether tokens are the argmax of the logits as they are."""
        return self._greedy and self._processing.does_nothing

    @property
    def limit(self) -> int:
        """The most tokens the text may have."""
        return self._ending.limit

    @property
    def position(self) -> int:
        """Of the last committed token, from the prompt's first."""
        return len(self.prompt.tokens) + len(self.tokens) - 1

    def propose(self, size: Budget) -> Draft:
        """The draft of the next step: the drafters' own, those that were right most often first."""
        depth = min(size.depth, self.limit - len(self.tokens) - 1)
        drafts: list[Draft] = []
        left = size.nodes
        ranked = sorted(self._drafters, key=lambda name: -self.acceptance.rate(name))
        for name in ranked:
            if left <= 0 or depth <= 0:
                break
            drafts.append(self._drafters[name].propose(Budget(left, depth)))
            left -= len(drafts[-1])
        within = Budget(size.nodes, depth)
        self._draft = join(drafts, within, self._vocabulary, self.acceptance.rate)
        return self._draft

    def rest(self) -> Draft:
        """Nothing is drafted for the next step."""
        self._draft = NOTHING
        return NOTHING

    def cut(self, nodes: int) -> Draft:
        """So much of what was proposed: the draft that is verified."""
        self._draft = cut(self._draft, nodes)
        self._drafted.update(self._draft.sources)
        return self._draft

    def verify(self, logits: Any, choices: Choices | None) -> list[int]:
        """Commit what stands of the draft and one token more; the tokens committed.

        ``logits``: (1 + nodes, vocabulary) of the last token and the draft. ``choices``: where they
        are made already.
        """
        self.forwards += 1
        self.accepted_nodes = []
        nodes: list[int] = []
        chosen: list[int] = []
        processed: list[Any] = []
        draft = self._draft
        before = len(self.tokens)

        def choose(node: int, below: Sequence[int]) -> int:
            nodes.append(node + 1)
            if choices is not None:
                return choices.tokens[node + 1]
            scores = self._processing([*self._prompt_ids, *self.tokens], logits[node + 1])
            processed.append(scores)
            if self._greedy:
                return int(scores.argmax())
            drawn = []
            if draft.laws is not None:
                drawn = [
                    (int(draft.tokens[child]), draft.laws[child])
                    for child in below
                    if draft.laws[child].any()
                ]
            chance = Chance(self._sampling.seed, len(self.tokens))
            return self._choose(law(scores), drawn, chance)

        below = children(draft)

        def take(token: int, child: int | None) -> bool:
            chosen.append(token)
            siblings = below[nodes[-1]]
            if siblings:
                right = None if child is None else draft.sources[child]
                self.acceptance.learn({draft.sources[node] for node in siblings}, right)
            return self._take(token, child)

        verify.walk(draft, below, choose, take)
        self._log_probability += _log_probability(logits[nodes], chosen)
        if (self._drafters or self._waiting) and (self.stopped is None or len(draft)):
            self._keep(chosen, processed if choices is None else choices.processed[nodes])
            if self.stopped is not None:  # how the last draft did is known to the next text
                self.tell()
        return self.tokens[before:]

    def generation(self, moving_share: float, switched_off: bool) -> Generation:
        """What was decoded; how the batch was is told by the arguments."""
        emitted = len(self.tokens) + (self.stopped == "end")
        statistics = DraftingStatistics(
            forwards=self.forwards,
            plain_forwards=emitted,
            drafted=dict(self._drafted),
            accepted=dict(self._accepted),
            realignment_share=moving_share,
            switched_off=switched_off,
        )
        return Generation(
            tokens=tuple(self.tokens),
            text=self._ending.text(self.tokens),
            stopped=self.stopped or "cancelled",
            log_probability=self._log_probability,
            copied=copied(self._copied, self.tokens, self.prompt),
            statistics=statistics,
            end=self._end,
        )

    @property
    def _prompt_ids(self) -> list[int]:
        ids: list[int] = self.prompt.tokens.tolist()
        return ids

    def _take(self, token: int, child: int | None) -> bool:
        """Append a token; whether the text goes on."""
        if child is not None:
            self.accepted_nodes.append(child)
            self._accepted[self._draft.sources[child]] += 1
        if token in self._ending.ends:
            self.stopped, self._end = "end", token
            return False
        if child is not None and (passage := self._draft.passages[child]) is not None:
            self._copied.append((len(self.tokens), *passage))
        self.tokens.append(token)
        self.stopped = self._ending.reached(self.tokens)
        return self.stopped is None

    def _keep(self, tokens: Sequence[int], processed: Any) -> None:
        """What the drafters are told before they are next asked: that is a part of drafting."""
        begun = self._drafters.values()
        wanted = bool(self._waiting) or any(drafting.wants_logits for drafting in begun)
        self._untold.append((tokens, processed if wanted else None))
        if len(self._untold) > _UNTOLD:
            early = len(self._untold) - 1 - _UNTOLD
            self._untold[early] = (self._untold[early][0], None)


def _log_probability(logits: Any, tokens: Sequence[int]) -> float:
    """Of tokens, each by its own logits (n, vocabulary)."""
    scores = logits.float()
    chosen = scores[np.arange(len(tokens)), list(tokens)]
    return float((chosen - scores.logsumexp(dim=-1)).double().sum())
