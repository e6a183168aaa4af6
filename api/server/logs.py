"""One JSON object a line on stderr: what happened, when, under which request id.

Queries, documents and their ids are not in it, unless ``Settings.log_queries`` asks for queries.
"""

from __future__ import annotations

import sys
from typing import Any, TextIO

import structlog


def make_log(stream: TextIO | None = None) -> Any:
    """A structlog logger of its own: nothing global is set up."""
    return structlog.wrap_logger(
        structlog.WriteLogger(stream or sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.BoundLogger,
        cache_logger_on_first_use=True,
    )
