"""A question's way: retrieve, pack, ask the model, and say what each sentence draws on."""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ...answers import NOT_FOUND, Answer, AnswerEvent, AnswerStream
from ...contracts import Encodes, HasVectors
from ...documents import JsonObject, check_text
from ...errors import InputError
from ...rankers.language_models.local import LocalModel
from ...results import Result
from ...stages import LanguageModel
from ...tagged import to_json
from ..arguments import checked_timeout
from ..deadline import Deadline
from ..version import ServedIndex
from .citing import cite, says_not_found
from .drafters.history import Key
from .faithfulness import Encode
from .generating import Writer, Written
from .packing import LEAST_TOKENS, Packed, pack
from .prompts import prompt_of
from .settings import Answering, AnyModel, checked_mode, model_of, name_of
from .showing import shown
from .speculative_rag import best_draft
from .stopping import Stop

if TYPE_CHECKING:
    from ..pipeline import AnyPipeline
    from ..searching import Searching


def start(
    collection: Searching,
    indexes: Iterable[ServedIndex],
    question: str,
    k: int,
    model: AnyModel,
    pipeline: AnyPipeline,
    filter: Mapping[str, Any] | None,
    as_labels: Sequence[str] | None,
    mode: str,
    settings: Answering | None,
    timeout_ms: int | None,
) -> AnswerStream:
    """Retrieve, and have all ready for writing: what is wrong with the question is raised here."""
    check_text("question", question)
    if not question.strip():
        raise InputError("is empty; ask something", field="question")
    if settings is not None and not isinstance(settings, Answering):
        raise InputError(f"is Answering(...) or None, got {settings!r}", field="settings")
    chosen, settings = model_of(model), settings or Answering()
    job = _Job(
        question, _mode(mode, settings, chosen), settings, name_of(chosen),
        Stop(Deadline(checked_timeout(timeout_ms))),
    )  # fmt: skip
    job.result = collection.search(
        question, k, pipeline=pipeline, filter=filter, as_labels=as_labels, timeout_ms=timeout_ms
    )
    job.flags += job.result.flags
    if len(job.result):
        rights = None if as_labels is None else frozenset(as_labels)
        identity = json.dumps(to_json(chosen), sort_keys=True)
        path, version = str(collection.path), job.result.version
        key = Key(job.settings.tenant, rights, path, version, identity)
        job.prepare(_writer_of(chosen, key), _encoder_of(indexes))
    return AnswerStream(job.events(), job.stop.cancel)


def whole(stream: AnswerStream) -> Answer:
    """The answer at a stream's end."""
    for event in stream:
        if event.answer is not None:
            return event.answer
    raise RuntimeError("the stream was cancelled")


@dataclass(slots=True)
class _Job:
    """One answer under way."""

    question: str
    mode: str
    settings: Answering
    model: str
    stop: Stop
    result: Result = field(init=False)
    writer: Writer | None = None
    encode: Encode | None = None
    asked: str = ""
    passages: list[Packed] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)
    statistics: JsonObject = field(default_factory=dict)
    timings_ms: dict[str, float] = field(default_factory=dict)

    def prepare(self, writer: Writer, encode: Encode | None) -> None:
        """Pack the passages.

        Raises :class:`~cormorant.errors.InputError` for a question that leaves them no room.
        """
        self.writer, self.encode = writer, encode
        self.asked = shown(self.question, writer.forbidden).text
        drafts = self.mode == "speculative_rag"  # whose prompts say more
        room = writer.room(prompt_of(self.asked, (), draft=drafts), self.settings)
        if room < LEAST_TOKENS:
            raise InputError(
                f"the question and an answer of max_tokens={self.settings.max_tokens} leave "
                f"{max(0, room)} of the tokens that {self.model} reads for passages; ask a shorter "
                "question, for a shorter answer, or take a model that reads more",
                field="question",
            )
        left = -1
        while left < 0:  # tokens of the parts are not quite those of the whole
            self.passages, flags = pack(
                self.result, writer.count, self.settings, room, writer.forbidden
            )
            asked = prompt_of(self.asked, self.passages, draft=drafts)
            left = writer.room(asked, self.settings)
            room += min(left, 0)
        self.flags += flags

    def events(self) -> Generator[AnswerEvent]:
        """The hits, the text in pieces, and the answer; no answer where the reader is gone."""
        yield AnswerEvent("hits", result=self.result)
        began = time.perf_counter()
        if not self.passages or self.writer is None:
            self.flags.append("no passage was found, so no model was asked")
            yield AnswerEvent("text", text=NOT_FOUND)
            written = Written(NOT_FOUND, "end", 0, 0)
        else:
            written = yield from self._written(self.writer)
        self.timings_ms["generate"] = (time.perf_counter() - began) * 1000
        self.stop.check("the answer was whole")
        if not self.stop.gone():
            yield AnswerEvent("done", answer=self._answer(written))

    def _written(self, writer: Writer) -> Generator[AnswerEvent, None, Written]:
        self.stop.check("the model was asked")
        if self.mode == "speculative_rag":
            chosen = best_draft(
                self.asked, self.passages, writer, self.settings, self.stop, self.encode
            )
            self.flags += chosen.flags
            self.statistics["speculative_rag"] = chosen.statistics
            if chosen.written.text:
                yield AnswerEvent("text", text=chosen.written.text)
            return chosen.written
        writing = writer.write(prompt_of(self.asked, self.passages), self.settings, self.stop)
        try:
            while True:
                yield AnswerEvent("text", text=next(writing))
        except StopIteration as end:
            written: Written = end.value
            return written
        finally:
            writing.close()

    def _answer(self, written: Written) -> Answer:
        began = time.perf_counter()
        citations, sentences, flags = cite(
            self.asked, written, self.passages, self.settings, self.encode
        )
        if written.stopped == "length":
            flags.append(f"the answer was cut at {self.settings.max_tokens} tokens")
        if not written.text:
            flags.append("the model wrote nothing")
        self.timings_ms["cite"] = (time.perf_counter() - began) * 1000
        return Answer(
            self.question,
            written.text,
            not says_not_found(written.text),
            citations,
            sentences,
            self.result,
            self.model,
            self.mode,
            written.stopped,
            None if written.log_probability is None else -written.log_probability,
            {
                "passages": len(self.passages),
                "prompt_tokens": written.prompt_tokens,
                "tokens": written.tokens,
                **written.statistics,
                **self.statistics,
            },
            {**self.result.timings_ms, **self.timings_ms},
            tuple(dict.fromkeys([*self.flags, *flags])),
        )


def _mode(mode: str, settings: Answering, model: LanguageModel) -> str:
    """What the answer will say of how it was made."""
    if settings.transfer is None:
        return checked_mode(mode)
    if checked_mode(mode) != "standard" or not isinstance(model, LocalModel):
        raise InputError(
            "moves the law of a local model's standard answers, and no other's", field="transfer"
        )
    return str(settings.transfer.kind)


def _writer_of(model: LanguageModel, history: Key) -> Writer:
    if isinstance(model, LocalModel):
        from .local import LocalWriter

        return LocalWriter(model, history)
    from .remote import RemoteWriter

    return RemoteWriter(model)  # type: ignore[arg-type]


def _encoder_of(indexes: Iterable[ServedIndex]) -> Encode | None:
    """The encoder of the first index of one vector a text that has one, on its query side."""
    for view in indexes:
        index = view.index
        if isinstance(index, Encodes) and isinstance(index, HasVectors) and not index.needs_vectors:

            def encode(texts: Sequence[str], index: Any = index) -> Any:
                vectors = index.encode_queries(texts).vectors
                return vectors / np.maximum(1e-9, np.linalg.norm(vectors, axis=1, keepdims=True))

            return encode
    return None
