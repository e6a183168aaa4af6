"""How much a caller may ask for: one settings object, checked before any work is done."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from ...documents import JsonObject
from .problems import Problem


class Limits(BaseModel):
    """The most of everything. ``None`` for a rate means no bound.

    A limit that is exceeded is a problem of the code ``limit_exceeded`` (``too_large`` for bytes),
    which names the limit by its name here.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    body_bytes: PositiveInt = 4 << 20
    bulk_bytes: PositiveInt = 1 << 30
    line_bytes: PositiveInt = 8 << 20
    bulk_lines: PositiveInt = 1_000_000
    bulk_errors: PositiveInt = 1_000
    transaction_documents: PositiveInt = 1_000
    transaction_bytes: PositiveInt = 8 << 20
    json_depth: PositiveInt = 64
    k: PositiveInt = 1_000
    """Hits of one search, the pages before them included."""
    depth: PositiveInt = 10_000
    batch_queries: PositiveInt = 1_000
    query_characters: PositiveInt = 10_000
    vector_dim: PositiveInt = 8_192
    """Numbers of a vector, or terms of a sparse one."""
    vector_tokens: PositiveInt = 8_192
    """Vectors of one text, where it has one for each token."""
    scorer_calls: PositiveInt = 1_000
    """The ``budget`` of a retriever such as CUR: pairs that it may have scored for a query."""
    stages: PositiveInt = 8
    filter_conditions: PositiveInt = 200
    """Entries of all objects and lists of a filter together."""
    filter_depth: PositiveInt = 16
    """Objects and lists of a filter inside one another."""
    scroll_documents: PositiveInt = 1_000
    delete_ids: PositiveInt = 10_000
    collections: PositiveInt = 1_000
    indexes: PositiveInt = 16
    rerank_documents: PositiveInt = 1_000
    embed_texts: PositiveInt = 1_000
    text_characters: PositiveInt = 1_000_000
    timeout_ms: PositiveInt = 30_000
    """The longest a search, rerank or embed may take; a request may ask for less."""
    answer_tokens: PositiveInt = 1_024
    answer_passages_tokens: PositiveInt = 16_000
    answer_drafts: PositiveInt = 8
    answer_timeout_ms: PositiveInt = 120_000
    """The longest that an answer may take, its retrieval included."""
    receive_seconds: float = Field(default=30.0, gt=0)
    """How long the server waits for the next bytes of a body."""
    requests_per_minute: PositiveInt | None = None
    """For each key."""

    def check(self, name: str, value: int, field: str | None = None) -> None:
        """Raise the problem ``limit_exceeded`` when ``value`` is above the limit of that name."""
        limit = getattr(self, name)
        if value > limit:
            raise Problem(
                "limit_exceeded",
                f"{value:,} is more than this server's limit {name} = {limit:,}; ask for less",
                field=field,
                limit=name,
            )

    def check_filter(self, value: JsonObject | None) -> None:
        """Bound a filter's nesting and the number of its conditions, before it is parsed."""
        if value is None:
            return
        level: list[object] = [value]
        conditions = depth = 0
        while level:
            depth += 1
            self.check("filter_depth", depth, "filter")
            inner: list[object] = []
            for item in level:
                parts = list(item.values()) if isinstance(item, dict) else item
                if isinstance(parts, list):
                    conditions += len(parts)
                    inner += [part for part in parts if isinstance(part, dict | list)]
            self.check("filter_conditions", conditions, "filter")
            level = inner
