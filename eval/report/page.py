"""Write the report: ``index.html``, and every plot as SVG and PNG in ``plots/``.

The page asks nothing of any other place, and its own policy bars it from asking: no script, no
style but the one named by its hash, images from within it only. Every text is escaped by the
template; the style sheet alone is not.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ...documents import JsonObject
from ..averages import averages
from ..grids import Grid, comparisons_grid, results_grid, summary_grid
from ..result import check_file_word
from ..significance import Against
from ..textfiles import prepare_folder, storage_error, write_lines
from .contrasts import Contrast
from .drawing import Plot, as_png, as_svg, drawing, themed
from .plots import Point, deltas, recall_depth, stages, trade_off
from .section import Section

if TYPE_CHECKING:
    from jinja2 import Template

_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class _Image:
    """A plot on the page; ``uri`` holds all of it."""

    file: str
    caption: str
    uri: str


class _Part(NamedTuple):
    """What the template shows of one data set."""

    name: str
    queries: int
    grids: list[Grid]
    images: list[_Image]
    contrasts: dict[str, list[Contrast]]


def prepare_report(folder: str | Path, names: Iterable[str]) -> None:
    """Make the folder, and make sure that the report can be written, before anything is measured.

    ``names``: of data sets and pipelines, which the plots' files are named after. Raises
    :class:`~cormorant.errors.InputError` for a name no file can have,
    :class:`~cormorant.errors.MissingDependencyError` without matplotlib and
    :class:`~cormorant.errors.StorageError` for a folder that cannot be.
    """
    for name in names:
        check_file_word(name)
    with drawing():
        pass
    prepare_folder(Path(folder) / "plots")


def write_report(
    folder: str | Path,
    sections: Sequence[Section],
    against: Against,
    environment: JsonObject,
    beside: Sequence[Grid] = (),
) -> Path:
    """Write the page and its plots; returns the page's path.

    ``against``: every pipeline compared with the baseline, on every section; the first measure of
    the results is the one that is plotted. ``beside``: what :mod:`~cormorant.eval.beside` adds.
    """
    results = [result for section in sections for result in section.results]
    measure = next(iter(results[0].measures))
    places = {name: place for place, name in enumerate(dict.fromkeys(r.pipeline for r in results))}
    summary = []
    if len(sections) > 1:
        summary = [summary_grid([*results, *averages(results)], measure, against)]
    with drawing():
        parts = [_part(Path(folder), one, measure, against, places) for one in sections]
    style = (_HERE / "page.css").read_text("utf-8")
    page = _template().render(
        baseline=against.baseline,
        measure=measure,
        summary=[*summary, *beside],
        parts=parts,
        environment=list(_flat(environment)),
        date=environment["date"],
        style=style,
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
    )
    path = Path(folder) / "index.html"
    write_lines(path, page.split("\n"))
    return path


def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    made = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return made.from_string((_HERE / "page.html").read_text("utf-8"))


def _part(
    folder: Path, section: Section, measure: str, against: Against, places: Mapping[str, int]
) -> _Part:
    name = section.dataset.name
    own = tuple(one for one in against.comparisons if one.dataset == name)
    grids = [results_grid(section.results, against)]
    if own:
        grids += [comparisons_grid(Against(against.baseline, own))]
    images = [
        _save(folder / "plots", name, plot) for plot in _plots(section, measure, against, places)
    ]
    shown = {pipeline: found for pipeline, found in section.contrasts.items() if found}
    return _Part(name, section.results[0].queries, grids, images, shown)


def _plots(
    section: Section, measure: str, against: Against, places: Mapping[str, int]
) -> Iterator[Plot]:
    results = {result.pipeline: result for result in section.results}
    speed = [
        Point(name, result.latency_ms.get("p50", 0.0), result.measures[measure])
        for name, result in results.items()
    ]
    size = [
        Point(name, result.cost.index_bytes / 1e6, result.measures[measure])
        for name, result in results.items()
        if result.cost is not None
    ]
    drawn = [
        trade_off("latency", speed, "median latency, ms", measure, places),
        trade_off("size", size, "index size, MB", measure, places),
        stages(section.stages_ms),
        recall_depth(section.results, section.dataset.qrels, places),
    ]
    yield from (plot for plot in drawn if plot is not None)
    for other in section.results:
        compared = against.of(other)
        if measure in compared:
            yield deltas(compared[measure], results[against.baseline], other)


def _save(folder: Path, dataset: str, plot: Plot) -> _Image:
    stem, svg = f"{dataset}.{plot.name}", as_svg(plot.figure)
    try:
        (folder / f"{stem}.svg").write_text(svg, "utf-8")
        (folder / f"{stem}.png").write_bytes(as_png(plot.figure))
    except OSError as error:
        raise storage_error(folder / stem, error) from None
    return _Image(stem, plot.caption, themed(svg))


def _flat(value: object, name: str = "") -> Iterator[tuple[str, str]]:
    """(name, content) of everything in a JSON object; nested names are joined by spaces."""
    if isinstance(value, Mapping):
        for key, content in value.items():
            yield from _flat(content, f"{name} {key}".strip())
    elif isinstance(value, list | tuple):
        yield name, " ".join(map(str, value))
    else:
        yield name, str(value)
