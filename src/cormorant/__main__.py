"""The command line: ``cormorant index | search | answer | eval | serve | check | ... | tour``.

Exit codes: 0 done; 1 an unexpected failure, or nobody read the output; 2 the command or its input
cannot be used; 3 a package or a model is missing; 4 the collection is absent, taken, locked or in
another format; 5 damage was found; 6 the disk failed or is full; 130 interrupted (what was
committed is safe).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from . import __version__
from .commands import (
    answering,
    cluster,
    collections,
    comparing,
    measuring,
    serving,
    training,
    tuning,
    vectors,
)
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
    pass

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
    rich_markup_mode=None,  # [report] and [default: bm25] are text
    context_settings={"max_content_width": 120},
    epilog="Exit codes: 0 done, 1 unexpected failure, 2 bad command or input, 3 missing package or "
    "model, 4 collection absent, taken, locked or of another format, 5 damage found, 6 disk "
    "failed, 130 interrupted.",
)


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


_COMMANDS: tuple[tuple[str, Callable[..., None]], ...] = (
    ("index", collections.index),
    ("search", collections.search),
    ("answer", answering.answer),
    ("eval", measuring.evaluate),
    ("compare", comparing.compare),
    ("pool", comparing.pool),
    ("check", collections.check),
    ("backup", collections.backup),
    ("restore", collections.restore),
    ("info", collections.info),
    ("export", vectors.export),
    ("serve", serving.serve),
    ("tune", tuning.tune),
    ("bench", measuring.bench),
    ("tour", measuring.tour),
)
for _name, _command in _COMMANDS:
    app.command(name=_name)(_command)
app.add_typer(training.app, name="train")
app.add_typer(cluster.app, name="cluster")

if __name__ == "__main__":
    main()
