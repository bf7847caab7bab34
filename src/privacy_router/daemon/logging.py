"""What the daemon says of itself: one line an event, and the trace of a defect, on stderr."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from structlog.typing import EventDict, WrappedLogger


def set_up_logging(*, verbose: bool) -> None:
    """Log to stderr; structlog's own renderer would load all of rich for a line of text."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%Y-%m-%d %H:%M:%S", utc=True),
            structlog.processors.format_exc_info,
            _line,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.DEBUG if verbose else logging.INFO
        ),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )


def _line(_: WrappedLogger, __: str, event: EventDict) -> str:
    head = f"{event.pop('timestamp')} [{event.pop('level'):<7}] {event.pop('event')}"
    trace = event.pop("exception", "")
    rest = " ".join(f"{key}={_plain(value)}" for key, value in sorted(event.items()))
    line = f"{head}  {rest}" if rest else head
    return f"{line}\n{trace}" if trace else line


def _plain(value: object) -> str:
    """A value, quoted where it would run into the next one."""
    text = str(value)
    return text if text and " " not in text and text.isprintable() else repr(text)
