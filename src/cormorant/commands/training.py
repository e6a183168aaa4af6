"""``cormorant train``: models from your own texts."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import terminal
from ..errors import InputError

if TYPE_CHECKING:
    from ..eval.training.material import Source
    from ..eval.training.teachers import PairTeacher, Teacher

TEACHERS = ("bm25", "dense=MODEL", "sparse=MODEL", "cross-encoder=MODEL")

app = typer.Typer(help="Train models from your own texts.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Train models from your own texts."""


@app.command()
def sparse(
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="The run's folder.")],
    collection: Annotated[
        list[Path] | None,
        typer.Option(help="A folder in BEIR layout with qrels/train; the first is the target."),
    ] = None,
    pairs: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE[:N]", help="Text pairs (JSON lines: query, text); N of them."),
    ] = None,
    corpus: Annotated[
        list[Path] | None, typer.Option(help="A bare corpus: titles or first sentences ask.")
    ] = None,
    teacher: Annotated[
        list[str] | None,
        typer.Option(help=f"{', '.join(TEACHERS)}; repeat; or none. [default: bm25]"),
    ] = None,
    share: Annotated[
        list[float] | None, typer.Option(help="Of the batches, for each source in this order.")
    ] = None,
    backbone: Annotated[
        str, typer.Option(help="A folder or a name on the hub.")
    ] = "sentence-transformers/all-MiniLM-L6-v2",
    steps: Annotated[int, typer.Option(min=1)] = 3000,
    minutes: Annotated[float | None, typer.Option(help="Stop after so long.")] = None,
    batch: Annotated[int, typer.Option(min=2, help="Documents that meet in the loss.")] = 32,
    window: Annotated[int, typer.Option(help="Tokens of a passage in training.")] = 128,
    final_window: Annotated[int, typer.Option(help="Tokens of a document afterwards.")] = 256,
    learning_rate: Annotated[float, typer.Option()] = 1e-4,
    flops_weight: Annotated[float, typer.Option(help="Of the FLOPS loss, once warm.")] = 0.03,
    flops_target: Annotated[
        float | None, typer.Option(help="Steer FLOPS (products of a query and a document) to this.")
    ] = None,
    l0_threshold: Annotated[int, typer.Option(help="Spare documents with fewer terms.")] = 0,
    plain_flops: Annotated[
        bool, typer.Option("--plain-flops", help="Regularise idf x weight, not the weight.")
    ] = False,
    seed: Annotated[int, typer.Option()] = 0,
    evaluate_every: Annotated[int, typer.Option(min=1, metavar="STEPS")] = 250,
    json: Annotated[
        str | None,
        typer.Option("--json", metavar="FILE", help="Write one JSON object; - for stdout."),
    ] = None,
) -> None:
    """Train an inference-free sparse encoder; run it again to go on after a kill."""
    from ..eval.training.objective import Recipe
    from ..eval.training.reading import (
        collection_source,
        corpus_source,
        development_set,
        pairs_file,
    )
    from ..eval.training.sparse import SparseTraining, train_sparse

    folders = collection or []
    sources: list[Source] = [collection_source(folder) for folder in folders]
    sources += [pairs_file(*_counted(text)) for text in pairs or []]
    sources += [corpus_source(file) for file in corpus or []]
    if not sources:
        raise InputError("give --collection, --pairs or --corpus: there is nothing to learn from")
    if share and len(share) != len(sources):
        raise InputError(f"{len(share)} shares for {len(sources)} sources", field="share")
    judged = bool(folders) and (folders[0] / "qrels" / "dev.tsv").is_file()
    teachers, rescorers = _teachers(teacher or ["bm25"])
    began = time.monotonic()
    with terminal.progress_bar(output.name) as shown:
        trained = train_sparse(
            sources,
            output,
            SparseTraining(
                backbone=backbone,
                steps=steps,
                minutes=minutes,
                batch_documents=batch,
                piece_documents=batch,
                window=window,
                final_window=final_window,
                learning_rate=learning_rate,
                flops_weight=flops_weight,
                flops_target=flops_target,
                recipe=Recipe(threshold=l0_threshold, plain_flops=plain_flops),
                seed=seed,
                evaluate_steps=evaluate_every,
            ),
            teachers=teachers,
            rescorers=rescorers,
            shares=share or (),
            development=development_set(folders[0]) if judged else None,
            progress=lambda what, done, _: shown(what, done),
            tell=lambda line: typer.echo(line, err=True),
        )
    reports: list[dict[str, Any]] = [
        {"step": step, **report._asdict()} for step, report in trained.reports
    ]
    if json != "-":
        typer.echo(f"{trained.model}: {trained.steps:,} steps, {time.monotonic() - began:.0f} s")
    terminal.write_json(
        json, {"model": str(trained.model), "steps": trained.steps, "development": reports}
    )


def _counted(text: str) -> tuple[Path, int | None]:
    """FILE or FILE:N."""
    name, colon, number = text.rpartition(":")
    if colon and number.isdecimal():
        return Path(name), int(number)
    return Path(text), None


def _teachers(asked: list[str]) -> tuple[list[Teacher], list[PairTeacher]]:
    from ..eval.training.pair_scorers import CrossEncoderScorer
    from ..eval.training.teachers import BM25Teacher, DenseTeacher, PairTeacher, SparseTeacher

    teachers: list[Teacher] = []
    rescorers: list[PairTeacher] = []
    for text in asked if asked != ["none"] else ():
        kind, _, model = text.partition("=")
        if kind == "bm25" and not model:
            teachers.append(BM25Teacher())
        elif kind == "dense" and model:
            teachers.append(DenseTeacher(model))
        elif kind == "sparse" and model:
            teachers.append(SparseTeacher(model))
        elif kind == "cross-encoder" and model:
            rescorers.append(PairTeacher(CrossEncoderScorer(model)))
        else:
            raise InputError(f"is {', '.join(TEACHERS)}, got {text!r}", field="teacher")
    return teachers, rescorers
