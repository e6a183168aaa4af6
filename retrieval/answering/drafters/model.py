"""A language model drafts, on a prompt that retrieval has shortened.

With a long prompt even a small model is slow; with the best passages alone it is not, and it is
they that the answer comes from (RAPID, 2502.20330). The target verifies by its own law on its own,
whole prompt, so nothing is lost; RAPID's other half, which changes that law, is
:mod:`.transfer`. The draft model may be the target itself. Siblings are drawn without replacement
(:mod:`.siblings`), and the model's head can be trimmed (:mod:`.trimming`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ....contracts import Float32Array, Int64Array
from ....errors import InputError
from ....rankers.checks import check_integer, check_number
from ....rankers.language_models.local import LocalModel
from ..decoding.types import Budget, Draft, Float64Array, Prompt, Tools
from .proposal import Nodes, Proposal, Proposing
from .reader import Reader
from .siblings import drawn, widths
from .trimming import trimmed

LEAST_PATH = 0.2
"""Below this probability a path is not gone on with, where nothing is drawn: a forward is dear."""
PURPOSE = 0x30DE
"""Keeps these draws apart from those of other drafters with the same seed."""


@dataclass(frozen=True, slots=True)
class Model:
    """Drafts by a model with the target's tokenizer, the target's own if you like.

    ``context_tokens``: of the prompt that it reads; the first passages stay, the others are cut.
    ``temperature``: 0 drafts the most probable tokens; above, siblings are drawn without
    replacement by the model's law at that temperature, and the draft carries the laws.
    ``branching``: siblings level by level, 1 beyond. ``vocabulary``: what the head is trimmed to,
    beside the prompt's own tokens (``trimming.frequent`` finds them); (): the whole head.
    """

    kind: ClassVar[str] = "model"
    model: LocalModel
    context_tokens: int = 1024
    temperature: float = 0.0
    branching: tuple[int, ...] = ()
    vocabulary: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_integer("context_tokens", self.context_tokens, 16, 1 << 22)
        check_number("temperature", self.temperature, 0, 10)
        for width in self.branching:
            check_integer("branching", width, 1, 16)
        for token in self.vocabulary:
            check_integer("vocabulary", token, 0, (1 << 31) - 1)

    def begin(self, prompt: Prompt, tools: Tools) -> Proposing:
        """Load the model; it reads the shortened prompt when it is first asked for a draft.

        Raises :class:`~cormorant.errors.InputError` for a model whose vocabulary is not the
        target's, and for one that the engine cannot decode.
        """
        return Drafts(self, self.model.loaded().model, prompt, tools)


def shortened(prompt: Prompt, most: int) -> Int64Array:
    """A prompt's tokens with as many of its passages, the first ones, as ``most`` tokens leave."""
    left = most - len(prompt.tokens) + sum(p.end - p.begin for p in prompt.passages)
    kept = np.ones(len(prompt.tokens), np.bool_)
    for passage in prompt.passages:
        left -= passage.end - passage.begin
        if left < 0:
            kept[passage.begin : passage.end] = False
    return prompt.tokens[kept]


class Drafts:
    """A draft model's drafts of one row.

    ``laws``: of the last draft, its law (vocabulary,) float64 after each node that it read; -1 is
    the last committed token.
    """

    wants_logits = False

    def __init__(self, settings: Model, model: Any, prompt: Prompt, tools: Tools) -> None:
        own = int(model.get_input_embeddings().weight.shape[0])
        ids = np.arange(min(own, tools.vocabulary))
        # Vocabularies of one tokenizer are padded to different sizes; others differ by far more.
        if abs(own - tools.vocabulary) > 1024 or int(prompt.tokens.max(initial=0)) >= own:
            raise InputError(
                f"the draft model {settings.model.model!r} has {own:,} tokens and the target "
                f"{tools.vocabulary:,}; it drafts with the same tokenizer only",
                field="drafters",
            )
        if settings.vocabulary:
            chosen = np.union1d(np.array(settings.vocabulary), prompt.tokens)
            ids = np.union1d(chosen[chosen < len(ids)], sorted(tools.end))
            model = trimmed(model, ids)
        config = model.config.get_text_config(decoder=True)
        self._context = int(getattr(config, "max_position_embeddings", None) or 1 << 30)
        self._vocabulary = own
        self._ids = ids
        self._barred = np.isin(ids, sorted(tools.special - tools.end))
        self._reader = Reader(model)
        self._unread = shortened(prompt, settings.context_tokens).tolist()
        self._root: Float64Array = np.zeros(0)
        self._settings = settings
        self._tools = tools
        self.laws: dict[int, Float64Array] = {}

    def commit(self, tokens: Sequence[int], logits: Float32Array | None) -> None:
        """To be read with the next draft."""
        self._unread += tokens

    def propose(self, budget: Budget) -> Draft:
        """See ``proposal``."""
        return self.proposal(budget).draft

    def proposal(self, budget: Budget) -> Proposal:
        """As many forwards as the tree has levels, the first one over what was committed."""
        settings = self._settings
        levels = widths(settings.branching, budget)
        length = self._reader.length + len(self._unread)
        self.laws = {}
        if not levels or length + len(levels) > self._context:
            return Proposal.empty()
        if max(self._unread, default=0) >= self._vocabulary:
            return Proposal.empty()
        tree = Nodes(Model.kind)
        laws: list[Float64Array] = []
        random = None
        if settings.temperature:
            random = np.random.default_rng((self._tools.seed, PURPOSE, length))
        if self._unread:  # else it is asked twice
            self._root = self._law(self._reader.read(np.array(self._unread, np.int64)))
            self._unread = []
        self.laws[-1] = self._root
        level = [(-1, -1, 1.0)]  # of a node: its number, its number to the reader, its path
        n_read = 0
        for depth, width in enumerate(levels, start=1):
            below = []
            for parent, read, path in level:
                law = self.laws[parent]
                for token in drawn(law, width, random).tolist():
                    share = float(law[token])
                    node = tree.add(token, parent, length, share)
                    laws.append(law)
                    if token not in self._tools.end and (
                        random is not None or path * share >= LEAST_PATH
                    ):
                        below.append((node, token, read, path * share))
            if depth == len(levels) or not below:
                break
            read_now = self._reader.branch([b[1] for b in below], [b[2] for b in below])
            level = []
            for number, (node, _, _, path) in enumerate(below):
                self.laws[node] = self._law(read_now[number])
                level.append((node, n_read + number, path))
            n_read += len(below)
        self._reader.forget()
        return tree.proposal(laws if random is not None else None)

    def _law(self, logits: Float64Array) -> Float64Array:
        """(vocabulary of the target,), at the draft's temperature; 0 for what is not drafted."""
        own = logits[: len(self._ids)]
        own[self._barred] = -np.inf
        exponents = np.exp((own - own.max()) / (self._settings.temperature or 1.0))
        law = np.zeros(self._tools.vocabulary)
        law[self._ids] = exponents / exponents.sum()
        return law
