"""Instruments: what is noted of requests, queries, calls, tasks, threads and log records.

They stand in for the SDK's integrations for Starlette, FastAPI and SQLAlchemy, which wrap every
middleware, and read headers and make spans for requests that are not traced. Here that is decided
first; a request that is not traced has scopes of its own, where its tags and breadcrumbs wait for
an error, and no more. Those for httpx, asyncio, threading and logging are replaced as well:
whatever the SDK raises, who is observed does not hear of it.
"""

import asyncio
import json
import logging
import os
import random
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial, wraps
from inspect import signature
from threading import Thread, current_thread
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import parse_qs
from weakref import WeakSet

import httpx
import sentry_sdk
from sentry_sdk.integrations import Integration
from sentry_sdk.integrations.asgi import SentryAsgiMiddleware
from sentry_sdk.integrations.dedupe import DedupeIntegration
from sentry_sdk.integrations.logging import (
    _IGNORED_LOGGERS,
    BreadcrumbHandler,
    EventHandler,
    LoggingIntegration,
)
from sentry_sdk.scope import Scope as SentryScope
from sentry_sdk.tracing_utils import Baggage, should_propagate_trace
from sentry_sdk.utils import event_from_exception
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import ExceptionContext, ExecutionContext
from starlette.applications import Starlette
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core import context
from app.observability import is_failure

if TYPE_CHECKING:
    from sentry_sdk._types import Event, Hint
    from sentry_sdk.client import BaseClient
    from sentry_sdk.tracing import Span, Transaction

OPERATION: Final = "http.server"
ORIGIN: Final = "auto.http.starlette"
MECHANISM: Final = "starlette"
TASK: Final = "asyncio"
THREAD: Final = "threading"
WORKERS: Final = ("aiosqlite.", "anyio.", "concurrent.futures.", "sentry_sdk.")
"""Modules whose threads work for one request after the other."""
AFTERWARDS: Final = frozenset({TASK, "app.observability.logging"})
"""Loggers of exceptions that nobody has caught, which are told once they are all over."""
SERVER: Final = "uvicorn.error"
CLOSING: Final = "app.request"
"""The logger of the line that closes a request."""
UNTRACED: Final = frozenset({"HEAD", "OPTIONS"})
"""Methods of requests that are not traced."""
PLAIN_TASKS: Final = frozenset({"AsyncSession.close", "RequestResponseCycle.run_asgi"})
"""Tasks that each request has and that need no scopes: they tell nothing, or are a request."""
FAILURES: Final = range(500, 600)
"""Statuses of exceptions that are reported though they are handled."""
LONGEST_BODY: Final = 10_000
"""Bytes of a request's body; longer ones are not told."""

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

_REPORTED: Final = "_reported_in"
"""The attribute of an exception that was reported, which says in which request."""

_INSIDE: Final = "app.telemetry"
"""In the ASGI scope of a request that is being observed, and so of applications inside of it."""

Scopes = tuple[SentryScope, SentryScope]
"""Where notes are kept: those of a whole request or task, and those of a part of it."""


@dataclass(slots=True, eq=False)
class _Observed:
    """A request that is being observed."""

    around: Scopes
    within: Scopes | None = None
    """Of the task that its route has run in, once that is over."""


_observed: ContextVar[_Observed | None] = ContextVar("observed", default=None)

_TOLD: Final[tuple[ContextVar[Any], ...]] = (context.work, context.operation, _observed)
"""What decides on reports, and is not known in another thread by itself: above all, the consent."""


# What all of them use.


def _report(error: Exception, kind: str, handled: bool) -> None:
    if _is_repeated(error):
        return
    with suppress(Exception):
        options = sentry_sdk.get_client().options
        how = {"type": kind, "handled": handled}
        made, hint = event_from_exception(error, client_options=options, mechanism=how)
        sentry_sdk.capture_event(made, hint=hint)


def _is_repeated(error: BaseException) -> bool:
    """Whether an exception was reported in this request, as one that ended a task; note that it is."""
    with suppress(Exception):
        if isinstance(error, BaseExceptionGroup):
            return all([_is_repeated(each) for each in error.exceptions])  # noqa: C419 - of each
        request = _observed.get()
        before, vars(error)[_REPORTED] = vars(error).get(_REPORTED), request
        return request is not None and before is request
    return False


def _scopes() -> Scopes:
    return SentryScope.get_isolation_scope(), SentryScope.get_current_scope()


def _forked(scopes: Scopes) -> Scopes:
    isolation, current = scopes
    return isolation.fork(), current.fork()


def _enter(scopes: Scopes) -> None:
    isolation, current = scopes
    SentryScope.set_isolation_scope(isolation)
    SentryScope.set_current_scope(current)


def _is_on(integration: type[Integration]) -> bool:
    with suppress(Exception):
        return sentry_sdk.get_client().get_integration(integration) is not None
    return False


# Requests.


class Plain(dict[str, Any]):
    """An event that a hook rebuilds from an allow-list: the SDK's serializer can do without it."""

    def __sentry_repr__(self) -> "Plain":
        """Stand for itself: the serializer, which asks for this, looks no further."""
        return self


class Requests(Integration):
    """Gives each request its own scopes, traces those that are drawn, and reports what they raise.

    With `details`, reports tell its URL and its headers; without, its method and its route alone.
    With `bodies` they tell its body as well, if that is JSON or a form.
    """

    identifier = "requests"

    def __init__(self, details: bool, bodies: bool) -> None:
        self.describe: Final = _with_details if details else _with_method
        self.tells_bodies: Final = details and bodies

    @staticmethod
    def setup_once() -> None:
        """Look at each connection of each application, once in the life of the process."""
        serve = Starlette.__call__

        async def observed(app: Starlette, scope: Scope, receive: Receive, send: Send) -> None:
            seen, inner = None, cast(ASGIApp, partial(serve, app))
            with suppress(Exception):
                seen, inner = _observe(inner, scope, receive, send)
            if seen is None:
                await inner(scope, receive, send)
                return
            try:
                await inner(scope, seen.receive, seen.send)
            except Exception as error:
                seen.fail(error)
                raise
            finally:
                seen.end()

        handle = ExceptionMiddleware.__call__

        async def handled(
            inner: ExceptionMiddleware, scope: Scope, receive: Receive, send: Send
        ) -> None:
            if not _is_on(Requests):
                await handle(inner, scope, receive, send)
                return
            try:
                await handle(inner, scope, receive, _Part(receive, send).send)
            finally:
                with suppress(Exception):
                    _note_scopes()

        # What is handled is known to be so there alone, and so is whose it is, where a middleware
        # has the route run in a task of its own.
        ExceptionMiddleware.__call__ = handled  # type: ignore[assignment, method-assign]  # as the SDK does
        Starlette.__call__ = observed  # type: ignore[assignment, method-assign]  # the same
        os.register_at_fork(after_in_child=_leave_request)


def _leave_request() -> None:
    """Have a process that was forked while a request is served keep nothing of it."""
    with suppress(Exception):
        if (request := _observed.get()) is not None:
            _enter(_forked(request.around))
            _observed.set(None)


def _note_scopes() -> None:
    """Keep where the notes are of the innermost application that has served this request."""
    if (request := _observed.get()) is not None and request.within is None:
        request.within = _scopes()


def _observe(
    app: ASGIApp, scope: Scope, receive: Receive, send: Send
) -> "tuple[_Part | None, ASGIApp]":
    """Return what looks at a connection, if anything does, and the application to call."""
    client = sentry_sdk.get_client()
    requests = client.get_integration(Requests)
    if requests is None:
        return None, app
    _watch_tasks()
    if _streams_spans(client):
        return _Part(receive, send), SentryAsgiMiddleware(app, **_AS_OURS)
    # Not by the context: a server may begin a request in a copy of that of the one before.
    if scope["type"] == "lifespan" or scope.get(_INSIDE):
        return _Part(receive, send), app
    scope[_INSIDE] = True
    return _Request(client, requests, scope, receive, send), app


def _streams_spans(client: "BaseClient") -> bool:
    """Whether spans are sent each on its own, which is left to the SDK's middleware."""
    experiments = client.options.get("_experiments") or {}
    return "stream" in (client.options.get("trace_lifecycle"), experiments.get("trace_lifecycle"))


class _Part:
    """What is no request of its own: the lifespan, and what serves within another application."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self.receive = receive
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
            _report(error, MECHANISM, handled=True)

    def fail(self, error: Exception) -> None:
        """Report what was raised."""
        _report(error, MECHANISM, handled=False)

    def end(self) -> None:
        """Note that it is over."""


class _Request(_Part):
    """A request that is being served, or a websocket."""

    def __init__(
        self,
        client: "BaseClient",
        requests: Requests,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        super().__init__(receive, send)
        self._scope = scope
        self._before = _scopes(), _observed.get()
        outer = self._before[1]
        around = outer.around if outer is not None else self._before[0]
        forked = _forked(around)
        self._own = forked[0]
        _enter(forked)
        self._own.clear_breadcrumbs()
        self._own.add_event_processor(partial(requests.describe, scope))
        if requests.tells_bodies:
            body = _Body(receive)
            self.receive = body.receive
            self._own.add_event_processor(partial(body.describe, scope))
        self._counts = client.options["auto_session_tracking"]
        if self._counts:
            self._own.start_session(session_mode="request")
        self._trace, self._is_undrawn = _begin_trace(client, self._own, scope)
        self._observed = _Observed(around)
        _observed.set(self._observed)

    def note_status(self, status: int) -> None:
        """Note what the request is answered, as a part of the trace."""
        if self._trace is not None:
            self._trace.set_http_status(status)
        super().note_status(status)

    def fail(self, error: Exception) -> None:
        """Report what was raised, as a part of the trace."""
        self._go_within()
        super().fail(error)
        if self._trace is not None:
            with suppress(Exception):
                self._trace.set_status("internal_error")

    def end(self) -> None:
        """End the trace, and leave the scopes."""
        self._go_within()
        with suppress(Exception):
            if self._trace is not None:
                if self._trace.source not in _NAMED:
                    self._trace.name, self._trace.source = _name_of(self._scope)
                self._trace.__exit__(None, None, None)
            if self._is_undrawn:
                _count_undrawn()
            if self._counts and context.current_consent() != "none":
                self._own.end_session()
        with suppress(Exception):
            _enter(self._before[0])
        _observed.set(self._before[1])
        self._observed.within = None  # an exception that somebody keeps would keep it

    def _go_within(self) -> None:
        # A middleware may have had the route run in a task of its own, which knows whose it was.
        with suppress(Exception):
            if self._observed.within is not None:
                _enter(self._observed.within)


class _Body:
    """The body of a request, as far as whoever serves it has read it."""

    def __init__(self, receive: Receive) -> None:
        self._from_server = receive
        self._read = bytearray()

    async def receive(self) -> Message:
        """Receive a message from the server, and keep what it has of the body."""
        message = await self._from_server()
        with suppress(Exception):
            if len(self._read) <= LONGEST_BODY:
                self._read += message.get("body", b"")[: LONGEST_BODY + 1]
        return message

    def describe(self, scope: Scope, made: "Event", hint: "Hint") -> "Event":
        """Add the body to a report, by the fields that it has."""
        with suppress(Exception):
            kind = dict(scope["headers"]).get(b"content-type", b"").partition(b";")[0].strip()
            if 0 < len(self._read) <= LONGEST_BODY and (read := _READERS.get(kind.lower())):
                made.setdefault("request", {})["data"] = read(self._read.decode())
        return made


_READERS: Final[dict[bytes, Callable[[str], object]]] = {
    b"application/json": json.loads,
    b"application/x-www-form-urlencoded": parse_qs,
}
"""How a body is read, by its type."""


def _begin_trace(
    client: "BaseClient", own: SentryScope, scope: Scope
) -> "tuple[Transaction | None, bool]":
    """Begin the trace of a request, if it is drawn, or if its caller's trace is recorded.

    Tell as well whether it might have been drawn, and was not.
    """
    own.set_new_propagation_context()
    if scope.get("method") in UNTRACED:
        return None, False
    incoming = {
        name.decode("latin-1"): value.decode("latin-1")
        for name, value in scope["headers"]
        if name in _CONTINUING
    }
    drawn = random.randrange(_MILLION) / _MILLION  # noqa: S311 - no secret
    rate = None if incoming else _rate(client, scope)
    if rate is not None and drawn >= rate:
        return None, rate > 0
    path = str(scope.get("path", ""))
    begun = own.continue_trace(incoming, OPERATION, path, source="url", origin=ORIGIN)
    if not incoming:
        begun._sample_rand = drawn  # the SDK would make one of the trace's id
    sentry_sdk.start_transaction(begun, custom_sampling_context={"asgi_scope": scope})
    if not begun.sampled:
        begun.finish()  # which counts it
        return None, False
    return begun.__enter__(), False


def _rate(client: "BaseClient", scope: Scope) -> float:
    sampler = client.options["traces_sampler"]
    if sampler is None:
        return client.options["traces_sample_rate"] or 0.0
    rate: float = sampler({"asgi_scope": scope, "parent_sampled": None})
    return rate


def _count_undrawn() -> None:
    """Count a trace that was not drawn, now that it is known whose it would have been."""
    if (transport := sentry_sdk.get_client().transport) is not None:
        # The span is the request itself.
        for category in ("transaction", "span"):
            transport.record_lost_event("sample_rate", data_category=category)


def _name_of(scope: Scope) -> tuple[str, str]:
    """Return what a request is called, and whether that is a route or an address."""
    path = context.route_of(scope)
    return (path, "route") if path else (str(scope.get("path", "")), "url")


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


# Queries.


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


# Calls of other services.


class Calls(Integration):
    """Traces the calls of httpx where their request is traced, and leaves a breadcrumb of each.

    Hosts that are named in the SDK's options are told which trace a call belongs to.
    """

    identifier = "calls"

    @staticmethod
    def setup_once() -> None:
        """Look at the calls of every client, once in the life of the process."""
        # Not `send`, which follows redirects: the next host may be one that is not named. There is
        # no hook that all clients have, and so this is replaced as the SDK replaces the other.
        send = httpx.Client._send_single_request
        send_async = httpx.AsyncClient._send_single_request

        @wraps(send)
        def sent(client: httpx.Client, request: httpx.Request) -> httpx.Response:
            with _calling(request) as note:
                return note(send(client, request))

        @wraps(send_async)
        async def sent_async(client: httpx.AsyncClient, request: httpx.Request) -> httpx.Response:
            with _calling(request) as note:
                return note(await send_async(client, request))

        httpx.Client._send_single_request = sent  # type: ignore[assignment, method-assign]
        httpx.AsyncClient._send_single_request = sent_async  # type: ignore[assignment, method-assign]


@contextmanager
def _calling(request: httpx.Request) -> Iterator[Callable[[httpx.Response], httpx.Response]]:
    """Observe a call; what is yielded is told of the answer, and returns it."""
    span, url, is_answered = None, "", False
    if is_on := _is_on(Calls):
        with suppress(Exception):
            url = str(request.url.copy_with(query=None, fragment=None))
            span = _begin_call(f"{request.method} {url}")
        with suppress(Exception):
            _tell_trace(request)

    def note(answer: httpx.Response) -> httpx.Response:
        nonlocal is_answered
        is_answered = True
        with suppress(Exception):
            if is_on:
                data = {"method": request.method, "url": url, "status_code": answer.status_code}
                sentry_sdk.add_breadcrumb(type="http", category="httplib", data=data)
            if span is not None:
                span.set_http_status(answer.status_code)
        return answer

    try:
        yield note
    finally:
        with suppress(Exception):
            if span is not None:
                if not is_answered:
                    span.set_status("internal_error")
                span.__exit__(None, None, None)


def _begin_call(name: str) -> "Span | None":
    outer = sentry_sdk.get_current_span()
    if outer is None or not outer.sampled:
        return None
    return outer.start_child(op="http.client", name=name, origin="auto.http.httpx").__enter__()


def _tell_trace(request: httpx.Request) -> None:
    """Send along which trace a call belongs to, where its host is one of those that are named."""
    told = dict(SentryScope.get_current_scope().iter_trace_propagation_headers())
    is_named = should_propagate_trace(sentry_sdk.get_client(), str(request.url))
    trace = told["sentry-trace"].partition("-")[0]
    if not is_named and not request.headers.get("sentry-trace", "").startswith(trace):
        return
    # Others may have put something of their own into the baggage.
    own = Baggage.strip_sentry_baggage(request.headers.pop("baggage", ""))
    request.headers.pop("sentry-trace", None)  # which a redirect brings along
    if is_named:
        request.headers["sentry-trace"] = told["sentry-trace"]
    if baggage := ",".join(filter(None, (own, told.get("baggage") if is_named else ""))):
        request.headers["baggage"] = baggage


# Tasks and threads.


class Tasks(Integration):
    """Gives each task its own scopes, and reports what ends one.

    A task that is given a context has the scopes that are in there.
    """

    identifier = "tasks"

    @staticmethod
    def setup_once() -> None:
        """Look at the tasks of the loop that runs; at those of another when it serves."""
        _watch_tasks()


_watched: Final[WeakSet[asyncio.AbstractEventLoop]] = WeakSet()


def _watch_tasks() -> None:
    with suppress(Exception):
        loop = asyncio.get_running_loop()
        if loop not in _watched:
            _watched.add(loop)
            make = loop.get_task_factory() or _make_task
            # One that takes no context, as was usual once, is left alone.
            signature(make).bind(loop, None, context=None)
            loop.set_task_factory(partial(_observe_task, make))


def _make_task(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
    """Make a task as a loop does that has no factory."""
    task = asyncio.Task(work, loop=loop, **options)
    with suppress(Exception):
        if stack := task._source_traceback:  # type: ignore[attr-defined]  # of loops that debug
            del stack[-2:]  # what is in here
    return task


def _observe_task(
    make: Callable[..., Any], loop: asyncio.AbstractEventLoop, work: Any, **options: Any
) -> Any:
    if getattr(work, "__qualname__", "") in PLAIN_TASKS or not _is_on(Tasks):
        return make(loop, work, **options)
    # Who gives a task a context means to share it, or to begin with an empty one.
    if options.get("context") is None:
        options["context"] = _forked_context()
    task = make(loop, work, **options)
    with suppress(Exception):
        task.add_done_callback(_end_task, context=options["context"])
    return task


def _forked_context() -> Context:
    context = copy_context()
    with suppress(Exception):
        context.run(_enter, _forked(_scopes()))
    return context


def _end_task(task: asyncio.Future[Any]) -> None:
    # asyncio warns of an exception that nobody asks for: `exception()` would be asking.
    error = getattr(task, "_exception", None)
    if isinstance(error, Exception) and is_failure(error):
        _report(error, TASK, handled=False)


class Threads(Integration):
    """Gives each thread and each call in a pool its own scopes, and reports what ends a thread."""

    identifier = "threads"

    @staticmethod
    def setup_once() -> None:
        """Look at each thread that is started, once in the life of the process."""
        start, submit = Thread.start, cast(Callable[..., Any], ThreadPoolExecutor.submit)

        @wraps(start)
        def started(thread: Thread) -> None:
            with suppress(Exception):
                is_given = getattr(thread, "_context", None) is not None  # from Python 3.14 on
                if _is_on(Threads) and not is_given and not _outlives(thread):
                    run = partial(_run, _Place(_forked(_scopes())), vars(thread).get("run"))
                    thread.run = run  # type: ignore[method-assign]  # as the SDK does
            start(thread)

        @wraps(submit)
        def submitted(
            pool: ThreadPoolExecutor, work: Callable[..., Any], /, *args: Any, **kwargs: Any
        ) -> Future[Any]:
            with suppress(Exception):
                if _is_on(Threads):
                    work = partial(_call, _Place(_forked(_scopes())), work)
            return cast(Future[Any], submit(pool, work, *args, **kwargs))

        Thread.start = started  # type: ignore[assignment, method-assign]  # as the SDK does
        ThreadPoolExecutor.submit = submitted  # type: ignore[assignment, method-assign]  # the same


def _outlives(thread: Thread) -> bool:
    """Whether a thread works for many, and would keep the scopes of whoever was first."""
    target = getattr(thread, "_target", None)
    module = getattr(target, "__module__", None) or type(thread).__module__
    return str(module).startswith(WORKERS)


class _Place:
    """Where notes are kept, and what decides on reports, to go there in another thread."""

    def __init__(self, scopes: Scopes) -> None:
        self._scopes = scopes
        self._told = [each.get() for each in _TOLD]

    def enter(self) -> None:
        """Go there."""
        for each, value in zip(_TOLD, self._told, strict=True):
            each.set(value)
        _enter(self._scopes)


def _run(place: _Place, own: Callable[[], None] | None) -> None:
    """Run a thread; `own` is what it was given to run in place of its class's method."""
    with suppress(Exception):
        place.enter()
    thread = current_thread()  # held by what it runs, it would hold itself
    try:
        if own is None:
            type(thread).run(thread)
        else:
            own()
    except Exception as error:
        _report(error, THREAD, handled=False)
        raise


def _call(place: _Place, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    outer = None
    with suppress(Exception):
        outer = _Place(_scopes())
        place.enter()
    try:
        return work(*args, **kwargs)
    finally:
        with suppress(Exception):
            if outer is not None:
                outer.enter()
                DedupeIntegration.reset_last_seen()  # it would keep the exception


# Log records.


class Records(LoggingIntegration):
    """Leaves a breadcrumb of each log record from INFO up, and reports those of errors."""

    def __init__(self, details: bool, logs_level: int | None) -> None:
        super().__init__(event_level=None, sentry_logs_level=logs_level)
        self._handler = EventHandler(logging.ERROR)
        self._handler.addFilter(_is_unreported)
        self._breadcrumb_handler = _Breadcrumbs(details)

    @staticmethod
    def setup_once() -> None:
        """Look at each record that is logged, once in the life of the process."""
        call_handlers = logging.Logger.callHandlers

        def observed(logger: logging.Logger, record: logging.LogRecord) -> None:
            try:
                call_handlers(logger, record)
            finally:
                with suppress(Exception):
                    _note_record(record)

        logging.Logger.callHandlers = observed  # type: ignore[assignment, method-assign]  # the same


def _note_record(record: logging.LogRecord) -> None:
    # What the SDK logs while it reports would be reported in turn.
    if record.name.strip() in _IGNORED_LOGGERS:
        return
    records = sentry_sdk.get_client().get_integration(Records)
    if records is not None:
        records._handle_record(record)
        records._handle_sentry_logs_record(record)


def _is_unreported(record: logging.LogRecord) -> bool:
    """Whether a record tells of more than of an exception that was reported."""
    error = record.exc_info[1] if record.exc_info else None
    if not isinstance(error, Exception):
        # The server writes what ends a start as a text, beside the exception itself.
        return not (record.name == SERVER and str(record.msg).startswith("Traceback (most recent"))
    if record.name in AFTERWARDS:
        return _REPORTED not in vars(error)
    return not _is_repeated(error)


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
