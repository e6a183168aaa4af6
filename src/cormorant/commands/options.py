"""What commands have in common: options, and how their words become values."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import terminal
from ..errors import InputError

if TYPE_CHECKING:
    from ..contracts import IndexSettings
    from ..retrieval.pipeline import Pipeline

Json = Annotated[
    str | None, typer.Option("--json", metavar="FILE", help="Write one JSON object; - for stdout.")
]
CollectionPath = Annotated[Path, typer.Argument(metavar="COLLECTION", help="Such as papers.cm.")]
Measures = Annotated[
    list[str] | None,
    typer.Option(help="As ir_measures writes them, such as nDCG@10; repeat, or 'nDCG@10 R@5'."),
]
With = Annotated[
    list[str] | None,
    typer.Option(
        "--with",
        metavar="INDEX",
        help="An index to build: a kind (bm25), KIND=MODEL, or JSON such as "
        '\'{"kind": "bm25", "k1": 0.9}\'; NAME:INDEX gives it another name than its kind. '
        "Repeat for more. [default: bm25]",
    ),
]
Language = Annotated[
    str | None,
    typer.Option(help="Language of the texts that are stemmed: en (default), de, ..., none."),
]
ExcludeSelf = Annotated[
    bool, typer.Option("--exclude-self", help="Leave out hits with the query's own id.")
]
PipelineOption = Annotated[
    str | None,
    typer.Option(
        "--pipeline",
        metavar="NAME|FILE.json|JSON",
        help='An index, a kind, hybrid, a file, or JSON such as \'{"retrieve": ["bm25"]}\'.',
    ),
]


def measures_of(options: list[str] | None, arguments: list[str]) -> tuple[list[str], list[str]]:
    """The measures asked for, by default the usual ones, and the arguments that are none.

    So that ``--measures nDCG@10 R@100`` takes both.
    """
    from ..eval.measures import DEFAULT_MEASURES, measure_names

    names = [name for words in options or [] for name in words.split()]
    extra = [word for word in arguments if names and "@" in word and not Path(word).exists()]
    rest = [word for word in arguments if word not in extra]
    return list(measure_names([*names, *extra] or DEFAULT_MEASURES)), rest


def indexes_of(words: list[str] | None, language: str | None) -> dict[str, IndexSettings]:
    """The indexes that --with and --language ask for, by name."""
    from ..indexers.table import index_settings

    indexes: dict[str, IndexSettings] = {}
    for asked in words or ["bm25"]:
        name, word = _named(asked)
        if _is_json(word):
            value = terminal.parse_json(word, "--with")
        else:
            kind, _, model = word.partition("=")
            value = {"kind": kind, **({"model": model} if model else {})}
        settings = index_settings(value)
        if hasattr(settings, "language") and "language" not in value:
            settings = index_settings({**value, "language": language or "en"})
        name = name or settings.kind
        if name in indexes:
            raise InputError(
                f"two indexes of the name {name!r}; give one another, as NAME:INDEX", field="--with"
            )
        indexes[name] = settings
    return indexes


def _named(word: str) -> tuple[str, str]:
    """NAME:INDEX, or INDEX and no name."""
    found = re.match(r"\s*([A-Za-z0-9_-]+):(?=[a-z0-9_]+(=|\s*$)|\s*\{)", word)
    return (found[1], word[found.end() :]) if found else ("", word)


def find_models(indexes: dict[str, IndexSettings]) -> None:
    """Make sure of every model before anything is created."""
    from ..indexers.dense.settings import Dense

    for settings in indexes.values():
        if isinstance(settings, Dense) and settings.model is not None:
            from ..indexers.encoders.models import find_model

            files = find_model(settings.model, settings.revision)
            typer.echo(f"model {files.name} from: {files.source}", err=True)


def chunking_of(tokens: int | None) -> Any:
    """How long texts are split, None where they are not."""
    if tokens is None:
        return None
    from ..indexers.chunking import Chunking

    return Chunking(tokens=tokens, overlap=min(32, tokens // 4))


def distinct(pairs: list[tuple[str, str]], what: str) -> dict[str, str]:
    """Names to what they stand for; results and files are told apart by them alone."""
    found: dict[str, str] = {}
    for name, given in pairs:
        if name in found:
            raise InputError(f"{found[name]} and {given} are both called {name!r}", field=what)
        found[name] = given
    return found


def check_query(query: str) -> None:
    """Refuse a query with nothing in it, such as that of a variable which is not set."""
    if not query.strip():
        raise InputError("is empty; ask something", field="query")


def pipeline_of(name: str | None) -> Pipeline | str | None:
    """The pipeline that --pipeline names or writes out, or that its file holds."""
    if name is None or not (_is_json(name) or name.endswith(".json")):
        return name
    from ..retrieval.pipeline import pipeline_from_json, read_pipeline

    if _is_json(name):
        return pipeline_from_json(terminal.parse_json(name, "--pipeline"))
    return read_pipeline(Path(name))


def pipelines_of(names: list[str]) -> dict[str, Pipeline | str | None]:
    """The pipelines of several --pipeline, by the names that their results go by."""
    for name in names:
        if _is_json(name):
            raise InputError(
                "results go by the pipeline's name; put the JSON into a file", field="--pipeline"
            )
    named = distinct([(Path(name).stem, name) for name in names], "pipeline")
    return {stem: pipeline_of(name) for stem, name in named.items()}


def _is_json(word: str) -> bool:
    """Whether it is JSON itself, rather than a name or a file."""
    return word.lstrip().startswith("{")
