"""Log lines: one line each, with the request's id, and through the PII filter."""

import logging
import logging.config
from datetime import UTC, datetime

from app.core.request_id import current_request_id
from app.privacy import get_pii_filter


class ScrubbingFormatter(logging.Formatter):
    """Formats a record and removes from it what the PII filter removes."""

    def __init__(self) -> None:
        super().__init__("{asctime} {levelname} {name} [{request_id}] {message}", style="{")
        self._filter = get_pii_filter()

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        """Give the instant in UTC, to the millisecond (RFC 3339)."""
        instant = datetime.fromtimestamp(record.created, UTC)
        return instant.isoformat(timespec="milliseconds")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Format the first line; a line break in a message must not look like another record."""
        record.request_id = current_request_id() or "-"
        record.message = self._scrub(record.message)
        return super().formatMessage(record).replace("\r", "\\r").replace("\n", "\\n")

    def formatException(self, ei: object) -> str:  # noqa: N802 - logging's name
        """Format the stack; its messages and paths are data like any other."""
        return self._scrub(super().formatException(ei))  # type: ignore[arg-type] # typeshed has no public name for the triple

    def _scrub(self, text: str) -> str:
        # A fault here would have the record printed as it is, or reach whoever logged it.
        try:
            return self._filter.filter_string(text)
        except Exception as error:
            return f"[not logged: the filter failed ({type(error).__name__})]"


def configure(level: str) -> None:
    """Send what the service and its libraries log, from a level up, to standard error."""
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
