"""Sentry: reports errors and traces without private data, and never gets in the way.

The service fails open: whatever goes wrong in here, no caller notices. Data fails closed: what
can't be scrubbed is not sent. Without a DSN, or without the SDK, every function does nothing.
"""

import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import wraps
from types import CodeType
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from app.core.context import (
    current_consent,
    current_request_id,
    current_tenant,
    tell_consent,
)
from app.observability import Failure, was_logged
from app.privacy import scrub_string
from app.telemetry import (
    ANONYMOUS,
    Event,
    EventFilter,
    Hint,
    filter_log,
    filter_metric,
    filter_span,
    strict,
)
from app.telemetry.messages import VALUE, keep_constants
from app.telemetry.sampling import OFF, SCRUBBING, Sampling, fates_of_errors
from app.telemetry.structure import describe_user, own_tag, pseudonym, tell_labels, tell_routes

try:
    import sentry_sdk
except Exception:  # an SDK that is broken, or removed by half, is as good as none
    sentry_sdk = None  # type: ignore[assignment]  # so that its absence can be asked for

if TYPE_CHECKING:
    from sentry_sdk.client import BaseClient

SENTRY_AVAILABLE: bool = sentry_sdk is not None

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")


@dataclass
class _State:
    """Whether reports are sent, and by which rules."""

    on: bool = False
    client: "BaseClient | None" = None
    """The SDK's client that was started here: another's reports would pass by the filter."""
    rules: EventFilter = field(default_factory=EventFilter)
    sampling: Sampling = field(default_factory=Sampling)
    decides: bool = False
    """Whether the SDK asks, before it makes a report, whether it is to be sent."""
    names_server: bool = False
    said: bool = False
    """Whether the log says that another client has taken the place of this one."""


_state = _State()
_starting = threading.RLock()
"""Held while reporting starts or stops, so that nothing is sent by the rules of another start."""


def init_sentry(settings: object, routes: Callable[[], Iterable[object]] = tuple) -> bool:
    """Start reporting as the `SENTRY_*` settings say; return whether it was started.

    Any object with these attributes will do. `routes` returns the service's routes: in strict
    mode, a request is called by the template of one of these, or not at all. Without a DSN
    nothing is started. A fault leaves reporting off, and is logged by its kind: the text of an
    exception could hold the DSN.
    """
    # All of it is in here: a setting may be a property, and raise when it is read.
    with _starting:
        try:
            shutdown_sentry(timeout=0)
            OFF.set(0)
            if not getattr(settings, "SENTRY_DSN", ""):
                return False
            OFF.set(1)
            if not SENTRY_AVAILABLE:
                log.warning("Sentry is off: the SDK is not installed, or can not be imported")
                return False
            _start(settings)
            tell_routes(lambda: set(_templates(routes())))
            OFF.set(0)
        except Exception as error:
            with suppress(Exception):
                _stop(timeout=0)
            log.warning("Sentry is off: it could not be started (%s)", _told(error))
            return False
        return True


def _told(error: Exception) -> str:
    """Name a fault. Of the messages, only our own are known to be without the DSN."""
    kind = type(error).__name__
    return f"{kind}: {error}" if kind == "UnexpectedSdkError" else kind


def _start(settings: object) -> None:
    # Imported here because they need the SDK.
    from app.core.config import Settings  # noqa: PLC0415
    from app.telemetry import options, transport  # noqa: PLC0415

    transport.prove_last_line()
    transport.silence_http_library()
    _state.rules = EventFilter(
        getattr(settings, "SENTRY_PRIVACY_MODE", "strict"),
        getattr(settings, "SENTRY_USER_CONTEXT", "id"),
    )
    _state.names_server = options.is_on(settings, "SENTRY_INCLUDE_SERVER_NAME")
    asked = options.sdk_options(settings)
    transport.let_sdk_log_as_all_do(is_debugging=asked["debug"])
    _state.sampling = Sampling(
        asked["traces_sample_rate"] or 0.0,
        Settings.read_rates(getattr(settings, "SENTRY_RATES_FILE", "")),
        getattr(settings, "SENTRY_ERRORS_PER_MINUTE", 0),
        getattr(settings, "SENTRY_TRACES_PER_MINUTE", 0),
    )
    asked |= {
        "traces_sampler": _state.sampling.trace_rate,
        "transport": transport.transport_for(_state.rules),
        "before_send": _before_send,
        "before_send_transaction": _before_send_transaction,
        "before_send_span": _before_send_span,
        "before_send_log": _before_send_log,
        "before_send_metric": _before_send_metric,
        "before_breadcrumb": _before_breadcrumb,
    }
    with warnings.catch_warnings():
        # The SDK warns of profiles, which are to be configured otherwise in its next major
        # version, and of the hook for streamed spans, which are off unless asked for.
        warnings.simplefilter("ignore")
        sentry_sdk.init(**asked)
    transport.prove_client(sentry_sdk.get_client(), asked)
    if not _state.decides:
        # After the SDK's own, which drops what has been reported already.
        sentry_sdk.scope.add_global_event_processor(_admit)  # type: ignore[arg-type]  # as below
        _state.decides = True
    if asked["profiles_sample_rate"] and not options.SAFE_TO_PROFILE:
        transport.stop_profiling()
        log.info("Nothing is profiled: before Python 3.12 the SDK's profiler is not safe")
    tell_labels(str(asked["release"]), str(asked["environment"]))
    _state.client, _state.said = sentry_sdk.get_client(), False
    _state.on = True


def _templates(routes: Iterable[object]) -> Iterator[str]:
    for route in routes:
        # A router that is included holds its routes, with the prefix that it is included under.
        nested = getattr(route, "effective_route_contexts", None)
        for each in nested() if nested else (route,):
            yield str(getattr(each, "path", ""))


def report_by_hand(settings: object, tenant_id: str, consent: str, timeout: float = 10.0) -> str:
    """Report an error as if it were a tenant's; return a sentence that says what finds it.

    Raises ValueError where none arrives within `timeout` seconds, with the reason as its message.
    """
    if not getattr(settings, "SENTRY_DSN", ""):
        raise ValueError("nothing is reported: SENTRY_DSN is not set")
    if not init_sentry(settings):
        raise ValueError("nothing is reported: the line before says why")
    tell_consent(consent)
    set_user_context("operator", tenant_id)
    try:
        raise RuntimeError("an error by hand, to see it arrive")
    except RuntimeError as error:
        capture_exception(error)
    shutdown_sentry(timeout)
    fates = fates_of_errors()
    if "sent" not in fates:
        raise ValueError(f"no error has arrived: {', '.join(fates) or 'there is no answer'}")
    told = tenant_id if consent == "full" else pseudonym(tenant_id)
    return f"An error has arrived. In Sentry, look for tenant_id:{told}"


def shutdown_sentry(timeout: float = 2.0) -> None:
    """Send what is waiting, for at most `timeout` seconds, and stop reporting."""
    with _starting, suppress(Exception):
        if _state.on:
            _stop(timeout)


def _stop(timeout: float) -> None:
    _state.on = False
    client, _state.client = _state.client or sentry_sdk.get_client(), None
    transport = client.transport
    with suppress(Exception):
        client.close(timeout=timeout)
    with suppress(Exception):
        sentry_sdk.get_global_scope().set_client(None)
    if client.transport is not None and transport is not None:
        # A client that fails to close leaves its transport alive, with what waits in it.
        transport.flush(timeout)
        transport.kill()
    # Not before: another thread may be on its way through a hook, and must not find laxer rules.
    _state.rules = EventFilter()
    _state.sampling = Sampling()
    _state.names_server = False


def _admit(event: Event, hint: Hint) -> Event | None:
    """Decide whether a report is sent at all, before it is made."""
    if not _state.on:
        return event
    return None if _is_known(hint) else _state.sampling.admit(event, hint)


def _is_known(hint: Hint) -> bool:
    """Whether an error boundary has logged the exception, which has reported it."""
    match hint.get("exc_info"):
        case (_, BaseException() as error, _) if "log_record" not in hint:
            return was_logged(error)
    return False


def _rules() -> EventFilter:
    return ANONYMOUS if current_consent() == "anonymous" else _state.rules


# The hooks. They only scrub; one that fails returns nothing, and so nothing is sent.


def _before_send(event: Event, hint: Hint | None) -> Event | None:
    """Scrub an error, a message, a log record or a check-in."""
    try:
        if current_consent() == "none":  # `_admit` lets pass what comes while it is stopped
            return None
        rules = _rules()
        with SCRUBBING.time():
            clean = _with_own_tags(rules.filter_event(event, hint))
        if _state.names_server and rules.mode == "balanced" and event.get("server_name"):
            clean["server_name"] = scrub_string(str(event["server_name"]))
        return clean
    except Exception:
        return None


def _before_send_transaction(event: Event, hint: Hint | None) -> Event | None:
    """Scrub a transaction and its spans."""
    return _before_send(event, hint)


def _before_send_log(entry: Event, hint: Hint | None) -> Event | None:
    try:
        return filter_log(entry, _rules()) if current_consent() != "none" else None
    except Exception:
        return None


def _before_send_metric(metric: Event, hint: Hint | None) -> Event | None:
    try:
        return filter_metric(metric, _rules()) if current_consent() != "none" else None
    except Exception:
        return None


def _before_send_span(span: Event, hint: Hint | None) -> Event:
    try:
        return filter_span(span, _rules())
    except Exception:
        # The SDK lets no span be dropped here, and sends the raw one where it gets none.
        return {"name": VALUE, "attributes": {}}


def _before_breadcrumb(crumb: Event, hint: Hint | None) -> Event | None:
    try:
        record = (hint or {}).get("log_record")
        rules = _rules()
        if rules.mode == "strict" and isinstance(record, logging.LogRecord):
            named = {"message": strict.template(record), "category": strict.logger_name(record)}
            crumb = {**crumb, **named}
        match rules.filter_breadcrumbs([crumb]):
            case [dict() as clean]:
                return clean
    except Exception:
        return None
    return None


def _with_own_tags(event: Event) -> Event:
    """Tag an event with the request that it happened in, and with its tenant if it has none yet."""
    own = {}
    if (tenant := current_tenant()) and (told := own_tag("tenant_id", _as_told(tenant))):
        own["tenant_id"] = told
    if request_id := current_request_id():
        own["request_id"] = own_tag("request_id", request_id) or scrub_string(request_id)
    if own:
        tags = event.get("tags")
        pairs = tags.items() if isinstance(tags, dict) else tags
        for pair in pairs if isinstance(pairs, Iterable) else ():
            match pair:
                case (str() as name, value) if name != "request_id":
                    own[name] = value
        event["tags"] = own
    return event


def _as_told(tenant: str) -> str:
    """Return what a tenant is called in reports."""
    return tenant if current_consent() == "full" else pseudonym(tenant)


# What the rest of the service calls. Whatever the SDK raises stays here.


def _quietly(function: Callable[P, R]) -> Callable[P, R | None]:
    """Make a function do nothing while reporting is off, and return nothing where it fails."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R | None:
        if not _state.on:
            return None
        try:
            return function(*args, **kwargs) if _is_ours() else None
        except Exception:
            return None

    return call


def _is_ours() -> bool:
    """Whether the SDK's client is still the one that was started here: others scrub nothing."""
    client = sentry_sdk.get_client()
    if client is _state.client or not isinstance(client, type(_state.client)):
        return True
    if not _state.said:
        _state.said = True
        log.error("Other code has started Sentry anew, past the privacy filter: it is told nothing")
    return False


def _callers_code() -> CodeType:
    frame = sys._getframe(1)
    while frame.f_code.co_filename == __file__ and frame.f_back is not None:
        frame = frame.f_back
    return frame.f_code


def _worded(message: str) -> str:
    """In strict mode, cut a message down to what its caller's code says."""
    if _rules().mode == "strict":
        return keep_constants(message, [_callers_code()])
    return message


@_quietly
def set_user_context(
    user_id: str, tenant_id: str, email: str | None = None, username: str | None = None
) -> None:
    """Say who is being served: the tag `tenant_id`, and of the user what the settings let out.

    Where the tenant's consent is `anonymous`, both are told by a pseudonym.
    """
    told = describe_user(_rules().user_context, user_id, tenant_id, email, username)
    sentry_sdk.set_user(told)
    sentry_sdk.set_tag("tenant_id", _as_told(tenant_id))


@_quietly
def clear_user_context() -> None:
    """Forget who is being served."""
    sentry_sdk.set_user(None)
    sentry_sdk.get_isolation_scope().remove_tag("tenant_id")


@_quietly
def mark_span(failure: Failure) -> None:
    """Trace an operation that failed, as its error boundary tells, and mark the span around it.

    The request's own span is marked by its answer in the end: a fallback may have mended it.
    """
    if (around := sentry_sdk.get_current_span()) is not None:
        around.set_status("internal_error")
        began = datetime.now(UTC) - timedelta(seconds=failure.duration)
        span = around.start_child(op="function", name=failure.operation, start_timestamp=began)
        span.set_status("internal_error")
        span.finish()


@_quietly
def capture_message(message: str, level: str = "info", **extra: object) -> str | None:
    """Report a message; return the event's id, or None where none was sent."""
    with sentry_sdk.new_scope() as scope:
        for key, value in extra.items():
            scope.set_extra(key, value)
        return sentry_sdk.capture_message(
            _worded(message),
            level=level,  # type: ignore[arg-type]  # the SDK's literal, which others need not know
        )


@_quietly
def capture_exception(exception: BaseException, **extra: object) -> str | None:
    """Report an exception that was handled; return the event's id, or None."""
    with sentry_sdk.new_scope() as scope:
        for key, value in extra.items():
            scope.set_extra(key, value)
        return sentry_sdk.capture_exception(exception)


@_quietly
def add_breadcrumb(
    message: str,
    category: str = "custom",
    level: str = "info",
    data: Mapping[str, object] | None = None,
) -> None:
    """Leave a trace of what happened for the report of a later error."""
    sentry_sdk.add_breadcrumb(
        message=_worded(message), category=category, level=level, data=dict(data or {})
    )


@_quietly
def set_tag(key: str, value: str) -> None:
    """Tag the reports of what is being served. `strict` sends no tags but the service's own."""
    sentry_sdk.set_tag(key, value)


@_quietly
def set_context(name: str, context: Mapping[str, object]) -> None:
    """Describe what is being served. `strict` does not send it."""
    sentry_sdk.set_context(name, dict(context))
