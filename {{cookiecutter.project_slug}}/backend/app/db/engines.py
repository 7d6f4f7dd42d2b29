"""The engines, one a role, an event loop and a URL. Private to `app.db`."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from sqlalchemy import URL, Dialect, Engine, event, make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from app.core import config
from app.observability import metrics


class Role(StrEnum):
    """Who is asking; the value is the setting that holds the role's URL."""

    APPLICATION = "DATABASE_URL"
    SYSTEM = "SYSTEM_DATABASE_URL"
    MIGRATION = "MIGRATION_DATABASE_URL"


class Prepare(Protocol):
    """What is done once with each new engine."""

    def __call__(self, engine: Engine, role: Role) -> None:
        """Put on the engine what its role demands."""


# What the driver must do where the next transaction may be on another connection of the server:
# prepare each statement anew, without a name.
BEHIND_A_POOLER = {
    "prepared_statement_cache_size": 0,
    "prepared_statement_name_func": str,
    "statement_cache_size": 0,
}

# A connection belongs to the event loop that opened it, so each loop has engines of its own:
# sessions then work in any process, in scripts that call asyncio.run twice, and in tests.
_engines: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[Role, str], AsyncEngine]] = (
    WeakKeyDictionary()
)
_configured: list[config.Settings] = []


def configure(settings: config.Settings) -> None:
    """Use these settings for the sessions of this process from now on."""
    _configured[:] = [settings]


def current_settings() -> config.Settings:
    """Return the settings that sessions use: those of the last application made, or the global."""
    return _configured[0] if _configured else config.settings


def open_session(role: Role, prepare: Prepare) -> AsyncSession:
    """Return a session of a role; `prepare` is called once, with the engine, when it is made."""
    return AsyncSession(engine(role, prepare), expire_on_commit=False)


def begin_as_owner(prepare: Prepare) -> AbstractAsyncContextManager[AsyncConnection]:
    """Begin a transaction of the role that owns the schema."""
    return engine(Role.MIGRATION, prepare).begin()


def engine(role: Role, prepare: Prepare) -> AsyncEngine:
    """Return the running loop's engine of a role, made and prepared on first use."""
    settings = current_settings()
    url = settings.database_urls[role]
    engines = _engines.setdefault(asyncio.get_running_loop(), {})
    if (found := engines.get((role, url))) is None:
        found = engines[role, url] = create(make_url(url), settings, partial(prepare, role=role))
        _measure(found.sync_engine, role, settings)
    return found


async def dispose() -> None:
    """Close every connection of the running loop."""
    for each in _engines.pop(asyncio.get_running_loop(), {}).values():
        await each.dispose()


def create(
    url: URL, settings: config.Settings, prepare: Callable[[Engine], None] = lambda _: None
) -> AsyncEngine:
    """Make an engine with the pool and time limits of the settings, and prepare it."""
    arguments = _sqlite_arguments if is_sqlite(url) else _postgresql_arguments
    made = create_async_engine(
        url,
        echo=settings.DEBUG,
        hide_parameters=True,  # values must not reach a log or an error message
        pool_size=settings.DATABASE_POOL_SIZE,
        max_overflow=settings.DATABASE_POOL_OVERFLOW,
        pool_timeout=settings.DATABASE_TIMEOUT,
        connect_args=arguments(url, settings.DATABASE_TIMEOUT),
    )
    prepare(made.sync_engine)
    if not is_sqlite(url):
        _mind_poolers(made.sync_engine)
    return made


def is_sqlite(url: URL) -> bool:
    """Tell whether a URL names the embedded database."""
    return url.get_backend_name() == "sqlite"


def _sqlite_arguments(url: URL, timeout: float) -> dict[str, object]:
    Path(url.database or "").parent.mkdir(parents=True, exist_ok=True)
    return {
        "timeout": timeout,
        # Writers queue for the lock from their first write on; readers never wait.
        "isolation_level": "IMMEDIATE",
        # A cached statement would not be authorised again.
        "cached_statements": 0,
    }


def _postgresql_arguments(url: URL, timeout: float) -> dict[str, object]:
    return {"timeout": timeout, "command_timeout": timeout}


def _mind_poolers(engine: Engine) -> None:
    """Let an engine find out, when it connects, whether there is a pooler in between."""
    remembered: dict[str, object] = {}

    def connect(
        dialect: Dialect,
        entry: ConnectionPoolEntry,
        arguments: tuple[object, ...],
        options: dict[str, object],
    ) -> object:
        connection: Any = dialect.connect(*arguments, **options, **remembered)
        try:
            is_lent = not remembered and connection.run_async(_leads_to_a_pooler)
        except BaseException:  # a cancellation too: nobody else knows of the connection yet
            connection.terminate()
            raise
        if is_lent:
            remembered.update(BEHIND_A_POOLER)
            connection.close()
            connection = dialect.connect(*arguments, **options, **remembered)
        return connection

    # After what prepared the engine: this one connects, with the options that the others chose.
    event.listen(engine, "do_connect", connect)


def _measure(engine: Engine, role: Role, settings: config.Settings) -> None:
    """Keep the metrics of an engine's connections up to date."""
    name = role.name.lower()
    in_use = metrics.POOL_CONNECTIONS.labels(name, "in_use")
    idle = metrics.POOL_CONNECTIONS.labels(name, "idle")
    limit = metrics.POOL_LIMIT.labels(name)
    # Sets, since some events come twice, or without their counterpart.
    connected: set[ConnectionPoolEntry] = set()
    lent: set[ConnectionPoolEntry] = set()

    def forget(entry: ConnectionPoolEntry) -> None:
        lent.discard(entry)
        connected.discard(entry)

    def follow(name: str, change: Callable[[ConnectionPoolEntry], None]) -> None:
        def listen(_: object, entry: ConnectionPoolEntry, *rest: object) -> None:
            change(entry)
            in_use.set(len(lent))
            idle.set(len(connected - lent))

        event.listen(engine, name, listen)

    follow("connect", connected.add)
    follow("close", connected.discard)
    follow("checkout", lent.add)
    follow("checkin", lent.discard)
    follow("detach", forget)
    limit.set(settings.DATABASE_POOL_SIZE + settings.DATABASE_POOL_OVERFLOW)
    event.listen(engine, "engine_disposed", lambda _: limit.set(0))


async def _leads_to_a_pooler(driver: Any) -> bool:
    """Tell whether the process that greeted is another than the one that answers."""
    # Within a transaction, and without a name: a pooler lends one server for that long.
    async with driver.transaction():
        statement = await driver.prepare("SELECT pg_backend_pid()", name="")
        answering: int = await statement.fetchval()
    greeted: int = driver.get_server_pid()
    return answering != greeted
