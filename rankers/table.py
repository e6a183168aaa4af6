"""Every kind of pipeline stage that reorders or rewrites, one line each."""

from __future__ import annotations

FUSIONS: dict[str, str] = {
    "adaptive": "cormorant.rankers.adaptive:Adaptive",
    "borda": "cormorant.rankers.by_rank:Borda",
    "comb_mnz": "cormorant.rankers.comb:CombMNZ",
    "comb_sum": "cormorant.rankers.comb:CombSUM",
    "convex": "cormorant.rankers.convex:Convex",
    "isr": "cormorant.rankers.by_rank:ISR",
    "rrf": "cormorant.rankers.rrf:RRF",
}
RANKERS: dict[str, str] = {
    "cascade": "cormorant.rankers.cascade:Cascade",
    "cross_encoder": "cormorant.rankers.cross_encoder:CrossEncoder",
    "late_interaction": "cormorant.rankers.late_interaction:LateInteraction",
    "reencode": "cormorant.rankers.reencode:Reencode",
    "listwise": "cormorant.rankers.listwise.settings:Listwise",
}
FEEDBACKS: dict[str, str] = {
    "genqr_feedback": "cormorant.rankers.genqr:GenQRFeedback",
    "rm3": "cormorant.rankers.term_feedback:RM3",
    "rocchio": "cormorant.rankers.term_feedback:Rocchio",
    "vector_prf": "cormorant.rankers.vector_feedback:VectorPRF",
}
REFORMULATIONS: dict[str, str] = {
    "genqr_ensemble": "cormorant.rankers.genqr:GenQREnsemble",
    "genqr_fusion": "cormorant.rankers.genqr:GenQRFusion",
}
RETRIEVERS: dict[str, str] = {
    "cur": "cormorant.rankers.cur.settings:CUR",
}
PAIR_SCORERS: dict[str, str] = {
    "cross_encoder": "cormorant.rankers.cross_encoder:CrossEncoder",
}
"""What scores (query, passage) pairs, for the stages that take any of them."""
LANGUAGE_MODELS: dict[str, str] = {
    "local": "cormorant.rankers.language_models.local:LocalModel",
    "openai": "cormorant.rankers.language_models.openai:OpenAIModel",
}
