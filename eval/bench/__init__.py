"""Benchmarks: ours and a named peer, on the same data, in one run.

One line in ``BENCHES`` adds one: a name and the function that runs it.
"""

from __future__ import annotations

import datetime
import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ...documents import JsonObject
from ...errors import InputError, UnknownNameError
from ..environment import environment

if TYPE_CHECKING:
    from rich.console import Console

BENCHES: dict[str, str] = {
    "bm25": "cormorant.eval.bench.bm25:bench",
    "cluster": "cormorant.eval.bench.cluster:bench",
    "cur": "cormorant.eval.bench.cur:bench",
    "dense": "cormorant.eval.bench.dense:bench",
    "drafting": "cormorant.eval.bench.drafting:bench",
    "fusion": "cormorant.eval.bench.fusion:bench",
    "listwise": "cormorant.eval.bench.listwise:bench",
    "maxsim": "cormorant.eval.bench.maxsim:bench",
    "muvera": "cormorant.eval.bench.muvera:bench",
    "sparse": "cormorant.eval.bench.sparse:bench",
    "sparse-latency": "cormorant.eval.bench.sparse_latency:bench",
    "serve": "cormorant.eval.bench.serve:bench",
    "spann": "cormorant.eval.bench.spann:bench",
}


WITH_MODEL = ("cur", "drafting", "listwise", "sparse-latency")
"""Those that measure a model of the caller's."""


def run_bench(
    name: str,
    *,
    full: bool,
    prepare: bool,
    corpus: Path | None,
    model: str | None,
    console: Console,
) -> JsonObject | None:
    """Run a benchmark and return what ``--json`` writes; None after a mere ``--prepare``.

    ``{"bench": NAME, "rows": [{"system", "setting", metric: value}], "ratios": {...},
    "environment": {...}}``. A ratio above 1 is better for us.
    """
    if name not in BENCHES:
        raise UnknownNameError(f"there is no benchmark {name!r}; there are: {', '.join(BENCHES)}")
    module, _, function = BENCHES[name].partition(":")
    home = importlib.import_module(module)
    if prepare:
        if hasattr(home, "prepare"):  # vectors and collections that take minutes to make
            given = {"model": model} if name == "cur" else {}
            home.prepare(full=full, corpus=corpus, console=console, **given)
        return None
    run = getattr(home, function)
    if name in WITH_MODEL:
        rows, ratios, packages = run(full=full, corpus=corpus, model=model, console=console)
    elif model is not None:
        raise InputError(f"is for {', '.join(WITH_MODEL)}, not for {name}", field="--model")
    else:
        rows, ratios, packages = run(full=full, corpus=corpus, console=console)
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    record = environment(sys.argv, now)
    record["packages"] |= packages
    return {"bench": name, "rows": rows, "ratios": ratios, "environment": record}
