"""``cormorant bench muvera`` beside fast-plaid: the same passages and queries, recall and speed.

Ours is a collection at its default target, and fixed numbers of candidates. fast-plaid is asked at
its defaults and around them, one query a call and all in one call, the faster of which counts. It
needs a version from 1.5 on, over the very torch that it was made for: another ends its process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...documents import JsonObject
from ...indexers.muvera.threads import threads
from ...kernels.maxsim import search, tokens_of
from ...retrieval.collection import Collection
from .muvera_data import Prepared, build
from .muvera_fixed import Fixed, K, asker, mark_best, recall
from .muvera_processes import peer, python, seconds
from .shown import show

if TYPE_CHECKING:
    from rich.console import Console

DOCUMENTS = 20_000
"""Its build over 3,000 took a minute on one thread."""
QUERIES = 32
"""Of those that are timed otherwise: at its defaults fast-plaid answered about one a second."""
CANDIDATES = (64, 128, 256, 512, 1024)
ROUNDS = 3
OURS, THEIRS = "cormorant", "fast-plaid"


def available() -> bool:
    """Whether there is an interpreter that has it."""
    return python("FAST_PLAID", "fast_plaid") is not None


def prepare(data: Prepared, console: Console) -> None:
    """Both indexes, where they are not in the cache."""
    build(data, DOCUMENTS, console)
    numbers = [str(threads()), str(DOCUMENTS)]
    made = peer("FAST_PLAID", "fast_plaid", ["fast-plaid-build", str(data.folder), *numbers])
    console.print(
        f"fast-plaid {made['version']}: an index of {DOCUMENTS:,} documents in "
        f"{made['seconds']:.0f} s, at most {made['peak_mb']:,.0f} MB"
    )


def compared(
    data: Prepared, target: float, console: Console
) -> tuple[list[JsonObject], dict[str, float], dict[str, str]]:
    """The rows, the ratios and fast-plaid's version."""
    tokens, queries = tokens_of(data.vectors, data.starts[: DOCUMENTS + 1]), data.queries[:QUERIES]
    truth = search(queries, tokens, K, threads=threads()).places
    what = f"{DOCUMENTS:,} passages, "
    prepare(data, console)
    with Collection.open(build(data, DOCUMENTS, console), read_only=True) as collection:
        ask = asker(collection)
        found = recall(ask(queries), truth)
        took = float(np.median([seconds(lambda: ask(queries)) for _ in range(ROUNDS)]))
    ours: JsonObject = {
        "system": OURS,
        "setting": f"{what}target_recall={target}",
        "recall@10": found,
        "qps": len(queries) / took,
    }
    fixed = Fixed(tokens, threads()).rows(queries, truth, CANDIDATES, what)
    mark_best(fixed, target)
    np.save(data.folder / "truth.npy", truth)
    numbers = [str(number) for number in (len(queries), threads(), DOCUMENTS)]
    made = peer("FAST_PLAID", "fast_plaid", ["fast-plaid", str(data.folder), *numbers])
    theirs = [row | {"setting": what + row["setting"]} for row in made["rows"]]
    ratios = ratios_of(ours, fixed, theirs, target)
    rows = [ours, *fixed, *theirs]
    if not any(row["recall@10"] >= target for row in theirs):
        console.print(f"no setting of fast-plaid reached {target}: ratio at the most that one did")
    if found < target:
        console.print(f"the default reached {found:.3f} of {DOCUMENTS:,}, not {target}: ratio 0")
    show(rows, ratios, console)
    return rows, ratios, {"fast-plaid": made["version"]}


def ratios_of(
    ours: JsonObject, fixed: Sequence[JsonObject], theirs: Sequence[JsonObject], target: float
) -> dict[str, float]:
    """Ours by default over the fastest of theirs that reached the target, and that reached ours.

    The former is 0 where the default fell short of the target; a ratio is left out where none of
    theirs got there. ``_fixed``: by the best fixed number of candidates, chosen on these queries.
    ``@their_best``: over the fastest of their greatest recall; 0 where ours is less.
    """
    best_of_theirs = max(row["recall@10"] for row in theirs)
    ratios = {"qps_vs_fastplaid@their_best": 0.0}
    if ours["recall@10"] >= best_of_theirs:
        fastest = _fastest(theirs, best_of_theirs)
        ratios["qps_vs_fastplaid@their_best"] = ours["qps"] / fastest
    reached = _fastest(theirs, target)
    if reached:
        enough = ours["recall@10"] >= target
        ratios[f"qps_vs_fastplaid@{target}"] = ours["qps"] / reached if enough else 0.0
        best = _fastest(fixed, target)
        if best:
            ratios[f"qps_vs_fastplaid_fixed@{target}"] = best / reached
    equal = _fastest(theirs, ours["recall@10"])
    if equal:
        ratios["qps_vs_fastplaid@equal"] = ours["qps"] / equal
    return ratios


def _fastest(rows: Sequence[JsonObject], target: float) -> float:
    """Queries a second of the fastest that reached a recall; 0: none did."""
    return max((row["qps"] for row in rows if row["recall@10"] >= target), default=0.0)
