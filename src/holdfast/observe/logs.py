"""Structured logs: one line per event, to stderr, readable by people on a terminal and by machines elsewhere."""

from __future__ import annotations

import logging
import sys
from typing import Literal

import structlog

from holdfast.errors import InvalidInput

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
Form = Literal["auto", "json", "console"]


def set_up_logs(*, level: str = "warning", form: Form = "auto") -> None:
    """Send holdfast's logs to stderr. `level`: debug, info, warning or error. `form`: json, console, or by terminal."""
    if level not in LEVELS:
        raise InvalidInput(f"log level: expected one of {', '.join(LEVELS)}, saw {level!r}")
    is_console = form == "console" or (form == "auto" and sys.stderr.isatty())
    renderer = structlog.dev.ConsoleRenderer() if is_console else structlog.processors.JSONRenderer(sort_keys=True)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.dict_tracebacks,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
