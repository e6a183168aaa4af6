"""Commands for saved runs of any system: compare, pool."""

from __future__ import annotations

import datetime
import sys
from pathlib import Path
from typing import Annotated

import typer

from .. import terminal
from ..errors import InputError
from .options import Json, Measures, measures_of

Runs = Annotated[
    list[Path], typer.Argument(metavar="RUN...", help="TREC run files, plain or gzip.")
]


def compare(
    runs: Runs,
    qrels: Annotated[Path, typer.Option(help="TREC or BEIR judgements, plain or gzip.")],
    measures: Measures = None,
    baseline: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Test the others against it. [default: the first]"),
    ] = None,
    json: Json = None,
) -> None:
    """Measure and compare saved runs of any system."""
    from ..eval.compare import compare_run, gaps_grid, of_runs
    from ..eval.environment import checksums, environment
    from ..eval.grids import comparisons_grid, results_grid
    from ..eval.qrels import read_qrels
    from ..eval.result import results_json
    from ..eval.runner import run_names
    from ..eval.significance import check_baseline, compare_all
    from ..eval.tables import print_grids
    from ..eval.textfiles import prepare_file

    prepare_file(json)
    names, words = measures_of(measures, [str(file) for file in runs])
    files = run_names([Path(word) for word in words])
    paths = {str(file): name for name, file in files.items()}
    base = next(iter(files)) if baseline is None else paths.get(baseline, baseline)
    check_baseline(base, list(files))
    judgements = read_qrels(qrels)
    found = [compare_run(name, file, qrels.name, judgements, names) for name, file in files.items()]
    results = [one.result for one in found]
    against = compare_all(results, base)
    if json != "-":
        grids = [of_runs(results_grid(results, against)), gaps_grid(found, judgements)]
        compared = [of_runs(comparisons_grid(against))] if against.comparisons else []
        print_grids([*grids, *compared], terminal.console())
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    sums = checksums([qrels]) | {name: checksums([file])[file.name] for name, file in files.items()}
    value = results_json(results, environment(sys.argv, now, data=sums), against)
    for row, one in zip(value["results"], found, strict=True):
        row.update(one.as_json())
    terminal.write_json(json, value)


def pool(
    runs: Runs,
    depth: Annotated[int, typer.Option(help="How many documents of each run and query.")] = 100,
    qrels: Annotated[
        Path | None, typer.Option(help="Leave out the pairs that are judged here.")
    ] = None,
    into: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A new file to write. [default: stdout]")
    ] = None,
) -> None:
    """Make a judging pool of saved runs: qrels in BEIR's format, the grades left to fill in."""
    from ..eval.pool import make_pool, pool_grid, pool_lines
    from ..eval.qrels import read_qrels
    from ..eval.runner import run_names
    from ..eval.tables import print_grids
    from ..eval.textfiles import prepare_file, write_lines
    from ..eval.trec import read_run

    if into is not None and into.is_file():
        raise InputError("is there, and may hold judgements; name another file", file=into)
    prepare_file(into)
    found = {name: read_run(file) for name, file in run_names(runs).items()}
    made = make_pool(found, depth, {} if qrels is None else read_qrels(qrels))
    if into is None:
        sys.stdout.writelines(f"{line}\n" for line in pool_lines(made))
    else:
        write_lines(into, pool_lines(made))
    print_grids([pool_grid(made, found)], terminal.console(stderr=True))
