"""The pipeline: reformulate -> retrieve -> fuse -> feed back -> rerank, as one typed value.

Python, JSON, REST and the command line share it::

    Pipeline(retrieve=["bm25", "dense"], fuse=RRF(), rerank=[CrossEncoder("...", depth=100)])
    {"retrieve": ["bm25", "dense"], "fuse": {"kind": "rrf"}, "rerank": [{"kind": ...}]}

A ranker that may fail, or has a budget, is ``Stage(ranker, on_error="keep", budget=...)``. A stage
is a frozen dataclass with a ``kind``, listed in ``rankers/table.py``. Some pipelines have a name:
``hybrid`` is ``{"retrieve": ["bm25", "dense"], "fuse": {"kind": "convex"}}``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

from ..documents import JsonObject
from ..errors import InputError, UnknownNameError
from ..indexers.table import INDEXES
from ..rankers.stage import Stage, as_stage
from ..rankers.table import FEEDBACKS, FUSIONS, RANKERS, REFORMULATIONS, RETRIEVERS
from ..stages import Budget, Feedback, Fusion, Ranker, Reformulation, Retriever
from ..tagged import from_json, to_json

DEFAULT_DEPTH = 1000
MAX_K = 100_000


@dataclass(frozen=True, slots=True)
class Retrieve:
    """Ask one index for its ``depth`` best rows (None: as many as the pipeline's depth).

    ``by``: a retriever that stands in the place of an index, such as ``CUR(...)``; ``index`` is
    then the name that its list goes by.
    """

    index: str
    depth: int | None = None
    by: Retriever | None = None

    def __post_init__(self) -> None:
        if self.depth is not None:
            check_k(self.depth, "depth")


@dataclass(frozen=True, slots=True, init=False)
class Pipeline:
    """What happens to a query, as a value that prints, compares, and travels as JSON.

    ``retrieve`` names indexes (or kinds, where a collection has one of a kind); two or more need
    ``fuse``, a fusion or its kind. ``depth`` is how many candidates each list hands on to later
    stages: it does not depend on ``k``, so that a longer page never changes the order of a shorter
    one.
    """

    retrieve: tuple[Retrieve, ...]
    fuse: Fusion | None
    feedback: tuple[Feedback, ...]
    rerank: tuple[Ranker | Stage, ...]
    reformulate: Reformulation | None
    depth: int

    def __init__(
        self,
        retrieve: str | Retriever | Sequence[str | Retrieve | Retriever],
        fuse: Fusion | str | None = None,
        feedback: Feedback | Iterable[Feedback] | None = (),
        rerank: Iterable[Ranker | Stage] = (),
        reformulate: Reformulation | None = None,
        depth: int = DEFAULT_DEPTH,
    ) -> None:
        items = [retrieve] if isinstance(retrieve, str | Retriever) else list(retrieve)
        lists = tuple(_retrieve_of(item) for item in items)
        for item in lists:
            if not isinstance(item, Retrieve):
                raise InputError(
                    f"takes names, Retrieve(...) and retrievers, got {item!r}", field="retrieve"
                )
        if isinstance(fuse, str):
            fuse = from_json(FUSIONS, fuse, "fuse stage")
        if fuse is not None and not hasattr(fuse, "fuse"):
            raise InputError(f"is a fusion such as Convex() or RRF(), got {fuse!r}", field="fuse")
        if not lists:
            raise InputError("names no index", field="retrieve")
        names = [item.index for item in lists]
        if len(set(names)) < len(names):
            raise InputError(f"names an index twice: {names}", field="retrieve")
        if len(lists) > 1 and fuse is None:
            raise InputError(
                f"several lists ({', '.join(names)}) need a fusion, such as RRF(); in JSON "
                '"fuse": {"kind": "rrf"}',
                field="fuse",
            )
        check_k(depth, "depth")
        feeding = checked_feedback(feedback, reformulate)
        rerank = tuple(rerank)
        for stage in rerank:
            as_stage(stage)
        for name, value in (
            ("retrieve", lists),
            ("fuse", fuse),
            ("feedback", feeding),
            ("rerank", rerank),
            ("reformulate", reformulate),
            ("depth", depth),
        ):
            object.__setattr__(self, name, value)

    @property
    def is_single_list(self) -> bool:
        """Whether it is one index's answer and nothing else."""
        return len(self.retrieve) == 1 and not (
            self.fuse or self.feedback or self.rerank or self.reformulate
        )

    def of_one_list(self, index: str) -> Pipeline:
        """What it takes to retrieve from one of its indexes alone."""
        items = [item for item in self.retrieve if item.index == index]
        return Pipeline(items, depth=self.depth)

    def as_json(self) -> JsonObject:
        """The JSON that :func:`pipeline_from_json` reads back."""
        value: JsonObject = {"retrieve": [_retrieve_to_json(item) for item in self.retrieve]}
        for name in ("reformulate", "fuse"):
            stage = getattr(self, name)
            if stage is not None:
                value[name] = to_json(stage)
        if self.feedback:
            feedback = [to_json(stage) for stage in self.feedback]
            value["feedback"] = feedback[0] if len(feedback) == 1 else feedback
        if self.rerank:
            value["rerank"] = [_stage_to_json(stage) for stage in self.rerank]
        if self.depth != DEFAULT_DEPTH:
            value["depth"] = self.depth
        return value


AnyPipeline: TypeAlias = Pipeline | str | Mapping[str, Any] | None
"""A pipeline, the name of an index or kind, a pipeline's JSON, or None for the collection's own."""

_TABLES = {"fuse": FUSIONS, "reformulate": REFORMULATIONS}


def pipeline_from_json(value: Any) -> Pipeline:
    """The pipeline that JSON describes; a bare string names its one index.

    Raises :class:`~cormorant.errors.InputError`, naming the field.
    """
    if isinstance(value, str):
        return Pipeline([value])
    such = 'a pipeline is a JSON object such as {"retrieve": ["bm25"]}'
    if not isinstance(value, Mapping):
        raise InputError(f"{such}: {value!r}")
    known = {"retrieve", "feedback", "rerank", "depth", *_TABLES}
    for name in value:
        if name not in known:
            raise InputError(f"a pipeline takes {', '.join(sorted(known))}", field=str(name))
    if "retrieve" not in value:
        raise InputError(f"{such}: {value!r}")
    lists = value["retrieve"]
    if not isinstance(lists, list | tuple):
        raise InputError(f"takes a list of index names, got {lists!r}", field="retrieve")
    stages = {
        name: from_json(table, value[name], f"{name} stage")
        for name, table in _TABLES.items()
        if value.get(name) is not None
    }
    rerank = value.get("rerank") or []
    if not isinstance(rerank, list | tuple):
        raise InputError(f"takes a list of stages, got {rerank!r}", field="rerank")
    feedback = value.get("feedback") or []
    if not isinstance(feedback, list | tuple):
        feedback = [feedback]
    return Pipeline(
        [_retrieve_from_json(item) for item in lists],
        feedback=[from_json(FEEDBACKS, item, "feedback stage") for item in feedback],
        rerank=[_stage_from_json(item) for item in rerank],
        depth=value.get("depth", DEFAULT_DEPTH),
        **stages,
    )


def checked_feedback(value: Any, reformulate: Reformulation | None) -> tuple[Feedback, ...]:
    """Stages of feedback as a tuple.

    Raises :class:`~cormorant.errors.InputError`, naming the field, for what cannot go together.
    """
    if value is None:
        value = ()
    stages: tuple[Any, ...] = tuple(value) if isinstance(value, list | tuple) else (value,)
    for stage in stages:
        if not hasattr(stage, "expand"):
            raise InputError(f"is a feedback such as RM3(), got {stage!r}", field="feedback")
    if len(stages) > 1:
        names = [stage.index for stage in stages]
        if None in names or len(set(names)) < len(names):
            raise InputError(f"several stages are each for one index: {names}", field="feedback")
        if any(stage.interpolate == "before" for stage in stages):
            raise InputError(
                "interpolate='before' answers from one index, so it goes with one stage only",
                field="feedback",
            )
    if stages and reformulate is not None and reformulate.fuse is not None:
        raise InputError("goes with no reformulation that fuses several queries", field="feedback")
    return stages


def _stage_to_json(stage: Ranker | Stage) -> JsonObject:
    if not isinstance(stage, Stage):
        return to_json(stage)
    value: JsonObject = {"stage": to_json(stage.ranker)}
    if stage.on_error != "raise":
        value["on_error"] = stage.on_error
    if stage.budget is not None:
        spent = ("calls", "tokens", "milliseconds")
        limits = {name: getattr(stage.budget, name) for name in spent}
        value["budget"] = {name: limit for name, limit in limits.items() if limit is not None}
    if stage.prior_weight:
        value["prior_weight"] = stage.prior_weight
    return value


def _stage_from_json(value: Any) -> Ranker | Stage:
    if not isinstance(value, Mapping) or "stage" not in value:
        ranker: Ranker = from_json(RANKERS, value, "rerank stage")
        return ranker
    if extra := value.keys() - {"stage", "on_error", "budget", "prior_weight"}:
        raise InputError(
            f"takes stage, on_error, budget and prior_weight, got {sorted(extra)}", field="rerank"
        )
    budget = value.get("budget")
    if budget is not None:
        spent = {"calls", "tokens", "milliseconds"}
        if not isinstance(budget, Mapping) or budget.keys() - spent:
            raise InputError(f"takes {', '.join(sorted(spent))}, got {budget!r}", field="budget")
        budget = Budget(**budget)
    stage = from_json(RANKERS, value["stage"], "rerank stage")
    return Stage(stage, value.get("on_error", "raise"), budget, value.get("prior_weight", 0.0))


def read_pipeline(path: Path) -> Pipeline:
    """The pipeline in a JSON file; errors name the file."""
    try:
        return pipeline_from_json(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=path) from None
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"cannot be read as JSON: {error}", file=path) from None
    except InputError as error:
        raise InputError(str(error), file=path) from None


def _retrieve_of(item: Any) -> Any:
    if isinstance(item, str):
        return Retrieve(item)
    if isinstance(item, Retriever):
        return Retrieve(item.kind, by=item)
    return item


def _retrieve_to_json(item: Retrieve) -> Any:
    if item.by is not None:
        value = to_json(item.by)
        return value if item.depth is None else {**value, "depth": item.depth}
    return item.index if item.depth is None else {"index": item.index, "depth": item.depth}


def _retrieve_from_json(value: Any) -> Retrieve:
    if isinstance(value, str):
        return Retrieve(value)
    if isinstance(value, Mapping) and "kind" in value:
        settings = {name: content for name, content in value.items() if name != "depth"}
        by: Retriever = from_json(RETRIEVERS, settings, "retriever")
        return Retrieve(by.kind, value.get("depth"), by)
    if not isinstance(value, Mapping) or not isinstance(value.get("index"), str):
        raise InputError(
            f'takes index names or {{"index": ..., "depth": ...}}, got {value!r}', field="retrieve"
        )
    if value.keys() - {"index", "depth"}:
        raise InputError(f"takes index and depth, got {sorted(value)}", field="retrieve")
    return Retrieve(value["index"], value.get("depth"))


def check_k(value: Any, name: str = "k") -> int:
    """A number of results; raises :class:`~cormorant.errors.InputError` outside 1..100,000."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"is an integer from 1 to {MAX_K}, got {value!r}", field=name)
    if not 1 <= value <= MAX_K:
        raise InputError(f"is from 1 to {MAX_K}, got {value}", field=name)
    return value


def resolve(name: str, kinds: Mapping[str, str]) -> str:
    """The index that a name means: one of that name, or else the oldest of that kind.

    ``kinds`` maps the collection's index names to their kinds, the oldest first. So a search by
    kind goes on as it was while a new index of the kind is built beside the old one.
    """
    if name in kinds:
        return name
    for index, kind in kinds.items():
        if kind == name:
            return index
    there = ", ".join(f"{index} ({kind})" for index, kind in kinds.items()) or "none"
    raise UnknownNameError(f"there is no index {name!r}; there are: {there}")


NAMED: dict[str, JsonObject] = {
    "hybrid": {"retrieve": ["bm25", "dense"], "fuse": {"kind": "convex"}},
}
"""Pipelines that have a name, unless a collection has an index of that name."""


def kinds_of(pipelines: Iterable[Pipeline | str | None]) -> list[str]:
    """The kinds of index that pipelines ask for by kind, each once; bm25 where they ask for none.

    For whoever builds a collection for these pipelines, as an evaluation does.
    """
    kinds: dict[str, None] = {}
    for value in pipelines:
        if isinstance(value, str):
            value = pipeline_from_json(NAMED.get(value, value))
        lists = () if value is None else value.retrieve
        kinds.update((item.index, None) for item in lists if item.index in INDEXES)
    return list(kinds) or ["bm25"]


def as_pipeline(value: AnyPipeline, kinds: Mapping[str, str]) -> Pipeline:
    """The pipeline a caller means, with its index names resolved.

    None means the only index; of several, ``hybrid`` where there are a bm25 and a dense one, else
    bm25.
    """
    if value is None:
        value = next(iter(kinds)) if len(kinds) == 1 else "bm25"
        if {"bm25", "dense"} <= set(kinds.values()):
            value = "hybrid"
    if isinstance(value, str):
        return _of_name(value, tuple(kinds.items()))
    return _resolved(value if isinstance(value, Pipeline) else pipeline_from_json(value), kinds)


@lru_cache(maxsize=256)
def _of_name(name: str, kinds: tuple[tuple[str, str], ...]) -> Pipeline:
    """The pipeline of a name, which most searches give: made once for the indexes there are."""
    there = dict(kinds)
    return _resolved(pipeline_from_json(name if name in there else NAMED.get(name, name)), there)


def _resolved(pipeline: Pipeline, kinds: Mapping[str, str]) -> Pipeline:
    return Pipeline(
        [
            item if item.by is not None else Retrieve(resolve(item.index, kinds), item.depth)
            for item in pipeline.retrieve
        ],
        pipeline.fuse,
        pipeline.feedback,
        pipeline.rerank,
        pipeline.reformulate,
        pipeline.depth,
    )
