"""One JSON object a line on stderr: what happened, when, under which request id.

Queries, documents and their ids are not in it, unless ``Settings.log_queries`` asks for queries.
"""

from __future__ import annotations

import json
import sys
from typing import Any, TextIO

import structlog

_ENCODER = json.JSONEncoder(default=repr)


def make_log(stream: TextIO | None = None) -> Any:
    """A structlog logger of its own: nothing global is set up."""
    return structlog.wrap_logger(
        structlog.WriteLogger(stream or sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _rendered,
        ],
        wrapper_class=structlog.BoundLogger,
        cache_logger_on_first_use=True,
    )


def log_serving(log: Any, url: str, **facts: Any) -> None:
    """Log where a server listens; whoever reads along at a terminal is told in a plain line."""
    log.info("serving", url=url, **facts)
    if sys.stderr.isatty():
        sys.stderr.write(f"serving at {url}, Ctrl-C stops\n")


def _rendered(_: Any, __: str, event: Any) -> str:
    return _ENCODER.encode(event)
