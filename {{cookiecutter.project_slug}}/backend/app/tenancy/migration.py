"""Changing the schema: the only work that is done as the tables' owner."""

from collections.abc import Callable

from sqlalchemy import Connection

from app.db import engines
from app.db.engines import Role
from app.db.roles import check_names
from app.tenancy.rls import protect
from app.tenancy.session import prepare


async def as_owner(change: Callable[[Connection], None]) -> None:
    """Change the schema in one transaction, and protect every table of tenants' rows in it."""
    settings = engines.current_settings()
    check_names(settings)
    try:
        async with engines.engine(Role.MIGRATION, prepare).begin() as connection:
            await connection.run_sync(change)
            await connection.run_sync(protect, settings)
    finally:
        await engines.dispose()
