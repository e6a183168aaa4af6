"""Answers by a model behind an OpenAI-compatible endpoint."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ...documents import JsonObject
from ...errors import UnreachableError
from ...rankers.language_models.openai import OpenAIModel
from ...rankers.language_models.openai_stream import Told, stream
from .generating import Draft, Scored, Written, returned
from .pieces import Pieces, tidy
from .prompts import Asked
from .settings import Answering
from .stopping import Stop

AT_ONCE = 8
"""Requests of one answer that are under way together."""
UNBOUNDED = 1 << 20
"""How many tokens an endpoint reads is not known here: it says so itself when it is too much."""
_YES_OPTIONS = 20


class RemoteWriter:
    """Writes by an :class:`OpenAIModel`."""

    forbidden: Sequence[str] = ()

    def __init__(self, model: OpenAIModel) -> None:
        self._model = model

    def count(self, text: str) -> int:
        """An estimate, rather too high."""
        return self._model.count_tokens(text)

    def room(self, prompt: Asked, settings: Answering) -> int:
        """As much as is asked for."""
        return UNBOUNDED

    def write(
        self, prompt: Asked, settings: Answering, stop: Stop
    ) -> Generator[str, None, Written]:
        """The text, in pieces as the endpoint sends them."""
        pieces, text = Pieces(settings.stop), ""
        if stop.gone():
            return Written("", "cancelled", 0, 0)
        told = self._streamed(prompt, settings, stop)
        try:
            while True:
                text += next(told)
                if piece := pieces.grown(text):
                    yield piece
        except StopIteration as end:
            if rest := pieces.rest(text):
                yield rest
            return _written(end.value)
        except UnreachableError as error:
            _check_that_we_cut(error, stop)
            return Written(tidy(text), "cancelled", 0, 0)
        finally:
            told.close()

    def write_all(self, prompts: Sequence[Asked], settings: Answering, stop: Stop) -> list[Written]:
        """Several texts, side by side."""

        def whole(prompt: Asked) -> Written:
            return returned(self.write(prompt, settings, stop))

        with ThreadPoolExecutor(min(AT_ONCE, len(prompts))) as pool:
            return list(pool.map(whole, prompts))

    def score(self, drafts: Sequence[Draft], stop: Stop) -> list[Scored]:
        """Self-reflection, by the log-probability of "Yes" as the next token.

        Chat endpoints give no log-probabilities of what they are sent, so self-consistency cannot
        be had of them.
        """
        with ThreadPoolExecutor(min(AT_ONCE, max(1, len(drafts)))) as pool:
            return list(pool.map(lambda draft: self._scored(draft, stop), drafts))

    def _scored(self, draft: Draft, stop: Stop) -> Scored:
        more = {"logprobs": True, "top_logprobs": _YES_OPTIONS}
        try:
            options = returned(self._told(draft.reflection, 1, more, stop)).first_options
        except UnreachableError as error:
            _check_that_we_cut(error, stop)
            return Scored(None, None)
        if not options:
            return Scored(None, None)
        yes = [math.exp(value) for text, value in options.items() if _is_yes(text)]
        # Below the least that was listed where "Yes" is not among them.
        return Scored(None, math.log(sum(yes)) if yes else min(options.values()))

    def _streamed(
        self, prompt: Asked, settings: Answering, stop: Stop
    ) -> Generator[str, None, Told]:
        more: dict[str, Any] = {"seed": settings.seed}
        if settings.stop:
            more["stop"] = list(settings.stop)
        if settings.temperature is not None:
            more["temperature"] = settings.temperature
        if settings.top_p is not None:
            more["top_p"] = settings.top_p
        if settings.prediction and prompt.passages:
            more["prediction"] = {"type": "content", "content": prompt.passages[0][0].shown.text}
        elif settings.likelihood:
            more["logprobs"] = True
        return self._told(prompt.text, settings.max_tokens, more, stop)

    def _told(
        self, prompt: str, max_tokens: int, more: dict[str, Any], stop: Stop
    ) -> Generator[str, None, Told]:
        return stream(
            self._model,
            prompt,
            max_tokens,
            more,
            seconds=stop.seconds_left,
            sleep=stop.wait,
            breaking_off=stop.breaking_off,
        )


def _check_that_we_cut(error: UnreachableError, stop: Stop) -> None:
    """Raise the error, unless the connection was cut for a reader who is gone."""
    stop.check("the endpoint had answered")
    if not stop.gone():
        raise error


def _written(told: Told) -> Written:
    completion = told.completion
    statistics: JsonObject = {"retries": completion.retries}
    if told.accepted is not None or told.rejected is not None:
        statistics["prediction"] = {"accepted": told.accepted, "rejected": told.rejected}
    return Written(
        tidy(completion.text),
        "length" if completion.finish == "length" else "end",
        completion.prompt_tokens,
        completion.completion_tokens,
        told.log_probability,
        statistics=statistics,
    )


def _is_yes(token: str) -> bool:
    return token.strip(" \n▁Ġ").casefold() == "yes"
