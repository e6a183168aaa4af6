"""Tune a pipeline on a test collection, and say what that is worth on queries it did not see.

Where the collection has training judgements (the splits train and dev), pipelines are searched for
on those, and the split that is evaluated is looked at once, at the end. Where it has none, its
queries are cut in five: each fifth is answered by the pipeline that was best on the other four, and
the pipeline that is written is the best on all of them. Held-out figures therefore belong to the
way of tuning, and in the second case not to exactly the pipeline that is written.

A query with the words of a held-out one is not tuned on. Every measure, while tuning as in the
check, is of the same number of hits, and no list that is fused is shorter.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..contracts import IndexSettings
from ..documents import JsonObject
from ..errors import InputError
from ..retrieval.collection import Collection
from ..retrieval.head import CATALOG
from ..retrieval.masks import Masks
from ..retrieval.pipeline import Pipeline
from ..retrieval.reader import Reader
from ..retrieval.version import LocalVersion, Version
from .datasets import Dataset, has_split, load_dataset
from .environment import models_of
from .leaks import apart
from .measures import DEFAULT_MEASURES, depth, judged_queries, measure_names
from .progress import Progress, silent
from .result import EvalResult
from .runner import LATENCY_QUERIES, latency_ms, scored
from .significance import Against, compare_all
from .trec import Run
from .tune_lists import FixedQueries
from .tune_space import Space
from .tune_study import Study, Tried, front
from .tune_trials import Trials
from .tune_worth import Latency, Worth
from .tuning import split

TRAINING = ("dev", "train")
FOLDS = 5
START, TUNED = "start", "tuned"


@dataclass(frozen=True, slots=True)
class Tuning:
    """What a tuning found.

    ``best``: the pipeline to use, with its value on the tuning queries. ``tried``: every pipeline.
    ``held_out``: two results, ``start`` and ``tuned``, over queries that no choice saw; ``against``
    compares them. ``tuned_on`` says which queries were searched on, ``n_queries`` how many.
    ``folds``: the best pipeline of each fold, where there were folds. ``dropped``: how many queries
    were not tuned on because a held-out one has their words (of folds: each time that happened);
    ``depth``: of how many hits every measure is; ``models``: see
    :func:`~cormorant.eval.environment.models_of`.
    """

    objective: str
    tuned_on: str
    n_queries: int
    best: Tried
    tried: tuple[Tried, ...]
    held_out: tuple[EvalResult, EvalResult]
    against: Against
    folds: tuple[Pipeline, ...]
    dropped: int
    depth: int
    models: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> JsonObject:
        """What ``tune --json`` writes, less the environment."""
        start, tuned = (result.as_json() for result in self.held_out)
        tuned["against"] = self.against.as_json(self.held_out[1])
        return {
            "objective": self.objective,
            "tuned_on": self.tuned_on,
            "tuning_queries": self.n_queries,
            "dropped_queries": self.dropped,
            "depth": self.depth,
            "tried": len(self.tried),
            "start": self.tried[0].as_json(),
            "best": self.best.as_json(),
            "front": [one.as_json() for one in front(self.tried)],
            "held_out": {START: start, TUNED: tuned},
            "folds": [pipeline.as_json() for pipeline in self.folds],
        }


def datasets_of(
    path: str | Path, held_out: str = "test", progress: Progress = silent
) -> tuple[Dataset, list[Dataset]]:
    """The split to check on, and those to tune on: train and dev, if they are there."""
    asked = load_dataset(path, split=held_out, progress=progress)
    names = [name for name in TRAINING if name != held_out and has_split(asked.path, name)]
    return asked, [load_dataset(path, split=name) for name in names]


def tune_dataset(
    asked: Dataset,
    training: Sequence[Dataset],
    start: Pipeline,
    indexes: Mapping[str, IndexSettings],
    objective: str,
    study: Study,
    *,
    exclude_self: bool = False,
    trials: Trials | None = None,
    workdir: str | Path | None = None,
    progress: Progress = silent,
    clock: Callable[[], float] = time.perf_counter,
) -> Tuning:
    """Build one collection with all ``indexes``, search for the best pipeline, and check it.

    ``asked``: the held-out queries; ``training``: those to tune on, none for folds of ``asked``;
    ``start``: index names resolved; ``objective``: a measure; ``exclude_self``: without hits whose
    id is the query's own, in tuning and in the check; ``trials``: those of an interrupted tuning.

    Raises :class:`~cormorant.errors.InputError` for an unknown measure, fewer queries than folds,
    none to tune on that no held-out one repeats, and where no pipeline is within the latency.
    """
    (objective,) = measure_names([objective])
    if not training and len(judged_queries(asked.qrels)) < FOLDS:
        raise InputError(
            f"fewer than {FOLDS} queries with a relevant judgement, and no judgements of "
            f"{' or '.join(TRAINING)} beside them: too few to tune on",
            file=asked.qrels_file,
        )
    with (
        tempfile.TemporaryDirectory(prefix="cormorant-tune-", dir=workdir) as folder,
        Collection.create(Path(folder) / "collection", indexes) as collection,
    ):
        collection.add(asked.documents())
        collection.flush()
        models = models_of(collection)
        if trials is not None:
            trials.also_about({"models": models})
        with pinned_version(collection.path) as version:
            texts = list((training[0] if training else asked).queries.values())
            k = depth([objective, *DEFAULT_MEASURES])
            bench = _Bench(
                version,
                collection,
                Space(start, indexes, at_least=k),
                objective,
                study,
                Latency(collection, texts, clock),
                progress,
                k,
                exclude_self,
                trials,
            )
            tuning = bench.on_training(asked, training) if training else bench.in_folds(asked)
            return replace(tuning, models=models)


@contextmanager
def pinned_version(collection: Path) -> Iterator[Version]:
    """What a collection holds now, held still."""
    reader = Reader(collection)
    try:
        with reader.pinned() as pinned:
            yield LocalVersion(pinned, collection / CATALOG, Masks())
    finally:
        reader.close()


@dataclass(frozen=True, slots=True)
class _Bench:
    """What every search for a pipeline shares."""

    version: Version
    collection: Collection
    space: Space
    objective: str
    study: Study
    latency: Latency
    progress: Progress
    k: int
    exclude_self: bool
    trials: Trials | None

    def on_training(self, asked: Dataset, training: Sequence[Dataset]) -> Tuning:
        """Search on training queries; the others are asked at the end."""
        queries: dict[str, str] = {}
        qrels: dict[str, dict[str, int]] = {}
        dropped: set[str] = set()
        for data in training:
            kept = apart(data.queries, asked.queries.values())
            dropped |= data.queries.keys() - kept
            for query in kept:
                queries[query] = data.queries[query]
                qrels[query] = {**qrels.get(query, {}), **data.qrels[query]}
        tuned_on = " and ".join(data.split for data in training)
        if not judged_queries(qrels):
            raise _none_apart(asked, tuned_on)
        worth = Worth(self._lists(queries), self.objective, qrels, self.k)
        tried = self._search(lambda pipeline: float(worth(pipeline).mean()), "tuning")
        best = self.study.best(tried)
        run = self._lists(asked.queries).run(best.pipeline, self.k)
        n_queries = len(judged_queries(qrels))
        return self._checked(asked, tuned_on, n_queries, tried, run, (), len(dropped))

    def in_folds(self, asked: Dataset) -> Tuning:
        """Search on four fifths of the queries for each fifth, and then on all."""
        lists = self._lists(asked.queries)
        worth = Worth(lists, self.objective, asked.qrels, self.k)
        judged = judged_queries(asked.qrels)
        tuned_on = f"the other {FOLDS - 1} of {FOLDS} folds of {asked.split}"
        run: Run = {}
        winners = []
        dropped = 0
        for number, part in enumerate(split(len(judged), FOLDS, self.study.seed), 1):
            held_out = [asked.queries[judged[place]] for place in part.tolist()]
            kept = set(apart({query: asked.queries[query] for query in judged}, held_out))
            seen = np.flatnonzero([query in kept for query in judged])
            dropped += len(judged) - len(part) - len(seen)
            if not len(seen):
                raise _none_apart(asked, tuned_on)
            found = self._search(
                lambda pipeline, seen=seen: float(worth(pipeline)[seen].mean()),  # type: ignore[misc]
                f"tuning without fold {number}",
            )
            winners.append(self.study.best(found).pipeline)
            answers = lists.run(winners[-1], self.k)
            run |= {judged[query]: answers[judged[query]] for query in part.tolist()}
        tried = self._search(lambda pipeline: float(worth(pipeline).mean()), "tuning on all")
        return self._checked(asked, tuned_on, len(judged), tried, run, tuple(winners), dropped)

    def _lists(self, queries: Mapping[str, str]) -> FixedQueries:
        return FixedQueries(self.version, queries, exclude_self=self.exclude_self)

    def _search(self, worth: Callable[[Pipeline], float], what: str) -> list[Tried]:
        return self.study.search(self.space, worth, self.latency, what, self.progress, self.trials)

    def _checked(
        self,
        asked: Dataset,
        tuned_on: str,
        n_queries: int,
        tried: Sequence[Tried],
        run: Run,
        folds: tuple[Pipeline, ...],
        dropped: int,
    ) -> Tuning:
        best = self.study.best(tried)
        as_it_was = self._lists(asked.queries).run(self.space.start, self.k)
        start = self._result(asked, START, self.space.start, as_it_was)
        tuned = self._result(asked, TUNED, best.pipeline, run)
        against = compare_all([start, tuned], START)
        return Tuning(
            self.objective,
            tuned_on,
            n_queries,
            best,
            tuple(tried),
            (start, tuned),
            against,
            folds,
            dropped,
            self.k,
        )

    def _result(self, asked: Dataset, name: str, pipeline: Pipeline, run: Run) -> EvalResult:
        measures = measure_names([self.objective, *DEFAULT_MEASURES])
        texts = list(asked.queries.values())
        took_ms = latency_ms(self.collection, texts, pipeline, self.latency.clock, LATENCY_QUERIES)
        return replace(scored(asked, name, run, measures), latency_ms=took_ms)


def _none_apart(asked: Dataset, tuned_on: str) -> InputError:
    return InputError(
        f"every query of {tuned_on} has the words of a held-out one: none is left to tune on",
        file=asked.queries_file,
    )
