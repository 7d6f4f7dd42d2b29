"""Structure: what of an event is its own shape, and so may leave in strict mode.

An allow-list. Each key of each part names the check that its value must pass; a key that is not
here, and a value that does not pass, stays behind.
"""

import re
import sys
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from app.privacy import is_absolute, last_component, scrub, scrub_string

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"
Check = Callable[[object], JSON]
"""Returns the value that may leave; None if none may."""


def identifier(value: object) -> str | None:
    """Keep an id of 32 hexadecimal digits, or of those with a UUID's dashes."""
    return value if isinstance(value, str) and _ID.fullmatch(value) else None


def span_identifier(value: object) -> str | None:
    """Keep an id of 16 hexadecimal digits."""
    return value if isinstance(value, str) and _SPAN_ID.fullmatch(value) else None


def own_tag(name: object, value: object) -> str | None:
    """Return one of the service's own tags as it may leave; nothing for any other tag or form.

    The name of a tenant is a name however much it looks like a token (`key-customers`), and an id
    is an id however much it looks like an account: they lead from a report to its tenant and to
    the log. What else a caller sends as the id of its request is filtered as any text is.
    """
    if not isinstance(value, str):
        return None
    if name == "tenant_id":
        return value if _TENANT.fullmatch(value) else None
    if name == "request_id" and _REQUEST.fullmatch(value):
        return identifier(value) or scrub_string(value)
    return None


def number(value: object) -> JSON:
    """Keep a number that is no identifier: a count, a size, a duration, a status."""
    return value if isinstance(value, int | float) and abs(value) < _LARGEST else None


def timestamp(value: object) -> JSON:
    """Keep a point in time, as seconds or as RFC 3339."""
    if isinstance(value, str):
        return value if _TIME.fullmatch(value) else None
    return number(value)


def digits(value: object) -> JSON:
    """Keep a number that is written as text."""
    return value if isinstance(value, str) and value.isdecimal() else number(value)


def decimal(value: object) -> JSON:
    """Keep a fraction that is written as text."""
    return value if isinstance(value, str) and _DECIMAL.fullmatch(value) else None


def flag(value: object) -> JSON:
    """Keep a boolean."""
    return value if isinstance(value, bool) else None


def word(value: object) -> JSON:
    """Keep a name as code has it: of a class, a function, a release, an environment."""
    if not isinstance(value, str) or not _WORD.fullmatch(value):
        return None
    return value if scrub_string(value) == value else None


def module(value: object) -> JSON:
    """Keep the name of a module that is loaded, or of something in one."""
    known = isinstance(value, str) and value.partition(".")[0] in sys.modules
    return word(value) if known else None


def file_name(value: object) -> JSON:
    """Keep a source file's relative path, or the last component of an absolute one."""
    if not isinstance(value, str):
        return None
    relative = last_component(value) if is_absolute(value) else value
    return scrub_string(relative[-_LONGEST_NAME:])


def version(value: object) -> JSON:
    """Keep a release or a version, even one that could be an address."""
    kept = scrub(value, "version")
    return kept if isinstance(kept, str) else None


def text(value: object) -> JSON:
    """Keep a text that is ours, without what the filter finds in it."""
    return scrub_string(value) if isinstance(value, str) else None


def one_of(*values: str) -> Check:
    """Keep a text from a list."""
    known = frozenset(values)
    return lambda value: value if isinstance(value, str) and value in known else None


def each(check: Check) -> Check:
    """Keep the elements of a list that pass a check."""

    def kept(value: object) -> JSON:
        items = value if isinstance(value, list | tuple) else []
        return [item for item in map(check, items) if item is not None]

    return kept


def part(keys: Mapping[str, Check]) -> Check:
    """Keep of a mapping the keys that have a check, where their values pass it."""

    def kept(value: object) -> JSON:
        if not isinstance(value, Mapping):
            return None
        checked = {key: check(value[key]) for key, check in keys.items() if key in value}
        return {key: item for key, item in checked.items() if item is not None}

    return kept


_LONGEST_NAME = 200
_LARGEST = 10**12
_DECIMAL = re.compile(r"[01](?:\.\d{1,20})?")
_ID = re.compile(r"(?i:[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
_REQUEST = re.compile(r"[A-Za-z0-9._-]{1,128}")
_SPAN_ID = re.compile(r"[0-9a-fA-F]{16}")
_TENANT = re.compile(r"[a-z][a-z0-9-]{1,62}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)")
_WORD = re.compile(r"[\w.<>@+-]{1,200}")

LEVEL: Final = one_of("debug", "info", "warning", "error", "critical", "fatal")
METHOD: Final = one_of(
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"
)
STATUS: Final = one_of(
    *("ok", "cancelled", "unknown", "unknown_error", "invalid_argument", "deadline_exceeded"),
    *("not_found", "already_exists", "permission_denied", "resource_exhausted", "aborted"),
    *("failed_precondition", "out_of_range", "unimplemented", "internal_error", "unavailable"),
    *("data_loss", "unauthenticated", "error", "in_progress", "exited", "crashed", "abnormal"),
)
OPERATION: Final = one_of(
    *("http.server", "http.client", "websocket.server", "db", "db.sql.query", "db.redis"),
    *("db.cursor.iter", "db.cursor.fetch", "function", "queue.process", "queue.publish"),
    *("cache.get", "cache.put", "middleware.starlette", "subprocess", "task", "default"),
)
ORIGIN: Final = one_of(
    *("manual", "auto.http.starlette", "auto.http.fastapi", "auto.http.asgi"),
    *("auto.db.sqlalchemy", "auto.function.asyncio", "auto.log.stdlib", "auto.http.httpx"),
)
SYSTEM: Final = one_of("sqlite", "postgresql", "redis", "mysql")
PLATFORM: Final = one_of("python", "native")

IDS: Final = part(
    {
        "event_id": identifier,
        "trace_id": identifier,
        "span_id": span_identifier,
        "parent_span_id": span_identifier,
    }
)
"""The ids of an event, a trace or a span, wherever its structure holds them."""

FRAME: Final = part(
    {
        "function": word,
        "module": word,
        "filename": file_name,
        "abs_path": file_name,
        "lineno": number,
        "colno": number,
        "in_app": flag,
    }
)
STACK: Final = part({"frames": each(FRAME)})
MECHANISM: Final = part(
    {
        "type": one_of(
            *("generic", "chained", "logging", "starlette", "fastapi", "asgi", "asyncio"),
            *("excepthook", "threading", "unraisablehook"),
        ),
        "handled": flag,
        "exception_id": number,
        "parent_id": number,
        "is_exception_group": flag,
        "source": one_of("__cause__", "__context__"),
    }
)
EXCEPTION: Final = part(
    {
        "type": word,
        "module": module,
        "mechanism": MECHANISM,
        "stacktrace": STACK,
        "thread_id": number,
    }
)
THREAD: Final = part({"id": number, "crashed": flag, "current": flag, "stacktrace": STACK})
SAMPLING: Final = part(
    {
        "trace_id": identifier,
        "sample_rate": decimal,
        "sample_rand": decimal,
        "sampled": one_of("true", "false"),
    }
)
"""What is told of a trace's sampling. All else of it would come from the caller's baggage."""
TRACE: Final = part(
    {
        "trace_id": identifier,
        "span_id": span_identifier,
        "parent_span_id": span_identifier,
        "op": OPERATION,
        "origin": ORIGIN,
        "status": STATUS,
        # The SDK moves it to the envelope's header.
        "dynamic_sampling_context": SAMPLING,
    }
)
CONTEXTS: Final = part(
    {
        "trace": TRACE,
        "runtime": part({"name": one_of("CPython", "PyPy"), "version": version}),
        "response": part({"status_code": number}),
    }
)
SPAN: Final = part(
    {
        "trace_id": identifier,
        "span_id": span_identifier,
        "parent_span_id": span_identifier,
        "same_process_as_parent": flag,
        "op": OPERATION,
        "origin": ORIGIN,
        "status": STATUS,
        "start_timestamp": timestamp,
        "timestamp": timestamp,
        "data": part(
            {
                "db.system": SYSTEM,
                "http.response.status_code": number,
                "http.method": METHOD,
                "http.request.method": METHOD,
            }
        ),
    }
)
SDK: Final = part(
    {
        "name": word,
        "version": version,
        "integrations": each(word),
        "packages": each(part({"name": text, "version": version})),
    }
)
CRUMB: Final = part(
    {
        "type": one_of("default", "log", "http", "query", "redis", "subprocess"),
        "level": LEVEL,
        "timestamp": timestamp,
    }
)
CRUMB_CATEGORY: Final = one_of("query", "httplib", "http", "redis", "subprocess", "custom", "log")

EVENT: Final = part(
    {
        "type": one_of("transaction", "check_in"),
        "event_id": identifier,
        "timestamp": timestamp,
        "start_timestamp": timestamp,
        "platform": PLATFORM,
        "level": LEVEL,
        "logger": module,
        "release": version,
        "dist": version,
        "environment": text,
        "sdk": SDK,
        "contexts": CONTEXTS,
        "exception": part({"values": each(EXCEPTION)}),
        "stacktrace": STACK,
        "threads": part({"values": each(THREAD)}),
        "request": part({"method": METHOD}),
        "spans": each(SPAN),
        "check_in_id": identifier,
        "monitor_slug": word,
        "status": STATUS,
        "duration": number,
    }
)
"""An event, a transaction or a check-in."""

TEMPLATED: Final = frozenset({"route", "component", "view", "task"})
"""Kinds of transaction names that are written in code; a name of another kind is an address."""

LOG: Final = part(
    {"timestamp": timestamp, "level": LEVEL, "trace_id": identifier, "span_id": span_identifier}
)
METRIC: Final = part(
    {
        "timestamp": timestamp,
        "type": one_of("counter", "gauge", "distribution"),
        "unit": one_of(
            *(
                "nanosecond",
                "microsecond",
                "millisecond",
                "second",
                "minute",
                "hour",
                "day",
                "week",
            ),
            *("bit", "byte", "kilobyte", "megabyte", "gigabyte", "ratio", "percent", "none"),
        ),
        "value": number,
        "trace_id": identifier,
        "span_id": span_identifier,
    }
)
STREAMED_SPAN: Final = part(
    {
        "trace_id": identifier,
        "span_id": span_identifier,
        "parent_span_id": span_identifier,
        "status": STATUS,
        "is_segment": flag,
        "start_timestamp": timestamp,
        "end_timestamp": timestamp,
    }
)
ATTRIBUTES: Final = {
    "sentry.op": OPERATION,
    "sentry.origin": ORIGIN,
    "sentry.release": version,
    "sentry.environment": text,
    "sentry.sdk.name": word,
    "sentry.sdk.version": version,
    "sentry.severity_text": one_of("trace", "debug", "info", "warn", "error", "fatal"),
    "sentry.severity_number": number,
    "db.system.name": SYSTEM,
    "http.request.method": METHOD,
    "http.response.status_code": number,
    "process.runtime.name": one_of("CPython", "PyPy"),
    "process.runtime.version": version,
}
"""Attributes of logs, metrics and streamed spans, by name."""

_RELEASE: Final = part({"release": version, "environment": text})
SESSION: Final = part(
    {
        "sid": identifier,
        "init": flag,
        "started": timestamp,
        "timestamp": timestamp,
        "duration": number,
        "status": STATUS,
        "errors": number,
        "seq": number,
        "attrs": _RELEASE,
    }
)
SESSIONS: Final = part(
    {
        "attrs": _RELEASE,
        "aggregates": each(
            part(
                {
                    "started": timestamp,
                    "exited": number,
                    "errored": number,
                    "crashed": number,
                    "abnormal": number,
                }
            )
        ),
    }
)
"""Counts of sessions: without the user, the address and the agent that each of them had."""

REPORT: Final = part(
    {
        "timestamp": timestamp,
        "discarded_events": each(part({"reason": word, "category": word, "quantity": number})),
    }
)


PROFILE: Final = part(
    {
        "version": version,
        "platform": PLATFORM,
        "event_id": identifier,
        "chunk_id": identifier,
        "profiler_id": identifier,
        "timestamp": timestamp,
        "release": version,
        "environment": text,
        "client_sdk": SDK,
        "device": part({"architecture": word}),
        "os": part({"name": word, "version": version}),
        "runtime": part({"name": word, "version": version}),
        "profile": part(
            {
                "frames": each(FRAME),
                "stacks": each(each(number)),
                "samples": each(
                    part(
                        {
                            "stack_id": number,
                            "thread_id": digits,
                            "timestamp": timestamp,
                            "elapsed_since_start_ns": digits,
                        }
                    )
                ),
            }
        ),
        "transactions": each(
            part(
                {
                    "id": identifier,
                    "trace_id": identifier,
                    "relative_start_ns": digits,
                    "relative_end_ns": digits,
                    "active_thread_id": digits,
                }
            )
        ),
    }
)
"""A profile: where the time went, by function; without the names of threads."""
