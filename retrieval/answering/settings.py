"""What a user says of how answers are made, and which model a name means."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

from ...documents import check_text
from ...errors import InputError
from ...rankers.language_models.local import LocalModel
from ...rankers.language_models.openai import OpenAIModel
from ...rankers.table import LANGUAGE_MODELS
from ...stages import LanguageModel
from ...tagged import from_json, to_json
from .decoding.types import Drafter, Rule, Sampling, is_number
from .drafters.table import DRAFTERS, TRANSFERS

MODES = ("standard", "speculative_rag")
MODEL = "CORMORANT_LLM_MODEL"
"""The model that answers where none is named."""
AnyModel: TypeAlias = LocalModel | OpenAIModel | Mapping[str, Any] | str | None
"""A model, its JSON, ``openai:NAME``, a local model's folder or name, or None for ``MODEL``'s."""


@dataclass(frozen=True, slots=True)
class Answering:
    """How an answer is made from passages; tokens are the model's own, or an estimate of them.

    ``passages_tokens``: the most that all passages take in the prompt; ``passage_tokens``: that one
    takes. ``max_tokens``, ``temperature`` (None: the model's own, 0 for a local one), ``top_k``,
    ``top_p``, ``seed``, ``stop``: of the answer; ``top_k`` is for local models.

    ``drafters``: what drafts for a local model; it changes the time and not the text. None: the
    passages and the text so far as one tree, ``Fused()``; (): nothing drafts. ``tenant``: whose
    earlier answers a ``History`` among them may use; see
    :mod:`cormorant.retrieval.answering.drafters.history`.
    ``rule``: how a local model verifies drafts of an answer that is drawn; ``match`` keeps the
    text, ``p_over_q`` and ``without_replacement`` its law only. ``transfer``: LOSSY, a
    ``KnowledgeTransfer`` that moves a local model's law towards a draft model's
    (:mod:`cormorant.retrieval.answering.drafters.transfer`); the answer's ``mode`` says so.
    ``prediction``: send an endpoint the best passage as the answer's prediction, where it supports
    that; such an answer has no likelihood. ``likelihood``: ask an endpoint for log-probabilities.

    ``min_overlap``, ``min_similarity``: from where on a sentence counts as supported by a passage.

    ``drafts``, ``draft_passages``: of ``speculative_rag``, how many drafts, and of how many
    passages each; ``normalised``: compare drafts by their log-probabilities a token, not in all.
    """

    kind: ClassVar[str] = "answering"
    passages_tokens: int = 3000
    passage_tokens: int = 600
    max_tokens: int = 256
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    seed: int = 0
    stop: tuple[str, ...] = ("\nQuestion:",)
    drafters: tuple[Drafter, ...] | None = field(default=None, metadata={"table": DRAFTERS})
    rule: Rule = "match"
    transfer: Any = field(default=None, metadata={"table": TRANSFERS})
    tenant: str = ""
    prediction: bool = False
    likelihood: bool = True
    min_overlap: float = 0.5
    min_similarity: float = 0.65
    drafts: int = 4
    draft_passages: int = 2
    normalised: bool = False

    def __post_init__(self) -> None:
        for name, low, high in (
            ("passages_tokens", 16, 1 << 20),
            ("passage_tokens", 16, 1 << 20),
            ("max_tokens", 1, 1 << 16),
            ("seed", 0, 1 << 32),
            ("drafts", 1, 32),
            ("draft_passages", 1, 32),
        ):
            value = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool)
            if not whole or not low <= value <= high:
                raise InputError(f"is an integer from {low} to {high:,}, got {value!r}", field=name)
        for name in ("min_overlap", "min_similarity"):
            value = getattr(self, name)
            if not is_number(value) or not 0 <= value <= 1:
                raise InputError(f"is a number from 0 to 1, got {value!r}", field=name)
        warm: Any = self.temperature
        if warm is not None and not (is_number(warm) and 0 <= warm <= 2):
            raise InputError(f"is from 0 to 2, or None, got {warm!r}", field="temperature")
        for name in ("prediction", "likelihood", "normalised"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"is true or false, got {getattr(self, name)!r}", field=name)
        check_text("tenant", self.tenant)
        drafters: Any = self.drafters
        if drafters is not None and not (
            isinstance(drafters, tuple) and all(hasattr(drafter, "begin") for drafter in drafters)
        ):
            raise InputError(f"is a tuple of drafters, or None, got {drafters!r}", field="drafters")
        if self.transfer is not None and not hasattr(self.transfer, "processor"):
            raise InputError(
                f"is a KnowledgeTransfer, or None, got {self.transfer!r}", field="transfer"
            )
        self.sampling()

    def sampling(self, temperature: float = 0.0) -> Sampling:
        """How a local model is decoded; ``temperature``: the model's own."""
        return Sampling(
            temperature if self.temperature is None else self.temperature,
            self.top_k,
            self.top_p,
            self.seed,
            self.max_tokens,
            self.stop,
            self.rule,
        )

    def default_drafters(self) -> tuple[Drafter, ...]:
        """What drafts."""
        if self.drafters is not None:
            return self.drafters
        return (from_json(DRAFTERS, "fused", "drafter"),)


def checked_mode(mode: Any) -> str:
    """A mode's name."""
    if mode not in MODES:
        raise InputError(f"is one of {', '.join(MODES)}, got {mode!r}", field="mode")
    return str(mode)


def answering_from_json(value: Mapping[str, Any]) -> Answering:
    """The settings that JSON describes, with its kind or without."""
    settings: Answering = from_json(
        {"answering": f"{__name__}:Answering"}, {"kind": "answering", **value}, "settings"
    )
    return settings


def model_of(value: AnyModel) -> LanguageModel:
    """The model that is meant; raises :class:`~cormorant.errors.InputError` where none is."""
    if value is None:
        value = os.environ.get(MODEL, "")
    if isinstance(value, Mapping):
        model: LanguageModel = from_json(LANGUAGE_MODELS, value, "model")
        return model
    if not isinstance(value, str):
        if not isinstance(value, LocalModel | OpenAIModel):
            raise InputError(
                f"is LocalModel(...) or OpenAIModel(...), got {value!r}", field="model"
            )
        return value
    if not value.strip():
        raise InputError(
            f"name a model: a local one's folder or name, openai:NAME, or {MODEL}", field="model"
        )
    kind, colon, name = value.partition(":")
    return OpenAIModel(name) if colon and kind == "openai" else LocalModel(value)


def name_of(model: LanguageModel) -> str:
    """What an answer says of the model that wrote it."""
    described = to_json(model)
    name = str(described["model"]).rstrip("/").rpartition("/")[2]
    return f"openai:{described['model']}" if described["kind"] == "openai" else name
