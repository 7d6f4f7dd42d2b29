"""Log lines: one for each record, as JSON or for people, and all of it through the PII filter.

Structlog's loggers are made of those of `logging`, so that whoever listens there sees each record.
"""

import errno
import io
import json
import logging
import logging.config
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, MutableMapping, Set
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from textwrap import indent
from traceback import StackSummary, walk_tb
from typing import Final, TextIO
from uuid import UUID

import structlog
from structlog.dev import (
    Column,
    ConsoleRenderer,
    KeyValueColumnFormatter,
    LogLevelColumnFormatter,
    plain_traceback,
)

from app.core import context
from app.core.config import Settings
from app.core.environment import release_of
from app.observability import is_unlogged, metrics
from app.privacy import get_pii_filter, last_component
from app.privacy.patterns import ONLY_ID
from app.privacy.text import CUT, shorten

log = logging.getLogger(__name__)

FIELDS: Final = (
    *("timestamp", "level", "logger", "message"),
    *("request_id", "tenant_id", "session_id", "operation", "duration_ms", "release"),
)
"""What each line tells, in this order; null as JSON, and left out for people, where unknown."""

STACKS: Final = ("stack", "exception")
"""What a line tells where there is one, and what alone may have line breaks."""

LONGEST: Final = 4_096
"""Characters of a text that are logged: of a message, or of one value."""

MOST_GIVEN: Final = 16_384
"""Characters of all that is logged beside the message; what is beyond is cut."""

DEEPEST: Final = 8
"""Levels of nesting that are logged."""

MOST_FRAMES: Final = 100
"""Calls on a stack that are logged: the first fifth, and the last ones."""

MOST_EXCEPTIONS: Final = 20
"""Exceptions that are logged of one: itself, what led to it, and those of its group."""

OF_RECORDS: Final = frozenset(
    # The last one is uvicorn's message once more, in colours.
    {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName", "color_message"}
)
"""Names that `logging` itself gives a meaning on a record; all others are a caller's."""

_CAUSE = "\nThe above exception was the direct cause of the following exception:\n"
_CONTEXT = "\nDuring handling of the above exception, another exception occurred:\n"
_FRAME = re.compile(r'^(?=  File ")', re.MULTILINE)
_UNUSUAL = re.compile(r"[^\w.\[\]-]", re.ASCII)
_TO_QUOTE = re.compile(r'[\s=]|^"|^$')
_SPELT = str | int | float | date | time_of_day | timedelta | UUID | Decimal | Enum
_LARGEST = 2**63
_LEAST_COST = 8

Event = MutableMapping[str, object]
Render = Callable[[Event], str]

_encode: Final = json.JSONEncoder(allow_nan=False, check_circular=False).encode
"""Writes ASCII alone, which no stream changes and no reader takes for the end of a line."""


# Texts.


def _escape(text: str) -> str:
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def _visible(text: str) -> str:
    """Return a scrubbed text in one line, with a mark for each sign that is no sign to be seen.

    So are line breaks of all kinds, escapes, and what turns the direction of writing.
    """
    if text.isprintable():
        return text
    # What such a sign kept apart, its mark joins: there may be more to be found now.
    return _escape(get_pii_filter().filter_string(_escape(text)))


def _scrub(text: str) -> str:
    """Return a part of a stack without what is private in it; it keeps its line breaks."""
    clean = get_pii_filter().filter_string(text)
    return "\n".join(map(_visible, clean.rstrip("\n").split("\n")))


def _not_logged(what: str, error: Exception) -> str:
    return f"[not logged: {what} ({type(error).__name__})]"


# What a caller gives.


def _spell(value: object) -> str:
    """Return the text of what is no plain data."""
    match value:
        case bytes() | bytearray():
            return value[: 4 * LONGEST].decode("utf-8", "replace")
        case PurePath():
            return last_component(str(value))
        case BaseException():
            return f"{type(value).__name__}: {value}"
    return str(value) if isinstance(value, _SPELT) else repr(value)


class _Copy:
    """One walk over what a caller gives, which makes plain data of it, and ends."""

    def __init__(self) -> None:
        self._left = MOST_GIVEN

    def of(self, value: object, depth: int = 0) -> object:
        """Return what the PII filter can look at; what fails to say what it is, is told as such."""
        self._left -= _LEAST_COST
        if depth > DEEPEST:
            return CUT
        try:
            return self._of(value, depth + 1)
        except Exception as error:
            return _not_logged("a value", error)

    def _of(self, value: object, depth: int) -> object:
        match value:
            case None | bool():
                return value
            case int() | float() if -_LARGEST < value < _LARGEST:  # nor NaN
                return value
            case Mapping():
                return dict(self._items(value, depth))
            case list() | tuple() | Set():
                return list(self._elements(value, depth))
        return self._text(_spell(value))

    def _text(self, text: str) -> str:
        text = shorten(text, LONGEST)
        self._left -= len(text)
        return text

    def _items(self, mapping: Mapping[object, object], depth: int) -> Iterator[tuple[str, object]]:
        for key, value in mapping.items():
            if self._left < 0:
                yield CUT, CUT
                return
            yield str(self.of(key, depth)), self.of(value, depth)

    def _elements(self, values: Collection[object], depth: int) -> Iterator[object]:
        for value in values:
            if self._left < 0:
                yield CUT
                return
            yield self.of(value, depth)


def _shown(value: object) -> object:
    """Return plain data, scrubbed before, with each text in it in one line."""
    match value:
        case str():
            return _visible(value)
        case dict():
            return {_visible(str(key)): _shown(each) for key, each in value.items()}
        case list() | tuple():
            return [_shown(each) for each in value]
        case _:
            return value


def _add(given: Mapping[str, object], event: Event) -> None:
    """Add what a caller gave to a line; a name that the line has got already is not its own."""
    for key, value in given.items():
        name = _UNUSUAL.sub("_", key)
        while name in event or name.casefold() in FIELDS or name.casefold() in STACKS:
            name += "_"
        event[name] = _shown(value)


# Stacks.


def _frames(frames: list[str]) -> Iterator[str]:
    if len(frames) > MOST_FRAMES:
        first = MOST_FRAMES // 5
        left = len(frames) - MOST_FRAMES
        frames = [*frames[:first], f"  [{left} more]", *frames[first - MOST_FRAMES :]]
    return map(_scrub, frames)


def _says(error: BaseException) -> str:
    """Return what an exception is and what it says, as the interpreter writes it."""
    kind = type(error)
    name = kind.__qualname__
    if kind.__module__ not in {"builtins", "__main__"}:
        name = f"{kind.__module__}.{name}"
    try:
        said = str(error)
    except Exception as failure:
        said = _not_logged("what it says", failure)
    notes = getattr(error, "__notes__", None)
    told = [f"{name}: {said}" if said else name, *(notes if isinstance(notes, list) else ())]
    return "\n".join(each for each in told if isinstance(each, str))


def _one(error: BaseException, place: str) -> Iterator[str]:
    if error.__traceback__ is None:
        yield _scrub(f"Not raised, logged at:\n{place}")
    else:
        yield "Traceback (most recent call last):"
        # No variable of a frame is looked at.
        yield from _frames(StackSummary.extract(walk_tb(error.__traceback__)).format())
    yield _scrub(_says(error))


def _all(error: BaseException, place: str, seen: set[int]) -> Iterator[str]:
    """Yield the parts of an exception's text: what led to it, itself, and those of its group.

    Python's own `TracebackException` does not end in reasonable time for groups of groups.
    """
    chain: list[tuple[BaseException, str]] = []
    before: BaseException | None = error
    while before is not None and id(before) not in seen and len(seen) < MOST_EXCEPTIONS:
        seen.add(id(before))
        context = None if before.__suppress_context__ else before.__context__
        link = _CAUSE if before.__cause__ else _CONTEXT if context else ""
        chain.append((before, link))
        before = before.__cause__ or context
    if before is not None:
        yield f"  {CUT}"
    for each, link in reversed(chain):
        if link:
            yield link
        yield from _one(each, place)
        for number, member in enumerate(getattr(each, "exceptions", ()), 1):
            if len(seen) >= MOST_EXCEPTIONS:
                yield f"  {CUT}"
                break
            yield f"  ---- {number} ----"
            yield indent("\n".join(_all(member, place, seen)), "  | ")


def _exception(record: logging.LogRecord) -> str | None:
    """Return the text of a record's exception: its stack, and what it says, without private data."""
    match record.exc_info:
        case (_, BaseException() as error, _):
            pass
        case BaseException() as error:
            pass
        case _:
            return None
    place = f'  File "{record.pathname}", line {record.lineno}, in {record.funcName}'
    try:
        return "\n".join(_all(error, place, set()))
    except Exception as failure:
        return _not_logged("an exception", failure)


def _stack(record: logging.LogRecord) -> str | None:
    """Return the stack of the call itself; its lines of code and paths are data like any other."""
    if not record.stack_info:
        return None
    try:
        return "\n".join(_frames(_FRAME.split(str(record.stack_info))))
    except Exception as failure:
        return _not_logged("a stack", failure)


# Lines.


def _message(record: logging.LogRecord) -> str:
    try:
        return shorten(record.getMessage().rstrip(), LONGEST)
    except Exception as error:
        return _not_logged(f"{record.module}:{record.lineno}", error)


def _describe(operation: context.Operation | None) -> str | None:
    try:
        return operation.describe() if operation else None
    except Exception:
        return None


def _filtered(record: logging.LogRecord, **told: object) -> dict[str, object]:
    """Return what is told of a record, without what is private in it; nothing if that fails."""
    try:
        return get_pii_filter().filter_dict(told)
    except Exception as error:
        place = f"{record.module}:{record.lineno}, the filter failed"
        return {"message": _not_logged(place, error)}


class ScrubbingFormatter(logging.Formatter):
    """Formats a record, and removes from it what the PII filter removes; changes no record."""

    def __init__(self, render: Render = _encode, release: str = "") -> None:
        super().__init__()
        self._render = render
        self.release = release

    def format(self, record: logging.LogRecord) -> str:
        """Format a record; one that can't be formatted is told by its place in the code."""
        try:
            return self._render(self._event(record))
        except Exception as error:
            told = _not_logged(f"{record.module}:{record.lineno}", error)
            place = (record.name, record.levelno, record.pathname, record.lineno)
            return self._render(self._event(logging.LogRecord(*place, told, (), None)))

    def _event(self, record: logging.LogRecord) -> Event:
        operation = context.operation.get()
        request, session = context.current_request_id(), context.current_session()
        given = {name: each for name, each in vars(record).items() if name not in OF_RECORDS}
        clean = _filtered(
            record,
            level=record.levelname.lower(),
            logger=record.name,
            message=_message(record),
            # The id of most requests is of a form that the filter keeps, which takes it a while.
            request="" if ONLY_ID.fullmatch(request) else request,
            tenant=context.current_tenant(),
            operation=_describe(operation),
            given=_Copy().of(given) if given else None,
        )
        text = {name: _visible(each) for name, each in clean.items() if isinstance(each, str)}
        instant = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        event: Event = {
            "timestamp": instant.removesuffix("+00:00") + "Z",
            "level": text.get("level"),
            "logger": text.get("logger"),
            "message": text.get("message"),
            "request_id": request if ONLY_ID.fullmatch(request) else text.get("request") or None,
            "tenant_id": text.get("tenant") or None,
            "session_id": session if ONLY_ID.fullmatch(session) else None,
            "operation": text.get("operation"),
            "duration_ms": operation and _milliseconds_since(operation.started),
            "release": self.release or None,
        }
        if isinstance(found := clean.get("given"), dict):
            _add(found, event)
        stacks = zip(STACKS, (_stack(record), _exception(record)), strict=True)
        event.update((name, each) for name, each in stacks if each is not None)
        return event


def _milliseconds_since(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 1)


def _quoted(value: object) -> str:
    """Write a value so that it can't be taken for two, or for the name of another."""
    text = value if isinstance(value, str) else _compact(value)
    return json.dumps(text, ensure_ascii=False) if _TO_QUOTE.search(text) else text


_compact: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def for_people(colours: bool) -> Render:
    """Return what writes a line for people: what is told, then `name=value`; then the stack."""
    style = ConsoleRenderer.get_default_column_styles(colours)
    levels = ConsoleRenderer.get_default_level_styles(colours)

    def column(value_style: str, name_style: str | None = None) -> KeyValueColumnFormatter:
        return KeyValueColumnFormatter(name_style, value_style, style.reset, value_repr=_quoted)

    columns = [
        Column("timestamp", column(style.timestamp)),
        Column("level", LogLevelColumnFormatter(levels, style.reset)),
        Column("logger", column(style.logger_name)),
        Column("message", lambda _, value: f"{style.bright}{_sentence(value)}{style.reset}"),
        Column("", column(style.kv_value, style.kv_key)),
    ]
    renderer = ConsoleRenderer(
        columns=columns, sort_keys=False, exception_formatter=plain_traceback
    )

    def render(event: Event) -> str:
        stacks = [str(event.pop(name)) for name in STACKS if name in event]
        known = {
            name: value for name, value in event.items() if value is not None or name not in FIELDS
        }
        if stacks:
            # No line of it stands where a record begins.
            known["exception"] = indent("\n".join(stacks), "    ", lambda _: True)
        return str(renderer(None, "", known))

    return render


def _sentence(message: object) -> str:
    """Write a message, in quotes where it might be taken for the values that follow it."""
    return _quoted(message) if "=" in str(message) else str(message)


def _write(text: str, stream: TextIO) -> None:
    # Past the stream's buffer, which would keep what can't be written, fail with it once more at
    # the end of the process, and so change its exit status.
    file = getattr(getattr(stream, "buffer", None), "raw", None)
    if not isinstance(file, io.RawIOBase):
        stream.write(text)
        stream.flush()
        return
    left = text.encode(stream.encoding, "backslashreplace")
    while left:
        written = file.write(left)
        if written is None:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        left = left[written:]


class StandardError(logging.Handler):
    """Writes lines to standard error; one that can't be written is dropped, and counted."""

    _before = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, at once, to what is standard error now."""
        try:
            _write(f"{self._before}{self.format(record)}\n", sys.stderr)
            self._before = ""
        except Exception:
            self._before = "\n"  # a part of it may have been written
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Count what could not be written. Whoever logged is not told: the service goes on."""
        error = sys.exception()
        number = error.errno if isinstance(error, OSError) else None
        reason = errno.errorcode.get(number or 0, type(error).__name__)
        with suppress(Exception):  # the same disk may hold what worker processes count in
            metrics.LOG_LINES_DROPPED.labels(reason).inc()


# The process.


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


def _keep_names_apart(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Rename what `logging` would refuse to put on a record, and raise an error for."""
    for name in event.keys() & OF_RECORDS - {"exc_info", "stack_info"}:
        event[f"{name}_"] = event.pop(name)
    return event


def _renderer(settings: Settings) -> Render:
    wanted = settings.LOG_FORMAT
    if wanted == "auto":
        wanted = "console" if settings.ENVIRONMENT == "development" else "json"
    if wanted == "json":
        return _encode
    on_terminal = sys.stderr is not None and sys.stderr.isatty()
    return for_people(colours=on_terminal and not os.environ.get("NO_COLOR"))


def configure(settings: Settings, release: str = "") -> None:
    """Send what the service and its libraries log, from a level up, to standard error.

    So do warnings, and exceptions that nobody catches: the interpreter would print them as they are.
    Where no release is given, each line names the one that is found out.
    """
    logging.captureWarnings(True)
    logging.raiseExceptions = False  # a handler that fails would print the values of a message
    _log_what_nobody_catches()
    formatter = ScrubbingFormatter(_renderer(settings))
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"line": {"()": lambda: formatter}},
            "handlers": {
                "stderr": {"()": StandardError, "formatter": "line"},
                "nothing": {"class": "logging.NullHandler"},
            },
            "root": {"level": settings.LOG_LEVEL, "handlers": ["stderr"]},
            # The server's own handlers, where it was started by its own command, would log unscrubbed.
            # A request is logged once, by app.api.edge; these two would log its query string.
            "loggers": {
                "uvicorn": {"handlers": [], "propagate": True},
                "uvicorn.error": {"handlers": [], "propagate": True},
                "uvicorn.access": {"handlers": [], "propagate": False},
                "httpx": {"level": "WARNING"},
                # Without one it gives itself one, which prints each statement a second time.
                "sqlalchemy.engine.Engine": {"handlers": ["nothing"]},
            },
        }
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            _keep_names_apart,
            structlog.stdlib.render_to_log_args_and_kwargs,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    formatter.release = _visible(release_of(release, settings.APP_VERSION))  # it may log itself
    # The server logs each exception that reaches it; what a boundary has logged is no news.
    logging.getLogger("uvicorn.error").addFilter(is_unlogged)
