"""Structured logging of holdfast's own modules, through the standard library's loggers.

A program that sets nothing up hears warnings on stderr; one that does gets every fact in the record's `facts`. A log
line never gets in the way of what it tells about.
"""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

import structlog


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """The logger `name`: `log.warning("run taken up", run=run_id)`."""
    logger: structlog.stdlib.BoundLogger = structlog.wrap_logger(
        logging.getLogger(name),
        processors=[structlog.stdlib.filter_by_level, _as_record],
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    return logger


def _as_record(
    logger: object, method: str, facts: MutableMapping[str, Any]
) -> tuple[tuple[str], dict[str, dict[str, Any]]]:
    """What the standard logger is called with: the words and facts as text, and the facts by themselves."""
    text = str(facts["event"]) + "".join(f" {name}={value!r}" for name, value in facts.items() if name != "event")
    return (text,), {"extra": {"facts": dict(facts)}}
