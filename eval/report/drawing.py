"""How plots look, and how they become files: SVG and PNG, and for the page SVG in two themes.

Every colour is one of the palette, so that the page's copy can name them as variables, which a
style of its own sets for a light and a dark reader.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...errors import MissingDependencyError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, DIM, LINE, SHEET = "#1b2426", "#5a6668", "#dcdfdc", "#ffffff"
UP, DOWN = "#1d7a3c", "#b0530e"
TONES = ("#0f8080", "#d08a1d", "#5b69c9", "#b8517a", "#6b8f2a", "#7d7770", "#4596c9", "#a3271c")
MARKERS = "os^DvPX"  # seven, so that with eight colours 56 pipelines differ
DASHED = (0, (4, 3))
_DARK = {
    INK: "#e5eaea", DIM: "#9caaac", LINE: "#313b3e", SHEET: "#1a2123",
    UP: "#86d79c", DOWN: "#f2b173",
    **dict(zip(TONES, ("#3fb0aa", "#e0a94a", "#8d9af0", "#e084a8", "#9cc257", "#a8a29a", "#7dc0ea",
                       "#ff9a8d"), strict=True)),
}  # fmt: skip
_SETTINGS = {
    "axes.edgecolor": DIM, "axes.labelcolor": INK, "axes.spines.right": False,
    "axes.spines.top": False, "axes.grid": True, "axes.axisbelow": True, "grid.color": LINE,
    "axes.facecolor": SHEET, "figure.facecolor": SHEET,
    "font.size": 9.0, "legend.frameon": False, "text.color": INK, "xtick.color": DIM,
    "ytick.color": DIM, "xtick.labelcolor": INK, "ytick.labelcolor": INK,
    "text.parse_math": False,  # a pipeline may be called $x$
    "svg.fonttype": "none", "svg.hashsalt": "cormorant",  # the same figure, the same bytes
}  # fmt: skip
_PNG_DPI = 200
LABEL_CHARACTERS = 22


@dataclass(frozen=True, slots=True)
class Plot:
    """``name``: of its files, without an ending; ``caption``: what it shows, in words."""

    name: str
    caption: str
    figure: Figure


@contextmanager
def drawing() -> Iterator[None]:
    """Draw and save inside of it.

    Raises :class:`~cormorant.errors.MissingDependencyError` where matplotlib is absent.
    """
    try:
        from matplotlib import rc_context
    except ImportError:
        raise MissingDependencyError("matplotlib", "report") from None
    with rc_context(_SETTINGS):  # type: ignore[arg-type]
        yield


def new_figure(height: float = 3.0) -> tuple[Figure, Axes]:
    """A figure as wide as a column of the page and a phone's screen, with one pair of axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5, height), layout="constrained")
    return figure, figure.add_subplot()


def colour_of(place: int) -> str:
    """The colour of the pipeline (or stage) at a place; they repeat after eight."""
    return TONES[place % len(TONES)]


def marker_of(place: int) -> str:
    """A second sign beside the colour, for readers who tell colours apart badly."""
    return MARKERS[place % len(MARKERS)]


def label_of(name: str) -> str:
    """A name as short as a plot can hold."""
    return name if len(name) <= LABEL_CHARACTERS else f"{name[: LABEL_CHARACTERS - 1]}\u2026"


def as_svg(figure: Figure) -> str:
    """The same bytes for the same figure."""
    file = io.StringIO()
    metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(file, format="svg", metadata=metadata)
    return file.getvalue()


def as_png(figure: Figure) -> bytes:
    """For documents and slides that take no SVG."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=_PNG_DPI, metadata={"Software": None})
    return file.getvalue()


def themed(svg: str) -> str:
    """As a data URI; its colours follow the reader's light or dark scheme."""
    for light in _DARK:
        svg = svg.replace(f": {light}", f": var(--c{light[1:]})")
    variables = {
        place: "".join(f"--c{light[1:]}:{(light, dark)[place]};" for light, dark in _DARK.items())
        for place in (0, 1)
    }
    style = (
        f"<style>:root{{{variables[0]}}}"
        f"@media screen and (prefers-color-scheme: dark){{:root{{{variables[1]}}}}}</style>"
    )
    svg = svg.replace("<defs>", f"{style}<defs>", 1)
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"
