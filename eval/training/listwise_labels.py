"""Complete listwise labels: an order of all candidates, from a teacher that is sure of a few.

A sliding window settles only about the first ten places, so it is run again on what is left, until
every place is settled (Liu et al., "Sliding Windows Are Not the End", ACL 2025, section 4.1). A
line of JSON is one query's example, written when it is made: a kill costs the query under way. A
query whose order the teacher did not give in full is left out: its line holds no order.
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


Teach = Callable[[str, Sequence[str]], list[int] | None]
"""(query, passages in their prior order) -> all places, best first; None: no whole order."""


class _Unanswered(Exception):  # noqa: N818
    """The teacher did not order a window, or not all of it."""


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

    It says nothing of a query once an answer cannot be used, or leaves a passage out: what it had
    not ranked would be taught as if it had.
    """
    from ...stages import Budget

    def teach(query: str, passages: Sequence[str]) -> list[int] | None:
        asker = Asker(
            model,
            query,
            passages,
            budget=Budget(),
            passage_tokens=passage_tokens,
            concurrency=1,
            attempts=attempts,
        )

        def order(places: Sequence[int], top: int) -> list[int]:
            made = asker.order(places, top)
            if made is None or asker.record.missing:
                raise _Unanswered
            return made

        try:
            return complete_order(order, len(passages))
        except _Unanswered:
            return None

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

    What the teacher does not say is left out, and told at the end. Raises
    :class:`~cormorant.errors.InputError` for a file of other queries, and where all are left out.
    """
    done = _read(file) if file.is_file() else []
    for number, (query, passages) in enumerate(asked):
        if number < len(done):
            if done[number].query != query:
                raise InputError(f"holds the labels of other queries; remove {file}", file=file)
            continue
        example = Example(query, tuple(passages), tuple(teach(query, passages) or ()))
        with file.open("a", encoding="utf-8") as out:
            out.write(json.dumps(example._asdict(), ensure_ascii=False) + "\n")
        done.append(example)
        if len(done) % 50 == 0:
            tell(f"{len(done):,} queries labelled")
    examples = [example for example in done if example.order]
    if done and not examples:
        raise InputError(
            f"the teacher gave no whole order of any of {len(done):,} queries; remove the file to "
            "ask again",
            file=file,
        )
    if len(examples) < len(done):
        tell(f"{len(done) - len(examples):,} of {len(done):,} queries left out: no whole order")
    return examples


def read_examples(file: Path) -> list[Example]:
    """The examples of a file; a last line that a kill cut off is dropped from it.

    Raises :class:`~cormorant.errors.InputError`, naming the line, for anything else that is wrong.
    """
    return [example for example in _read(file) if example.order]


def _read(file: Path) -> list[Example]:
    """The lines of a file, those of queries that were left out too: their order is empty."""
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
        if example.order and sorted(example.order) != list(range(len(example.passages))):
            raise InputError("orders other places than it has", file=file, line=line)
        examples.append(example)
    return examples
