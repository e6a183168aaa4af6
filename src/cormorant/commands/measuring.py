"""Commands that measure: eval, bench; and the tour."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import terminal
from ..errors import InputError, MissingDependencyError, ModelNotFoundError
from .options import (
    ExcludeSelf,
    Json,
    Language,
    Measures,
    With,
    distinct,
    indexes_of,
    measures_of,
    pipelines_of,
)

if TYPE_CHECKING:
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
    exclude_self: ExcludeSelf = False,
    robustness: Annotated[
        bool, typer.Option("--robustness", help="Also ask with typos, capitals, other words.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the changes of --robustness.")] = 0,
    memory: Annotated[
        bool, typer.Option("--memory", help="Also measure each pipeline's memory, by itself.")
    ] = False,
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
    from ..eval.datasets import dataset_name, dataset_paths, load_dataset
    from ..eval.environment import dataset_checksums, environment, models_of, settings_of
    from ..eval.footprint import memory_of
    from ..eval.measures import depth
    from ..eval.report.page import prepare_report, write_report
    from ..eval.report.section import section_of
    from ..eval.result import results_json
    from ..eval.robustness import variants_of
    from ..eval.runner import run_dataset, run_files, run_names
    from ..eval.significance import check_baseline, compare_all
    from ..eval.tables import print_results
    from ..eval.textfiles import prepare_file, prepare_folder
    from ..retrieval.collection import Collection
    from ..retrieval.pipeline import as_pipeline, kinds_of

    names, dataset = measures_of(measures, dataset)
    if run_file:
        searching = {"--pipeline": pipeline, "--with": with_, "--runs": runs, "--price": price}
        _refuse_any({**searching, "--robustness": robustness, "--memory": memory})
    given = pipelines_of(pipeline or ["bm25"])
    indexes = indexes_of(with_ or kinds_of(given.values()), language)
    kinds = {name: settings.kind for name, settings in indexes.items()}
    plans = {stem: as_pipeline(value, kinds) for stem, value in given.items()}
    prices = prices_of(price or [])
    prepare_file(json)
    prepare_folder(runs)
    with terminal.progress_of_total() as progress:
        dataset = dataset_paths(dataset, progress)
    sets = distinct([(dataset_name(path), path) for path in dataset], "data set")
    measured = list(run_names(run_file or [])) or list(plans)
    base = measured[0] if baseline is None and report else baseline
    if base is not None:
        check_baseline(base, measured)
    if report is not None:
        prepare_report(report, [*sets, *measured])
    checksums: dict[str, str] = {}
    models: dict[str, str] = {}
    sections: list[Section] = []

    def measure(path: str) -> list[EvalResult]:
        data = load_dataset(path, split=split, topics=topics, qrels=qrels, progress=progress)
        checksums.update(dataset_checksums(data))

        def look(collection: Any, own: list[EvalResult]) -> None:
            models.update({} if collection is None else models_of(collection))
            if base is not None and report is not None:
                deep = depth(names, k) + exclude_self
                sections.append(section_of(data, own, names[0], base, collection, plans, deep))

        if run_file:
            found = run_files(data, run_file, measures=names, exclude_self=exclude_self)
            look(None, found)
            return found
        return run_dataset(
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
            memory=memory_of if memory else None,
            variants=variants_of(data.queries, seed, language or "en") if robustness else None,
        )

    with terminal.progress_of_total() as progress:
        results, failed = _each(sets, measure)
    if not results:
        raise failed[next(iter(sets))]
    against = None if base is None else compare_all(results, base)
    grids, entries = beside(results, split, failed)
    if json != "-":
        print_results(results, terminal.console(), against, grids)
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    described = environment(sys.argv, now, data=checksums, models=models)
    if report is not None and against is not None:
        page = write_report(report, sections, against, described, grids)
        typer.echo(f"report: {page}", err=True)
    settings = {} if run_file else settings_of(plans, indexes)
    terminal.write_json(json, {**results_json(results, described, against), **settings, **entries})
    for error in failed.values():
        raise error


def _refuse_any(options: Mapping[str, object]) -> None:
    """Refuse what only a search can use."""
    for name, value in options.items():
        if value:
            raise InputError("is of no use to saved runs, which --run measures", field=name)


def _each(
    sets: Mapping[str, str], measure: Callable[[str], list[EvalResult]]
) -> tuple[list[EvalResult], dict[str, Exception]]:
    """The results of all data sets (name -> path), and why some have none."""
    results: list[EvalResult] = []
    failed: dict[str, Exception] = {}
    for name, path in sets.items():
        try:
            results += measure(path)
        except (MissingDependencyError, ModelNotFoundError):
            raise  # every other set would end in the same, after its downloads
        except Exception as error:  # hours of the other sets are not lost with this one
            failed[name] = error
    return results, failed


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
    from ..eval.textfiles import prepare_file

    prepare_file(json)
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
