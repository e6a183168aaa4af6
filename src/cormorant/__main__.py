"""The command line: ``cormorant index | search | eval | serve | check | info | ... | tour``.

Exit codes: 0 done; 1 an unexpected failure, or nobody read the output; 2 the command or its input
cannot be used; 3 a package or a model is missing; 4 the collection is absent, taken, locked or in
another format; 5 damage was found; 6 the disk failed or is full; 130 interrupted (what was
committed is safe).
"""

from __future__ import annotations

import datetime
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from . import __version__, terminal
from .errors import (
    CollectionError,
    CormorantError,
    CorruptionError,
    InputError,
    MissingDependencyError,
    ModelNotFoundError,
    StorageError,
)

if TYPE_CHECKING:
    from .contracts import IndexSettings
    from .documents import Document
    from .retrieval.pipeline import Pipeline

EXIT_CODES: tuple[tuple[type[CormorantError], int], ...] = (
    (InputError, 2),
    (MissingDependencyError, 3),
    (ModelNotFoundError, 3),
    (CollectionError, 4),
    (CorruptionError, 5),
    (StorageError, 6),
)

app = typer.Typer(
    help="Index, search and measure: one library for retrieval and ranking.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    epilog="Exit codes: 0 done, 1 unexpected failure, 2 bad command or input, 3 missing package or "
    "model, 4 collection absent, taken, locked or of another format, 5 damage found, 6 disk "
    "failed.",
)

Json = Annotated[
    str | None, typer.Option("--json", metavar="FILE", help="Write one JSON object; - for stdout.")
]
CollectionPath = Annotated[Path, typer.Argument(metavar="COLLECTION", help="Such as papers.cm.")]
With = Annotated[
    list[str] | None,
    typer.Option(
        "--with",
        metavar="INDEX",
        help="An index to build: a kind (bm25), KIND=MODEL, or JSON such as "
        '\'{"kind": "bm25", "k1": 0.9}\'. Repeat for more. [default: bm25]',
    ),
]
Language = Annotated[
    str | None,
    typer.Option(help="Language of the texts that are stemmed: en (default), de, ..., none."),
]
PipelineOption = Annotated[
    str | None,
    typer.Option(
        "--pipeline", metavar="NAME|FILE.json", help="An index, a kind, hybrid, or a file."
    ),
]


def main() -> NoReturn:
    """Run the command line; turn errors into one line on stderr and an exit code."""
    try:
        app(prog_name="cormorant", standalone_mode=True)
    except CormorantError as error:
        sys.stderr.write(f"cormorant: error: {error}\n")
        sys.exit(next((code for kind, code in EXIT_CODES if isinstance(error, kind)), 1))
    sys.exit(0)


def _version(show: bool) -> None:
    if show:
        typer.echo(f"cormorant {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    pass


@app.command()
def index(
    corpus: Annotated[
        list[Path],
        typer.Argument(help="JSON-lines files (.jsonl, .jsonl.gz) or folders in BEIR layout."),
    ],
    into: Annotated[Path, typer.Option(help="The collection: created, or added to.")],
    with_: With = None,
    language: Language = None,
    chunk: Annotated[
        int | None, typer.Option(metavar="TOKENS", help="Split texts into passages of so many.")
    ] = None,
) -> None:
    """Add documents to a collection, creating it when it is not there."""
    from .retrieval.collection import Collection

    documents = [_checked_documents(_corpus_file(path)) for path in corpus]
    if into.exists():
        collection = Collection.open(into)
        asked = None if not (with_ or language) else _indexes(with_, language)
        if chunk is not None or asked not in (None, collection.indexes):
            there = ", ".join(collection.indexes)
            collection.close()
            raise InputError(
                f"{into} exists, with the indexes {there}; to add to it leave out --with, "
                "--language and --chunk, which are for a new collection"
            )
    else:
        indexes = _indexes(with_, language)
        _find_models(indexes)
        collection = Collection.create(into, indexes, chunk=_chunking(chunk))
    with collection, terminal.progress_bar(into.name) as progress:
        total = sum(collection.add(items, progress=progress) for items in documents)
        collection.flush(progress=progress)
        described = collection.describe()
    size = sum(entry["bytes"] for entry in described["indexes"].values()) / 1e6
    typer.echo(
        f"{total:,} documents added to {into}; it holds {described['documents']:,} "
        f"({', '.join(described['indexes'])}: {size:,.1f} MB of index)"
    )
    for name, entry in described["indexes"].items():
        if entry.get("cut"):
            typer.echo(
                f"{entry['cut']:,} passages were longer than the window of the model of {name!r} "
                "and were cut there; a new collection with --chunk keeps all of a text"
            )


@app.command()
def search(
    collection: CollectionPath,
    query: Annotated[str, typer.Argument(help="What to look for.")],
    k: Annotated[int, typer.Option("-k", help="How many documents.")] = 10,
    pipeline: PipelineOption = None,
    filter: Annotated[
        str | None, typer.Option(metavar="JSON", help='Such as \'{"year": {"gte": 2015}}\'.')
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Say why each hit is one.")] = False,
    json: Json = None,
) -> None:
    """Search a collection."""
    from .retrieval.collection import Collection

    with Collection.open(collection, read_only=True) as opened:
        result = opened.search(
            query,
            k,
            pipeline=_pipeline(pipeline),
            filter=None if filter is None else terminal.parse_json(filter, "--filter"),
            explain=explain,
        )
        if json != "-":
            terminal.show_hits(result, query, opened.highlights)
            if explain:
                for hit in result:
                    _show_explanation(hit.id, hit.explanation)
        terminal.write_json(json, {"query": query, **result.as_json()})


@app.command(name="eval")
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
    from .eval.datasets import load_dataset
    from .eval.environment import dataset_checksums, environment
    from .eval.measures import DEFAULT_MEASURES, measure_names
    from .eval.report import print_results
    from .eval.result import results_json
    from .eval.runner import run_dataset, run_files, run_name
    from .eval.significance import check_baseline, compare_all
    from .retrieval.collection import Collection
    from .retrieval.pipeline import as_pipeline, kinds_of

    names = [name for words in measures or [] for name in words.split()]
    if names:  # so that --measures nDCG@10 R@100 takes both
        extra = [word for word in dataset if "@" in word and not Path(word).exists()]
        names += extra
        dataset = [word for word in dataset if word not in extra]
    names = list(measure_names(names or DEFAULT_MEASURES))
    pipelines = _distinct([(Path(name).stem, name) for name in pipeline or ["bm25"]], "pipeline")
    given = {stem: _pipeline(name) for stem, name in pipelines.items()}
    indexes = _indexes(with_ or kinds_of(given.values()), language)
    kinds = {name: settings.kind for name, settings in indexes.items()}
    plans = {stem: as_pipeline(value, kinds) for stem, value in given.items()}
    _distinct([(Path(path).resolve().name, path) for path in dataset], "data set")
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


@app.command()
def check(collection: CollectionPath, json: Json = None) -> None:
    """Read every byte of a collection and report what is wrong with it."""
    from .retrieval.collection import Collection

    with Collection.open(collection, read_only=True) as opened:
        report = opened.check()
    if json != "-":
        for problem in report.problems:
            typer.echo(f"damaged: {problem}")
        verdict = "sound" if report.ok else f"{len(report.problems)} problems"
        typer.echo(f"{collection}: {report.documents:,} documents, {report.files} files: {verdict}")
    value = {"ok": report.ok, "documents": report.documents, "files": report.files}
    terminal.write_json(json, {**value, "problems": list(report.problems)})
    if not report.ok:
        raise typer.Exit(5)


@app.command()
def backup(
    collection: CollectionPath, target: Annotated[Path, typer.Argument(help="A new path.")]
) -> None:
    """Copy one committed version of a collection, while it is in use or not."""
    from .retrieval.collection import Collection

    with Collection.open(collection, read_only=True) as opened:
        opened.backup(target)
        typer.echo(f"{len(opened):,} documents of {collection} backed up to {target}")


@app.command()
def restore(
    source: Annotated[Path, typer.Argument(metavar="BACKUP", help="Made by backup.")],
    target: Annotated[Path, typer.Argument(help="A new path.")],
) -> None:
    """Check a backup and copy it to a path where nothing is."""
    from .retrieval.collection import Collection

    with Collection.restore(source, target) as opened:
        typer.echo(f"{len(opened):,} documents restored to {target}")


@app.command()
def info(collection: CollectionPath, json: Json = None) -> None:
    """Say what is in a collection: documents, indexes, sizes."""
    from .retrieval.collection import Collection

    with Collection.open(collection, read_only=True) as opened:
        described = opened.describe()
    if json != "-":
        typer.echo(f"{collection}: {described['documents']:,} documents")
        for name, entry in described["indexes"].items():
            typer.echo(
                f"  {name} ({entry['kind']}): {entry['segments']} segments, "
                f"{entry['bytes'] / 1e6:.1f} MB, {entry['tail_rows']} rows in the tail"
            )
    terminal.write_json(json, described)


@app.command()
def serve(
    collection: Annotated[
        list[Path] | None,
        typer.Argument(metavar="COLLECTION...", help="Collections to serve, such as papers.cm."),
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Serve, create and drop the collections in this folder."),
    ] = None,
    host: Annotated[str, typer.Option(help="Others than this machine need --keys.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8080,
    keys: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The keys that may call, hashed.")
    ] = None,
    new_key: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Add a key to --keys FILE, print it once, and stop."),
    ] = None,
    right: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLLECTION=RIGHT",
            help="Of the new key: read, write or admin; '*' is every collection. Repeat for more.",
        ),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(help="An access label of the new key; without one it sees everything."),
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="A model that requests may name; repeat for more.")
    ] = None,
    reranker: Annotated[
        list[str] | None, typer.Option(help="A cross-encoder for /v1/rerank; repeat for more.")
    ] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="Answer no writes.")] = False,
    workers: Annotated[
        int, typer.Option(min=1, max=256, help="Processes: one writes, the others read.")
    ] = 1,
) -> None:
    """Serve collections over HTTP, with a page to search them."""
    from .api.server.run import serve as run_server
    from .api.server.run import settings_of

    if new_key is not None:
        from .api.server.keys import new_key as make_key

        if keys is None:
            raise InputError("needs --keys FILE to write to", field="--new-key")
        rights = dict(word.rpartition("=")[::2] for word in right or ["*=read"])
        typer.echo(make_key(keys, new_key, rights, tuple(label or ())))
        return
    if not collection and root is None:
        raise InputError("name collections to serve, or give --root DIR")
    settings = settings_of(
        collections=tuple(collection or ()),
        root=root,
        keys=keys,
        models=tuple(model or ()),
        rerankers=tuple(reranker or ()),
        read_only=read_only,
    )
    run_server(settings, host, port, workers)


@app.command()
def bench(
    name: Annotated[str, typer.Argument(help="Which benchmark: bm25 or dense.")],
    full: Annotated[bool, typer.Option("--full", help="The long form.")] = False,
    prepare: Annotated[
        bool, typer.Option("--prepare", help="Only make and cache what it needs.")
    ] = False,
    corpus: Annotated[
        Path | None, typer.Option(help="A folder in BEIR layout instead of the default data.")
    ] = None,
    json: Json = None,
) -> None:
    """Measure against named peers, side by side in one run."""
    from .eval.bench import run_bench

    out = terminal.console(stderr=json == "-")
    value = run_bench(name, full=full, prepare=prepare, corpus=corpus, console=out)
    if value is not None:
        terminal.write_json(json, value)


@app.command()
def tour(
    into: Annotated[Path, typer.Option(help="Where to put the collection; made anew.")] = Path(
        "stdlib.cm"
    ),
    json: Json = None,
) -> None:
    """Index, search and measure the docstrings of Python's standard library."""
    from .tour import run_tour

    terminal.write_json(json, run_tour(into, terminal.console(stderr=json == "-")))


def _corpus_file(path: Path) -> Path:
    if path.is_dir():
        for name in ("corpus.jsonl", "corpus.jsonl.gz"):
            if (path / name).exists():
                return path / name
        raise InputError("holds no corpus.jsonl", file=path)
    return path


def _checked_documents(file: Path) -> Iterator[Document]:
    """The file's documents; all of it has been checked when this returns."""
    from .documents import read_jsonl

    documents = read_jsonl(file)
    return chain([next(documents)], documents)


def _chunking(tokens: int | None) -> Any:
    if tokens is None:
        return None
    from .indexers.chunking import Chunking

    return Chunking(tokens=tokens, overlap=min(32, tokens // 4))


def _indexes(words: list[str] | None, language: str | None) -> dict[str, IndexSettings]:
    from .indexers.table import index_settings

    indexes: dict[str, IndexSettings] = {}
    for word in words or ["bm25"]:
        if word.lstrip().startswith("{"):
            value = terminal.parse_json(word, "--with")
        else:
            kind, _, model = word.partition("=")
            value = {"kind": kind, **({"model": model} if model else {})}
        settings = index_settings(value)
        if hasattr(settings, "language") and "language" not in value:
            settings = index_settings({**value, "language": language or "en"})
        if settings.kind in indexes:
            raise InputError(f"two indexes of kind {settings.kind!r}", field="--with")
        indexes[settings.kind] = settings
    return indexes


def _find_models(indexes: dict[str, IndexSettings]) -> None:
    """Make sure of every model before anything is created."""
    from .indexers.dense.settings import Dense

    for settings in indexes.values():
        if isinstance(settings, Dense) and settings.model is not None:
            from .indexers.encoders.models import find_model

            files = find_model(settings.model, settings.revision)
            typer.echo(f"model {files.name} from: {files.source}", err=True)


def _distinct(pairs: list[tuple[str, str]], what: str) -> dict[str, str]:
    """Names to what they stand for; results and files are told apart by them alone."""
    found: dict[str, str] = {}
    for name, given in pairs:
        if name in found:
            raise InputError(f"{found[name]} and {given} are both called {name!r}", field=what)
        found[name] = given
    return found


def _pipeline(name: str | None) -> Pipeline | str | None:
    if name is None or not name.endswith(".json"):
        return name
    from .retrieval.pipeline import read_pipeline

    return read_pipeline(Path(name))


def _show_explanation(name: str, explanation: Any) -> None:
    out = terminal.console()
    for list_name, reason in (explanation or {}).items():
        if list_name == "fusion":
            parts = " + ".join(f"{value:.3f} ({name})" for name, value in reason.items())
            out.print(f"{name}  fusion: {parts}", markup=False)
            continue
        score = "not in this index" if reason["score"] is None else f"{reason['score']:.3f}"
        place = "below its list" if reason["rank"] is None else f"rank {reason['rank']}"
        out.print(f"{name}  {list_name}: {place}, {score}", markup=False)
        for term in reason.get("terms", []):
            if term["tf"] == 0:
                continue
            out.print(
                f"      {term['score']:7.3f}  {term['term']} (tf {term['tf']}, df {term['df']}, "
                f"idf {term['idf']:.3f})",
                markup=False,
            )


if __name__ == "__main__":
    main()
