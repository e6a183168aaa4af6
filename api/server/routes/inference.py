"""Models on their own: rerank and embed."""

from __future__ import annotations

import json
import time
from functools import partial

from fastapi import APIRouter, Request, Response
from starlette.responses import JSONResponse

from ....contracts import Encoder
from ....documents import JsonObject
from ..bodies import EmbedAnswer, EmbedBody, RerankAnswer, RerankBody
from ..guard import GuardedRoute, needs, state_of, unless_gone
from ..inference import encode_together, encoder_of, unknown_model
from ..openapi import PROBLEMS
from ..problems import Problem
from ..reranking import Given, Reranked, chosen_ranker, rank_together, relevance
from ..searching import timeout_seconds

router = APIRouter(route_class=GuardedRoute, responses=PROBLEMS, tags=["models"])


@router.post("/v1/rerank", response_model=RerankAnswer)
@needs("key")
async def rerank(request: Request, body: RerankBody) -> Response:
    """Cohere's rerank: the documents of the body, best first. ``model`` may be a ranker's JSON."""
    state = state_of(request)
    limits = state.settings.limits
    limits.check("rerank_documents", len(body.documents), "documents")
    limits.check("query_characters", len(body.query), "query")
    texts = body.documents
    for text in texts:
        limits.check("text_characters", len(text), "documents")
    if not texts:
        raise Problem("invalid_input", "names no document", field="documents")
    if body.max_tokens_per_doc is not None:
        # White space ends a token in every tokeniser; the model's own window cuts after that.
        texts = [" ".join(text.split()[: body.max_tokens_per_doc]) for text in texts]
    ranker = chosen_ranker(body.model, state.rankers, state.settings)
    seconds = timeout_seconds(state.settings, body.timeout_ms)

    work = state.reading.batched(
        ("rerank", json.dumps(body.model, sort_keys=True)),
        partial(rank_together, ranker),
        Given(body.query, texts, time.monotonic() + seconds),
        seconds,
    )
    ranked: Reranked = await unless_gone(request, work)
    shown = relevance(ranker, ranked.scores)
    best = list(zip(ranked.places.tolist(), shown, strict=True))[: body.top_n]
    meta: JsonObject = {"api_version": {"version": "2"}, "model": body.model}
    if ranked.flags:
        meta["warnings"] = list(ranked.flags)
    value = {
        "id": request.state.request_id,
        "results": [{"index": place, "relevance_score": score} for place, score in best],
        "meta": meta,
    }
    return JSONResponse(value)


@router.post("/v1/embed", response_model=EmbedAnswer)
@needs("key")
async def embed(request: Request, body: EmbedBody) -> Response:
    """Encode texts with a model of the server."""
    state = state_of(request)
    limits = state.settings.limits
    limits.check("embed_texts", len(body.texts), "texts")
    for text in body.texts:
        limits.check("text_characters", len(text), "texts")
    if body.model not in state.encoders and body.model not in state.settings.models:
        raise unknown_model(body.model, [*state.encoders, *state.settings.models])

    def encoder() -> Encoder:
        return encoder_of(body.model, state.encoders, state.settings.models)

    work = state.reading.batched(
        ("embed", body.model, body.input_type),
        partial(encode_together, encoder, body.input_type),
        body.texts,
        timeout_seconds(state.settings, body.timeout_ms),
    )
    answer: JsonObject = {"model": body.model, **await unless_gone(request, work)}
    return JSONResponse(answer)
