"""Instruments: what is noted of requests and queries. What nobody will hear of costs next to nothing.

They stand in for the SDK's integrations for Starlette, FastAPI and SQLAlchemy, which wrap every
middleware, and read headers and make spans for requests that are not traced. Here that is decided
first; a request that is not traced has scopes of its own, where its tags and breadcrumbs wait for
an error, and no more.
"""

import asyncio
import logging
import random
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import ContextVar, copy_context
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import sentry_sdk
from sentry_sdk.integrations import Integration
from sentry_sdk.integrations.asgi import SentryAsgiMiddleware
from sentry_sdk.integrations.logging import BreadcrumbHandler, LoggingIntegration
from sentry_sdk.scope import Scope as Notes
from sentry_sdk.utils import event_from_exception
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import ExceptionContext, ExecutionContext
from starlette.applications import Starlette
from starlette.types import ASGIApp, Message, Receive, Scope, Send

if TYPE_CHECKING:
    from sentry_sdk._types import Event, Hint
    from sentry_sdk.client import BaseClient
    from sentry_sdk.tracing import Span, Transaction

OPERATION: Final = "http.server"
ORIGIN: Final = "auto.http.starlette"
MECHANISM: Final = "starlette"
CLOSING: Final = "app.request"
"""The logger of the line that closes a request."""
UNTRACED: Final = frozenset({"HEAD", "OPTIONS"})
"""Methods of requests that are not traced."""
PLAIN_TASKS: Final = frozenset({"AsyncSession.close", "RequestResponseCycle.run_asgi"})
"""Tasks that each request has and that need no scopes: they tell nothing, or are a request."""
FAILURES: Final = range(500, 600)
"""Statuses of exceptions that are reported though they are handled."""

_CONTINUING: Final = frozenset({b"baggage", b"sentry-trace"})
"""Headers by which a request belongs to a trace that was begun elsewhere."""
_NAMED: Final = frozenset({"component", "custom", "route"})
"""Sources of names that somebody gave; what else is called by its URL is called by its route."""
_MILLION: Final = 1_000_000

_AS_OURS: Final[dict[str, Any]] = {
    "transaction_style": "url",
    "mechanism_type": MECHANISM,
    "span_origin": ORIGIN,
    "asgi_version": 3,
}
"""How the SDK's middleware tells of a request what these instruments do."""

_is_observed: ContextVar[bool] = ContextVar("is_observed", default=False)


class Plain(dict[str, Any]):
    """An event that a hook rebuilds from an allow-list: the SDK's serializer can do without it."""

    def __sentry_repr__(self) -> "Plain":
        """Stand for itself: the serializer, which asks for this, looks no further."""
        return self


class Requests(Integration):
    """Gives each request its own scopes, traces those that are drawn, and reports what they raise.

    With `details`, reports tell its URL and its headers; without, its method and its route alone.
    """

    identifier = "requests"

    def __init__(self, details: bool) -> None:
        self.describe: Final = _with_details if details else _with_method

    @staticmethod
    def setup_once() -> None:
        """Look at each connection of each application, once in the life of the process."""
        serve = Starlette.__call__

        async def observed(app: Starlette, scope: Scope, receive: Receive, send: Send) -> None:
            seen, inner = None, cast(ASGIApp, partial(serve, app))
            with suppress(Exception):
                seen, inner = _observe(inner, scope, send)
            if seen is None:
                await inner(scope, receive, send)
                return
            try:
                await inner(scope, receive, seen.send)
            except Exception as error:
                seen.fail(error)
                raise
            finally:
                seen.end()

        Starlette.__call__ = observed  # type: ignore[assignment, method-assign]  # as the SDK does


def _observe(app: ASGIApp, scope: Scope, send: Send) -> "tuple[_Part | None, ASGIApp]":
    """Return what looks at a connection, if anything does, and the application to call."""
    client = sentry_sdk.get_client()
    requests = client.get_integration(Requests)
    if requests is None:
        return None, app
    if _streams_spans(client):
        return _Part(send), SentryAsgiMiddleware(app, **_AS_OURS)
    if scope["type"] == "lifespan" or _is_observed.get():
        return _Part(send), app
    return _Request(client, requests, scope, send), app


def _streams_spans(client: "BaseClient") -> bool:
    """Whether spans are sent each on its own, which is left to the SDK's middleware."""
    experiments = client.options.get("_experiments") or {}
    return "stream" in (client.options.get("trace_lifecycle"), experiments.get("trace_lifecycle"))


class _Part:
    """What is no request: the lifespan, and an application inside of another."""

    def __init__(self, send: Send) -> None:
        self._to_server = send

    async def send(self, message: Message) -> None:
        """Pass a message on to the server."""
        if message["type"] == "http.response.start":
            with suppress(Exception):
                self.note_status(message["status"])
        await self._to_server(message)

    def note_status(self, status: int) -> None:
        """Report an exception that is answered as a failure."""
        # Who handles one does so while the answer is sent.
        error = sys.exception() if status in FAILURES else None
        if isinstance(error, Exception) and getattr(error, "status_code", None) in FAILURES:
            _report(error, handled=True)

    def fail(self, error: Exception) -> None:
        """Report what was raised."""
        _report(error, handled=False)

    def end(self) -> None:
        """Note that it is over."""


class _Request(_Part):
    """A request that is being served, or a websocket."""

    def __init__(self, client: "BaseClient", requests: Requests, scope: Scope, send: Send) -> None:
        super().__init__(send)
        self._scope = scope
        self._outer = Notes.get_isolation_scope(), Notes.get_current_scope()
        _fork_scopes()
        self._own = Notes.get_isolation_scope()
        self._own.clear_breadcrumbs()
        self._own.add_event_processor(partial(requests.describe, scope))
        self._counts = client.options["auto_session_tracking"]
        if self._counts:
            self._own.start_session(session_mode="request")
        self._trace = _begin_trace(client, self._own, scope)
        _is_observed.set(True)

    def note_status(self, status: int) -> None:
        """Note what the request is answered, as a part of the trace."""
        if self._trace is not None:
            self._trace.set_http_status(status)
        super().note_status(status)

    def fail(self, error: Exception) -> None:
        """Report what was raised, as a part of the trace."""
        super().fail(error)
        if self._trace is not None:
            with suppress(Exception):
                self._trace.set_status("internal_error")

    def end(self) -> None:
        """End the trace, and leave the scopes."""
        with suppress(Exception):
            if self._trace is not None:
                if self._trace.source not in _NAMED:
                    self._trace.name, self._trace.source = _name_of(self._scope)
                self._trace.__exit__(None, None, None)
            if self._counts:
                self._own.end_session()
        with suppress(Exception):
            isolation, current = self._outer
            Notes.set_isolation_scope(isolation)
            Notes.set_current_scope(current)
        _is_observed.set(False)


def _report(error: Exception, handled: bool, mechanism: str = MECHANISM) -> None:
    with suppress(Exception):
        options = sentry_sdk.get_client().options
        how = {"type": mechanism, "handled": handled}
        made, hint = event_from_exception(error, client_options=options, mechanism=how)
        sentry_sdk.capture_event(made, hint=hint)


def _begin_trace(client: "BaseClient", own: Notes, scope: Scope) -> "Transaction | None":
    """Begin the trace of a request, if it is drawn, or if its caller's trace is recorded."""
    own.set_new_propagation_context()
    if scope.get("method") in UNTRACED:
        return None
    incoming = {
        name.decode("latin-1"): value.decode("latin-1")
        for name, value in scope["headers"]
        if name in _CONTINUING
    }
    drawn = random.randrange(_MILLION) / _MILLION  # noqa: S311 - no secret
    if not incoming and not _is_drawn(client, scope, drawn):
        return None
    path = str(scope.get("path", ""))
    begun = own.continue_trace(incoming, OPERATION, path, source="url", origin=ORIGIN)
    if not incoming:
        begun._sample_rand = drawn  # the SDK would make one of the trace's id
    sentry_sdk.start_transaction(begun, custom_sampling_context={"asgi_scope": scope})
    if not begun.sampled:
        begun.finish()  # which counts it
        return None
    return begun.__enter__()


def _is_drawn(client: "BaseClient", scope: Scope, drawn: float) -> bool:
    options = client.options
    rate = options["traces_sample_rate"] or 0.0
    if options["traces_sampler"] is not None:
        rate = options["traces_sampler"]({"asgi_scope": scope, "parent_sampled": None})
    if rate and drawn >= rate and client.transport is not None:
        # The span is the request itself.
        for category in ("transaction", "span"):
            client.transport.record_lost_event("sample_rate", data_category=category)
    return drawn < rate


def _name_of(scope: Scope) -> tuple[str, str]:
    """Return what a request is called, and whether that is a route or an address."""
    # A router that is included has the prefix that it is included under in the context alone.
    route = scope.get("fastapi", {}).get("effective_route_context") or scope.get("route")
    path = getattr(route, "path", "")
    return (str(path), "route") if path else (str(scope.get("path", "")), "url")


def _name(made: "Event", scope: Scope) -> None:
    if (made.get("transaction_info") or {}).get("source") not in _NAMED:
        made["transaction"], source = _name_of(scope)
        made["transaction_info"] = {"source": source}


def _with_method(scope: Scope, made: "Event", hint: "Hint") -> "Event":
    _name(made, scope)
    made["request"] = {"method": str(scope.get("method", ""))}
    return Plain(made) if made.get("type") == "transaction" else made  # type: ignore[return-value]  # a TypedDict has no subclass


async def _nobody(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve nothing."""


_sdk: Final = SentryAsgiMiddleware(_nobody, **_AS_OURS)


def _with_details(scope: Scope, made: "Event", hint: "Hint") -> "Event":
    _name(made, scope)
    # The path has the root in it already.
    return _sdk.event_processor(made, hint, asgi_scope={**scope, "root_path": ""}) or made


class Queries(Integration):
    """Leaves a breadcrumb of each query, and traces it where its request is traced."""

    identifier = "queries"

    @staticmethod
    def setup_once() -> None:
        """Look at the queries of every engine, once in the life of the process."""
        event.listen(Engine, "before_cursor_execute", _begin_query)
        event.listen(Engine, "after_cursor_execute", _end_query)
        event.listen(Engine, "handle_error", _fail_query)


def _begin_query(
    connection: Connection,
    cursor: object,
    statement: str,
    parameters: object,
    context: ExecutionContext | None,
    executemany: bool,
) -> None:
    with suppress(Exception):
        if sentry_sdk.get_client().get_integration(Queries) is None:
            return
        sentry_sdk.add_breadcrumb(category="query", message=statement)
        span = sentry_sdk.get_current_span()
        if span is not None and span.sampled and context is not None:
            begun = span.start_child(op="db", name=statement, origin="auto.db.sqlalchemy")
            begun.set_data("db.system", connection.dialect.name)
            context.noted_span = begun  # type: ignore[attr-defined]  # it is ours


def _end_query(
    connection: Connection,
    cursor: object,
    statement: str,
    parameters: object,
    context: ExecutionContext | None,
    executemany: bool,
) -> None:
    _end_span(context)


def _fail_query(failed: ExceptionContext) -> None:
    _end_span(failed.execution_context, "internal_error")


def _end_span(context: ExecutionContext | None, status: str = "") -> None:
    span: Span | None = getattr(context, "noted_span", None)
    if span is not None:
        with suppress(Exception):
            if status:
                span.set_status(status)
            span.finish()


class Records(LoggingIntegration):
    """Leaves a breadcrumb of each log record from INFO up, and reports those of errors."""

    def __init__(self, details: bool, logs_level: int | None) -> None:
        super().__init__(event_level=logging.ERROR, sentry_logs_level=logs_level)
        self._breadcrumb_handler = _Breadcrumbs(details)


class _Breadcrumbs(BreadcrumbHandler):
    """Leaves breadcrumbs, but none of the line that closes a request: nothing comes after it.

    Without `details` they do not have the text of the record: a hook puts another in its place.
    """

    def __init__(self, details: bool) -> None:
        super().__init__(logging.INFO)
        self._details = details

    def emit(self, record: logging.LogRecord) -> None:
        """Leave one, with the record as a hint."""
        if record.name == CLOSING and record.levelno < logging.WARNING:
            return
        if self._details:
            super().emit(record)
            return
        with suppress(Exception):
            made = {
                "type": "log",
                "level": self._logging_to_event_level(record),
                "category": record.name,
                "timestamp": datetime.fromtimestamp(record.created, UTC),
            }
            sentry_sdk.add_breadcrumb(made, {"log_record": record})


class Tasks(Integration):
    """Gives each task of the running event loop its own scopes, and reports what ends it."""

    identifier = "tasks"

    @staticmethod
    def setup_once() -> None:
        """Make the tasks of the running loop, if there is one; once in the life of the process."""
        with suppress(RuntimeError):
            loop = asyncio.get_running_loop()
            loop.set_task_factory(partial(_make_task, loop.get_task_factory() or _usual_task))


def _usual_task(
    loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **options: Any
) -> asyncio.Task[Any]:
    return asyncio.Task(work, loop=loop, **options)


def _make_task(
    make: Callable[..., asyncio.Future[Any]],
    loop: asyncio.AbstractEventLoop,
    work: Coroutine[Any, Any, Any],
    **options: Any,
) -> asyncio.Future[Any]:
    context = None
    with suppress(Exception):
        # Who gives a task a context means to share it, or to begin with an empty one.
        is_plain = getattr(work, "__qualname__", "") in PLAIN_TASKS
        is_free = options.get("context") is None and not is_plain
        if is_free and sentry_sdk.get_client().get_integration(Tasks):
            context = copy_context()
            context.run(_fork_scopes)
            options["context"] = context
    task = make(loop, work, **options)
    if context is not None:
        task.add_done_callback(_report_task, context=context)
    return task


def _fork_scopes() -> None:
    Notes.set_isolation_scope(Notes.get_isolation_scope().fork())
    Notes.set_current_scope(Notes.get_current_scope().fork())


def _report_task(task: asyncio.Future[Any]) -> None:
    # Not by its method: who asks for an exception keeps asyncio from logging it.
    error = getattr(task, "_exception", None)
    if isinstance(error, Exception):
        _report(error, handled=False, mechanism="asyncio")
