"""``cormorant serve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError


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
        list[str] | None,
        typer.Option(help="A cross-encoder for /v1/rerank and pipelines; repeat for more."),
    ] = None,
    language_model: Annotated[
        list[str] | None,
        typer.Option(
            help="A model that writes answers and ranks: a folder, a name, or openai:NAME; repeat "
            "for more."
        ),
    ] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="Answer no writes.")] = False,
    workers: Annotated[
        int, typer.Option(min=1, max=256, help="Processes: one writes, the others read.")
    ] = 1,
) -> None:
    """Serve collections over HTTP, with a page to search them."""
    from ..api.server.run import serve as run_server
    from ..api.server.run import settings_of

    if new_key is not None:
        from ..api.server.keys import new_key as make_key

        if keys is None:
            raise InputError("needs --keys FILE to write to", field="--new-key")
        rights = dict(word.rpartition("=")[::2] for word in right or ["*=read"])
        typer.echo(make_key(keys, new_key, rights, tuple(label or ())))
        return
    settings = settings_of(
        collections=tuple(collection or ()),
        root=root,
        keys=keys,
        models=tuple(model or ()),
        rerankers=tuple(reranker or ()),
        language_models=tuple(language_model or ()),
        read_only=read_only,
    )
    if not settings.collections and settings.root is None:
        raise InputError("name collections to serve, or give --root DIR")
    run_server(settings, host, port, workers)
