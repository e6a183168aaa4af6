"""Commands that measure: eval, bench; and the tour."""

from __future__ import annotations

import datetime
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import terminal
from ..errors import InputError
from .options import Json, Language, Measures, With, distinct, indexes_of, measures_of, pipeline_of

if TYPE_CHECKING:
    from ..eval.datasets import Dataset
    from ..eval.report.section import Section
    from ..eval.result import EvalResult


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
    measures: Measures = None,
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
    report: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write a page and plots; needs cormorant[report]."),
    ] = None,
    exclude_self: Annotated[
        bool, typer.Option("--exclude-self", help="Leave out hits with the query's own id.")
    ] = False,
    robustness: Annotated[
        bool, typer.Option("--robustness", help="Also ask with typos, capitals, other words.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the changes of --robustness.")] = 0,
    price: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WHAT=AMOUNT",
            help="prompt, completion (a million tokens) or hour (of this machine); repeat.",
        ),
    ] = None,
) -> None:
    """Measure pipelines on test collections."""
    from ..eval.beside import beside
    from ..eval.cost import prices_of
    from ..eval.datasets import dataset_paths, load_dataset
    from ..eval.environment import dataset_checksums, environment
    from ..eval.report.page import prepare_report, write_report
    from ..eval.report.section import section_of
    from ..eval.result import results_json
    from ..eval.robustness import variants_of
    from ..eval.runner import run_dataset, run_files, run_name
    from ..eval.significance import check_baseline, compare_all
    from ..eval.tables import print_grids, print_results
    from ..retrieval.collection import Collection
    from ..retrieval.pipeline import as_pipeline, kinds_of

    names, dataset = measures_of(measures, dataset)
    if run_file:
        idle = {"--pipeline": pipeline, "--with": with_, "--runs": runs, "--price": price}
        given_too = [name for name, value in (idle | {"--robustness": robustness}).items() if value]
        if given_too:
            raise InputError("is of no use to saved runs, which --run measures", field=given_too[0])
    pipelines = distinct([(Path(name).stem, name) for name in pipeline or ["bm25"]], "pipeline")
    given = {stem: pipeline_of(name) for stem, name in pipelines.items()}
    indexes = indexes_of(with_ or kinds_of(given.values()), language)
    kinds = {name: settings.kind for name, settings in indexes.items()}
    plans = {stem: as_pipeline(value, kinds) for stem, value in given.items()}
    prices = prices_of(price or [])
    with terminal.progress_of_total() as progress:
        dataset = dataset_paths(dataset, progress)
    sets = distinct([(Path(path).resolve().name, path) for path in dataset], "data set")
    measured = [run_name(file) for file in run_file or ()] or list(plans)
    base = measured[0] if baseline is None and report else baseline
    if base is not None:
        check_baseline(base, measured)
    if report is not None:
        prepare_report(report, [*sets, *measured])
    results, checksums = [], {}
    sections: list[Section] = []
    with terminal.progress_of_total() as progress:
        for path in dataset:
            data = load_dataset(path, split=split, topics=topics, qrels=qrels, progress=progress)
            checksums.update(dataset_checksums(data))

            def look(collection: Any, own: list[EvalResult], data: Dataset = data) -> None:
                if base is not None and report is not None:
                    sections.append(section_of(data, own, names[0], base, collection, plans))

            if run_file:
                found = run_files(data, run_file, measures=names, exclude_self=exclude_self)
                look(None, found)
                results += found
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
                examine=look,
                exclude_self=exclude_self,
                prices=prices,
                variants=variants_of(data.queries, seed, language or "en") if robustness else None,
            )
    against = None if base is None else compare_all(results, base)
    grids, entries = beside(results, split)
    if json != "-":
        print_results(results, terminal.console(), against)
        if grids:
            terminal.console().print()
            print_grids(grids, terminal.console())
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    described = environment(sys.argv, now, data=checksums)
    if report is not None and against is not None:
        page = write_report(report, sections, against, described, grids)
        typer.echo(f"report: {page}", err=True)
    terminal.write_json(json, {**results_json(results, described, against), **entries})


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
