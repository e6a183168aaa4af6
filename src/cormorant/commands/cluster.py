"""``cormorant cluster``: collections in shards, on this machine or on Ray."""

from __future__ import annotations

import inspect
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Concatenate, ParamSpec

import typer

from .. import terminal
from ..errors import InputError
from .collections import _checked_documents, _corpus_file, _show_explanation
from .options import (
    Json,
    Language,
    PipelineOption,
    With,
    check_query,
    chunking_of,
    indexes_of,
    pipeline_of,
)

if TYPE_CHECKING:
    from ..retrieval.cluster.cluster import Cluster
    from ..retrieval.cluster.collection import ShardedCollection
    from ..retrieval.cluster.executor import Executor

ClusterPath = Annotated[Path, typer.Argument(metavar="CLUSTER", help="Such as papers.cluster.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Of a collection in the cluster.")]
P = ParamSpec("P")

app = typer.Typer(help="Collections in shards, on one machine or on many.", no_args_is_help=True)


@dataclass(frozen=True, slots=True)
class Where:
    """Where the shards of a cluster run; its fields are options of every command that opens one."""

    executor: Annotated[
        str, typer.Option(metavar="inprocess|ray", help="Where the shards run.")
    ] = "inprocess"
    ray_address: Annotated[
        str | None,
        typer.Option(help="HOST:PORT or auto; left out, a Ray of this machine alone is started."),
    ] = None

    def open(self, path: Path) -> Cluster:
        """Open a cluster there."""
        from ..retrieval.cluster.cluster import Cluster

        return Cluster.open(path, executor=self._started())

    def _started(self) -> Executor:
        if self.executor == "ray":
            from ..retrieval.cluster.ray import Ray

            return Ray(self.ray_address)
        if self.executor != "inprocess":
            raise InputError(f"is inprocess or ray, got {self.executor!r}", field="--executor")
        if self.ray_address is not None:
            raise InputError("is for --executor ray", field="--ray-address")
        from ..retrieval.cluster.executor import InProcess

        return InProcess()


def _placed(command: Callable[Concatenate[Where, P], None]) -> Callable[P, None]:
    """A command that is given a :class:`Where`, with the options that make one."""
    options = inspect.signature(Where, eval_str=True).parameters
    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]

    @wraps(command)
    def run(*args: P.args, **given: P.kwargs) -> None:
        where = Where(**{name: given.pop(name) for name in options})  # type: ignore[arg-type]
        command(where, *args, **given)

    # What Typer reads.
    run.__signature__ = inspect.Signature([*own, *options.values()])  # type: ignore[attr-defined]
    run.__annotations__ = {item.name: item.annotation for item in (*own, *options.values())}
    return run


@app.callback()
def _group() -> None:
    """Collections in shards, on one machine or on many."""


@app.command()
def create(
    cluster: ClusterPath,
    shards: Annotated[int, typer.Option(min=1, help="Of every collection.")],
    replicas: Annotated[int, typer.Option(min=1, help="Of every shard.")] = 1,
) -> None:
    """Create a cluster without collections."""
    from ..retrieval.cluster.cluster import Cluster

    with Cluster.create(cluster, shards=shards, replicas=replicas):
        typer.echo(f"{cluster}: {shards} shards, {replicas} replicas of each")


@app.command()
@_placed
def index(
    where: Where,
    corpus: Annotated[
        list[Path],
        typer.Argument(help="JSON-lines files, folders in BEIR layout, or - for stdin."),
    ],
    into: Annotated[Path, typer.Option(help="The cluster.")],
    collection: Annotated[str, typer.Option(help="Its collection: created, or added to.")],
    with_: With = None,
    language: Language = None,
    chunk: Annotated[
        int | None, typer.Option(metavar="TOKENS", help="Split texts into passages of so many.")
    ] = None,
    encoders: Annotated[
        int,
        typer.Option(min=0, help="Encode with so many actors of Ray Data; 0: the shards encode."),
    ] = 0,
) -> None:
    """Add documents to a collection, creating it when it is not there; again, to resume."""
    if encoders and where.executor != "ray":
        raise InputError("is for --executor ray", field="--encoders")
    with _stdin_as_file(corpus) as files, where.open(into) as opened:
        # Every file is checked before anything is created.
        documents = [_checked_documents(file) for file in files]
        there = _collection(opened, collection, with_, language, chunk)
        with terminal.progress_bar(collection) as progress:
            if encoders:
                from ..retrieval.cluster.bulk import add_encoded

                total = add_encoded(there, files, actors=encoders, progress=progress)
            else:
                total = sum(there.add(items, progress=progress) for items in documents)
            there.flush()
        typer.echo(
            f"{total:,} documents added or replaced in {collection} of {into}; it holds "
            f"{len(there):,} in {opened.layout.n_shards} shards ({', '.join(there.indexes)})"
        )


@app.command()
@_placed
def search(
    where: Where,
    cluster: ClusterPath,
    name: Name,
    query: Annotated[str, typer.Argument(help="What to look for.")],
    k: Annotated[int, typer.Option("-k", help="How many documents.")] = 10,
    pipeline: PipelineOption = None,
    filter: Annotated[
        str | None, typer.Option(metavar="JSON", help='Such as \'{"year": {"gte": 2015}}\'.')
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Say why each hit is one.")] = False,
    timeout_ms: Annotated[int | None, typer.Option(help="How long it may take.")] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Answer without shards that do not.")
    ] = False,
    json: Json = None,
) -> None:
    """Search a collection."""
    check_query(query)
    chosen = None if filter is None else terminal.parse_json(filter, "--filter")
    with where.open(cluster) as opened:
        there = opened[name]
        result = there.search(
            query,
            k,
            pipeline=pipeline_of(pipeline),
            filter=chosen,
            explain=explain,
            timeout_ms=timeout_ms,
            partial=partial,
        )
        if json != "-":
            terminal.show_hits(result, query, there.highlights)
            if explain:
                for hit in result:
                    _show_explanation(hit.id, hit.explanation)
        terminal.write_json(json, {"query": query, **result.as_json()})


@app.command()
@_placed
def status(
    where: Where,
    cluster: ClusterPath,
    json: Json = None,
) -> None:
    """Say what is in a cluster, and which replicas are up and in step."""
    with where.open(cluster) as opened:
        described = opened.describe()
    if json != "-":
        typer.echo(f"{cluster}: {described['shards']} shards, {described['replicas']} replicas")
        for name, own in described["collections"].items():
            typer.echo(f"  {name}: {own['documents']:,} documents ({', '.join(own['indexes'])})")
            for shard in own["shards"]:
                states = ", ".join(
                    ("up" if item["up"] else "down")
                    + ("" if item["in_step"] else " and out of step")
                    for item in shard["replicas"]
                )
                holds = f"{shard['documents']:,}" if "documents" in shard else shard["problem"]
                typer.echo(f"    shard {shard['shard']}: {holds} ({states})")
    terminal.write_json(json, described)


@app.command()
@_placed
def add_shards(
    where: Where,
    cluster: ClusterPath,
    n: Annotated[int, typer.Argument(help="How many more; 0 ends what a kill interrupted.")],
) -> None:
    """Add shards, moving only the documents that must move."""
    with where.open(cluster) as opened:
        opened.add_shards(n)
        typer.echo(f"{cluster}: {opened.layout.n_shards} shards")


@app.command()
@_placed
def repair(where: Where, cluster: ClusterPath) -> None:
    """Bring every replica into step."""
    with where.open(cluster) as opened:
        opened.repair()
        typer.echo(f"{cluster}: every replica is up and in step")


@app.command()
@_placed
def snapshot(
    where: Where,
    cluster: ClusterPath,
    target: Annotated[Path, typer.Argument(help="A new path.")],
) -> None:
    """Copy the whole cluster as of one moment."""
    with where.open(cluster) as opened:
        opened.backup(target)
        typer.echo(f"{cluster} copied to {target}: {', '.join(opened) or 'no collection'}")


@app.command()
def restore(
    source: Annotated[Path, typer.Argument(metavar="SNAPSHOT", help="Made by snapshot.")],
    target: Annotated[Path, typer.Argument(help="A new path.")],
) -> None:
    """Check a snapshot and copy it to a path where nothing is."""
    from ..retrieval.cluster.cluster import Cluster

    with Cluster.restore(source, target) as opened:
        typer.echo(f"{source} restored to {target}: {', '.join(opened) or 'no collection'}")


def _collection(
    cluster: Cluster,
    name: str,
    with_: list[str] | None,
    language: str | None,
    chunk: int | None,
) -> ShardedCollection:
    if name not in cluster:
        indexes = indexes_of(with_, language)
        return cluster.create_collection(name, indexes, chunk=chunking_of(chunk))
    there = cluster[name]
    asked = None if not (with_ or language) else indexes_of(with_, language)
    if chunk is not None or asked not in (None, there.indexes):
        raise InputError(
            f"{name!r} exists, with the indexes {', '.join(there.indexes)}; to add to it leave out "
            "--with, --language and --chunk, which are for a new collection"
        )
    return there


@contextmanager
def _stdin_as_file(paths: list[Path]) -> Iterator[list[Path]]:
    """The files; what comes from stdin is kept in one, for a file is read twice."""
    if Path("-") not in paths:
        yield [_corpus_file(path) for path in paths]
        return
    with tempfile.NamedTemporaryFile(suffix=".jsonl") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
        file.flush()
        stdin = Path(file.name)
        yield [stdin if path == Path("-") else _corpus_file(path) for path in paths]
