"""The command that tunes: a start pipeline in, a better one out, checked on held-out queries."""

from __future__ import annotations

import datetime
import sys
from pathlib import Path
from typing import Annotated

import typer

from .. import terminal
from ..tagged import to_json
from .options import ExcludeSelf, Json, Language, PipelineOption, With, indexes_of, pipeline_of


def tune(
    dataset: Annotated[str, typer.Argument(help="A folder in BEIR layout, or a name.")],
    objective: Annotated[str, typer.Option(help="The measure to raise.")] = "nDCG@10",
    max_latency_ms: Annotated[
        float | None, typer.Option(min=0.0, help="The median of one search, encoding included.")
    ] = None,
    pipeline: PipelineOption = "hybrid",
    with_: With = None,
    language: Language = None,
    trials: Annotated[int, typer.Option(min=1, help="How many pipelines to try.")] = 200,
    minutes: Annotated[
        float | None, typer.Option(min=0.0, help="Stop a search after so long; of a fold, each.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the search and of the folds.")] = 0,
    split: Annotated[str, typer.Option(help="The held-out judgements.")] = "test",
    exclude_self: ExcludeSelf = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="Write the tuned pipeline.")
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keep every trial in it; go on from those in it."),
    ] = None,
    json: Json = None,
) -> None:
    """Search for a better pipeline on training queries, and check it on held-out ones.

    Where --with builds several indexes of a kind, the search also chooses among them. Needs
    cormorant[tune].
    """
    from ..eval.environment import dataset_checksums, environment
    from ..eval.textfiles import prepare_file
    from ..eval.tune import datasets_of, tune_dataset
    from ..eval.tune_study import Study, imported_optuna
    from ..eval.tune_tables import print_tuning
    from ..eval.tune_trials import Trials
    from ..retrieval.pipeline import as_pipeline, kinds_of

    given = pipeline_of(pipeline)
    indexes = indexes_of(with_ or kinds_of([given]), language)
    start = as_pipeline(given, {name: settings.kind for name, settings in indexes.items()})
    for file in (out, resume, json):
        prepare_file(file)
    imported_optuna()  # its absence is told before the data are indexed
    study = Study(trials, minutes, seed, max_latency_ms)
    with terminal.progress_of_total() as progress:
        asked, training = datasets_of(dataset, split, progress)
        data: dict[str, str] = {}
        for one in (asked, *training):
            data |= dataset_checksums(one)
        about = {
            "data": data,
            "held out": split,
            "objective": objective,
            "exclude self": exclude_self,
            "seed": seed,
            "indexes": {name: to_json(settings) for name, settings in indexes.items()},
        }
        tuning = tune_dataset(
            asked,
            training,
            start,
            indexes,
            objective,
            study,
            exclude_self=exclude_self,
            trials=None if resume is None else Trials(resume, about),
            progress=progress,
        )
    if json != "-":
        print_tuning(tuning, terminal.console())
    if out is not None:
        terminal.write_json(str(out), tuning.best.pipeline.as_json())
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    described = environment(sys.argv, now, data=data, models=tuning.models)
    terminal.write_json(
        json, {**tuning.as_json(), "exclude_self": exclude_self, "environment": described}
    )
