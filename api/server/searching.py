"""A search body in, the answer's JSON out: what is checked, what runs in a thread, what is written.

Concurrent searches that differ in nothing but their query run as one batch (:func:`search`).
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import math
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from ...documents import JsonObject
from ...errors import InputError
from ...rankers.table import LANGUAGE_MODELS
from ...results import Result
from ...retrieval.answering.settings import model_of
from ...retrieval.collection import Collection
from ...retrieval.pipeline import DEFAULT_DEPTH, Pipeline, as_pipeline, pipeline_from_json
from .bodies import BatchBody, SearchBody, SearchOptions
from .problems import Problem
from .ready import vectors_from_wire
from .settings import Settings
from .work import Workers, out_of_time

Labels = tuple[str, ...] | None


class _Asked(NamedTuple):
    """What may differ between the searches of a batch."""

    query: str
    timings: bool
    highlight: bool
    expires: float = math.inf
    """When, by ``time.monotonic``, its search ends."""
    grace_seconds: float = 0.0
    """How long after that a part is still written; 0: a late answer is none."""

    @property
    def is_over(self) -> bool:
        """Whether there is no time left to write the answer."""
        return time.monotonic() > self.expires + self.grace_seconds


@dataclasses.dataclass(frozen=True, slots=True)
class _Shared:
    """What the searches of a batch have in common."""

    collection: Collection
    k: int
    offset: int
    pipeline: Pipeline | str | None
    filter: JsonObject | None
    labels: Labels
    explain: bool
    partial: bool

    def __call__(self, asked: Sequence[_Asked]) -> list[bytes | None]:
        """The answers' JSON, None for what was too late; runs in a thread."""
        self.check_page()
        timeout_ms = left_ms(max(item.expires for item in asked))
        if len(asked) == 1:  # reads the documents in the search's own transaction
            results = [
                self.collection.search(
                    asked[0].query,
                    self.offset + self.k,
                    pipeline=self.pipeline,
                    filter=self.filter,
                    as_labels=self.labels,
                    explain=self.explain,
                    timeout_ms=timeout_ms,
                    partial=self.partial,
                )
            ]
        else:
            results = self.collection.search_batch(
                [item.query for item in asked],
                self.offset + self.k,
                pipeline=self.pipeline,
                filter=self.filter,
                as_labels=self.labels,
                explain=self.explain,
                timeout_ms=timeout_ms,
                partial=self.partial,
            )
        return [
            _answer(self.collection, result, item, self.offset)
            for result, item in zip(results, asked, strict=True)
        ]

    def plan(self) -> Pipeline:
        """The pipeline with its names resolved."""
        kinds = {name: settings.kind for name, settings in self.collection.indexes.items()}
        if not kinds:
            raise InputError("this collection has no index to search; add one first")
        return as_pipeline(self.pipeline, kinds)

    def check_page(self) -> None:
        """Refuse a page that the pipeline's depth does not reach.

        Past its depth a pipeline would have to fetch more candidates, and with other candidates
        come other scores: the pages before would change.
        """
        page_end = self.offset + self.k
        if isinstance(self.pipeline, Pipeline):
            plan = self.pipeline
        elif page_end <= DEFAULT_DEPTH:  # no pipeline with a name has another depth
            return
        else:
            plan = self.plan()
        if not plan.is_single_list and page_end > plan.depth:
            raise Problem(
                "limit_exceeded",
                f"offset + k is {page_end}, and the pipeline ranks {plan.depth} "
                "candidates; give the pipeline a greater depth",
                field="offset" if self.offset else "k",
                limit="depth",
            )


async def search(
    workers: Workers, settings: Settings, collection: Collection, body: SearchBody, labels: Labels
) -> bytes:
    """The JSON of one answer. Raises a problem for what the limits refuse, or a late answer."""
    limits = settings.limits
    limits.check("query_characters", len(body.query), "query")
    limits.check("k", body.offset + body.k, "offset" if body.offset else "k")
    shared = _shared(settings, collection, body, body.offset, labels)
    seconds = timeout_seconds(settings, body.timeout_ms)
    grace = grace_seconds(seconds) if body.partial else 0.0
    expires = time.monotonic() + seconds
    asked = _Asked(body.query, body.timings, body.highlight, expires, grace)
    key = (
        id(collection), body.k, body.offset, json.dumps(body.pipeline, sort_keys=True),
        json.dumps(body.filter), labels, body.explain, body.partial,
    )  # fmt: skip
    whole = workers.batched(key, shared, asked, seconds + grace)
    if not body.partial:
        return _in_time(await whole, seconds)
    return await _or_part(workers, whole, shared, asked, seconds)


async def _or_part(
    workers: Workers, whole: Any, shared: _Shared, asked: _Asked, seconds: float
) -> bytes:
    """The whole answer, or when its time runs out what the first index alone says, flagged.

    Where the whole stops by itself in time, its own part comes.
    """
    task = asyncio.ensure_future(whole)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())  # seen, if not used
    try:
        try:
            part, name = await workers.run(
                lambda: _first_list(shared, asked), seconds + asked.grace_seconds
            )
        except Problem as problem:
            if problem.code != "deadline_exceeded":
                raise
            part, name = None, None
        try:
            return _in_time(await task, seconds)
        except Problem as problem:
            if problem.code != "deadline_exceeded":
                raise
    finally:
        task.cancel()
    late = f"the deadline of {seconds * 1000:.0f} ms passed"
    if part is None:
        return _dumped(_nothing(f"{late} before any index had answered"))
    part["flags"].append(f"{late}: only index {name!r} was searched")
    return _dumped(part)


def _nothing(flag: str) -> JsonObject:
    """The answer in which there is nothing, and why."""
    return {"hits": [], "version": 0, "total_ms": 0.0, "flags": [flag]}


def _first_list(shared: _Shared, asked: _Asked) -> tuple[JsonObject | None, str | None]:
    plan = shared.plan()
    if plan.is_single_list:
        return None, None
    first = dataclasses.replace(shared, pipeline=Pipeline([plan.retrieve[0]]))
    answer = first([asked])[0]
    return (None if answer is None else json.loads(answer)), plan.retrieve[0].index


async def search_batch(
    workers: Workers, settings: Settings, collection: Collection, body: BatchBody, labels: Labels
) -> bytes:
    """The JSON of a batch's answers."""
    limits = settings.limits
    if body.queries is None and body.vectors is None:
        raise Problem("invalid_input", "takes queries, vectors, or both", field="queries")
    limits.check("batch_queries", len(body.queries or ()), "queries")
    for query in body.queries or ():
        limits.check("query_characters", len(query), "queries")
    limits.check("batch_queries", len(body.vectors or ()), "vectors")
    limits.check("k", body.k, "k")
    shared = _shared(settings, collection, body, 0, labels)
    seconds = timeout_seconds(settings, body.timeout_ms)
    grace = grace_seconds(seconds) if body.partial else 0.0
    expires = time.monotonic() + seconds

    def run() -> bytes:
        shared.check_page()
        if not (body.queries or body.vectors):
            return _dumped({"results": []})
        ready = vectors_from_wire(body.vectors, limits, "vectors") if body.vectors else None
        results = collection.search_batch(
            body.queries,
            body.k,
            vectors=ready,
            pipeline=shared.pipeline,
            filter=body.filter,
            as_labels=labels,
            explain=body.explain,
            timeout_ms=left_ms(expires),
            partial=body.partial,
        )
        queries = body.queries or [""] * len(results)
        answers = []
        for query, result in zip(queries, results, strict=True):
            asked = _Asked(query, body.timings, body.highlight, expires, grace)
            answers.append(_in_time(_answer(collection, result, asked, 0), seconds))
        return b'{"results":[' + b",".join(answers) + b"]}"

    # What stops by itself has stopped before nobody waits for it any more.
    try:
        return bytes(await workers.run(run, seconds + 2 * grace))
    except Problem as problem:
        if problem.code != "deadline_exceeded" or not body.partial:
            raise
    late = f"the deadline of {seconds * 1000:.0f} ms passed before any answer was whole"
    return _dumped({"results": [_nothing(late)] * len(body.queries or body.vectors or ())})


def _answer(collection: Collection, result: Result, asked: _Asked, offset: int) -> bytes | None:
    """One answer as the wire has it: the hits from ``offset`` on, with their true ranks.

    When its time is over: None, or if it may be a part, what there is, flagged.
    """
    late: list[str] = []
    if asked.is_over:
        late.append("the time was over before these hits were read, which were left out")
        value: JsonObject = {
            "hits": [],
            "version": result.version,
            "total_ms": round(result.total_ms, 3),
            "timings_ms": {},
            "flags": list(result.flags),
        }
    else:
        value = result.as_json()
        value["hits"] = value["hits"][offset:]
    if not asked.timings:
        del value["timings_ms"]
    for hit in value["hits"] if asked.highlight else ():
        if asked.is_over:
            late.append(f"the time was over before hit {hit['rank']} was highlighted")
            break
        hit["highlights"] = collection.highlights(asked.query, hit["text"])
    if late and not asked.grace_seconds:
        return None
    value["flags"] += late
    return _dumped(value)


def _in_time(answer: bytes | None, seconds: float) -> bytes:
    if answer is None:
        raise out_of_time(seconds)
    return answer


def _shared(
    settings: Settings, collection: Collection, body: SearchOptions, offset: int, labels: Labels
) -> _Shared:
    settings.limits.check_filter(body.filter)
    pipeline = checked_pipeline(body.pipeline, settings)
    return _Shared(
        collection, body.k, offset, pipeline, body.filter, labels, body.explain, body.partial
    )


def checked_pipeline(value: Any, settings: Settings) -> Pipeline | str | None:
    """The pipeline a body gives, within the limits; a name is for the collection to resolve."""
    if value is None or isinstance(value, str):
        return value
    for stages_of in ("retrieve", "feedback", "rerank"):
        if isinstance(value, dict) and isinstance(value.get(stages_of), list):
            settings.limits.check("stages", len(value[stages_of]), "pipeline")
    try:
        pipeline = pipeline_from_json(value)
    except InputError as error:
        if error.field is not None:
            raise
        raise type(error)(str(error), field="pipeline") from None
    limits = settings.limits
    stages: list[Any] = [pipeline.fuse, pipeline.reformulate, *pipeline.feedback, *pipeline.rerank]
    stages += [item.by for item in pipeline.retrieve]
    stages = [stage for stage in stages if stage is not None]
    limits.check("stages", len(pipeline.retrieve) + len(stages), "pipeline")
    for holder in (pipeline, *pipeline.retrieve, *stages):
        for name, limit in (("depth", "depth"), ("budget", "scorer_calls")):
            asked = getattr(holder, name, None)
            if isinstance(asked, int):
                limits.check(limit, asked, name)
    for stage in stages:
        check_models(stage, (*settings.models, *settings.rerankers), settings.language_models)
    return pipeline


def check_models(value: Any, allowed: Sequence[str], language_models: Sequence[str] = ()) -> None:
    """Refuse settings that name a model which is not on the server's list.

    A settings value of any kind names its models in fields called ``model`` and ``adapter``: so a
    new kind is covered. ``language_models``: those that a field for one may hold, in the words of
    the server's settings.
    """
    for item in dataclasses.fields(value):
        content = getattr(value, item.name)
        if item.metadata.get("table") is LANGUAGE_MODELS and content is not None:
            _check_language_model(content, language_models)
            continue
        if item.name in ("model", "adapter") and content is not None and content not in allowed:
            there = ", ".join(allowed) or "none"
            raise InputError(
                f"{content!r:.100} is not a model of this server; there are: {there}",
                field=item.name,
            )
        for part in content if isinstance(content, tuple) else (content,):
            if dataclasses.is_dataclass(part):
                check_models(part, allowed, language_models)


def _check_language_model(value: Any, words: Sequence[str]) -> None:
    def told(model: Any) -> tuple[Any, ...]:
        """What decides which weights are loaded: a request may not load others."""
        return tuple(
            getattr(model, name, None) for name in ("kind", "model", "revision", "precision")
        )

    asked = told(value)
    if asked not in [told(model_of(word)) for word in words]:
        raise InputError(
            f"{asked[1]!r:.100} ({asked[0]}) is not a language model of this server, or not with "
            "that revision and precision; there are: "
            f"{', '.join(words) or 'none'}",
            field="language_model",
        )


def timeout_seconds(settings: Settings, timeout_ms: int | None) -> float:
    """The time a request may take: what it asks for, never more than the limit."""
    most: int = settings.limits.timeout_ms
    return min(most, timeout_ms or most) / 1000


def grace_seconds(seconds: float) -> float:
    """How long after its time a part is still awaited: a step under way is not broken off."""
    return 0.25 + min(seconds / 4, 2.0)


def left_ms(expires: float) -> int | None:
    """Milliseconds until a time of ``time.monotonic``, at least one."""
    if math.isinf(expires):
        return None
    return max(1, int((expires - time.monotonic()) * 1000))


def _dumped(value: JsonObject) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
