"""Log lines: one line each, with the request's id, and through the PII filter."""

import logging
import logging.config
import sys
import threading
from datetime import UTC, datetime

from app.core.context import current_request_id
from app.observability import is_news
from app.privacy import get_pii_filter

log = logging.getLogger(__name__)


class ScrubbingFormatter(logging.Formatter):
    """Formats a record and removes from it what the PII filter removes."""

    def __init__(self) -> None:
        super().__init__("{asctime} {levelname} {logger} [{request_id}] {message}", style="{")
        self._filter = get_pii_filter()

    def format(self, record: logging.LogRecord) -> str:
        """Format a record; one that can't be formatted is told by its place in the code."""
        others, record.exc_text = record.exc_text, None  # another formatter's text is unfiltered
        try:
            return super().format(record)
        except Exception as error:
            told = f"[not logged: {record.module}:{record.lineno} ({type(error).__name__})]"
            place = (record.name, record.levelno, record.pathname, record.lineno)
            return super().format(logging.LogRecord(*place, told, (), None))
        finally:
            record.exc_text = others

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        """Give the instant in UTC, to the millisecond (RFC 3339)."""
        instant = datetime.fromtimestamp(record.created, UTC)
        return instant.isoformat(timespec="milliseconds")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Format the first line; a line break in a message must not look like another record."""
        record.request_id = current_request_id() or "-"
        record.logger = self._scrub(record.name)
        record.message = self._scrub(record.message)
        return super().formatMessage(record).replace("\r", "\\r").replace("\n", "\\n")

    def formatException(self, ei: object) -> str:  # noqa: N802 - logging's name
        """Format the stack; its messages and paths are data like any other."""
        return self._scrub(super().formatException(ei))  # type: ignore[arg-type] # typeshed has no public name for the triple

    def formatStack(self, stack_info: str) -> str:  # noqa: N802 - logging's name
        """Format the stack of a call; its lines of code and paths are data like any other."""
        return self._scrub(stack_info)

    def _scrub(self, text: str) -> str:
        # A fault here would have the record printed as it is, or reach whoever logged it.
        try:
            return self._filter.filter_string(text)
        except Exception as error:
            return f"[not logged: the filter failed ({type(error).__name__})]"


def _log_uncaught(what: str, error: BaseException | None) -> None:
    if not isinstance(error, SystemExit):  # a thread may end itself
        log.critical("%s ended with an exception", what, exc_info=error)


def _log_what_nobody_catches() -> None:
    # Only the interpreter's own hooks are replaced: another was put there for its own reason.
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = lambda kind, error, stack: _log_uncaught("the process", error)
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = lambda end: _log_uncaught("a thread", end.exc_value)
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = lambda end: _log_uncaught("a clean-up", end.exc_value)


def configure(level: str) -> None:
    """Send what the service and its libraries log, from a level up, to standard error.

    So do warnings, and exceptions that nobody catches: the interpreter would print them as they are.
    """
    logging.captureWarnings(True)
    logging.raiseExceptions = False  # a handler that fails would print the values of a message
    _log_what_nobody_catches()
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"line": {"()": ScrubbingFormatter}},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
            "root": {"level": level, "handlers": ["stderr"]},
            # The server's own handlers, where it was started by its own command, would log unscrubbed.
            # A request is logged once, by app.api.edge; these two would log its query string.
            "loggers": {
                "uvicorn": {"handlers": [], "propagate": True},
                "uvicorn.error": {"handlers": [], "propagate": True},
                "uvicorn.access": {"handlers": [], "propagate": False},
                "httpx": {"level": "WARNING"},
            },
        }
    )
    # The server logs each exception that reaches it; what a boundary has logged is no news.
    logging.getLogger("uvicorn.error").addFilter(is_news)
