"""A hit's explanation in a few words, by its shape: a new kind of stage needs no change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...documents import JsonObject

MOST_TERMS = 6


def reasons(explanation: JsonObject | None) -> list[str]:
    """``bm25: rank 3, score 7.1 (statin 4.8, cancer 2.3)``, one line for each list and stage."""
    lines = []
    for name, part in (explanation or {}).items():
        if isinstance(part, list):
            lines += [f"{step['kind']}: {_standing(step)}" for step in part]
        elif "rank" in part:
            lines.append(f"{name}: {_standing(part)}{_terms(part)}")
        else:
            lines.append(f"{name}: {' + '.join(f'{own} {_number(part[own])}' for own in part)}")
    return lines


def _standing(part: Mapping[str, Any]) -> str:
    rank = "not in its list" if part["rank"] is None else f"rank {part['rank']}"
    return rank if part["score"] is None else f"{rank}, score {_number(part['score'])}"


def _terms(part: Mapping[str, Any]) -> str:
    """The terms that gave most of the score, in brackets; nothing where it is not of terms."""
    terms = [term for term in part.get("terms") or part.get("matched") or () if term["score"] > 0]
    terms.sort(key=lambda term: -term["score"])
    shown = [f"{term['term']} {_number(term['score'])}" for term in terms[:MOST_TERMS]]
    more = [f"{len(terms) - MOST_TERMS} more"] if len(terms) > MOST_TERMS else []
    return f" ({', '.join(shown + more)})" if shown else ""


def _number(value: float) -> str:
    return f"{value:.4g}"
