"""The shards of one collection as the process that has the cluster open holds them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from ...documents import JsonObject
from ...errors import DeadlineError, ReadOnlyError
from ...indexers.chunking import Chunking
from ...indexers.table import index_settings
from ..deadline import Deadline
from .gate import Gate
from .gathering import Gathering
from .layout import CollectionLayout, ShardState
from .leases import Facts, Pin
from .limits import Limits
from .placement import shard_of
from .remote import NamedIndex, encoder_of
from .replicas import Replicas
from .routing import Routing
from .starting import stop
from .turns import Turn

_THREADS = 64
T = TypeVar("T")


class Router:
    """Knows the shards and asks them: some or all, for a search, a write, or care.

    ``writing`` is held by whoever changes something: one write at a time goes to the shards, so
    that all replicas see all writes in one order. ``gate`` is passed by whoever pins versions.
    """

    def __init__(
        self,
        path: Path,
        layout: CollectionLayout,
        shards: Sequence[Replicas],
        save: Callable[[CollectionLayout], None],
        limits: Limits,
    ) -> None:
        self.path = path
        self.layout = layout
        self.shards = list(shards)
        self.gate = Gate()
        self.limits = limits
        self.writing = Turn(limits.write_seconds)
        self.closed = False
        self.chunking = None if layout.chunk is None else Chunking(**layout.chunk)
        self.named: dict[str, NamedIndex] = {}
        self.routing = Routing()
        self.name_indexes()
        self.encoders = self.known_encoders()
        self._save = save
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix=f"collection {path.name}")

    def close(self) -> None:
        """Close every shard. Closing twice is fine."""
        with self.writing.lock:
            if self.closed:
                return
            self.closed = True
            try:
                self.map(lambda shard: stop(shard.members), self.shards)
            finally:
                self._threads.shutdown()

    def check_open(self) -> None:
        """Raise :class:`~cormorant.errors.ReadOnlyError` once it is closed."""
        if self.closed:
            raise ReadOnlyError(f"{self.path} is closed; open it again")

    # -- reading ----------------------------------------------------------------------------

    @property
    def serving(self) -> list[Replicas]:
        """The shards that searches ask; those that are being filled are not among them."""
        return self.shards[: self.layout.n_shards]

    def ask_for(self, id: str, method: str, *args: Any) -> Any:
        """What the shard of a document answers; the document does not move meanwhile."""
        self.check_open()
        with self.gate.passing(self.limits.read_seconds * 1000):
            return self.shards[shard_of(id, self.layout.n_shards)].ask(method, *args)

    def map(self, function: Callable[[Replicas], T], shards: Sequence[Replicas]) -> list[T]:
        """A function of each of some shards, at the same time."""
        return list(self._threads.map(function, shards))

    def ask_everyone(self, method: str, *args: Any) -> list[Any]:
        """What every replica that is up answers, of every shard."""
        found = self.map(lambda shard: shard.ask_each(method, *args), self.shards)
        return [answer for replicas in found for _, answer in replicas]

    @contextmanager
    def gathered(
        self, pin: Pin, without: Collection[int] = ()
    ) -> Iterator[tuple[Gathering, dict[int, Facts]]]:
        """One version of every shard but those to do ``without``, for the length of the block."""
        gathering, facts = self.gather(pin, Deadline(), {}, without)
        try:
            yield gathering, facts
        finally:
            gathering.release()

    def gather(
        self,
        pin: Pin,
        deadline: Deadline,
        terms: Mapping[str, Sequence[Any]],
        without: Collection[int],
    ) -> tuple[Gathering, dict[int, Facts]]:
        """Pin a version in every shard but those to do ``without``; ``terms``: see ``Shard.pin``.

        To be released by the caller.
        """
        self.check_open()
        with self.gate.passing(deadline.left_ms):
            asked = [shard for shard in self.serving if shard.shard not in without]
            gathering = Gathering(asked, pin, deadline)
            try:
                return gathering, gathering.pin(terms)
            except BaseException:
                gathering.release()
                raise

    # -- writing ----------------------------------------------------------------------------

    def write(self, parts: Mapping[int, tuple[Any, ...]]) -> dict[int, Any]:
        """A numbered write to some shards, noted before it returns or raises; by shard its result.

        The caller holds ``writing``.
        """
        self.check_open()
        return self._noted(
            {
                shard: self._threads.submit(self.shards[shard].write_to_all, *args)
                for shard, args in parts.items()
            }
        )

    def on_shards(self, method: str, *args: Any) -> dict[int, Any]:
        """The same for what has no number, on every shard."""
        return self._noted(
            {
                shard.shard: self._threads.submit(shard.run_on_all, method, *args)
                for shard in self.shards
            }
        )

    def look_after(self, method: str) -> None:
        """What changes no document, in every shard; writes and searches go on meanwhile."""
        calls = [(shard, shard.look_after(method)) for shard in self.shards]
        for shard, own in calls:
            shard.looked_after(own)

    def _noted(self, results: Mapping[int, Future[Any]]) -> dict[int, Any]:
        try:
            wait(results.values())
        finally:  # an interrupt ends no write under way: the next one must not overtake it
            wait(results.values())
            self.note_shards()
        errors = {shard: result.exception() for shard, result in results.items()}
        late = [shard for shard, error in errors.items() if isinstance(error, DeadlineError)]
        if late:
            done = [shard for shard, error in errors.items() if error is None]
            told = "; ".join(str(errors[shard]) for shard in late)
            raise DeadlineError(
                f"{told}; shard {', '.join(map(str, done)) or 'none'} has its part. Each has it "
                "whole or not at all: give it again later, or call cluster.repair() before, which "
                "ends what stalls"
            )
        return {shard: result.result() for shard, result in results.items()}

    def note_shards(self) -> None:
        """Note what the shards have, where it is not what was noted last."""
        states = tuple(
            ShardState(shard.write, tuple(item.in_step for item in shard.members))
            for shard in self.shards
        )
        if states != self.layout.shards:
            self.note(replace(self.layout, shards=states))

    def note(self, layout: CollectionLayout) -> None:
        """Make a layout durable, then go by it."""
        self._save(layout)
        self.layout = layout

    def name_indexes(self) -> None:
        """Make the indexes that the layout names; those that are there stay as they are."""
        named = {}
        for name, entry in self.layout.indexes.items():
            settings = index_settings(entry["settings"])
            known = self.named.get(name)
            if known is None or known.settings != settings:
                known = NamedIndex(name, settings, settings.index(), entry["since"])
            named[name] = known
        self.named = named
        self.routing.keep(named)

    def drop_unnamed_indexes(self) -> None:
        """Drop what a kill left of an index that was being added, or dropped."""
        with self.writing:
            statuses = self.map(lambda shard: shard.ask("status"), self.shards)
            there = {name for status in statuses for name in status.indexes}
            for name in there - self.named.keys():
                self.on_shards("drop_index", name)

    def in_order(self) -> list[NamedIndex]:
        """The indexes, the oldest first."""
        return sorted(self.named.values(), key=lambda item: (item.since, item.name))

    def places(self, id: str) -> set[int]:
        """Where a document is written: its shard, and where it moves to while shards are filled."""
        places = {shard_of(id, self.layout.n_shards)}
        if self.layout.growth is not None:
            places.add(shard_of(id, self.layout.growth.to))
        return places

    def by_shard(self, ids: Iterable[str]) -> dict[int, list[int]]:
        """By shard, which of the ids (their numbers, ascending) are written there."""
        placed: defaultdict[int, list[int]] = defaultdict(list)
        for number, id in enumerate(ids):
            for shard in self.places(id):
                placed[shard].append(number)
        return placed

    def learn_encoders(self) -> None:
        """Go by what the shards have recorded, unless a write may come yet that has more.

        The caller holds ``writing``.
        """
        if all(shard.settle() for shard in self.shards):
            self.encoders = self.known_encoders()

    def known_encoders(self) -> dict[str, JsonObject | None]:
        """By index what all shards together have recorded of its encoder."""
        statuses = [shard.ask("status") for shard in self.shards]
        return {
            name: encoder_of(name, [status.encoders.get(name) for status in statuses])
            for name in self.named
        }
