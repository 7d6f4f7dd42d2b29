"""Structure: what of an event is its own shape, and so may leave in strict mode.

An allow-list. Each key of each part names the check that its value must pass; a key that is not
here, and a value that does not pass, stays behind. Names of code leave where that code is loaded,
and what the service is called by leaves because its settings say so.
"""

import builtins
import re
import sys
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from datetime import datetime
from types import FunctionType
from typing import Final, Literal, TypeAlias

from app.core.context import sessions
from app.privacy import is_absolute, scrub_string
from app.telemetry.messages import (
    VALUE,
    file_of,
    find,
    is_class,
    is_function,
    is_source_file,
)

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"
Check = Callable[[object], JSON]
"""Returns the value that may leave; None if none may."""
UserContext = Literal["id", "anonymous", "full"]
"""What is told of the user behind an event: the setting `SENTRY_USER_CONTEXT`."""

# What a check was made of, for those who tell people what leaves.
KEYS: Final[dict[Check, Mapping[str, Check]]] = {}
ELEMENTS: Final[dict[Check, Check]] = {}
WORDS: Final[dict[Check, frozenset[str]]] = {}


class _Own:
    """What the service is called by; nothing, until it is told."""

    def __init__(self) -> None:
        self.labels: frozenset[str] = frozenset()
        self.routes: Callable[[], Collection[str]] = tuple


_own = _Own()


def tell_labels(*labels: str) -> None:
    """Tell the release and the environment that the service is reported under."""
    _own.labels = frozenset(labels)


def tell_routes(routes: Callable[[], Collection[str]]) -> None:
    """Tell what returns the templates of the routes that the service has."""
    _own.routes = routes


def identifier(value: object) -> str | None:
    """Keep an id of 32 hexadecimal digits, or of those with a UUID's dashes."""
    return str(value) if isinstance(value, str) and _ID.fullmatch(value) else None


def span_identifier(value: object) -> str | None:
    """Keep an id of 16 hexadecimal digits."""
    return str(value) if isinstance(value, str) and _SPAN_ID.fullmatch(value) else None


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


def describe_user(
    mode: UserContext, user_id: str, tenant_id: str, email: str | None, username: str | None
) -> dict[str, str]:
    """Return what is told of a user."""
    if mode == "anonymous":
        return {"session_id": sessions.name(tenant_id, user_id)}
    told = {"id": user_id, "email": email, "username": username}
    return {key: value for key in USER[mode] if (value := told[key])}


def pseudonym(tenant: str) -> str:
    """Return what a tenant is called where its name is not told; it reads as a tenant's name."""
    return f"anonymous-{sessions.name(tenant)[:16]}"


def account(value: object) -> str | None:
    """Keep an id that is one word or a number; filtered, as some issuers use e-mail addresses."""
    known = isinstance(value, str | int) and _ACCOUNT.fullmatch(str(value))
    return scrub_string(str(value)) if known else None


def keep_user(mode: UserContext, user: Mapping[str, object]) -> dict[str, str]:
    """Keep of a user in an event what the mode lets out.

    What an operator asked for with `full` is kept as it is, where it is a text or a number.
    """
    told = {key: USER_CHECKS[mode](user[key]) for key in USER[mode] if user.get(key)}
    return {key: kept for key, kept in told.items() if kept is not None}


def _as_it_is(value: object) -> str | None:
    return str(value) if isinstance(value, str | int) else None


def number(value: object) -> JSON:
    """Keep a number that is no identifier: a size, a duration, a measured value."""
    return value if isinstance(value, int | float) and abs(value) < _LARGEST else None


def http_status(value: object) -> JSON:
    """Keep the status of an HTTP response."""
    return value if isinstance(value, int) and value in _STATUSES else None


def count(value: object) -> JSON:
    """Keep a whole number below a million: of a line, of a part, of how often."""
    return value if isinstance(value, int) and 0 <= value < _MOST else None


def timestamp(value: object) -> JSON:
    """Keep a point in time from 2020 to tomorrow, as seconds or as RFC 3339."""
    if isinstance(value, datetime):
        value = value.timestamp()
    if isinstance(value, str):
        return value if _TIME.fullmatch(value) else None
    # A date of birth and the number of a phone lie before and behind.
    if isinstance(value, int | float) and _EARLIEST < value < time.time() + _DAY:
        return value
    return None


def duration(value: object) -> JSON:
    """Keep a time of less than a million seconds."""
    return value if isinstance(value, int | float) and 0 <= value < _MOST else None


def nanoseconds(value: object) -> JSON:
    """Keep a point in time, as nanoseconds."""
    return value if isinstance(value, int) and 0 <= value < _LATEST else None


def digits(value: object) -> JSON:
    """Keep a number that is written as text."""
    if not isinstance(value, str) or not _DIGITS.fullmatch(value):
        return number(value)
    # The ids of threads have as many digits as cards.
    return value if len(value) <= _SHORT or scrub_string(value) == value else None


def share(value: object) -> JSON:
    """Keep of a share that is written as text the six digits that sampling has."""
    known = _SHARE.match(value) if isinstance(value, str) else None
    return known[0] if known else None


def flag(value: object) -> JSON:
    """Keep a boolean."""
    return value if isinstance(value, bool) else None


def module(value: object) -> JSON:
    """Keep the name of a module that is loaded, filtered as any text is."""
    return scrub_string(value) if isinstance(value, str) and value in sys.modules else None


def class_name(value: object) -> JSON:
    """Keep the name of a class that a loaded module has, of that module or a built-in one."""
    return value if isinstance(value, str) and value in _BUILTINS else None


def function(value: object, place: str = "") -> JSON:
    """Keep the name of a function that stands in the code of a loaded module; else put `[…]`."""
    if not isinstance(value, str):
        return None
    return scrub_string(value) if is_function(value, place) else VALUE


def file_name(value: object, place: str = "") -> JSON:
    """Keep the path of the source file of a loaded module; of one that is absolute, its end."""
    if not isinstance(value, str):
        return None
    last = value[max(value.rfind("/"), value.rfind("\\")) + 1 :]
    if place:
        file = file_of(place)
        if file == value or file.endswith(("/" + value, "\\" + value)):
            return scrub_string(last if is_absolute(value) else value)
        # Code that was made at run time may be said to stand anywhere.
        return last if last in {"<string>", f"<frozen {place}>"} else VALUE
    kept = value if is_source_file(value) else last if is_source_file(last) else None
    return scrub_string(kept) if kept else None


def logger(value: object) -> JSON:
    """Keep the name of a logger that is called like a loaded module, or is well known."""
    return value if isinstance(value, str) and value in LOGGERS else module(value)


def version(value: object) -> JSON:
    """Keep a version: two or three numbers, and what follows these in a version."""
    return value if isinstance(value, str) and _VERSION.fullmatch(value) else None


def release(value: object) -> JSON:
    """Keep the release that the service is reported under, or one that is a version."""
    return value if isinstance(value, str) and value in _own.labels else version(value)


def environment(value: object) -> JSON:
    """Keep the environment that the service is reported under, or a usual one."""
    known = _own.labels | ENVIRONMENTS
    return value if isinstance(value, str) and value in known else None


def integration(value: object) -> JSON:
    """Keep the name of a loaded integration of the SDK."""
    if not isinstance(value, str):
        return None
    return value if f"sentry_sdk.integrations.{value}" in sys.modules else None


def sdk_name(value: object) -> JSON:
    """Keep the name of the SDK, which may end in that of an integration."""
    if not isinstance(value, str) or not value.startswith(_SDK):
        return None
    return value if value == _SDK or integration(value[len(_SDK) + 1 :]) else None


def route(value: object) -> JSON:
    """Keep the template of a route that the service has, filtered as any text is."""
    return scrub_string(value) if isinstance(value, str) and value in _own.routes() else None


def transaction_name(name: object, source: object) -> str | None:
    """Keep a route's template that the service has, or the name of a function or a class.

    What else names a transaction is an address, or was put together when it was run.
    """
    if not isinstance(name, str) or not isinstance(source, str):
        return None
    if source == "route":
        return scrub_string(name) if name in TRANSACTIONS or route(name) else None
    if source in {"component", "view", "task"}:
        parts = name.split(".")
        for end in range(len(parts) - 1, 0, -1):
            home, path = ".".join(parts[:end]), ".".join(parts[end:])
            found = find(home, path)
            if isinstance(found, FunctionType) and is_function(path, home):
                return scrub_string(name)
            if isinstance(found, type) and is_class(home, path):
                return scrub_string(name)
    return None


def one_of(*values: str) -> Check:
    """Keep a text from a list."""
    known = frozenset(values)

    def kept(value: object) -> JSON:
        # A text of another class may say that it is equal to any.
        return text if isinstance(value, str) and (text := str.__str__(value)) in known else None

    WORDS[kept] = known
    return kept


def each(check: Check) -> Check:
    """Keep the elements of a list that pass a check."""

    def kept(value: object) -> JSON:
        items = value if isinstance(value, list | tuple) else []
        return [item for item in map(check, items) if item is not None]

    ELEMENTS[kept] = check
    return kept


def part(keys: Mapping[str, Check]) -> Check:
    """Keep of a mapping the keys that have a check, where their values pass it."""

    def kept(value: object) -> JSON:
        if type(value) is not dict and not isinstance(value, Mapping):
            return None
        clean: dict[str, JSON] = {}
        for key, check in keys.items():
            if key in value:
                item = check(value[key])
                if item is not None:
                    clean[key] = item
        return clean

    KEYS[kept] = keys
    return kept


def stack_frame(keys: Mapping[str, Check]) -> Check:
    """Keep of a frame what `part` does, but names of code only where its module is loaded."""
    unplaced = part({key: check for key, check in keys.items() if key not in _PLACE[:2]})
    placed = part({key: check for key, check in keys.items() if key not in _PLACE})

    def kept(value: object) -> JSON:
        home = value.get("module") if isinstance(value, dict) else None
        if not isinstance(home, str) or home not in sys.modules:
            return unplaced(value)
        clean = placed(value)
        if isinstance(clean, dict) and isinstance(value, dict):
            get = value.get
            with suppress(TypeError):  # what is in the place of a name can't even be looked up
                clean.update(_places[home, get("function"), get("filename"), get("abs_path")])
        return clean

    KEYS[kept] = keys
    return kept


class _Places(dict[tuple[object, ...], dict[str, JSON]]):
    """Remembers what of a frame's names is proved; those that are not are looked for each time."""

    def __missing__(self, place: tuple[object, ...]) -> dict[str, JSON]:
        home = str(place[0])
        clean: dict[str, JSON] = {"module": scrub_string(home)}
        for key, check, name in zip(_PLACE[1:], _PLACING, place[1:], strict=True):
            if (known := check(name, home)) is not None:
                clean[key] = known
        if VALUE not in clean.values():
            if len(self) >= _MOST_PLACES:
                self.clear()
            self[place] = clean
        return clean


def exception(keys: Mapping[str, Check]) -> Check:
    """Keep of an exception what `part` does, and the name of a class that its module has."""
    rest = part(keys)

    def kept(value: object) -> JSON:
        clean = rest(value)
        if isinstance(clean, dict) and isinstance(value, Mapping):
            name, place = value.get("type"), clean.get("module")
            if isinstance(name, str) and isinstance(place, str) and is_class(place, name):
                clean["type"] = scrub_string(name)
        return clean

    KEYS[kept] = keys
    return kept


_EARLIEST = 1_577_836_800
"""The beginning of 2020, in seconds."""
_DAY = 86_400
_LARGEST = 10**12
_MOST = 10**6
_SHORT = 12
_LATEST = 10**19
_MOST_PLACES = 4096
_PLACE = ("module", "function", "filename", "abs_path")
_PLACING = (function, file_name, file_name)
_places = _Places()
_SDK = "sentry.python"
_BUILTINS = frozenset(name for name, value in vars(builtins).items() if isinstance(value, type))
_STATUSES = range(100, 600)
_DIGITS = re.compile(r"\d{1,20}", re.ASCII)
_SHARE = re.compile(r"[01](?:\.\d{1,6})?(?=\d*\Z)", re.ASCII)
_ID = re.compile(r"(?i:[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
_REQUEST = re.compile(r"[A-Za-z0-9._-]{1,128}")
_ACCOUNT = re.compile(r"[\w.:@|+/=~-]{1,128}")
_SPAN_ID = re.compile(r"[0-9a-fA-F]{16}")
_TENANT = re.compile(r"[a-z][a-z0-9-]{1,62}")
_TIME = re.compile(r"20[2-9]\d-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)")
_VERSION = re.compile(
    r"(?:\d{1,3}|20\d\d)(?:\.\d{1,5}){1,2}(?:[-+.]?(?:a|alpha|b|beta|c|dev|final|post|rc)\.?\d{0,3}){0,2}\+?",
    re.ASCII,
)

LOGGERS: Final = frozenset({"root", "uvicorn.access", "uvicorn.error", "py.warnings"})
ENVIRONMENTS: Final = frozenset({"development", "local", "production", "staging", "test"})
TRANSACTIONS: Final = frozenset({"generic ASGI request", "generic WSGI request"})
"""What the SDK calls a request that no route has taken yet."""

LEVEL: Final = one_of("debug", "info", "warning", "error", "critical", "fatal")
SEVERITY: Final = one_of("trace", "debug", "info", "warn", "error", "fatal")
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
RUNTIME: Final = one_of("CPython", "PyPy")
LOSS: Final = one_of(
    *("backpressure", "before_send", "cache_overflow", "event_processor", "full_queue"),
    *("ignored", "insufficient_data", "internal_sdk_error", "network", "network_error"),
    *("queue_overflow", "ratelimit_backoff", "sample_rate", "self_rate_limits", "send_error"),
    *("callback_error", "no_parent_span", "status_413", "status_429", "status_500"),
)
CATEGORY: Final = one_of(
    *("attachment", "default", "error", "internal", "log_byte", "log_item", "monitor", "profile"),
    *("profile_chunk", "security", "session", "span", "trace_metric", "trace_metric_byte"),
    "transaction",
)

IDS: Final = part(
    {
        "event_id": identifier,
        "trace_id": identifier,
        "span_id": span_identifier,
        "parent_span_id": span_identifier,
    }
)
"""The ids of an event, a trace or a span, wherever its structure holds them."""

FRAME: Final = stack_frame(
    {
        "function": function,
        "module": module,
        "filename": file_name,
        "abs_path": file_name,
        "lineno": count,
        "colno": count,
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
        "exception_id": count,
        "parent_id": count,
        "is_exception_group": flag,
        "source": one_of("__cause__", "__context__"),
    }
)
EXCEPTION: Final = exception(
    {
        "type": class_name,
        "module": module,
        "mechanism": MECHANISM,
        "stacktrace": STACK,
    }
)
THREAD: Final = part({"crashed": flag, "current": flag, "stacktrace": STACK})
SAMPLING: Final = part(
    {
        "trace_id": identifier,
        "sample_rate": share,
        "sample_rand": share,
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
        "runtime": part({"name": RUNTIME, "version": version}),
        "response": part({"status_code": http_status}),
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
                "http.response.status_code": http_status,
                "http.method": METHOD,
                "http.request.method": METHOD,
            }
        ),
    }
)
SDK: Final = part(
    {
        "name": sdk_name,
        "version": version,
        "integrations": each(integration),
        "packages": each(part({"name": one_of("pypi:sentry-sdk"), "version": version})),
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
        "logger": logger,
        "release": release,
        "environment": environment,
        "sdk": SDK,
        "contexts": CONTEXTS,
        "exception": part({"values": each(EXCEPTION)}),
        "stacktrace": STACK,
        "threads": part({"values": each(THREAD)}),
        "request": part({"method": METHOD}),
        "spans": each(SPAN),
        "check_in_id": identifier,
        "status": STATUS,
        "duration": duration,
    }
)
"""An event, a transaction or a check-in."""

LOG: Final = part(
    {"timestamp": timestamp, "level": SEVERITY, "trace_id": identifier, "span_id": span_identifier}
)
LOG_RECORD: Final = part(
    {
        "time_unix_nano": nanoseconds,
        "severity_text": SEVERITY,
        "severity_number": count,
        "trace_id": identifier,
        "span_id": span_identifier,
    }
)
"""A log as the hook sees it, before the SDK gives it the form of the wire."""
METRIC: Final = part(
    {
        "timestamp": timestamp,
        "type": one_of("counter", "gauge", "distribution"),
        "unit": one_of(
            *("nanosecond", "microsecond", "millisecond", "second", "minute", "hour", "day"),
            *("week", "bit", "byte", "kilobyte", "megabyte", "gigabyte", "ratio", "percent"),
            "none",
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
    "sentry.release": release,
    "sentry.environment": environment,
    "sentry.sdk.name": sdk_name,
    "sentry.sdk.version": version,
    "sentry.severity_text": SEVERITY,
    "sentry.severity_number": count,
    "sentry.segment.name.source": one_of("component", "custom", "route", "task", "url", "view"),
    "db.system.name": SYSTEM,
    "http.route": route,
    "http.request.method": METHOD,
    "http.response.status_code": http_status,
    "process.runtime.name": RUNTIME,
    "process.runtime.version": version,
}
"""Attributes of logs, metrics and streamed spans, by name."""

_RELEASE: Final = part({"release": release, "environment": environment})
SESSION: Final = part(
    {
        "sid": identifier,
        "init": flag,
        "started": timestamp,
        "timestamp": timestamp,
        "duration": duration,
        "status": STATUS,
        "errors": count,
        "seq": count,
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
                    "exited": count,
                    "errored": count,
                    "crashed": count,
                    "abnormal": count,
                }
            )
        ),
    }
)
"""Counts of sessions: without the user, the address and the agent that each of them had."""

REPORT: Final = part(
    {
        "timestamp": timestamp,
        "discarded_events": each(part({"reason": LOSS, "category": CATEGORY, "quantity": count})),
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
        "release": release,
        "environment": environment,
        "client_sdk": SDK,
        "device": part({"architecture": one_of("aarch64", "arm64", "x86_64", "AMD64")}),
        "os": part({"name": one_of("Linux", "Darwin", "Windows"), "version": version}),
        "runtime": part({"name": RUNTIME, "version": version}),
        "profile": part(
            {
                "frames": each(FRAME),
                "stacks": each(each(count)),
                "samples": each(
                    part(
                        {
                            "stack_id": count,
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

USER: Final[Mapping[UserContext, tuple[str, ...]]] = {
    "id": ("id",),
    "anonymous": ("session_id",),
    "full": ("id", "email", "username"),
}
"""What of a user may leave, by mode."""
USER_CHECKS: Final[Mapping[UserContext, Callable[[object], str | None]]] = {
    "id": account,
    "anonymous": identifier,  # others than this module may set a user
    "full": _as_it_is,
}
"""What each value of a user must pass, by mode."""
