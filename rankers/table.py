"""Every kind of pipeline stage that reorders or rewrites, one line each."""

from __future__ import annotations

FUSIONS: dict[str, str] = {
    "convex": "cormorant.rankers.convex:Convex",
    "rrf": "cormorant.rankers.rrf:RRF",
}
RANKERS: dict[str, str] = {
    "late_interaction": "cormorant.rankers.late_interaction:LateInteraction",
}
FEEDBACKS: dict[str, str] = {}
REFORMULATIONS: dict[str, str] = {}
