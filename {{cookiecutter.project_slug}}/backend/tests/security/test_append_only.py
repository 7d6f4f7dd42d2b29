"""The audit log only grows: the database lets nobody change or remove what was written.

There is an end to it. PostgreSQL lets the owner of a table truncate it, or drop what protects it,
and SQLite lets anybody who may write to the file: no process that serves is either of them.
"""

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import product

import asyncpg
import pytest
from sqlalchemy import Connection, delete, make_url, select, text, update
from sqlalchemy.exc import DBAPIError

from app.core.config import Settings
from app.db import engines
from app.tenancy import system_session, tenant_session
from app.tenancy.models import AuditEntry
from app.tenancy.session import as_owner

pytestmark = pytest.mark.anyio

REASON = "look at the books"

UPDATE = f"UPDATE audit_log SET action = 'nothing' WHERE action = '{REASON}'"
DELETE = f"DELETE FROM audit_log WHERE action = '{REASON}'"
UPSERT = (
    "INSERT INTO audit_log SELECT * FROM audit_log WHERE true"
    " ON CONFLICT (tenant_id, id) DO UPDATE SET action = 'nothing'"
)
REPLACE = (
    "INSERT OR REPLACE INTO audit_log"
    " SELECT tenant_id, id, at, actor, 'nothing', request_id FROM audit_log"
)


@pytest.fixture(autouse=True)
async def entry(settings: Settings) -> AsyncIterator[None]:
    """An entry in the log, about acme; and no connection that is left open."""
    async with system_session(REASON, "acme"):
        pass
    yield
    await engines.dispose()


async def entries() -> int:
    async with system_session("count") as session:
        written = AuditEntry.action == REASON, AuditEntry.tenant_id == "acme"
        return len((await session.scalars(select(AuditEntry).where(*written))).all())


ROLES = ("DATABASE_URL", "SYSTEM_DATABASE_URL", "MIGRATION_DATABASE_URL")


@pytest.mark.parametrize("settings", ["postgresql"], indirect=True)
@pytest.mark.parametrize(
    ("role", "statement"),
    [
        *product(ROLES, [UPDATE, DELETE, UPSERT]),
        *product(ROLES[:2], ["TRUNCATE audit_log"]),  # an owner may: no policy takes that from him
    ],
)
async def test_no_role_of_postgresql_changes_what_was_written(
    settings: Settings, role: str, statement: str
) -> None:
    before = await entries()
    url = make_url(settings.database_urls[role]).set(drivername="postgresql")
    connection = await asyncpg.connect(url.render_as_string(hide_password=False))
    try:
        await connection.execute("SELECT set_config('app.tenant_id', 'acme', false)")
        assert (await connection.execute(statement)).split()[-1] == "0"
    except asyncpg.InsufficientPrivilegeError:
        pass
    finally:
        await connection.close()
    assert await entries() == before > 0


async def by_the_system(statement: str) -> None:
    async with system_session("change the books") as session:
        await session.execute(text(statement))


async def by_the_owner(statement: str) -> None:
    def change(connection: Connection) -> None:
        connection.execute(text(statement))

    await as_owner(change)


@pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
@pytest.mark.parametrize("statement", [UPDATE, DELETE, UPSERT, REPLACE])
@pytest.mark.parametrize("change", [by_the_system, by_the_owner])
async def test_no_role_of_sqlite_changes_what_was_written(
    settings: Settings, change: Callable[[str], Awaitable[None]], statement: str
) -> None:
    with pytest.raises(DBAPIError, match="this session may not write this row"):
        await change(statement)
    assert await entries() == 1


@pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
async def test_a_tenant_changes_nothing_that_was_written_about_it() -> None:
    for statement in (update(AuditEntry).values(action="nothing"), delete(AuditEntry)):
        with pytest.raises(DBAPIError, match="this session may not write this row"):
            async with tenant_session("acme") as session:
                await session.execute(statement)
    assert await entries() == 1


@pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
@pytest.mark.parametrize("statement", [UPDATE, DELETE])
async def test_a_program_that_opens_the_file_is_refused_too(
    settings: Settings, statement: str
) -> None:
    file = make_url(settings.DATABASE_URL).database or ""
    connection = sqlite3.connect(file)
    with pytest.raises(sqlite3.IntegrityError, match="may not write"):
        connection.execute(statement)
    connection.close()
    assert await entries() == 1
