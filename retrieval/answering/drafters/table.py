"""Every kind of drafter, and of what moves the law, one line each."""

from __future__ import annotations

DRAFTERS: dict[str, str] = {
    "fused": "cormorant.retrieval.answering.drafters.fuse:Fused",
    "history": "cormorant.retrieval.answering.drafters.history:History",
    "model": "cormorant.retrieval.answering.drafters.model:Model",
    "passages": "cormorant.retrieval.answering.drafters.passages:Passages",
    "statistics": "cormorant.retrieval.answering.drafters.statistics:Statistics",
    "text": "cormorant.retrieval.answering.drafters.text:Text",
}

TRANSFERS: dict[str, str] = {
    "lossy_knowledge_transfer": "cormorant.retrieval.answering.drafters.transfer:KnowledgeTransfer",
}
