"""``cormorant bench listwise``: one long call against sliding windows, as the noise grows.

NFCorpus' test queries (``--corpus``: another collection's), the first 100 of BM25, ranked by a
scripted endpoint over real HTTP that orders by the true labels plus noise (``listwise_server``):
the noise is in labels (nDCG's grades), either of the passage or of the call. Systems: all passages
in one call; windows of 20 by 10, which is nine calls; two calls of all passages, shuffled, which
read as many tokens as the windows do, and nine such calls, made one by Kendall tau. ``--full``:
every query, Borda and RRF, a tournament, and the first two fused with the first stage. Reported are
nDCG@10, calls, tokens and, without noise, the median latency of a query, the endpoint taking the
time of decoding 2,000 tokens a second.

What may be compared with what: with noise of the passage one call has to do as well as the windows'
nine. With noise of the call windows read what they carry up several times, so that they are
compared with as many tokens or calls; what one call loses there is reported, too.

Then the injection set (``listwise_injections``): how far a passage gets that talks to the model.
``--model FOLDER`` adds a real model end to end: ``transformers serve`` in a process of its own.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...documents import Document, JsonObject
from ...errors import InputError
from ...indexers.bm25.settings import BM25
from ...rankers.language_models.openai import URL, OpenAIModel
from ...rankers.listwise.judging import Judged
from ...rankers.listwise.passages import cleaned
from ...rankers.listwise.settings import Listwise
from ...retrieval.collection import Collection
from ..datasets import load_dataset
from ..measures import evaluate
from .listwise_injections import measure_injections
from .listwise_server import KNOWN_BY, NOISES_OF, Endpoint, Labels, serving
from .listwise_transformers import served_model
from .sentences import shared_data
from .shown import show

if TYPE_CHECKING:
    from rich.console import Console

DEPTH = 100
QUERIES = 40
NOISES = (0.5, 1.0, 2.0)
TOKENS_PER_SECOND = 2000.0
PASSAGE_TOKENS = 100
SHUFFLES = 9
"""As many calls as windows of 20 by 10 take for 100 passages."""
COMPARED = ("one call", "two calls", "nine calls")
SEED = 1


class Asked(NamedTuple):
    """One query with its candidates in their prior order."""

    id: str
    text: str
    documents: list[Document]


def systems(model: OpenAIModel, *, full: bool) -> dict[str, Listwise]:
    """What is compared, by name."""

    def made(
        method: str, *, shuffles: int = 1, how: str = "kendall", prior: float = 0.0
    ) -> Listwise:
        return Listwise(
            model,
            method=method,
            depth=DEPTH,
            shuffles=shuffles,
            aggregate=how,
            prior_weight=prior,
            passage_tokens=PASSAGE_TOKENS,
        )

    always = {
        "one call": made("full"),
        "windows": made("windows"),
        "two calls": made("full", shuffles=2),
        "nine calls": made("full", shuffles=SHUFFLES),
    }
    if not full:
        return always
    return always | {
        "nine calls, borda": made("full", shuffles=SHUFFLES, how="borda"),
        "nine calls, rrf": made("full", shuffles=SHUFFLES, how="rrf"),
        "tournament": made("tournament"),
        "one call + prior": made("full", prior=0.2),
        "windows + prior": made("windows", prior=0.2),
    }


def bench(
    *, full: bool, corpus: Path | None, model: str | None, console: Console
) -> tuple[list[JsonObject], dict[str, float], dict[str, str]]:
    """The rows, and the ratios to the windows at each noise."""
    asked, qrels = _material(corpus, None if full else QUERIES)
    labels = _labels(asked, qrels)
    rows: list[JsonObject] = [_row("bm25", "no model", asked, qrels, None)]
    ratios: dict[str, float] = {}
    if model is not None:  # first: what cannot be served is known before an hour has passed
        rows.append(_end_to_end(Path(model), asked, qrels))
    for noise, of in [(0.0, "passage"), *((noise, of) for of in NOISES_OF for noise in NOISES)]:
        setting = f"noise {noise:g} of the {of}" if noise else "no noise"
        # How long an answer takes to decode does not depend on the noise: it is waited for once.
        endpoint = Endpoint(Labels(labels, noise, of, SEED), None if noise else TOKENS_PER_SECOND)
        with serving(endpoint), _address(endpoint.url):
            found = {
                name: _measured(name, setting, stage, asked, qrels)
                for name, stage in systems(OpenAIModel("scripted"), full=full).items()
            }
        console.print(f"{setting}: {len(endpoint.requests):,} calls")
        one, slid = found["one call"], found["windows"]
        if not noise:
            ratios["calls_vs_windows"] = slid["calls"] / one["calls"]
            ratios["latency_vs_windows"] = slid["latency_ms"] / one["latency_ms"]
        else:
            for row in found.values():  # of a server that answers at once
                del row["latency_ms"]
        for name in COMPARED:
            ratio = found[name]["nDCG@10"] / slid["nDCG@10"]
            ratios[f"ndcg {name}@{noise:g} {of}".replace(" ", "_")] = ratio
        rows += found.values()
    injected, successes = measure_injections()
    rows += injected
    ratios |= successes
    show(rows, ratios, console)
    return rows, ratios, {}


def _end_to_end(
    folder: Path, asked: Sequence[Asked], qrels: dict[str, dict[str, int]]
) -> JsonObject:
    """A real model behind transformers' own server: three queries, the first ten passages."""
    with served_model(folder) as (url, name), _address(url):
        stage = Listwise(
            OpenAIModel(name, timeout_seconds=300.0),
            depth=10,
            passage_tokens=20,
            attempts=1,
            prior_weight=0.0,
        )
        some = [item._replace(documents=item.documents[:10]) for item in asked[:3]]
        system = f"transformers serve {folder.name}"
        return _measured(system, "full, depth 10", stage, some, qrels)


def _material(
    corpus: Path | None, most: int | None
) -> tuple[list[Asked], dict[str, dict[str, int]]]:
    shared = shared_data()
    if corpus is None and shared is None:
        raise InputError("needs the shared data sets, or --corpus FOLDER")
    data = load_dataset(corpus if corpus is not None else Path(str(shared)) / "nfcorpus")
    names = list(data.queries)
    order = np.random.default_rng(SEED).permutation(len(names))
    chosen = [names[place] for place in order]
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "c.cm"
        with Collection.create(path, {"bm25": BM25()}) as collection:
            collection.add(data.documents())
            texts = [data.queries[name] for name in chosen]
            results = collection.search_batch(texts, k=DEPTH, pipeline="bm25")
            asked = [
                Asked(name, text, [Document(h.id, h.text, h.title) for h in result])
                for name, text, result in zip(chosen, texts, results, strict=True)
            ]
    # Of equal depth, or the calls of windows would be those of shorter lists.
    asked = [item for item in asked if len(item.documents) == DEPTH][:most]
    if not asked:
        raise InputError(f"no query of this collection has {DEPTH} candidates", field="--corpus")
    return asked, {item.id: data.qrels[item.id] for item in asked}


def _text(document: Document) -> str:
    return f"{document.title}\n{document.text}" if document.title else document.text


def _estimated(text: str) -> int:
    return OpenAIModel("scripted").count_tokens(text)


def _labels(
    asked: Sequence[Asked], qrels: dict[str, dict[str, int]]
) -> dict[str, dict[str, float]]:
    """By query and by the first words of a passage, as a prompt shows both, its grade."""
    return {
        cleaned(item.text, 256, _estimated): {
            cleaned(_text(document), PASSAGE_TOKENS, _estimated)[:KNOWN_BY]: float(
                qrels[item.id].get(document.id, 0)
            )
            for document in item.documents
        }
        for item in asked
    }


@contextmanager
def _address(url: str) -> Iterator[None]:
    before = os.environ.get(URL)
    os.environ[URL] = url
    try:
        yield
    finally:
        if before is None:
            del os.environ[URL]
        else:
            os.environ[URL] = before


def _measured(
    system: str,
    setting: str,
    stage: Listwise,
    asked: Sequence[Asked],
    qrels: dict[str, dict[str, int]],
) -> JsonObject:
    judgements, times = [], []
    for item in asked:
        began = time.perf_counter()
        judgements.append(stage.judge(item.text, [_text(document) for document in item.documents]))
        times.append(1000 * (time.perf_counter() - began))
    row = _row(system, setting, asked, qrels, judgements)
    records = [judged.record for judged in judgements]
    row["calls"] = float(np.mean([record.calls for record in records]))
    row["prompt_tokens"] = float(np.mean([record.prompt_tokens for record in records]))
    row["completion_tokens"] = float(np.mean([record.completion_tokens for record in records]))
    row["latency_ms"] = float(np.median(times))
    row["unusable"] = float(sum(len(record.problems) for record in records))
    swings = [judged.sensitivity for judged in judgements if judged.sensitivity is not None]
    if swings:
        row["sensitivity"] = float(np.mean(swings))
    return row


def _row(
    system: str,
    setting: str,
    asked: Sequence[Asked],
    qrels: dict[str, dict[str, int]],
    judgements: Sequence[Judged] | None,
) -> JsonObject:
    run = {}
    for number, item in enumerate(asked):
        n = len(item.documents)
        order = tuple(range(n)) if judgements is None else judgements[number].order
        run[item.id] = [(item.documents[p].id, float(n - rank)) for rank, p in enumerate(order)]
    own = {item.id: qrels[item.id] for item in asked}
    ndcg = evaluate(["nDCG@10"], own, run).means["nDCG@10"]
    return {"system": system, "setting": setting, "nDCG@10": float(ndcg)}
