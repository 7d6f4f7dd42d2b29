"""The engines, one a role, an event loop and a URL. Private to `app.db` and `app.tenancy`."""

import asyncio
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from weakref import WeakKeyDictionary

from sqlalchemy import URL, Engine, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app.core import config


class Role(StrEnum):
    """Who is asking; the value is the setting that holds the role's URL."""

    APPLICATION = "DATABASE_URL"
    SYSTEM = "SYSTEM_DATABASE_URL"
    MIGRATION = "MIGRATION_DATABASE_URL"


Prepare = Callable[[Engine, Role], None]

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


def engine(role: Role, prepare: Prepare) -> AsyncEngine:
    """Return the running loop's engine of a role, made and prepared on first use."""
    settings = current_settings()
    url = settings.database_urls[role]
    engines = _engines.setdefault(asyncio.get_running_loop(), {})
    if (found := engines.get((role, url))) is None:
        found = engines[role, url] = create(make_url(url), settings)
        prepare(found.sync_engine, role)
    return found


async def dispose() -> None:
    """Close every connection of the running loop."""
    for each in _engines.pop(asyncio.get_running_loop(), {}).values():
        await each.dispose()


def create(url: URL, settings: config.Settings) -> AsyncEngine:
    """Make an engine with the pool and time limits of the settings."""
    arguments = _sqlite_arguments if is_sqlite(url) else _postgresql_arguments
    return create_async_engine(
        url,
        echo=settings.DEBUG,
        hide_parameters=True,  # values must not reach a log or an error message
        pool_size=settings.DATABASE_POOL_SIZE,
        max_overflow=settings.DATABASE_POOL_OVERFLOW,
        pool_timeout=settings.DATABASE_TIMEOUT,
        connect_args=arguments(url, settings.DATABASE_TIMEOUT),
    )


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
