"""What a server is given: arguments, or environment variables that begin with ``CORMORANT_``."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field, PositiveInt
from pydantic_settings import BaseSettings, SettingsConfigDict

from .limits import Limits


def _threads() -> int:
    return max(2, min(16, os.cpu_count() or 2))


class Settings(BaseSettings):
    """The settings of one server.

    ``collections`` are opened as they are; ``root`` is a folder in which collections are found,
    created and dropped. Without a ``keys`` file every caller may do everything, so ``cormorant
    serve`` then binds to loopback only. A request may name no models but ``models``, ``rerankers``
    and, where a language model is asked for, ``language_models``.
    """

    model_config = SettingsConfigDict(
        env_prefix="CORMORANT_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    collections: tuple[Path, ...] = ()
    root: Path | None = None
    keys: Path | None = None
    read_only: bool = False
    limits: Limits = Limits()
    threads: PositiveInt = Field(default_factory=_threads)
    """Searches, reranks and encodings that run at once; one more thread writes."""
    queue: PositiveInt = 256
    """Requests that may wait for a thread; one more is answered with 429."""
    write_queue: PositiveInt = 32
    batch: PositiveInt = 64
    """Concurrent searches that differ in nothing but the query run together, up to so many."""
    batch_wait_ms: float = Field(default=2.0, ge=0, le=100)
    """How long a search waits for company, and only where the last one had some."""
    ray_address: str | None = None
    """Of the Ray on which the shards of served clusters run; None: in this process."""
    models: tuple[str, ...] = ()
    rerankers: tuple[str, ...] = ()
    """Cross-encoders: folders, or names in the hub's cache."""
    language_models: tuple[str, ...] = ()
    """What writes answers, and ranks or rewrites in pipelines: folders or names of local models,
    ``openai:NAME``; the first is the default of answers."""
    answers: PositiveInt = 2
    """Answers that are written at once, beside the searches."""
    trusted_hosts: tuple[str, ...] | None = None
    """The names a request's Host may have; None: any. Guards a keyless server against rebinding."""
    log_queries: bool = False
    warm: bool = True
    """Search every collection once before ``/readyz`` says yes."""
    shutdown_seconds: PositiveInt = 30
