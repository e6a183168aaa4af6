"""``cormorant answer``: a question, an answer with citations."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from .. import terminal
from .options import CollectionPath, Json, PipelineOption, pipeline_of

if TYPE_CHECKING:
    from ..answers import Answer, AnswerStream


def answer(
    collection: CollectionPath,
    question: Annotated[str, typer.Argument(help="What to answer.")],
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="A local model's folder or name, or openai:NAME at CORMORANT_LLM_URL. "
            "[default: CORMORANT_LLM_MODEL]",
        ),
    ] = None,
    k: Annotated[int, typer.Option("-k", help="How many hits to answer from.")] = 5,
    pipeline: PipelineOption = None,
    filter: Annotated[
        str | None, typer.Option(metavar="JSON", help='Such as \'{"year": {"gte": 2015}}\'.')
    ] = None,
    mode: Annotated[str, typer.Option(help="standard, or speculative_rag.")] = "standard",
    max_tokens: Annotated[int, typer.Option(help="The longest answer.")] = 256,
    draft: Annotated[
        bool, typer.Option("--draft/--no-draft", help="Draft from the passages (a local model).")
    ] = True,
    stream: Annotated[
        bool, typer.Option("--stream/--no-stream", help="Show the text while it is written.")
    ] = True,
    json: Json = None,
) -> None:
    """Answer a question from a collection's passages, and say where each sentence is from."""
    from ..retrieval.answering.settings import Answering
    from ..retrieval.collection import Collection

    settings = Answering(max_tokens=max_tokens, drafters=None if draft else ())
    chosen = None if filter is None else terminal.parse_json(filter, "--filter")
    with Collection.open(collection, read_only=True) as opened:
        events: AnswerStream = opened.answer_stream(
            question, k, model=model, pipeline=pipeline_of(pipeline), filter=chosen, mode=mode,
            settings=settings,
        )  # fmt: skip
        with events:
            answered = _read(events, shown=stream and json != "-")
        if json != "-":
            if not stream:
                typer.echo(terminal.printable(answered.text))
            terminal.show_sources(answered)
        terminal.write_json(json, answered.as_json())


def _read(events: AnswerStream, *, shown: bool) -> Answer:
    """The answer; its text on stdout while it comes, if it is to be shown."""
    answered: Answer | None = None
    for event in events:
        answered = event.answer or answered
        if shown and event.text:
            sys.stdout.write(terminal.printable(event.text))
            sys.stdout.flush()
    if shown:
        sys.stdout.write("\n")
    if answered is None:
        raise RuntimeError("the answer ended without being whole")
    return answered
