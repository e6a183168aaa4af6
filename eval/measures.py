"""Every figure of merit, computed by ir_measures (trec_eval underneath).

Four holes are closed here, once:

* trec_eval ignores the rank and sorts by score, held as a 32-bit float, with ties by descending
  document id. Runs are handed to it with scores made from the places (n, n-1, ... 1), so that the
  order measured is the run's own.
* Which of ir_measures' engines computes a measure may depend on what else is installed. Ours are
  named, and all come with ir_measures itself.
* A query whose grades are all negative ends the process inside trec_eval, or never ends. Queries
  without a relevant document are not handed to it.
* A cut-off of 0 ends the process inside trec_eval. Measures are checked, and tried on a toy,
  before any work is done with them.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import InputError

if TYPE_CHECKING:
    from ir_measures import Measure, Provider

DEFAULT_MEASURES = ("nDCG@10", "R@100", "RR@10", "AP@100")
EXAMPLES = ("nDCG@10", "R@100", "AP", "AP(rel=2)@100", "RR@10", "P@5", "Success@5", "Judged@10")
ENGINES = ("pytrec_eval", "msmarco", "judged", "accuracy", "compat")
MAX_PARAMETER = 1_000_000

_MEASURE = re.compile(r"(?P<name>\w+)(?:\((?P<parameters>[^()]*)\))?(?:@(?P<at>[0-9.]+))?")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a run is worth.

    ``means``: measure -> mean over the queries with at least one positive judgement (the sum, for
    measures that count, such as NumRet). ``per_query``: query id -> measure -> value, for the same
    queries, in the order of the qrels. Measures are written as ir_measures prints them.
    """

    means: dict[str, float]
    per_query: dict[str, dict[str, float]]


def judged_queries(qrels: Mapping[str, Mapping[str, int]]) -> list[str]:
    """The queries that means are taken over: those with at least one positive judgement."""
    return [query for query, judged in qrels.items() if any(grade > 0 for grade in judged.values())]


def measure_names(measures: Sequence[str]) -> tuple[str, ...]:
    """The measures' own names, each once: ``MRR@10`` is ``RR@10``.

    Raises :class:`~cormorant.errors.InputError`, listing examples, for one that is not known,
    not written as ``name(parameter=value)@cutoff``, or not computed here.
    """
    return tuple(_parsed(measures))


def depth(measures: Sequence[str], at_least: int = 1) -> int:
    """How many hits a query needs for these measures: the deepest cut-off.

    A measure without a cut-off (``AP``) asks for no more than ``at_least``.
    """
    parsed = _parsed(measures).values()
    return max([at_least, *(int(measure.params.get("cutoff", 1)) for measure in parsed)])


def evaluate(
    measures: Sequence[str],
    qrels: Mapping[str, Mapping[str, int]],
    run: Mapping[str, Sequence[tuple[str, float]]],
) -> Evaluation:
    """Measure a run: query id -> [(document id, score)], best first.

    The order of the hits counts, not their scores. Queries without a positive judgement are left
    out, queries of the run that are not judged too; a judged query that the run lacks, or has no
    hit for, counts as 0 (with NumRel, too, which trec_eval -c counts whole). nDCG is trec_eval's:
    gain = grade (none for negative grades), discount log2(rank + 1). An unjudged document is not
    relevant. A document whose id equals the query's is a hit like any other.

    Raises :class:`~cormorant.errors.InputError`: no measure, an unknown one, no query with a
    positive judgement, a document that occurs twice in one ranking.
    """
    parsed = _parsed(measures)
    queries = judged_queries(qrels)
    if not queries:
        raise InputError("no query has a positive judgement, so there is nothing to measure")
    judged = {query: dict(qrels[query]) for query in queries}
    places = {query: _places(query, run[query]) for query in queries if run.get(query)}
    per_query: dict[str, dict[str, float]] = {
        query: dict.fromkeys(parsed, 0.0) for query in queries
    }
    # One engine a measure: given several, ir_measures 0.4.3 can compute nDCG@10 with the gains of
    # nDCG(gains={1:5})@3, depending on Python's hash seed.
    for name, measure in parsed.items():
        for metric in _engine().evaluator([measure], judged).iter_calc(places):
            per_query[metric.query_id][name] = float(metric.value)
    means = {}
    for name, measure in parsed.items():
        aggregator = measure.aggregator()
        for query in queries:
            aggregator.add(per_query[query][name])
        means[name] = float(aggregator.result())
    return Evaluation(means, per_query)


def _places(query: str, hits: Sequence[tuple[str, float]]) -> dict[str, float]:
    places = {document: float(len(hits) - place) for place, (document, _) in enumerate(hits)}
    if len(places) != len(hits):
        seen: set[str] = set()
        twice = next(name for name, _ in hits if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise InputError(f"the document {twice!r} occurs twice in the ranking of query {query!r}")
    return places


def _parsed(measures: Sequence[str]) -> dict[str, Measure]:
    if isinstance(measures, str) or not measures:
        raise InputError(f"expected a list of measures such as {', '.join(EXAMPLES)}")
    parsed = [_parse(text) for text in measures]
    return {str(measure): measure for measure in parsed}


def _parse(text: str) -> Measure:
    """One measure; ir_measures' own parser needs ``ast.Num``, which Python 3.14 no longer has."""
    from ir_measures import measures as known

    match = _MEASURE.fullmatch(text)
    if match is None:
        raise _unknown(text, "it is not written as name(parameter=value)@cutoff")
    registered: Any = known.registry.get(match["name"])
    if registered is None:
        raise _unknown(text, f"{match['name']!r} is not a measure")
    try:
        parameters = _parameters(match["parameters"] or "")
        if match["at"]:
            parameters[registered.AT_PARAM] = ast.literal_eval(match["at"])
        made: Any = registered(**parameters)
        made.validate_params()
    except (AssertionError, SyntaxError, TypeError, ValueError) as error:
        raise _unknown(text, str(error)) from None
    measure: Measure = made
    for name, value in measure.params.items():
        if not _usable(value):
            raise _unknown(text, f"{name}={value!r} is out of range")
    _try(text, measure)
    return measure


def _parameters(text: str) -> dict[str, Any]:
    call = ast.parse(f"f({text})", mode="eval").body
    if not isinstance(call, ast.Call) or call.args or any(not word.arg for word in call.keywords):
        raise ValueError("parameters are written as name=value")
    return {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}


def _usable(value: object) -> bool:
    """Whether trec_eval survives it: it reads cut-offs and grades into C integers unchecked."""
    if isinstance(value, dict):
        numbers = [*value.keys(), *value.values()]
        return all(isinstance(number, int) and abs(number) <= MAX_PARAMETER for number in numbers)
    if isinstance(value, bool | str):
        return True
    if isinstance(value, int):
        return 1 <= value <= MAX_PARAMETER
    return isinstance(value, float) and math.isfinite(value) and value >= 0.0


def _try(text: str, measure: Measure) -> None:
    try:
        evaluator = _engine().evaluator([measure], {"q": {"d": 1}})
        evaluator.calc_aggregate({"q": {"d": 1.0}})
    except (AssertionError, KeyError, RuntimeError, TypeError, ValueError):
        raise _unknown(text, "it is not computed here with these parameters") from None


def _engine() -> Provider:
    from ir_measures import providers

    fallback: Any = providers.FallbackProvider
    engine: Provider = fallback([providers.registry[name] for name in ENGINES])
    return engine


def _unknown(text: str, reason: str) -> InputError:
    return InputError(f"unknown measure {text!r}: {reason}; such as {', '.join(EXAMPLES)}")
