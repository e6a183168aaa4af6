"""Why a hit stands where it stands: what each list, the fusion and each stage made of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..contracts import Explains, Float32Array, Int64Array, NamesTokens
from ..documents import JsonObject
from ..ranking import Ranking
from ..stages import ExplainsFusion
from ..vectors import are_vectors

if TYPE_CHECKING:
    from .pipeline import Pipeline
    from .search import Search


def explain(search: Search, pipeline: Pipeline, number: int, rows: list[int]) -> list[JsonObject]:
    """For each row which list gave it which rank, its true score there, and why.

    Where lists were fused, ``fusion`` says what each added; where stages reranked, ``rerank`` says
    for each in turn the rank that the row had after it, and its score; both None below its depth.
    ``number`` is that of the query, of which a reformulation that fuses explains the first.
    """
    explained: list[JsonObject] = [{} for _ in rows]
    place = search.place_of(number)
    for name, ranking in search.lists.items():
        _explain_list(search, name, ranking, place, rows, explained)
    fusion: Any = pipeline.fuse
    if isinstance(fusion, ExplainsFusion) and search.fused:
        parts = _contributions(search, fusion, place, rows)
        for hit, target in enumerate(explained):
            target["fusion"] = {name: float(values[hit]) for name, values in parts.items()}
    if search.stages:
        for row, target in zip(rows, explained, strict=True):
            target["rerank"] = [
                {"kind": kind, **_standing(ranking, number, row)} for kind, ranking in search.stages
            ]
    return explained


def _explain_list(
    search: Search,
    name: str,
    ranking: Ranking,
    number: int,
    rows: list[int],
    explained: list[JsonObject],
) -> None:
    if name in search.answered:
        facts = search.answered[name][1].facts[number]
        for row, target in zip(rows, explained, strict=True):
            standing = _standing(ranking, number, row)
            exact = standing["rank"] is not None and standing["rank"] <= facts.get("exact", 0)
            target[name] = {**standing, **facts, "exact": exact}
        return
    view = search.view(name)
    reasons: list[JsonObject] = [{} for _ in rows]
    if isinstance(view.index, Explains) and name in search.asked:
        asked = search.asked[name][number : number + 1]
        reasons = view.index.explain(view.segments, asked, rows, search.allowed)
        reasons = _in_words(search, name, number, rows, reasons)
    wanted = np.array([rows], np.int64)
    scores = search.score(name, wanted, slice(number, number + 1))[0]
    for row, score, reason, target in zip(rows, scores, reasons, explained, strict=True):
        target[name] = {
            "rank": _standing(ranking, number, row)["rank"],
            "score": float(score) if np.isfinite(score) else None,
            **{key: value for key, value in reason.items() if key != "score"},
        }


def _in_words(
    search: Search, name: str, number: int, rows: list[int], reasons: list[JsonObject]
) -> list[JsonObject]:
    """Reasons that number tokens, with the words, where the index itself encoded the query."""
    index = search.view(name).index
    known: Any = search.encoded.get(name, ((), None))
    queries, vectors = known
    ready = search.vectors is not None and search.vectors[0] is queries
    if not isinstance(index, NamesTokens) or vectors is not search.asked[name]:
        return reasons
    if ready or are_vectors(queries):
        return reasons
    return index.name_tokens(queries[number], search.chunks(np.array(rows, np.int64)), reasons)


def _standing(ranking: Ranking, number: int, row: int) -> JsonObject:
    """The rank of a row, from 1, and its score; both None where it is not ranked."""
    places = np.flatnonzero(ranking.rows[number] == row)
    if not len(places):
        return {"rank": None, "score": None}
    score = float(ranking.scores[number, places[0]])
    return {"rank": int(places[0]) + 1, "score": score if np.isfinite(score) else None}


def _contributions(
    search: Search, fusion: ExplainsFusion, number: int, rows: list[int]
) -> dict[str, Float32Array]:
    """What each list added to the fused scores of one query's rows."""
    one = slice(number, number + 1)
    lists = []
    for item in search.fused:
        ranking = Ranking(item.ranking.rows[one], item.ranking.scores[one])
        lists.append(replace(item, ranking=ranking))

    def score(name: str, wanted: Int64Array) -> Float32Array:
        return search.score(name, wanted, one)

    parts = fusion.contributions(lists, score, np.array([rows], np.int64))
    return {item.index: part[0] for item, part in zip(lists, parts, strict=True)}
