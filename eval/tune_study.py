"""The search for the best pipeline: Optuna's tree-structured Parzen estimator, seeded.

Only the measure decides where it looks next; a latency only says whether a pipeline is within the
limit. So without a limit the same seed tries the same pipelines, and with one it does as long as
no pipeline's latency falls on the other side of the limit than before. ``minutes`` end the same
sequence where the clock says.

Bergstra, Bardenet, Bengio and Kégl, "Algorithms for Hyper-Parameter Optimization", NIPS 2011.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..documents import JsonObject
from ..errors import InputError, MissingDependencyError
from ..retrieval.pipeline import Pipeline
from .pareto import pareto_front
from .progress import Progress, silent
from .tune_space import Space

if TYPE_CHECKING:
    import optuna

    from .tune_trials import Trials


class Tried(NamedTuple):
    """A pipeline, the measure's mean over the tuning queries, and its latency."""

    pipeline: Pipeline
    value: float
    latency_ms: float

    def as_json(self) -> JsonObject:
        """As ``tune --json`` writes it."""
        pipeline = self.pipeline.as_json()
        return {"value": self.value, "latency_ms": self.latency_ms, "pipeline": pipeline}


class Study(NamedTuple):
    """How long to search and by which seed, and the most milliseconds a pipeline may take."""

    trials: int
    minutes: float | None = None
    seed: int = 0
    max_latency_ms: float | None = None

    def search(
        self,
        space: Space,
        worth: Callable[[Pipeline], float],
        latency: Callable[[Pipeline], float],
        what: str,
        progress: Progress = silent,
        trials: Trials | None = None,
    ) -> list[Tried]:
        """Every pipeline that was tried, each once, in order, the one to start from first.

        Those that ``trials`` knows from a search of this name (``what``) are not tried again.
        """
        tried: dict[Pipeline, Tried] = {}

        def look(pipeline: Pipeline) -> Tried:
            if pipeline not in tried:
                found = None if trials is None else trials.known(what, pipeline)
                if found is None:
                    found = Tried(pipeline, worth(pipeline), latency(pipeline))
                    if trials is not None:
                        trials.keep(what, found)
                tried[pipeline] = found
            return tried[pipeline]

        def objective(trial: optuna.Trial) -> float:
            found = look(space.suggest(trial))
            # Which side it is on, not how far: an exact time is never twice the same.
            trial.set_constraint("latency", -1.0 if self.allows(found) else 1.0)
            progress(what, trial.number + 1, self.trials)
            return found.value

        look(space.start)
        optuna = imported_optuna()
        study = optuna.create_study(
            direction="maximize", sampler=optuna.samplers.TPESampler(seed=self.seed)
        )
        seconds = None if self.minutes is None else self.minutes * 60
        study.optimize(objective, n_trials=self.trials, timeout=seconds)
        return list(tried.values())

    def allows(self, tried: Tried) -> bool:
        """Whether a pipeline is fast enough."""
        return self.max_latency_ms is None or tried.latency_ms <= self.max_latency_ms

    def best(self, tried: Sequence[Tried]) -> Tried:
        """The best that is fast enough; of equal ones the first.

        Raises :class:`~cormorant.errors.InputError` where none is.
        """
        fast = [one for one in tried if self.allows(one)]
        if not fast:
            least = min(one.latency_ms for one in tried)
            raise InputError(
                f"no pipeline that was tried answers within {self.max_latency_ms:g} ms; the "
                f"fastest takes {least:.2f} ms",
                field="--max-latency-ms",
            )
        return max(fast, key=lambda one: one.value)


def front(tried: Sequence[Tried]) -> list[Tried]:
    """Those that none other beats in both respects, the fastest first."""
    places = pareto_front([one.latency_ms for one in tried], [one.value for one in tried])
    return [tried[place] for place in places]


def imported_optuna() -> Any:
    """The package that chooses what to try next.

    Raises :class:`~cormorant.errors.MissingDependencyError` where it is absent.
    """
    try:
        import optuna
    except ImportError:
        raise MissingDependencyError("optuna", "tune") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
