"""Commands that measure: eval, bench; and the tour."""

from __future__ import annotations

import datetime
import sys
from pathlib import Path
from typing import Annotated

import typer

from .. import terminal
from .options import Json, Language, With, distinct, indexes_of, pipeline_of


def evaluate(
    dataset: Annotated[
        list[str], typer.Argument(metavar="DATASET...", help="Folders in BEIR layout, or names.")
    ],
    pipeline: Annotated[
        list[str] | None,
        typer.Option(
            "--pipeline",
            metavar="NAME|FILE.json",
            help="bm25, dense, hybrid or a file; repeat. [default: bm25]",
        ),
    ] = None,
    measures: Annotated[
        list[str] | None,
        typer.Option(help="As ir_measures writes them, such as nDCG@10; repeat, or 'nDCG@10 R@5'."),
    ] = None,
    with_: With = None,
    language: Language = None,
    split: Annotated[str, typer.Option(help="Which judgements.")] = "test",
    topics: Annotated[Path | None, typer.Option(help="TREC topics or other queries.")] = None,
    qrels: Annotated[Path | None, typer.Option(help="TREC or BEIR judgements.")] = None,
    k: Annotated[int, typer.Option("-k", help="Depth of the saved runs.")] = 100,
    json: Json = None,
    runs: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Save TREC runs and values per query.")
    ] = None,
    run_file: Annotated[
        list[Path] | None, typer.Option("--run", help="Measure a TREC run file instead.")
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A pipeline or run; test the others against it."),
    ] = None,
) -> None:
    """Measure pipelines on test collections."""
    from ..eval.datasets import load_dataset
    from ..eval.environment import dataset_checksums, environment
    from ..eval.measures import DEFAULT_MEASURES, measure_names
    from ..eval.report import print_results
    from ..eval.result import results_json
    from ..eval.runner import run_dataset, run_files, run_name
    from ..eval.significance import check_baseline, compare_all
    from ..retrieval.collection import Collection
    from ..retrieval.pipeline import as_pipeline, kinds_of

    names = [name for words in measures or [] for name in words.split()]
    if names:  # so that --measures nDCG@10 R@100 takes both
        extra = [word for word in dataset if "@" in word and not Path(word).exists()]
        names += extra
        dataset = [word for word in dataset if word not in extra]
    names = list(measure_names(names or DEFAULT_MEASURES))
    pipelines = distinct([(Path(name).stem, name) for name in pipeline or ["bm25"]], "pipeline")
    given = {stem: pipeline_of(name) for stem, name in pipelines.items()}
    indexes = indexes_of(with_ or kinds_of(given.values()), language)
    kinds = {name: settings.kind for name, settings in indexes.items()}
    plans = {stem: as_pipeline(value, kinds) for stem, value in given.items()}
    distinct([(Path(path).resolve().name, path) for path in dataset], "data set")
    if baseline is not None:
        check_baseline(baseline, [run_name(file) for file in run_file or ()] or list(plans))
    results, checksums = [], {}
    with terminal.progress_of_total() as progress:
        for path in dataset:
            data = load_dataset(path, split=split, topics=topics, qrels=qrels, progress=progress)
            checksums.update(dataset_checksums(data))
            if run_file:
                results += run_files(data, run_file, measures=names)
                continue
            results += run_dataset(
                data,
                plans,
                create=Collection.create,
                indexes=indexes,
                measures=names,
                k=k,
                runs=runs,
                progress=progress,
            )
    against = None if baseline is None else compare_all(results, baseline)
    if json != "-":
        print_results(results, terminal.console(), against)
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    described = environment(sys.argv, now, data=checksums)
    terminal.write_json(json, results_json(results, described, against))


def bench(
    name: Annotated[str, typer.Argument(help="Which benchmark, such as bm25.")],
    full: Annotated[bool, typer.Option("--full", help="The long form.")] = False,
    prepare: Annotated[
        bool, typer.Option("--prepare", help="Only make and cache what it needs.")
    ] = False,
    corpus: Annotated[
        Path | None, typer.Option(help="A folder in BEIR layout instead of the default data.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="The sparse encoder that sparse-latency measures.")
    ] = None,
    json: Json = None,
) -> None:
    """Measure against named peers, side by side in one run."""
    from ..eval.bench import run_bench

    out = terminal.console(stderr=json == "-")
    value = run_bench(name, full=full, prepare=prepare, corpus=corpus, model=model, console=out)
    if value is not None:
        terminal.write_json(json, value)


def tour(
    into: Annotated[Path, typer.Option(help="Where to put the collection; made anew.")] = Path(
        "stdlib.cm"
    ),
    json: Json = None,
) -> None:
    """Index, search and measure the docstrings of Python's standard library."""
    from ..tour import run_tour

    terminal.write_json(json, run_tour(into, terminal.console(stderr=json == "-")))
