"""``cormorant train``: models from your own texts."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import terminal
from ..errors import InputError

if TYPE_CHECKING:
    from ..eval.training.listwise_labels import Teach
    from ..eval.training.material import Source
    from ..eval.training.teachers import PairTeacher, Teacher

TEACHERS = ("bm25", "dense=MODEL", "sparse=MODEL", "cross-encoder=MODEL")
LISTWISE_TEACHERS = ("openai=MODEL", "local=FOLDER", "cross-encoder=MODEL")

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
    l0_threshold: Annotated[int, typer.Option(min=0, help="Spare documents with fewer terms.")] = 0,
    plain_flops: Annotated[
        bool, typer.Option("--plain-flops", help="Regularise idf x weight, not the weight.")
    ] = False,
    seed: Annotated[int, typer.Option()] = 0,
    evaluate_every: Annotated[int, typer.Option(min=1, metavar="STEPS")] = 250,
    save_every: Annotated[
        int, typer.Option(min=1, metavar="STEPS", help="Checkpoints, for a run that is killed.")
    ] = 100,
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
                save_steps=save_every,
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


@app.command("cross-encoder")
def cross_encoder(
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="The run's folder.")],
    collection: Annotated[
        Path, typer.Option(help="A folder in BEIR layout with qrels/train (and qrels/dev).")
    ],
    dense: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Teaches beside BM25.")
    ] = "sentence-transformers/all-MiniLM-L6-v2",
    backbone: Annotated[
        str, typer.Option(help="A folder or a name on the hub.")
    ] = "sentence-transformers/all-MiniLM-L6-v2",
    layers: Annotated[
        int | None, typer.Option(min=1, help="Of the backbone's, how many are kept; all.")
    ] = None,
    steps: Annotated[int, typer.Option(min=1)] = 4000,
    minutes: Annotated[float | None, typer.Option(help="Stop after so long.")] = None,
    queries: Annotated[int, typer.Option(min=1, help="Queries in a step.")] = 4,
    group: Annotated[int, typer.Option(min=2, help="Passages a query is asked of.")] = 8,
    window: Annotated[int, typer.Option(help="Tokens of a query and a passage.")] = 128,
    learning_rate: Annotated[float, typer.Option()] = 1e-4,
    seed: Annotated[int, typer.Option()] = 0,
    precision: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto",
    development: Annotated[int, typer.Option(help="Queries of qrels/dev to watch.")] = 50,
    evaluate_every: Annotated[int, typer.Option(min=1, metavar="STEPS")] = 500,
    json: Annotated[
        str | None,
        typer.Option("--json", metavar="FILE", help="Write one JSON object; - for stdout."),
    ] = None,
) -> None:
    """Train a cross-encoder; run it again to go on after a kill."""
    from ..eval.training.cross_encoder import CrossEncoderTraining, train_cross_encoder
    from ..eval.training.reading import judged_source, sampled
    from ..eval.training.teachers import BM25Teacher, DenseTeacher

    teachers: list[Teacher] = [BM25Teacher()]
    if dense:
        teachers.append(DenseTeacher(dense))
    watched = None
    if development and (collection / "qrels" / "dev.tsv").is_file():
        watched = sampled(judged_source(collection, "dev"), development)
    began = time.monotonic()
    with terminal.progress_bar(output.name) as shown:
        trained = train_cross_encoder(
            judged_source(collection),
            output,
            CrossEncoderTraining(
                backbone=backbone,
                layers=layers,
                steps=steps,
                minutes=minutes,
                queries=queries,
                group=group,
                window=window,
                learning_rate=learning_rate,
                precision=precision,
                seed=seed,
                evaluate_steps=evaluate_every,
            ),
            teachers=teachers,
            development=watched,
            progress=lambda what, done, _: shown(what, done),
            tell=lambda line: typer.echo(line, err=True),
        )
    reports = [{"step": step, "ndcg10": value} for step, value in trained.reports]
    if json != "-":
        typer.echo(f"{trained.model}: {trained.steps:,} steps, {time.monotonic() - began:.0f} s")
    said = {"model": str(trained.model), "steps": trained.steps, "development": reports}
    terminal.write_json(json, {**said, "first_stage": trained.first_stage})


@app.command()
def listwise(
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="The run's folder.")],
    backbone: Annotated[str, typer.Option(help="A causal language model's folder, or its name.")],
    teacher: Annotated[str, typer.Option(help=f"{', '.join(LISTWISE_TEACHERS)}.")],
    collection: Annotated[
        Path, typer.Option(help="A folder in BEIR layout; BM25 finds the candidates.")
    ],
    split: Annotated[str, typer.Option(help="Whose queries.")] = "train",
    queries: Annotated[int | None, typer.Option(min=1, help="At most so many.")] = None,
    depth: Annotated[int, typer.Option(min=2, help="Candidates of a query.")] = 100,
    passage_tokens: Annotated[int, typer.Option(min=1, help="Shown of a passage.")] = 100,
    steps: Annotated[int, typer.Option(min=1)] = 1000,
    batch: Annotated[int, typer.Option(min=1, help="Queries in a step.")] = 8,
    learning_rate: Annotated[float, typer.Option()] = 5e-6,
    lora: Annotated[int, typer.Option(min=0, help="Rank of LoRA; 0 trains the model.")] = 16,
    seed: Annotated[int, typer.Option()] = 0,
    json: Annotated[
        str | None,
        typer.Option("--json", metavar="FILE", help="Write one JSON object; - for stdout."),
    ] = None,
) -> None:
    """Train a model to order all candidates in one answer; run it again to go on after a kill."""
    from ..eval.datasets import load_dataset
    from ..eval.training.listwise import ListwiseTraining, train_listwise
    from ..eval.training.listwise_labels import candidates, labelled

    teach = _listwise_teacher(teacher, passage_tokens)
    data = load_dataset(collection, split=split)
    output.mkdir(parents=True, exist_ok=True)

    def tell(line: str) -> None:
        typer.echo(line, err=True)

    asked = candidates(data, depth, queries)
    examples = labelled(output / "labels.jsonl", asked, teach, tell)
    settings = ListwiseTraining(
        backbone=backbone,
        steps=steps,
        learning_rate=learning_rate,
        batch=batch,
        lora_rank=lora or None,
        passage_tokens=passage_tokens,
        seed=seed,
    )
    trained = train_listwise(examples, output, settings, tell)
    if json != "-":
        typer.echo(f"{trained.model}: {trained.steps:,} steps on {len(examples):,} queries")
    losses = [{"step": step, "loss": loss} for step, loss in trained.losses]
    terminal.write_json(
        json, {"model": str(trained.model), "steps": trained.steps, "losses": losses}
    )


@app.command("drafting-model")
def drafting_model(
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="The run's folder.")],
    pairs: Annotated[
        list[str], typer.Option(metavar="FILE[:N]", help="Text pairs (JSON lines: query, text).")
    ],
    apart: Annotated[
        list[Path] | None,
        typer.Option(help="A folder in BEIR layout, none of whose documents may be learnt."),
    ] = None,
    steps: Annotated[int, typer.Option(min=1)] = 20_000,
    minutes: Annotated[float | None, typer.Option(help="Stop after so long.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Examples in a step.")] = 8,
    width: Annotated[int, typer.Option(min=16)] = 256,
    layers: Annotated[int, typer.Option(min=1)] = 6,
    learning_rate: Annotated[float, typer.Option()] = 1e-3,
    seed: Annotated[int, typer.Option()] = 0,
    json: Annotated[
        str | None,
        typer.Option("--json", metavar="FILE", help="Write one JSON object; - for stdout."),
    ] = None,
) -> None:
    """Train a small model that answers from passages; run it again to go on after a kill."""
    from ..eval.datasets import load_dataset
    from ..eval.training.drafting import DraftingTraining, train_drafting_model
    from ..eval.training.reading import pairs_file

    kept_apart = [
        document.text for folder in apart or [] for document in load_dataset(folder).documents()
    ]
    trained = train_drafting_model(
        [pairs_file(*_counted(text)) for text in pairs],
        kept_apart,
        output,
        DraftingTraining(
            steps=steps,
            minutes=minutes,
            batch=batch,
            width=width,
            layers=layers,
            learning_rate=learning_rate,
            seed=seed,
        ),
        lambda line: typer.echo(line, err=True),
    )
    if json != "-":
        typer.echo(f"{trained.model}: {trained.steps:,} steps")
    losses = [{"step": step, "loss": loss} for step, loss in trained.losses]
    terminal.write_json(
        json, {"model": str(trained.model), "steps": trained.steps, "losses": losses}
    )


def _listwise_teacher(text: str, passage_tokens: int) -> Teach:
    from ..eval.training.listwise_labels import by_language_model, by_scores
    from ..rankers.cross_encoder import CrossEncoder
    from ..rankers.language_models.local import LocalModel
    from ..rankers.language_models.openai import OpenAIModel

    kind, _, model = text.partition("=")
    if kind == "openai" and model:
        return by_language_model(OpenAIModel(model), passage_tokens=passage_tokens)
    if kind == "local" and model:
        return by_language_model(LocalModel(model), passage_tokens=passage_tokens)
    if kind == "cross-encoder" and model:
        return by_scores(CrossEncoder(model))
    raise InputError(f"is {', '.join(LISTWISE_TEACHERS)}, got {text!r}", field="teacher")


def _counted(text: str) -> tuple[Path, int | None]:
    """FILE or FILE:N."""
    name, colon, number = text.rpartition(":")
    if colon and number.isdecimal():
        return Path(name), int(number)
    return Path(text), None


def _teachers(asked: list[str]) -> tuple[list[Teacher], list[PairTeacher]]:
    from ..eval.training.pair_scorers import cross_encoder_scorer
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
            rescorers.append(PairTeacher(cross_encoder_scorer(model)))
        else:
            raise InputError(f"is {', '.join(TEACHERS)}, got {text!r}", field="teacher")
    return teachers, rescorers
