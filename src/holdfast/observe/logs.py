"""Logs for a program that has none set up: one line per event on stderr, for people on a terminal or for machines."""

from __future__ import annotations

import json
import logging
import sys
from typing import Literal

from holdfast.clock import utc
from holdfast.errors import InvalidInput

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
LOGGERS = ("holdfast", "holdfast_sre")
Form = Literal["auto", "json", "console"]


def set_up_logs(*, level: str = "warning", form: Form = "auto") -> None:
    """Send holdfast's logs to stderr. `level`: debug, info, warning or error. `form`: json, console, or by terminal.

    Doing it again replaces what was set up before. Programs with logging of their own need not call this.
    """
    if level not in LEVELS:
        raise InvalidInput(f"log level: expected one of {', '.join(LEVELS)}, saw {level!r}")
    is_console = form == "console" or (form == "auto" and sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s") if is_console else JsonLines())
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(LEVELS[level])
        logger.propagate = False


class JsonLines(logging.Formatter):
    """One JSON object per event: timestamp, level, logger, event, and its facts."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of `record`."""
        facts = getattr(record, "facts", None) or {"event": record.getMessage()}
        head = {"timestamp": utc(record.created).isoformat(), "level": record.levelname.lower(), "logger": record.name}
        if record.exc_info:
            facts = {**facts, "exception": self.formatException(record.exc_info)}
        return json.dumps(head | facts, default=repr, ensure_ascii=False)
