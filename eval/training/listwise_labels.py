"""Complete listwise labels: an order of all candidates, from a teacher that is sure of a few.

A sliding window settles only about the first ten places, so it is run again on what is left, until
every place is settled (Liu et al., "Sliding Windows Are Not the End", ACL 2025, section 4.1). A
line of JSON is one query's example, written when it is made: a kill costs the query under way.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ...errors import InputError
from ...indexers.bm25.settings import BM25
from ...rankers.listwise.asking import Asker
from ...rankers.listwise.strategies import Order, windows
from ...retrieval.collection import Collection
from ...stages import LanguageModel, PairScorer
from ..datasets import Dataset

SETTLED = 10


class Example(NamedTuple):
    """A query, its candidates in their prior order, and the teacher's order of their places."""

    query: str
    passages: tuple[str, ...]
    order: tuple[int, ...]


Teach = Callable[[str, Sequence[str]], list[int]]
"""(query, passages in their prior order) -> all places, best first."""


def complete_order(
    order: Order, n: int, *, window: int = 20, stride: int = 10, settled: int = SETTLED
) -> list[int]:
    """All places, best first, ``settled`` of them by each pass of sliding windows."""
    left, done = list(range(n)), []
    while left:
        made = windows(order, left, window, stride)
        done += made[:settled]
        left = made[settled:]
    return done


def by_language_model(
    model: LanguageModel, *, passage_tokens: int = 100, attempts: int = 2
) -> Teach:
    """A language model as the teacher, by repeated sliding passes.

    Raises :class:`~cormorant.errors.InputError` for a query whose answers could not be used: what
    it had not ranked would be taught as if it had.
    """
    from ...stages import Budget

    def teach(query: str, passages: Sequence[str]) -> list[int]:
        asker = Asker(
            model,
            query,
            passages,
            budget=Budget(),
            passage_tokens=passage_tokens,
            concurrency=1,
            attempts=attempts,
        )
        order = complete_order(asker.order, len(passages))
        last = asker.record.replies
        if any(reply.problem for reply in last) and not any(not reply.problem for reply in last):
            raise InputError(f"the teacher answered nothing usable for {query!r}", field="teacher")
        return order

    return teach


def by_scores(scorer: PairScorer) -> Teach:
    """A pair scorer as the teacher: the order of its scores."""

    def teach(query: str, passages: Sequence[str]) -> list[int]:
        scores = scorer.score_pairs([(query, passage) for passage in passages])
        return sorted(range(len(passages)), key=lambda place: (-float(scores[place]), place))

    return teach


def candidates(data: Dataset, depth: int, most: int | None) -> Iterator[tuple[str, list[str]]]:
    """The queries of a split with the texts of their first ``depth`` by BM25."""
    queries = list(data.queries.values())[:most]
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "c.cm"
        with Collection.create(path, {"bm25": BM25()}) as collection:
            collection.add(data.documents())
            for query in queries:
                result = collection.search(query, k=depth, pipeline="bm25")
                texts = [f"{hit.title}\n{hit.text}" if hit.title else hit.text for hit in result]
                if len(texts) > 1:
                    yield query, texts


def labelled(
    file: Path,
    asked: Iterator[tuple[str, list[str]]],
    teach: Teach,
    tell: Callable[[str], None] = lambda line: None,
) -> list[Example]:
    """The examples in ``file``, those that are missing made now, in order.

    Raises :class:`~cormorant.errors.InputError` for a file of other queries.
    """
    examples = read_examples(file) if file.is_file() else []
    for number, (query, passages) in enumerate(asked):
        if number < len(examples):
            if examples[number].query != query:
                raise InputError(f"holds the labels of other queries; remove {file}", file=file)
            continue
        example = Example(query, tuple(passages), tuple(teach(query, passages)))
        with file.open("a", encoding="utf-8") as out:
            out.write(json.dumps(example._asdict(), ensure_ascii=False) + "\n")
        examples.append(example)
        if len(examples) % 50 == 0:
            tell(f"{len(examples):,} queries labelled")
    return examples


def read_examples(file: Path) -> list[Example]:
    """The examples of a file; a last line that a kill cut off is dropped from it.

    Raises :class:`~cormorant.errors.InputError`, naming the line, for anything else that is wrong.
    """
    text = file.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        file.write_text(whole, encoding="utf-8")
    examples = []
    for line, content in enumerate(whole.splitlines(), 1):
        try:
            value = json.loads(content)
            example = Example(value["query"], tuple(value["passages"]), tuple(value["order"]))
        except (ValueError, KeyError, TypeError):
            raise InputError(
                "is no example: query, passages, order", file=file, line=line
            ) from None
        if sorted(example.order) != list(range(len(example.passages))):
            raise InputError("orders other places than it has", file=file, line=line)
        examples.append(example)
    return examples
