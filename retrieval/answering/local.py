"""Answers by a causal language model on this machine, decoded with drafts from its passages."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from functools import lru_cache
from queue import SimpleQueue
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from ...contracts import Int64Array
from ...documents import JsonObject
from ...rankers.language_models.local import Loaded, LocalModel
from .decoding.types import (
    Drafter,
    DraftingStatistics,
    Generation,
    Prompt,
)
from .drafters.fuse import Fused
from .drafters.history import Histories, History, Key
from .encoding import continued, encoded, length
from .generating import Copied, Draft, Scored, Written
from .pieces import Pieces, tidy
from .prompts import Asked
from .settings import Answering
from .stopping import Stop

if TYPE_CHECKING:
    from .decoding.engine import Decoder

_decoders: WeakKeyDictionary[Loaded, Decoder] = WeakKeyDictionary()
_making = Lock()


@lru_cache(maxsize=1)
def histories() -> Histories:
    """The earlier answers of this process, kept only where a history was asked for."""
    return Histories()


class LocalWriter:
    """Writes by a :class:`LocalModel`; raises what loading it raises.

    ``history``: whose earlier answers may draft, where the settings ask for a :class:`History`.
    """

    def __init__(self, model: LocalModel, history: Key) -> None:
        self._model = model
        self._history = history
        self._loaded = model.loaded()
        self._tokenizer: Any = self._loaded.tokenizer
        self._decoder = decoder_of(self._loaded)
        added = map(str, self._tokenizer.get_added_vocab())
        self.forbidden = tuple(
            token
            for token in {*self._tokenizer.all_special_tokens, *added}
            if len(token.strip()) > 1
        )

    def count(self, text: str) -> int:
        """By the model's own tokenizer."""
        return len(self._tokenizer.encode(text, add_special_tokens=False))

    def room(self, prompt: Asked, settings: Answering) -> int:
        """What the model reads, less the prompt and the answer."""
        context = self._loaded.context(self._model.context_tokens)
        return context - length(prompt, self._tokenizer) - settings.max_tokens

    def write(
        self, prompt: Asked, settings: Answering, stop: Stop
    ) -> Generator[str, None, Written]:
        """The text, in pieces as the model decides on them."""
        asked = encoded(prompt, self._tokenizer)
        committed: SimpleQueue[Sequence[int] | Generation | BaseException] = SimpleQueue()

        def work() -> None:
            try:
                [made] = self._decoder.generate(
                    [asked],
                    settings.sampling(),
                    self._drafters(settings),
                    processors=_processors(settings, asked),
                    on_tokens=lambda _, tokens: committed.put(list(tokens)),
                    cancelled=stop.over,
                )
                committed.put(made)
            except BaseException as error:
                committed.put(error)

        thread = Thread(target=work, name="cormorant-answer", daemon=True)
        thread.start()
        pieces, tokens = Pieces(settings.stop), list[int]()
        told: Sequence[int] | Generation | BaseException = ()
        try:
            while not isinstance(told := committed.get(), Generation | BaseException):
                tokens += told
                if piece := pieces.grown(self._text(tokens)):
                    yield piece
        finally:
            if not isinstance(told, Generation):
                stop.cancel()  # whoever reads the pieces reads no further
            thread.join()
        if isinstance(told, BaseException):
            raise told
        if rest := pieces.rest(told.text):
            yield rest
        self._remember(told, settings)
        return self._written(told, asked, prompt)

    def write_all(self, prompts: Sequence[Asked], settings: Answering, stop: Stop) -> list[Written]:
        """Several texts, as one batch."""
        asked = [encoded(prompt, self._tokenizer) for prompt in prompts]
        made = self._decoder.generate(
            asked, settings.sampling(), self._drafters(settings), cancelled=stop.over
        )
        return [
            self._written(one, tokens, prompt)
            for one, tokens, prompt in zip(made, asked, prompts, strict=True)
        ]

    def score(self, drafts: Sequence[Draft], stop: Stop) -> list[Scored]:
        """By the model's own law; each text is tokenised by itself, so that borders stay.

        Of "Yes" it is the first token that stands behind the question, whatever a tokenizer makes
        of a space before a word that begins a text.
        """
        stop.check("scoring the drafts")

        def tokens(text: str, *, begins: bool = False) -> Int64Array:
            return np.array(self._tokenizer.encode(text, add_special_tokens=begins), np.int64)

        pairs = [
            (tokens(draft.consistency[0], begins=True), tokens(draft.consistency[1]))
            for draft in drafts
        ]
        for draft in drafts:
            asked, said = continued(self._tokenizer, draft.reflection, " Yes")
            pairs.append((asked, said[:1]))
        prompts, texts = [Prompt(asked) for asked, _ in pairs], [said for _, said in pairs]
        scores = self._decoder.log_likelihood(prompts, texts, cancelled=stop.over)
        if scores is None:
            return [Scored(None, None)] * len(drafts)
        both = zip(scores[: len(drafts)], scores[len(drafts) :], strict=True)
        return [Scored(*scored) for scored in both]

    def _drafters(self, settings: Answering) -> list[Drafter]:
        return [self._bound(drafter) for drafter in settings.default_drafters()]

    def _bound(self, drafter: Drafter) -> Drafter:
        """A history is told whose it is, also among others that are fused."""
        if isinstance(drafter, History):
            return drafter.of(histories(), self._history)
        if isinstance(drafter, Fused):
            return replace(drafter, drafters=tuple(map(self._bound, drafter.drafters)))
        return drafter

    def _remember(self, made: Generation, settings: Answering) -> None:
        if _has_history(settings.default_drafters()) and made.stopped != "cancelled":
            ends = () if made.end is None else (made.end,)
            histories().remember(self._history, (*made.tokens, *ends))

    def _text(self, tokens: Sequence[int]) -> str:
        return str(
            self._tokenizer.decode(
                tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        )

    def _written(self, made: Generation, prompt: Prompt, asked: Asked) -> Written:
        text = tidy(made.text)
        return Written(
            text,
            made.stopped,
            len(prompt.tokens),
            len(made.tokens),
            made.log_probability,
            tuple(self._copied(made, prompt, asked, text)),
            {"drafting": _drafting(made.statistics, self._decoder.undrafted)},
        )

    def _copied(
        self, made: Generation, prompt: Prompt, asked: Asked, text: str
    ) -> Generator[Copied]:
        """What was copied, as characters of the text and of the passage as it is shown."""
        lead = made.text.rfind(text)
        tokens = {
            passage.id: prompt.tokens[passage.begin : passage.end].tolist()
            for passage in prompt.passages
        }
        shown = {packed.id: packed.shown.text for packed, _, _ in asked.passages}
        for first, last, id, offset in _stretches(made.copied):
            start = max(0, len(self._text(made.tokens[:first])) - lead)
            end = min(len(text), len(self._text(made.tokens[: last + 1])) - lead)
            copied = text[start:end]
            start, end = start + len(copied) - len(copied.lstrip()), start + len(copied.rstrip())
            before = self._text(tokens[id][:offset])
            found = shown[id].find(text[start:end], max(0, len(before) - 2))
            if start < end and found >= 0:
                yield Copied(start, end, id, found, found + end - start)


def _has_history(drafters: Sequence[Drafter]) -> bool:
    return any(
        isinstance(drafter, History)
        or (isinstance(drafter, Fused) and _has_history(drafter.drafters))
        for drafter in drafters
    )


def _processors(settings: Answering, asked: Prompt) -> list[Any] | None:
    return None if settings.transfer is None else [settings.transfer.processor([asked])]


def _stretches(copied: Sequence[tuple[int, str, int]]) -> list[tuple[int, int, str, int]]:
    """(first place, last place, passage, first token) of copied tokens that read on."""
    found: list[tuple[int, int, str, int]] = []
    for place, id, offset in copied:
        if found:
            first, last, of, start = found[-1]
            if (place, id, offset) == (last + 1, of, start + place - first):
                found[-1] = first, place, of, start
                continue
        found.append((place, place, id, offset))
    return found


def decoder_of(loaded: Loaded) -> Decoder:
    """The decoder of a loaded model, which lives as long as the model is kept."""
    from .decoding.engine import Decoder

    with _making:
        if loaded not in _decoders:
            _decoders[loaded] = Decoder(loaded.model, loaded.tokenizer)
        return _decoders[loaded]


def _drafting(statistics: DraftingStatistics, undrafted: str | None) -> JsonObject:
    return {
        **({} if undrafted is None else {"undrafted": undrafted}),
        "forwards": statistics.forwards,
        "plain_forwards": statistics.plain_forwards,
        "drafted": dict(statistics.drafted),
        "accepted": dict(statistics.accepted),
        "realignment_share": round(statistics.realignment_share, 6),
        "switched_off": statistics.switched_off,
    }
