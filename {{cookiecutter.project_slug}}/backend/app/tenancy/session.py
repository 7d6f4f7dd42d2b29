"""The two doors to the database, a tenant's and the system's; and the owner's, to its schema."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

from sqlalchemy import Connection, Engine, event
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from app.db import engines
from app.db.engines import Role, is_sqlite
from app.db.roles import check_names
from app.tenancy import guard, sqlite
from app.tenancy.models import checked_name
from app.tenancy.rls import SETTING, protect

audit = logging.getLogger("app.audit")


@asynccontextmanager
async def tenant_session(tenant: str) -> AsyncIterator[AsyncSession]:
    """Open a session that reads and writes the rows of one tenant, and of no other.

    Leaving the block without an exception commits; commits, rollbacks and savepoints inside it
    are allowed. Raises ValueError for a malformed name; an unknown tenant just has no rows.
    """
    begin = partial(_begin, checked_name(tenant))
    async with AsyncSession(
        engines.engine(Role.APPLICATION, _prepare), expire_on_commit=False
    ) as session:
        event.listen(session.sync_session, "after_begin", begin)
        yield session
        await session.commit()


@asynccontextmanager
async def system_session(reason: str) -> AsyncIterator[AsyncSession]:
    """Open a session that sees every tenant, for a reason that is written to the audit log.

    Leaving the block without an exception commits. Raises ValueError without a reason.
    """
    if not reason.strip():
        raise ValueError("a system session needs a reason")
    audit.info("opened the database for all tenants to %s", reason)
    async with AsyncSession(
        engines.engine(Role.SYSTEM, _prepare), expire_on_commit=False
    ) as session:
        yield session
        await session.commit()


async def as_owner(change: Callable[[Connection], None]) -> None:
    """Change the schema in one transaction, and protect every table of tenants' rows in it."""
    settings = engines.current_settings()
    check_names(settings)
    try:
        async with engines.engine(Role.MIGRATION, _prepare).begin() as connection:
            await connection.run_sync(change)
            await connection.run_sync(protect, settings)
    finally:
        await engines.dispose()


def _begin(tenant: str, session: Session, transaction: object, connection: Connection) -> None:
    """Tell the guard and the database the session's tenant, at the start of each transaction."""
    guard.enter(connection, tenant)
    if is_sqlite(connection.engine.url):
        sqlite.enter(connection, tenant)
        return
    # Straight to the driver: the guard would refuse this from anyone. Local to the transaction,
    # so that a pooled connection takes nothing along.
    cursor = connection.connection.cursor()
    cursor.execute(f"SELECT set_config('{SETTING}', $1, true)", (tenant,))
    cursor.close()


def _prepare(created: Engine, role: Role) -> None:
    """Put the guard and the database's own layer on a new engine, as its role demands."""
    if role is Role.APPLICATION:
        guard.install(created)
    else:
        guard.release(created)
    if is_sqlite(created.url):
        sqlite.install(created, role)
