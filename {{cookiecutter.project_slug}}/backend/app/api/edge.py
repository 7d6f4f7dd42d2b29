"""What every request passes before a route: its id, its limits, and who may ask at all."""

import asyncio
import logging
import time
from functools import partial
from http import HTTPStatus

from fastapi import FastAPI, Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.dependencies.auth import TENANT_HEADER
from app.core.config import Settings
from app.core.context import (
    HEADER,
    begin_request,
    current_request_id,
    current_tenant,
    route_of,
)
from app.core.errors import SAFE_HEADERS, TENANT_NOT_ACTIVE, Problem, problem_response
from app.observability import metrics
from app.tenancy import serving_request
from app.tenancy.quotas import QuotaExceededError
from app.tenancy.session import TenantErasedError

log = logging.getLogger("app.request")

_KNOWN = "app.request"
"""In the ASGI scope of a request that has begun."""


class Service(FastAPI):
    """An application in which a request is known from its beginning, and is nobody's so far.

    Whatever middleware is added to it, all parts of a request find its id, and the doors to the
    database shut.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, or the lifespan, which is no request."""
        if scope["type"] == "lifespan":
            await super().__call__(scope, receive, send)
            return
        if _KNOWN not in scope:  # else this application is mounted in another one like it
            scope[_KNOWN] = True
            begin_request(Headers(scope=scope).get(HEADER, ""), partial(_name_of, scope))
        with serving_request():
            await super().__call__(scope, receive, send)


def _name_of(scope: Scope) -> str:
    return f"{scope.get('method', 'WEBSOCKET')} {_route_of(scope)}"


def _route_of(scope: Scope) -> str:
    # Its template, not the path: ids and names in a path are not for logs and metrics.
    return route_of(scope) or metrics.NO_ROUTE


def install(app: FastAPI, settings: Settings) -> None:
    """Put the edge around an application. The last one added is the first one passed."""
    metrics.follow_tenants(settings.METRICS_TENANTS)
    app.add_exception_handler(QuotaExceededError, _on_exceeded_quota)
    app.add_exception_handler(TenantErasedError, _on_erased_tenant)
    app.add_middleware(TimeLimit, seconds=settings.REQUEST_TIMEOUT)
    app.add_middleware(BodyLimit, size=settings.MAX_BODY_BYTES)
    if settings.CORS_ORIGINS:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.CORS_ORIGINS,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["Authorization", "If-Match", HEADER, TENANT_HEADER],
            expose_headers=["ETag", "Location", "Retry-After", HEADER],
        )
    app.add_middleware(TrustedHosts, allowed_hosts=settings.TRUSTED_HOSTS)
    app.add_middleware(PlainTextErrors)
    app.add_middleware(RequestId)


async def _on_exceeded_quota(request: Request, error: Exception) -> Response:
    assert isinstance(error, QuotaExceededError)  # noqa: S101 - narrows the type
    headers = {"Retry-After": str(error.retry_after)}
    return problem_response(429, str(error), headers, limit=error.limit)


async def _on_erased_tenant(request: Request, error: Exception) -> Response:
    return problem_response(403, TENANT_NOT_ACTIVE)


class RequestId:
    """Tell each request's id in the response, and close the request with a log line; count it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500
        request_id = current_request_id()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers[HEADER] = request_id
                for name, value in SAFE_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        is_counted = scope["path"] != metrics.PATH  # a scrape would measure itself
        if is_counted:
            metrics.IN_PROGRESS.inc()
        try:
            await self.app(scope, receive, send_with_id)
        finally:
            seconds = time.perf_counter() - started
            if is_counted:
                metrics.IN_PROGRESS.dec()
                route, tenant = _route_of(scope), current_tenant()
                metrics.count_request(scope["method"], route, status, seconds, tenant)
            log.info("request served", extra={"status": status})


class TrustedHosts(TrustedHostMiddleware):
    """Answer to the service's own names only; for metrics to any, as they are scraped by address."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        passed = self.app if scope.get("path") == metrics.PATH else super().__call__
        await passed(scope, receive, send)


class PlainTextErrors:
    """Turn the plain-text errors of libraries into problem documents."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        replaced = False

        async def send_problem(message: Message) -> None:
            nonlocal replaced
            if message["type"] == "http.response.start" and message["status"] >= 400:
                kind = Headers(raw=message["headers"]).get("content-type", "")
                if kind.startswith("text/plain"):
                    replaced = True
                    phrase = HTTPStatus(message["status"]).phrase
                    response = problem_response(message["status"], f"{phrase}.")
                    await response(scope, receive, send)
            if not replaced:
                await send(message)

        await self.app(scope, receive, send_problem)


class BodyLimit:
    """Refuse a body that is larger than the limit, whether it says so in advance or not."""

    def __init__(self, app: ASGIApp, size: int) -> None:
        self.app = app
        self.size = size

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and int(announced[:20]) > self.size:
            await problem_response(413, self._detail)(scope, receive, send)
            return
        received = 0

        async def receive_limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.size:
                raise Problem(413, self._detail)
            return message

        await self.app(scope, receive_limited, send)

    @property
    def _detail(self) -> str:
        return f"A request body may have at most {self.size} bytes."


class TimeLimit:
    """Give up on a request that takes too long, so that it can't hold a connection for ever.

    An answer that is streamed may take longer, as long as it goes on.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self.app = app
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        answered = False
        limit = asyncio.timeout(self.seconds)

        async def watch(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)
            if not limit.expired():
                limit.reschedule(asyncio.get_running_loop().time() + self.seconds)

        try:
            async with limit:
                await self.app(scope, receive, watch)
        except TimeoutError:
            if answered or not limit.expired():
                raise
            detail = f"The request took longer than {self.seconds:g} seconds."
            await problem_response(503, detail)(scope, receive, send)
