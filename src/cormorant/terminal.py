"""How the command line shows things: progress on stderr, hits and tables on stdout."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from .errors import InputError, StorageError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, ProgressColumn
    from rich.text import Text

    from .answers import Answer
    from .results import Result

Highlights: TypeAlias = Callable[[str, str], list[tuple[int, int]]]
SNIPPET_CHARACTERS = 200


def console(*, stderr: bool = False) -> Console:
    """A console that wraps at the terminal's width, and does not wrap into a pipe."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else 160
    return Console(stderr=stderr, width=width, highlight=False, soft_wrap=not stream.isatty())


def write_json(target: str | None, value: Any) -> None:
    """Write one JSON object to a file, or to stdout for ``-``."""
    if target is None:
        return
    text = json.dumps(value, ensure_ascii=False, indent=2) + "\n"
    if target == "-":
        sys.stdout.write(text)
        return
    try:
        Path(target).write_text(text, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{target}: cannot be written: {error.strerror}") from None


def parse_json(text: str, what: str) -> Any:
    """JSON given on the command line."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"is not JSON: {error.msg} at column {error.colno}", field=what) from None


def show_hits(result: Result, query: str, highlights: Highlights) -> None:
    """Rank, score, id and title of each hit, and a snippet with the query's words in bold."""
    from rich.text import Text

    out = console()
    for flag in result.flags:
        out.print(Text(f"note: {flag}", style="yellow"))
    for hit in result:
        line = Text(f"{hit.rank:>3}  ")
        line.append(f"{hit.score:8.3f}  ", style="cyan")
        line.append(hit.id, style="bold green")
        if hit.title and hit.title != hit.id:
            line.append(f"  {_one_line(hit.title)}")
        out.print(line, no_wrap=True, overflow="ellipsis")
        snippet = snippet_of(hit.passage, highlights(query, hit.passage))
        if snippet:
            out.print(Text("               ").append_text(snippet), soft_wrap=not out.is_terminal)
    if not len(result):
        out.print("no document matches")


def show_sources(answer: Answer) -> None:
    """What an answer's sentences draw on, and what to know of it."""
    from rich.text import Text

    out = console()
    for flag in answer.flags:
        out.print(Text(f"note: {flag}", style="yellow"))
    for sentence in answer.sentences:
        if sentence.rank is None or sentence.span is None:
            line = Text("  ?  ", style="yellow").append("no passage supports: ", style="yellow")
            line.append(_one_line(answer.text[sentence.start : sentence.end]))
        else:
            hit = answer.result[sentence.rank - 1]
            line = Text(f"[{hit.rank}]".rjust(4) + " ").append(hit.id, style="bold green")
            line.append(f" {sentence.span.start}-{sentence.span.end}  ", style="cyan")
            line.append(_one_line(hit.text[slice(*sentence.span)]))
        out.print(line, no_wrap=out.is_terminal, overflow="ellipsis")
    sure = "" if answer.confidence is None else f", confidence {answer.confidence:.3g}"
    drafting = answer.statistics.get("drafting") or {}
    steps = f", {drafting['forwards']} forwards" if "forwards" in drafting else ""
    tokens = answer.statistics.get("tokens", 0)
    out.print(Text(f"{answer.model}: {tokens} tokens{steps}{sure}", style="dim"))


def printable(text: str) -> str:
    """Text with its line ends, and without other control characters that a terminal would obey."""
    return "".join(char if char.isprintable() or char == "\n" else " " for char in text)


def snippet_of(passage: str, spans: Sequence[tuple[int, int]]) -> Text:
    """The stretch of a passage that holds most matches, with them in bold."""
    from rich.text import Text

    best, most = 0, -1
    for start, _ in spans:
        covered = sum(1 for a, b in spans if a >= start and b <= start + SNIPPET_CHARACTERS)
        if covered > most:
            best, most = start, covered
    start = max(0, best - 30)
    if start:
        start = passage.find(" ", start, best) + 1 or start
    end = min(len(passage), start + SNIPPET_CHARACTERS)
    text = Text("..." if start else "")
    place = start
    for a, b in spans:
        if start <= a and b <= end:
            text.append(_one_line(passage[place:a]))
            text.append(_one_line(passage[a:b]), style="bold yellow")
            place = b
    text.append(_one_line(passage[place:end]))
    return text.append("..." if end < len(passage) else "")


def _one_line(text: str) -> str:
    """With single spaces, and without control characters that a terminal would obey."""
    printable = "".join(character if character.isprintable() else " " for character in text)
    return re.sub(" +", " ", printable)


@contextmanager
def progress_bar(label: str) -> Iterator[Callable[[str, int], None]]:
    """A counter on stderr, silent where stderr is no terminal; call it with (what, how many)."""
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}"),
        TimeElapsedColumn(),
    )
    with _bars(*columns) as bars:
        tasks: dict[str, Any] = {}

        def advance(what: str, count: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(f"{label}: {what}", total=None)
            bars.advance(tasks[what], count)

        yield advance


@contextmanager
def progress_of_total() -> Iterator[Callable[[str, int, int | None], None]]:
    """Bars on stderr, where it is a terminal; call it with (what, done, total or None)."""
    with _bars() as bars:
        tasks: dict[str, Any] = {}

        def update(what: str, done: int, total: int | None) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield update


def _bars(*columns: ProgressColumn) -> Progress:
    """Bars that are gone when they are done; where stderr is no terminal not even a line end."""
    from rich.progress import Progress

    out = console(stderr=True)
    return Progress(*columns, console=out, transient=True, disable=not out.is_terminal)
