"""The bodies of requests and answers. What is not listed here is refused.

A body is looked at on the event loop, so no body may take long to refuse: of a list with a million
wrong items, and of an object with a million unknown names, only the first is reported; what may
have many parts of its own is counted by its endpoint before anything looks at them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    InstanceOf,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from ...documents import JsonObject
from ...indexers.table import INDEXES
from .ready import WIRE_VECTOR_SCHEMA

_MOST = 1_000_000_000
Count: TypeAlias = Annotated[int, Field(ge=1, le=_MOST)]
Name: TypeAlias = Annotated[str, Field(pattern="^[a-z0-9][a-z0-9_-]{0,63}$")]
JsonValue: TypeAlias = InstanceOf[dict[str, Any]]
Strings: TypeAlias = Annotated[list[str], Field(fail_fast=True)]
WireVectors: TypeAlias = list[Annotated[Any, WithJsonSchema(WIRE_VECTOR_SCHEMA)]]
"""Ready vectors: counted first, and only then looked at, by :func:`vectors_from_wire`."""
_KIND = {"type": "string", "enum": sorted(INDEXES)}
_INDEX_SCHEMA: JsonObject = {
    "anyOf": [
        {"type": "object", "properties": {"kind": _KIND}, "required": ["kind"]},
        _KIND,
    ]
}
IndexValue: TypeAlias = Annotated[JsonValue | str, WithJsonSchema(_INDEX_SCHEMA)]
IndexValues: TypeAlias = Annotated[
    InstanceOf[dict[str, Any]],
    WithJsonSchema({"type": "object", "additionalProperties": _INDEX_SCHEMA}),
]
"""Settings of indexes by name: counted first, and only then looked at, by ``index_settings``."""


class Body(BaseModel):
    """A request's body: exact types, no unknown fields."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _one_unknown_name_is_enough(cls, value: Any) -> Any:
        if not isinstance(value, dict) or len(value) <= len(cls.model_fields):
            return value
        unknown = next(name for name in value if name not in cls.model_fields)
        return {name: value[name] for name in (*cls.model_fields, unknown) if name in value}


class Answer(BaseModel):
    """An answer's body, for the OpenAPI document."""

    model_config = ConfigDict(extra="allow")


# -- collections ---------------------------------------------------------------------------


class ChunkBody(Body):
    """How long texts are split."""

    tokens: Count = 256
    overlap: Annotated[int, Field(ge=0, le=_MOST)] = 32


class CreateBody(Body):
    """A new collection. ``indexes`` maps names to tagged settings, or to a kind."""

    name: Name
    indexes: IndexValues | None = None
    chunk: ChunkBody | None = None


class AddIndexBody(Body):
    """A new index of a collection; ``later`` builds it in the background."""

    name: Name
    settings: IndexValue
    when: Literal["now", "later"] = "now"


class Described(Answer):
    """A collection."""

    name: str
    documents: int
    version: int
    indexes: JsonValue
    pipelines: list[str]
    language_models: list[str]


class Collections(Answer):
    """The collections a key may read."""

    collections: list[Described]


class Version(Answer):
    """The committed version after a change."""

    version: int


class Checked(Answer):
    """What a check found."""

    ok: bool
    files: int
    documents: int
    problems: list[str]


# -- documents -----------------------------------------------------------------------------


class DocumentAnswer(Answer):
    """A document."""

    id: str
    title: str
    text: str
    metadata: JsonValue
    labels: list[str]


class Scrolled(Answer):
    """A page of documents, each with a cursor; ``next`` is the ``after`` of the next page."""

    documents: list[DocumentAnswer]
    cursors: list[str]
    next: str | None


class LineError(Answer):
    """What is wrong with one line of a bulk."""

    line: int
    code: str
    detail: str
    field: str | None = None


class Added(Answer):
    """What a bulk did."""

    added: int
    version: int
    errors: list[LineError]


class DeleteBody(Body):
    """The ids to delete."""

    ids: Strings


class Deleted(Answer):
    """How many there were."""

    deleted: int


# -- searching -----------------------------------------------------------------------------


class SearchOptions(Body):
    """What a search and a batch have in common."""

    k: Count = 10
    pipeline: JsonValue | str | None = None
    filter: JsonValue | None = None
    explain: bool = False
    timings: bool = True
    highlight: bool = False
    timeout_ms: Count | None = None
    partial: bool = False


class SearchBody(SearchOptions):
    """One search. ``offset`` skips hits; it changes no order."""

    query: str
    offset: Annotated[int, Field(ge=0, le=_MOST)] = 0


class BatchBody(SearchOptions):
    """Many searches: texts, ready vectors of the kind that the index holds, or both."""

    queries: Strings | None = None
    vectors: WireVectors | None = None


class HitAnswer(Answer):
    """One hit."""

    rank: int
    id: str
    score: float
    title: str
    text: str
    metadata: JsonValue
    span: list[int]


class SearchAnswer(Answer):
    """The hits of one query, best first."""

    hits: list[HitAnswer]
    version: int
    total_ms: float
    flags: list[str]


class BatchAnswer(Answer):
    """One answer for each query, in order."""

    results: list[SearchAnswer]


class HighlightsBody(Body):
    """A text, and the query whose words to find in it."""

    query: str
    text: str
    index: str | None = None


class HighlightsAnswer(Answer):
    """Where they are: [start, end) in characters, ascending."""

    highlights: list[list[int]]


# -- judgements ----------------------------------------------------------------------------


class JudgementBody(Body):
    """One judgement: 0 not relevant, 3 perfectly; null takes it back."""

    query_id: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^\S+$")]
    query: str
    document_id: Annotated[str, Field(min_length=1, max_length=512, pattern=r"^\S+$")]
    grade: Annotated[int, Field(ge=0, le=3)] | None


# -- models --------------------------------------------------------------------------------


def _texts(items: list[Any]) -> list[str]:
    texts = []
    for item in items:
        is_object = isinstance(item, dict) and item.keys() == {"text"}
        text = item["text"] if is_object else item
        if not isinstance(text, str):
            raise PydanticCustomError("texts", "each is a string, or an object with a text")
        texts.append(text)
    return texts


Texts: TypeAlias = Annotated[
    list[Any],
    AfterValidator(_texts),
    WithJsonSchema(
        {
            "type": "array",
            "items": {
                "anyOf": [
                    {"type": "string"},
                    {
                        "type": "object",
                        "properties": {"text": {"type": "string"}},
                        "required": ["text"],
                        "additionalProperties": False,
                    },
                ]
            },
        }
    ),
]
"""Strings, each alone or in an object; strings once they are read."""


class RerankBody(Body):
    """Cohere's rerank request (v2). ``model``: a name, or a ranker as pipelines have it."""

    model: str | JsonValue
    query: str
    documents: Texts
    top_n: Count | None = None
    max_tokens_per_doc: Count | None = None
    timeout_ms: Count | None = None


class RerankResult(Answer):
    """Where a document of the request ended up, and its score."""

    index: int
    relevance_score: float


class RerankAnswer(Answer):
    """Cohere's rerank reply."""

    id: str
    results: list[RerankResult]
    meta: JsonValue


class EmbedBody(Body):
    """Texts to encode; queries and documents may have prompts of their own."""

    model: str
    texts: Strings
    input_type: Literal["query", "document"] = "document"
    timeout_ms: Count | None = None


class EmbedAnswer(Answer):
    """One vector a text, and whether the text was longer than the model's window."""

    model: str
    dim: int
    vectors: list[list[float]]
    cut: list[bool]


# -- health --------------------------------------------------------------------------------


class Alive(Answer):
    """The process answers."""

    ok: bool


class Ready(Answer):
    """Whether every collection is open and sound."""

    ready: bool
    collections: JsonValue
