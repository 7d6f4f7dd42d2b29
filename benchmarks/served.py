"""A contender of telemetry.py, in a process of its own: it serves HTTP, or calls itself in rounds.

Runs in the environment of a generated project: `served.py NAME serve PORT`, or `served.py NAME
call TOKEN PROJECT`, which reads from standard input how many calls a round has, and writes the
processor's seconds for each of them. It takes its settings from the environment.
"""

import asyncio
import gc
import os
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import uvicorn
from app.api import edge
from app.api.dependencies.database import get_database
from app.auth.verifier import Verifier
from app.core.config import Settings
from app.db import configure
from app.projects import routes
from app.projects.models import Project
from app.tenancy import tenant_session
from app.tenancy.quotas import RateLimits
from fastapi import FastAPI
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

TENANT = "acme"
RATE = 0.1  # of requests, traced
PAGE = 20  # projects
PATH = "/api/v1/projects"

Call = tuple[str, str, str, bytes]  # method, path, query, body


def calls(project: str) -> list[Call]:
    """Return what is asked in turn: a list, a project, and to make one."""
    body = b'{"name": "%b"}' % uuid.uuid4().hex.encode()
    return [
        ("GET", PATH, f"limit={PAGE}", b""),
        ("GET", f"{PATH}/{project}", "", b""),
        ("POST", PATH, "", body),
    ]


# The contenders, each with one part more than the one before.


def bare() -> FastAPI:
    """The routes, on plain SQLAlchemy: no tenancy, no authentication, no telemetry."""
    settings = Settings()
    engine = create_async_engine(settings.DATABASE_URL)
    # The database asks whether a row may be written, and a project has a tenant.
    event.listen(
        engine.sync_engine,
        "connect",
        lambda connection, _: connection.create_function("may_write", 1, lambda _: True),
    )
    event.listen(Project, "init", lambda project, _, values: values.update(tenant_id=TENANT))

    async def database() -> AsyncIterator[AsyncSession]:
        async with AsyncSession(engine, expire_on_commit=False) as session:
            yield session
            await session.commit()

    app = _with_routes(settings)
    app.dependency_overrides[get_database] = database
    return app


def tenancy() -> FastAPI:
    """The same, where a session is its tenant's."""
    settings = Settings()
    configure(settings)

    async def database() -> AsyncIterator[AsyncSession]:
        async with tenant_session(TENANT) as session:
            yield session

    app = _with_routes(settings)
    app.dependency_overrides[get_database] = database
    return app


def authentication() -> FastAPI:
    """The same, where the tenant is that of the caller, who has a token and is active."""
    settings = Settings()
    configure(settings)
    app = _with_routes(settings)
    app.state.verifier = Verifier(settings)
    app.state.rate_limits = RateLimits(settings)
    return app


def edge_and_logs() -> FastAPI:
    """The service without its metrics."""
    edge.metrics.count_request = lambda *_: None
    edge.metrics.IN_PROGRESS = _Uncounted()
    return service()


def service() -> FastAPI:
    """The service; what it reports, and where, is a matter of its settings."""
    from app.main import app

    return app


def stock() -> FastAPI:
    """The service, with the SDK as it is."""
    import sentry_sdk

    sentry_sdk.init(os.environ["STOCK_DSN"], traces_sample_rate=RATE)
    return service()


CONTENDERS: Mapping[str, Callable[[], FastAPI]] = {
    "bare": bare,
    "tenancy": tenancy,
    "authentication": authentication,
    "edge and logs": edge_and_logs,
    "metrics": service,
    "telemetry": service,
    "none": service,
    "stock": stock,
}


class _Uncounted:
    """Stands in for a metric."""

    def inc(self) -> None:
        """Count nothing."""

    dec = inc


def _with_routes(settings: Settings) -> FastAPI:
    app = FastAPI()
    app.state.settings = settings
    app.include_router(routes.router)
    return app


# Calls without a server in between.


class Caller:
    """Calls an application as a server does, one request after the other."""

    def __init__(self, app: FastAPI, token: str, project: str) -> None:
        self._app = app
        self._headers = [
            (b"host", b"127.0.0.1"),
            (b"authorization", f"Bearer {token}".encode()),
            (b"content-type", b"application/json"),
        ]
        self._project = project

    async def round(self, size: int) -> float:
        """Make so many calls; return the processor's seconds for each of them.

        They are the whole process's, until all is sent: that is done in a thread of its own.
        """
        turns = -(-size // 3)
        gc.collect()
        started = time.process_time()
        for _ in range(turns):
            for call in calls(self._project):
                await self._call(*call)
        if sdk := sys.modules.get("sentry_sdk"):
            sdk.flush()
        return (time.process_time() - started) / (3 * turns)

    async def _call(self, method: str, path: str, query: str, body: bytes) -> None:
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [*self._headers, (b"content-length", str(len(body)).encode())],
            "client": ("127.0.0.1", 50_000),
            "server": ("127.0.0.1", 8000),
            "state": {},
        }
        status = 0

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Mapping[str, Any]) -> None:
            nonlocal status
            status = message.get("status", status)

        await asyncio.create_task(self._app(scope, receive, send))
        if status not in {200, 201}:
            raise RuntimeError(f"{method} {path} was answered {status}")


async def call_in_rounds(contender: str, token: str, project: str) -> None:
    """Make rounds of calls, until there is nothing more to read."""
    app = CONTENDERS[contender]()  # where the loop runs, as in a server
    caller, loop = Caller(app, token, project), asyncio.get_running_loop()
    async with app.router.lifespan_context(app):
        while size := await loop.run_in_executor(None, sys.stdin.readline):
            print(await caller.round(int(size)), flush=True)


async def serve(contender: str, port: int) -> None:
    """Serve HTTP, as `python -m app run` does."""
    config = uvicorn.Config(
        CONTENDERS[contender](),
        port=port,
        ws="none",
        server_header=False,
        access_log=False,
        log_config=None,
    )
    await uvicorn.Server(config).serve()


if __name__ == "__main__":
    name, what, *rest = sys.argv[1:]
    asyncio.run(serve(name, int(rest[0])) if what == "serve" else call_in_rounds(name, *rest))
