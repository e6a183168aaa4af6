"""Models on their own: rerank and embed."""

from __future__ import annotations

from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response
from starlette.responses import JSONResponse

from ....contracts import PairScorer
from ....documents import JsonObject
from ..bodies import EmbedAnswer, EmbedBody, RerankAnswer, RerankBody
from ..guard import GuardedRoute, needs, state_of, unless_gone
from ..inference import encoder_of, unknown_model
from ..openapi import PROBLEMS
from ..problems import Problem
from ..searching import timeout_seconds
from ..state import State

router = APIRouter(route_class=GuardedRoute, responses=PROBLEMS, tags=["models"])


@router.post("/v1/rerank", response_model=RerankAnswer)
@needs("key")
async def rerank(request: Request, body: RerankBody) -> Response:
    """Cohere's rerank: the documents of the body, best first."""
    state = state_of(request)
    limits = state.settings.limits
    limits.check("rerank_documents", len(body.documents), "documents")
    limits.check("query_characters", len(body.query), "query")
    texts = [item if isinstance(item, str) else item.text for item in body.documents]
    for text in texts:
        limits.check("text_characters", len(text), "documents")
    if not texts:
        raise Problem("invalid_input", "names no document", field="documents")
    if body.max_tokens_per_doc is not None:
        # White space ends a token in every tokeniser; the model's own window cuts after that.
        texts = [" ".join(text.split()[: body.max_tokens_per_doc]) for text in texts]
    scorer = _scorer_of(state, body.model)

    def work() -> list[tuple[int, float]]:
        scores = np.asarray(scorer.score_pairs([(body.query, text) for text in texts]), np.float64)
        if scores.shape != (len(texts),) or not np.isfinite(scores).all():
            raise RuntimeError(f"{body.model} gave scores of shape {scores.shape}, or none finite")
        order = np.argsort(-scores, kind="stable")[: body.top_n]
        return [(int(place), float(scores[place])) for place in order]

    seconds = timeout_seconds(state.settings, body.timeout_ms)
    ranked = await unless_gone(request, state.reading.run(work, seconds))
    value = {
        "id": request.state.request_id,
        "results": [{"index": place, "relevance_score": score} for place, score in ranked],
        "meta": {"api_version": {"version": "2"}, "model": body.model},
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

    def work() -> JsonObject:
        encoder = encoder_of(body.model, state.encoders, state.settings.models)
        encode: Any = encoder.encode_document
        if body.input_type == "query":
            encode = encoder.encode_query
        encoded = encode(body.texts) if body.texts else None
        return {
            "model": body.model,
            "dim": encoder.dim,
            "vectors": [] if encoded is None else encoded.vectors.tolist(),
            "cut": [] if encoded is None else encoded.cut.tolist(),
        }

    seconds = timeout_seconds(state.settings, body.timeout_ms)
    return JSONResponse(await unless_gone(request, state.reading.run(work, seconds)))


def _scorer_of(state: State, name: str) -> PairScorer:
    if name not in state.scorers:
        raise unknown_model(name, list(state.scorers))
    return state.scorers[name]
