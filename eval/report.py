"""Results as a table for the terminal: one row per data set and pipeline."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .result import EvalResult

_WIDTH = 10_000

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text


def results_table(results: Sequence[EvalResult]) -> Table:
    """A rich table: measures with four decimals, p50 and p95 in ms, index seconds and MB, queries.

    The best value of each measure is bold where a data set has several pipelines; equal to four
    decimals is equally good. A measure that a row lacks is shown as "-". Under the table stand the
    flags that searches raised.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    measures = list(dict.fromkeys(name for result in results for name in result.measures))
    flags = _flag_lines(results)
    caption = Text("\n".join(flags)) if flags else None
    table = Table(
        box=box.SIMPLE_HEAD,
        caption=caption,
        caption_justify="left",
        pad_edge=False,
        show_edge=False,
    )
    for heading in ("data set", "pipeline"):
        table.add_column(heading, no_wrap=True)
    for heading in (*measures, "p50 ms", "p95 ms", "index s", "index MB", "queries"):
        table.add_column(heading, justify="right", no_wrap=True)
    best = _best(results)
    for result in results:
        cells = [Text(result.dataset), Text(result.pipeline)]
        for name in measures:
            shown = _shown(result, name)
            bold = shown is not None and best.get((result.dataset, name)) == float(shown)
            cells.append(Text("-" if shown is None else shown, style="bold" if bold else ""))
        cells += [
            *(_figure(result.latency_ms.get(name)) for name in ("p50", "p95")),
            _figure(result.index_seconds or None),
            _figure(result.index_bytes / 1e6 or None),
            Text(str(result.queries)),
        ]
        table.add_row(*cells)
    return table


def _figure(value: float | None) -> Text:
    """A figure with two decimals; a run read from a file has no times and no index."""
    from rich.text import Text

    return Text("-" if value is None else f"{value:.2f}")


def print_results(results: Sequence[EvalResult], console: Console) -> None:
    """Show the table on a rich console; lines wider than it go on, so that no figure is cut off."""
    from rich.segment import Segments

    wide = console.options.update(width=_WIDTH)
    segments = list(console.render(results_table(results), wide))
    console.print(Segments(segments), soft_wrap=True, end="")


def render_results(results: Sequence[EvalResult]) -> str:
    """The table as plain text, as wide as it needs, ending in a line end."""
    from rich.console import Console

    text = io.StringIO()
    print_results(results, Console(file=text, color_system=None, force_terminal=False))
    return "".join(f"{line.rstrip()}\n" for line in text.getvalue().strip("\n").splitlines())


def _shown(result: EvalResult, name: str) -> str | None:
    return f"{result.measures[name]:.4f}" if name in result.measures else None


def _best(results: Sequence[EvalResult]) -> dict[tuple[str, str], float]:
    """(data set, measure) -> the best value shown, where there are several to choose from."""
    shown: dict[tuple[str, str], list[float]] = {}
    for result in results:
        for name in result.measures:
            value = float(_shown(result, name) or "nan")
            shown.setdefault((result.dataset, name), []).append(value)
    return {place: max(values) for place, values in shown.items() if len(values) > 1}


def _flag_lines(results: Sequence[EvalResult]) -> list[str]:
    return [
        f"{result.dataset}, {result.pipeline}: {flag} ({count} queries)"
        for result in results
        for flag, count in result.flags.items()
    ]
