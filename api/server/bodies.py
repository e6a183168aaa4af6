"""The bodies of requests and answers. What is not listed here is refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from .ready import WireVector

_MOST = 1_000_000_000
Count: TypeAlias = Annotated[int, Field(ge=1, le=_MOST)]
Name: TypeAlias = Annotated[str, Field(pattern="^[a-z0-9][a-z0-9_-]{0,63}$")]
JsonValue: TypeAlias = dict[str, Any]


class Body(BaseModel):
    """A request's body: exact types, no unknown fields."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


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
    indexes: dict[str, JsonValue | str] | None = None
    chunk: ChunkBody | None = None


class AddIndexBody(Body):
    """A new index of a collection; ``later`` builds it in the background."""

    name: Name
    settings: JsonValue | str
    when: Literal["now", "later"] = "now"


class Described(Answer):
    """A collection."""

    name: str
    documents: int
    version: int
    indexes: JsonValue
    pipelines: list[str]


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

    ids: list[str]


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

    queries: list[str] | None = None
    vectors: list[WireVector] | None = None


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


class TextObject(Body):
    """A document to rerank, as an object."""

    text: str


class RerankBody(Body):
    """Cohere's rerank request (v2)."""

    model: str
    query: str
    documents: list[str | TextObject]
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
    texts: list[str]
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
